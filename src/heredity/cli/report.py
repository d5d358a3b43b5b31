"""`heredity report`: the lineage as one file that opens by double click."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heredity.cli.labs import JsonOption, LabOption, open_lab

PANEL = "Look at a lineage"


def report_command(
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("report.html"),
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    lab_path: LabOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the lineage as one HTML file.

    It holds everything but the weights, loads nothing, and opens from disk: send it, or keep it beside the results.

    Example: heredity report -o lineage.html --open
    """
    import webbrowser

    from heredity.cli.console import Out, plural, print_json, size
    from heredity.page.report import write_report

    with open_lab(lab_path) as lab:
        written, births = write_report(lab, output), len(lab)
        if as_json:
            print_json({"report": str(output), "bytes": written, "births": births})
        else:
            Out().line(f"{plural(births, 'birth')} of {lab.path} in {output}, {size(written)}")
    if open_:
        webbrowser.open(output.resolve().as_uri())
