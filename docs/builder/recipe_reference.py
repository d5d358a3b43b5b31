"""Every key of a recipe, from the data models that read it."""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from builder.markdown import table
from heredity.recipes.schema import Recipe
from heredity.recipes.search_schema import SearchRecipe


def section_recipe_keys() -> str:
    """Tables of all keys, one per section of a recipe; then of a recipe with a search."""
    parts: list[str] = []
    _section(Recipe, "", parts, "The document", set())
    _section(SearchRecipe, "", parts, "The document of a search", set())
    return "\n".join(parts)


def recipe_keys() -> list[str]:
    """All keys with their sections, e.g. population.size."""
    return sorted({*_all_keys(Recipe, ""), *_all_keys(SearchRecipe, "")})


def _all_keys(model: type[BaseModel], prefix: str) -> typing.Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        for inner in _models_in(field.annotation):
            yield from _all_keys(inner, f"{prefix}{name}.")


def _section(model: type[BaseModel], prefix: str, parts: list[str], title: str, seen: set[type[BaseModel]]) -> None:
    """The table of a section and those in it, each once."""
    seen.add(model)
    rows = []
    for name, field in model.model_fields.items():
        kind = _kind(field.annotation, field.metadata)
        rows.append([f"`{name}`", kind, _default(field), _meaning(f"{prefix}{name}", field)])
    parts.append(f"### {title}\n\n{(model.__doc__ or '').strip()}\n")
    parts.append(table(("key", "type", "default", "meaning"), rows))
    for name, field in model.model_fields.items():
        named = "NAME." if typing.get_origin(_without_null(field.annotation)) is dict else ""
        for inner in _models_in(field.annotation):
            if inner not in seen:
                kinds = typing.get_args(inner.model_fields["kind"].annotation) if "kind" in inner.model_fields else ()
                place = f"{prefix}{name}.{named}"
                of_kind = f", kind `{kinds[0]}`" if kinds else ""
                _section(inner, place, parts, f"`{place.rstrip('.')}`{of_kind}", seen)


def _without_null(annotation: Any) -> Any:
    options = [option for option in typing.get_args(annotation) if option is not type(None)]
    united = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return options[0] if united and len(options) == 1 else annotation


def _meaning(key: str, field: FieldInfo) -> str:
    inner = _models_in(field.annotation)
    if field.description is None and not inner:
        raise ValueError(f"the recipe's key {key} has no description: write one in heredity.recipes")
    about = (inner[0].__doc__ or "").strip().split("\n")[0].rstrip(".") if len(inner) == 1 else None
    return "; ".join(part for part in (about, field.description) if part)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in _models_in(argument)]


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required" if field.default_factory is None else "`{}`"
    if isinstance(field.default, BaseModel):
        return "its defaults"
    return f"`{_yaml(field.default)}`"


def _yaml(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _kind(annotation: Any, metadata: typing.Sequence[Any] = ()) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        inner = [part for extra in arguments[1:] for part in getattr(extra, "metadata", [extra])]
        return _kind(arguments[0], inner)
    if origin in (typing.Union, types.UnionType):
        options = [_kind(argument, metadata) for argument in arguments if argument is not type(None)]
        return " or ".join(dict.fromkeys(options)) + (" or null" if type(None) in arguments else "")
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return f"list of {_plural(arguments[0])}".replace("list of any of", "list of")
    if origin is dict:
        return f"{'sections' if _models_in(arguments[1]) else _plural(arguments[1]).removeprefix('any of ')} by name"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    if annotation is Any:
        return "any value"
    word = {str: "text", int: "whole number", float: "number", bool: "true or false"}[annotation]
    return word + (_bounds(metadata) if annotation in (int, float) else "")


def _plural(annotation: Any) -> str:
    if _models_in(annotation):
        return "texts or sections"
    kind = _kind(annotation)
    if kind.startswith("`"):
        return f"any of {kind}"
    word, comma, bounds = kind.partition(",")
    return f"{word}s{comma}{bounds}"


def _bounds(metadata: typing.Sequence[Any]) -> str:
    marks = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [
        f"{mark} {getattr(part, name):g}" for part in metadata for name, mark in marks.items() if hasattr(part, name)
    ]
    return f", {' and '.join(found)}" if found else ""
