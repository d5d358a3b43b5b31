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

# What the models leave unsaid. A key that gains a description there must leave this table: `meaning` insists.
_MEANINGS = {
    "founders": "the population's beginning: paths, or {path, name}; `two-shifts` is the demo's",
    "task": "what fitness is",
    "seed": "seeds every draw of the run",
    "population.crossover": "probability that a pair has a child",
    "population.mutate": "probability that a member is mutated",
    "population.elite": "share of the population that survives by rank alone",
    "population.selection": "how the rest of the survivors are drawn",
    "population.succession.step": "length λ of the first step",
    "population.succession.decay": "factor of the step per generation",
    "population.succession.inertia": "weight of the previous move",
    "population.succession.cognitive": "pull towards the individual's own best",
    "population.succession.social": "pull towards the best of all",
    "population.succession.repel": "push away from the worst",
    "grid.methods": "merge methods to try",
    "grid.densities": "densities to try, where a method has one",
    "grid.scales": "scales λ of the merged task vector to try, where a method has one",
}


def section_recipe_keys() -> str:
    """Tables of all keys, one per section of a recipe."""
    parts: list[str] = []
    _section(Recipe, "", parts)
    unused = set(_MEANINGS) - set(_all_keys(Recipe, ""))
    if unused:
        raise ValueError(f"the recipe has no key {min(unused)!r} any more; take it out of docs/builder")
    return "\n".join(parts)


def recipe_keys() -> list[str]:
    """All keys with their sections, e.g. population.size."""
    return sorted(_all_keys(Recipe, ""))


def _all_keys(model: type[BaseModel], prefix: str) -> typing.Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        for inner in _models_in(field.annotation):
            yield from _all_keys(inner, f"{prefix}{name}.")


def _section(model: type[BaseModel], prefix: str, parts: list[str]) -> None:
    title = f"`{prefix.rstrip('.')}`" if prefix else "The document"
    rows = []
    for name, field in model.model_fields.items():
        kind = _kind(field.annotation, field.metadata)
        rows.append([f"`{name}`", kind, _default(field), _meaning(f"{prefix}{name}", field)])
    parts.append(f"### {title}\n\n{(model.__doc__ or '').strip()}\n")
    parts.append(table(("key", "type", "default", "meaning"), rows))
    for name, field in model.model_fields.items():
        for inner in _models_in(field.annotation):
            _section(inner, f"{prefix}{name}.", parts)


def _meaning(key: str, field: FieldInfo) -> str:
    if field.description and key in _MEANINGS:
        raise ValueError(f"{key} has a description in the schema now; take it out of docs/builder")
    meaning = field.description or _MEANINGS.get(key)
    inner = _models_in(field.annotation)
    if meaning is None and not inner:
        raise ValueError(f"the recipe's key {key} is not explained; give it a description")
    about = (inner[0].__doc__ or "").strip().split("\n")[0].rstrip(".") if inner and key not in _MEANINGS else None
    return "; ".join(part for part in (about, meaning) if part)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in _models_in(argument)]


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
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
        return " or ".join(options) + (" or null" if type(None) in arguments else "")
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return f"list of {_plural(arguments[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    word = {str: "text", int: "whole number", float: "number", bool: "true or false"}[annotation]
    return word + (_bounds(metadata) if annotation in (int, float) else "")


def _plural(annotation: Any) -> str:
    if _models_in(annotation):
        return "texts or sections"
    kind = _kind(annotation)
    word, comma, bounds = kind.partition(",")
    return f"{word}s{comma}{bounds}"


def _bounds(metadata: typing.Sequence[Any]) -> str:
    marks = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [
        f"{mark} {getattr(part, name):g}" for part in metadata for name, mark in marks.items() if hasattr(part, name)
    ]
    return f", {' and '.join(found)}" if found else ""
