"""`heredity ui`: the lineage in a browser, live."""

from __future__ import annotations

import contextlib
import sys
from typing import Annotated

import typer

from heredity.cli.labs import LabOption, open_lab

PANEL = "Look at a lineage"


def ui_command(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8765,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    lab_path: LabOption = None,
) -> None:
    """Show the lineage in a browser, live.

    Serves on this machine only (127.0.0.1), reads only, and shows births as they are recorded. From elsewhere: ssh -L
    8765:127.0.0.1:8765 HOST.

    Example: heredity ui --lab runs/lab --open
    """
    import webbrowser

    from heredity.cli.console import Out
    from heredity.page.server import PageServer

    with open_lab(lab_path) as lab, PageServer(lab, port) as server:
        Out().line(f"{lab.path} is shown at {server.url} (Ctrl-C stops)")
        sys.stdout.flush()
        if open_:
            webbrowser.open(server.url)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever(poll_interval=0.2)
