"""`heredity name`: let a name point to a model."""

from __future__ import annotations

from typing import Annotated

import typer

from heredity.cli.labs import JsonOption, LabOption, RefArgument, open_lab

PANEL = "Tend a lab"


def name_command(
    ref: RefArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name; one that exists moves here.")],
    *,
    lab_path: LabOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a name point to a model.

    Names can be moved; named models keep their weights.

    JSON: {id, name, before}.

    Example: heredity name best winner
    """
    from heredity.cli.console import Out, print_json, safe
    from heredity.cli.lineage import id_length

    with open_lab(lab_path, mode="r+") as lab:
        model = lab[ref]
        held = lab.index.query("SELECT id FROM names WHERE name = ?", (name,))
        before = held[0][0] if held else None
        if before != model.id:
            lab.name(model, name)
        if as_json:
            print_json({"id": model.id, "name": name, "before": before})
            return
        length = id_length(lab)
        moved = f" (was {before[:length]})" if before not in (None, model.id) else ""
        Out().line(f"{safe(name)} is {model.id[:length]}{moved}")
