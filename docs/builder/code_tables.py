"""Tables of public names from the sources: the lab's interface, and the modules of a family."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import resources

from builder.markdown import table
from heredity.lab import Context, Lab, Model, Parents


def section_lab_methods() -> str:
    """The lab's methods, without those that the command line and the runner build on."""
    inner = {"append", "birth_key", "check_name", "close", "evaluation_key", "executor", "form", "handle", "spec"}
    return _members(Lab, "lab", inner | {"warn_if_changed", "names_of", "dead"})


def section_model_members() -> str:
    """What a handle knows."""
    return _members(Model, "model", {"watched"})


def section_birth_members() -> str:
    """What an operator is handed."""
    return _members(Parents, "parents", {"index", "count"}) + "\n" + _members(Context, "context", set())


def _members(cls: type, name: str, without: set[str]) -> str:
    rows = []
    for member, value in vars(cls).items():
        if member.startswith("_") or member in without:
            continue
        if isinstance(value, property):
            shown, doc = member, inspect.getdoc(value.fget)
        elif inspect.isfunction(value):
            shown, doc = f"{member}({_parameters(value)})", inspect.getdoc(value)
        else:
            continue
        rows.append([f"`{name}.{shown}`", _first(doc)])
    return table(("name", "meaning"), rows)


def _parameters(function: object) -> str:
    parts, starred = [], False
    for parameter in list(inspect.signature(function).parameters.values())[1:]:  # type: ignore[arg-type]
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        starred = starred or parameter.kind is parameter.VAR_POSITIONAL
        kind = parameter.kind
        mark = "*" if kind is parameter.VAR_POSITIONAL else "**" if kind is parameter.VAR_KEYWORD else ""
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        parts.append(f"{mark}{parameter.name}{default}")
    return ", ".join(parts)


def section_search_modules() -> str:
    """The family of search, module by module."""
    return _family("heredity.search", without={"probes"})


def section_searchers_of_merging() -> str:
    """What merging adds: spaces, searchers and mergers that evolve."""
    chosen = {"merge_space", "evolutionary", "genome", "population", "data_flow", "path_search"}
    return _family("heredity.merging", only=chosen)


def section_errors() -> str:
    """Every error, with its meaning."""
    tree = ast.parse(resources.files("heredity").joinpath("errors.py").read_text(encoding="utf-8"))
    rows = [[f"`{node.name}`", _first(ast.get_docstring(node))] for node in tree.body if isinstance(node, ast.ClassDef)]
    return table(("error", "meaning"), rows)


def _family(package: str, *, without: set[str] | None = None, only: set[str] | None = None) -> str:
    parts = []
    for file in sorted(resources.files(package).iterdir(), key=lambda file: file.name):
        module = file.name.removesuffix(".py")
        if not file.name.endswith(".py") or module.startswith("_") or module in (without or ()):
            continue
        if only is not None and module not in only:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        doc = ast.get_docstring(tree) or ""
        source = re.search(r"^Sources?: (.*?)(?:\n\n|\Z)", doc, re.MULTILINE | re.DOTALL)
        rows = [[f"`{name}`", meaning] for name, meaning in _public(tree)]
        if rows:
            parts.append(f"### {package}.{module}\n\n{_first(doc)}\n")
            parts.append(table(("name", "meaning"), rows))
        if rows and source is not None:
            parts.append(f"Source: {_linked(' '.join(source[1].split()))}\n")
    return "\n".join(parts)


def _public(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            yield node.name, _first(ast.get_docstring(node))


def _linked(text: str) -> str:
    return re.sub(r"(?:arXiv )?\b(\d{4}\.\d{5})\b", r"[arXiv \1](https://arxiv.org/abs/\1)", text)


def _first(doc: str | None) -> str:
    """The first sentence or line of a docstring."""
    return " ".join((doc or "").strip().split("\n\n")[0].split())
