"""`heredity export` and `heredity import`: models out of a lab and into one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from heredity.cli.labs import JsonOption, LabOption, RefArgument, open_lab
from heredity.errors import LabError

PANEL = "Tend a lab"


def export_command(
    ref: RefArgument,
    folder: Annotated[Path, typer.Argument(help="The model folder to make.", show_default=False)],
    *,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    lab_path: LabOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a model as a Hugging Face folder with a model card.

    The card knows the model's parents and how it came to be.

    JSON: {id, folder, files, bytes}.

    Example: heredity export best ./winner
    """
    from heredity.cli.console import Out, print_json, size
    from heredity.lab.huggingface import export_model

    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise LabError(f"{folder} is not empty; choose another folder, or --overwrite to replace an earlier export")
    with open_lab(lab_path) as lab:
        model = lab[ref]
        export_model(model, folder, overwrite=overwrite)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        total = sum(path.stat().st_size for path in files)
        if as_json:
            listed = [str(path.relative_to(folder)) for path in files]
            print_json({"id": model.id, "folder": str(folder), "files": listed, "bytes": total})
            return
        out = Out()
        out.line(f"{model.id} is in {folder}: {len(files)} files, {size(total)}")
        out.command(f"cat {shlex.quote(str(folder / 'README.md'))}")
        out.command(f"heredity import {shlex.quote(str(folder))} --lab OTHER")


def import_command(
    source: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="A Hugging Face folder, an adapter folder, or a .safetensors file."),
    ],
    *,
    name: Annotated[str | None, typer.Option(help="A name for the model.", show_default=False)] = None,
    base: Annotated[
        str | None, typer.Option(metavar="REF", help="The model it was made from: an adapter's base.")
    ] = None,
    lab_path: LabOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record a model from disk as a birth.

    Makes ./lab where there is no lab. The same weights again are the same birth.

    JSON: {id, new, names, lab, weights, bytes}.

    Example: heredity import ./llama --name ancestor
    """
    from heredity.cli.console import Out, print_json
    from heredity.cli.lineage import id_length

    with open_lab(lab_path, mode="a") as lab:
        known = len(lab)
        model = lab.add(source, name=name) if base is None else lab.add(source, name=name, base=base)
        new = len(lab) > known
        if as_json:
            facts = {"id": model.id, "new": new, "names": model.names, "lab": str(lab.path)}
            print_json({**facts, "weights": model.weights_sha256, "bytes": model.record["bytes"]})
            return
        out = Out()
        short = name or model.id[: id_length(lab)]
        out.line(f"{source} is {model.id} in {lab.path}" + ("" if new else ", where it was already"))
        where = "" if str(lab.path) == "lab" else f" --lab {shlex.quote(str(lab.path))}"
        out.command(f"heredity show {shlex.quote(short)}{where}")
        out.command(f"heredity tree{where}")
