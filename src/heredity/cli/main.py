"""The command `heredity`: finds the commands of this package, imports the one that is used, says errors in one line.

Exit codes: 0 done, 1 problems were found or a birth failed, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from importlib import import_module, resources
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import heredity
from heredity.errors import (
    BirthFailed,
    DamagedRecord,
    EvaluationFailed,
    HeredityError,
    NotAllowed,
    RebuildMismatch,
    RecipeError,
    UnknownModel,
    WeightsMissing,
    WorkerLost,
)

BAD_INPUT, PROBLEM, INTERRUPTED = 2, 1, 130
# Errors that are findings about the lab or the run; every other one says that something else should have been asked.
_FINDINGS = (BirthFailed, DamagedRecord, EvaluationFailed, RebuildMismatch, WeightsMissing, WorkerLost)
# The next command to type, by the error's class.
_HINTS: dict[type[HeredityError], str] = {
    UnknownModel: "heredity log shows the newest births: ids, names, metrics",
    DamagedRecord: "heredity verify names everything that is damaged",
    WeightsMissing: "heredity verify says whether more is missing",
    NotAllowed: "HEREDITY_ALLOW=module,… lets the command line import code that records name",
}
MAKE = "Make models"  # the help's panel for commands of modules that name none
_COMMAND = re.compile(r'^def (\w+)_command\(.*?^    """(.*?)(?:\n|""")', re.MULTILINE | re.DOTALL)
_PANEL = re.compile(r'^PANEL = "(.+)"$', re.MULTILINE)


class LazyCommand(TyperCommand):
    """A command of which only name, one-line help and module are known until it is used."""

    def __init__(self, name: str, module: str, function: str, help_line: str, panel: str) -> None:
        super().__init__(name=name, help=help_line, callback=None, rich_help_panel=panel)
        self._module, self._function = module, function

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the real command."""
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command(self.name)(getattr(import_module(self._module), self._function))
        return typer.main.get_command(app).make_context(info_name, args, parent, **extra)


def find_commands() -> Iterator[LazyCommand]:
    """Every `<name>_command` function of the package's modules, found in their text, without importing them."""
    for file in sorted(resources.files("heredity.cli").iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".py"):
            continue
        source = file.read_text(encoding="utf-8")
        panel = _PANEL.search(source)
        for found in _COMMAND.finditer(source):
            name = found[1]
            yield LazyCommand(
                name.replace("_", "-"),
                f"heredity.cli.{file.name.removesuffix('.py')}",
                f"{name}_command",
                found[2],
                panel[1] if panel else MAKE,
            )


def _panel_order(command: LazyCommand) -> tuple[bool, str]:
    panel = str(command.rich_help_panel)
    return (panel != MAKE, panel)


class CommandGroup(TyperGroup):
    """All commands; errors that Heredity raises on purpose become one line and an exit code."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for command in sorted(find_commands(), key=lambda command: (_panel_order(command), command.name or "")):
            self.add_command(command)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except HeredityError as error:
            if os.environ.get("HEREDITY_DEBUG"):
                raise
            # A recipe's mistakes are a line each; any other newline came from outside and is escaped.
            mistakes = str(error).split("\n") if isinstance(error, RecipeError) else [str(error)]
            _say(*mistakes, *getattr(error, "__notes__", ()))
            hint = next((hint for kind, hint in _HINTS.items() if isinstance(error, kind)), None)
            if hint:
                _say_hint(hint)
            raise typer.Exit(PROBLEM if isinstance(error, _FINDINGS) else BAD_INPUT) from None
        except KeyboardInterrupt:
            if os.environ.get("HEREDITY_DEBUG"):
                raise
            _say("interrupted; what was recorded stays, and asking again goes on from there")
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"heredity {heredity.__version__}")
        raise typer.Exit


@app.callback(
    epilog="REF is an id or its first characters, a name, best, best:METRIC, latest, or any of these with ~N "
    "(N generations up). Example: heredity path best"
)
def heredity_command_line(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Descent with modification, for neural networks: make models from models, and see how they came to be."""


def main() -> None:
    """Run the command line."""
    try:
        typer.main.get_command(app).main(prog_name="heredity")
    except Exception as error:
        if os.environ.get("HEREDITY_DEBUG"):
            raise
        _say(f"unexpected {type(error).__name__}: {error}")
        _say_hint("this is a defect; HEREDITY_DEBUG=1 shows where it happened")
        raise SystemExit(PROBLEM) from None


def _say(*lines: str) -> None:
    from heredity.cli.console import safe

    sys.stdout.flush()
    for place, line in enumerate(lines):
        typer.echo(f"{'heredity:' if place == 0 else '         '} {safe(line)}", err=True)


def _say_hint(hint: str) -> None:
    typer.echo(f"  hint: {hint}", err=True)
