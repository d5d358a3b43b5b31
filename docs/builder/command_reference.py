"""Every command, from its signature and docstring: what `--help` says, as a page."""

from __future__ import annotations

import inspect
import re
import textwrap
import types
import typing
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from typer.models import ArgumentInfo

from builder.markdown import table
from heredity.cli.main import CommandGroup, find_commands

_TYPES = {str: "text", int: "number", float: "number", Path: "path"}


def command_names() -> list[str]:
    """All commands."""
    return sorted(str(command.name) for command in find_commands())


def section_commands() -> str:
    """All commands by panel, in the order of `heredity --help`."""
    commands: Mapping[str, Any] = CommandGroup(name="heredity").commands
    parts: list[str] = []
    panel = ""
    for command in commands.values():
        if command.rich_help_panel != panel:
            panel = str(command.rich_help_panel)
            parts.append(f"## {panel}\n")
        function = getattr(import_module(command._module), command._function)
        parts.append(_command(str(command.name), function))
    return "\n".join(parts)


def _command(name: str, function: Callable[..., Any]) -> str:
    arguments, options = _parameters(function)
    usage = " ".join(["heredity", name, *(word for word, _, _ in arguments), *(["[OPTIONS]"] if options else [])])
    parts = [f"### heredity {name}\n"]
    first, *rest = _paragraphs(inspect.getdoc(function) or "")
    parts += [first, f"```sh\n{usage}\n```\n", *rest]
    rows = [[f"`{word}`", meaning, default] for word, meaning, default in [*arguments, *options]]
    if rows:
        parts.append(table(("argument or option", "meaning", "default"), rows))
    return "\n".join(parts)


def _paragraphs(doc: str) -> list[str]:
    """Prose, with verbatim blocks (after a backspace), JSON shapes and examples set apart."""
    found = []
    for paragraph in re.split(r"\n\s*\n", doc):
        if paragraph.startswith("\b"):
            body = textwrap.dedent(paragraph.removeprefix("\b").strip("\n"))
            language = "sh" if body.lstrip().startswith("heredity") else "yaml"
            found.append(f"```{language}\n{body}\n```\n")
        elif paragraph.startswith("Example:"):
            found.append(f"```sh\n{paragraph.removeprefix('Example:').strip()}\n```\n")
        elif (shape := re.match(r"(JSON[^:]*): (.*)", paragraph, re.DOTALL)) is not None:
            found.append(f"**{shape[1]}:** {_shape(shape[2])}\n")
        else:
            found.append(f"{' '.join(paragraph.split())}\n")
    return found


def _shape(text: str) -> str:
    text = " ".join(text.split())
    braced = re.match(r"\{.*?\}(?=[;.]|$)", text)
    return f"`{braced[0]}`{text[braced.end() :]}" if braced else text


Row = tuple[str, str, str]


def _parameters(function: Callable[..., Any]) -> tuple[list[Row], list[Row]]:
    hints = typing.get_type_hints(function, include_extras=True)
    arguments: list[Row] = []
    options: list[Row] = []
    for parameter in inspect.signature(function).parameters.values():
        hint = hints[parameter.name]
        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            hint = next(option for option in typing.get_args(hint) if typing.get_origin(option) is Annotated)
        kind, info = typing.get_args(hint)[:2]
        meaning = str(info.help or "")
        if info.envvar:
            meaning += f" (environment: {info.envvar})"
        default = parameter.default
        if isinstance(info, ArgumentInfo):
            word = str(info.metavar or parameter.name.rstrip("_").upper())
            optional = default is not inspect.Parameter.empty
            arguments.append((f"[{word}]" if optional else word, meaning, "" if optional else "required"))
        else:
            # Where an annotation holds an option, its first name stands where a default would.
            given = [info.default, *(info.param_decls or ())] if isinstance(info.default, str) else info.param_decls
            names = [str(name) for name in given or (f"--{parameter.name.strip('_').replace('_', '-')}",)]
            value = "" if kind is bool else f" {info.metavar or _value(kind)}"
            none = default is None or default is False or default is inspect.Parameter.empty
            shown = "" if none else f"`{default}`"
            options.append(
                (", ".join(sorted(names, key=lambda name: not name.startswith("--"))) + value, meaning, shown)
            )
    return arguments, options


def _value(kind: Any) -> str:
    options = [option for option in typing.get_args(kind) if option is not type(None)]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return _value(options[0])
    if typing.get_origin(kind) is typing.Literal:
        return "|".join(map(str, options))
    if typing.get_origin(kind) is list:
        return f"{_value(options[0])} …"
    if isinstance(kind, type) and hasattr(kind, "__members__"):
        return "|".join(str(member.value) for member in kind.__members__.values())
    return _TYPES.get(kind, getattr(kind, "__name__", "value")).upper()
