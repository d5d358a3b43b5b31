"""Reading a recipe file: every mistake is one line that says where, what, and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from heredity.errors import RecipeError
from heredity.recipes.schema import Recipe


def builtin_recipe() -> Path:
    """The demo's recipe file."""
    return Path(str(resources.files("heredity.recipes") / "two_shifts.yaml"))


def load_recipe(path: Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """The validated recipe in a YAML file; relative paths in it are meant from the file's folder.

    Args:
        changes: values by dotted key that replace or add to what the file says, e.g. {"population.generations": 3}.

    Raises:
        RecipeError: the file is missing, is no YAML, or says something a recipe cannot say.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RecipeError(f"cannot read the recipe {path}: {reason}") from error
    try:
        # A recipe is data: aliases are refused, which also rules out documents that refer to themselves.
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise RecipeError(f"{path}:{line}: YAML aliases (*{event.anchor}) are not read; write it out")
        tree, data = yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}" if mark is not None else ""
        raise RecipeError(f"{path}{place}: no valid YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"{path}: a recipe is a mapping with the keys founders and task; see heredity evolve --help")
    for key, value in (changes or {}).items():
        _set(data, key, value)
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError("\n".join(dict.fromkeys(_lines(path, tree, error)))) from None
    _check_methods(path, recipe)
    return recipe


def _set(data: dict[str, Any], key: str, value: Any) -> None:
    """Put a value at a dotted key, making the sections on the way."""
    *sections, last = key.split(".")
    for section in sections:
        inner = data.get(section)
        if not isinstance(inner, dict):
            inner = data[section] = {}
        data = inner
    data[last] = value


def _lines(path: Path, tree: yaml.Node | None, error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        location = [part for part in problem["loc"] if not _is_branch(part)]
        yield f"{path}:{_line_of(tree, location)}: {_sentence(location, problem)}"


def _is_branch(part: int | str) -> bool:
    """Whether a location part is the name of a union's branch rather than a key."""
    return isinstance(part, str) and ("[" in part or part in ("str", "float", "int", "tuple"))


def _line_of(node: yaml.Node | None, location: Sequence[int | str]) -> int:
    line = 1
    for part in location:
        found = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line, found = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = node.value[part]
            line = found.start_mark.line + 1
        if found is None:
            break
        node = found
    return line


def _sentence(location: Sequence[int | str], problem: Any) -> str:
    key = ".".join(str(part) for part in location)
    kind, given = problem["type"], problem["input"]
    if kind == "extra_forbidden":
        known = list(_section_at(location[:-1]).model_fields)
        near = difflib.get_close_matches(str(location[-1]), known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"unknown key {key!r}; {hint}"
    if kind == "missing":
        return f"the key {key!r} is missing"
    if kind == "value_error":
        return f"{key + ': ' if key else ''}{problem['ctx']['error']}"
    message = problem["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    return f"{key} is {given!r}; it should be {message}"


def _section_at(location: Sequence[int | str]) -> type[BaseModel]:
    section: type[BaseModel] = Recipe
    for part in location:
        if isinstance(part, str) and part in section.model_fields:
            section = next(_sections(section.model_fields[part].annotation), section)
    return section


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections(argument)


def _check_methods(path: Path, recipe: Recipe) -> None:
    from heredity.errors import MergeError
    from heredity.merging.methods import method_for

    asked = []
    if recipe.population is not None:
        asked.append(("population.merge", recipe.population.merge))
    if recipe.merging is not None:
        asked.append(("merging.method", recipe.merging.method))
    if recipe.grid is not None:
        asked += [("grid.methods", method) for method in recipe.grid.methods]
    for key, name in asked:
        try:
            method = method_for(name)
        except MergeError as error:
            raise RecipeError(f"{path}: {key}: {error}") from error
        if method.needs_base and recipe.base is None and recipe.founders != "two-shifts" and key != "grid.methods":
            raise RecipeError(f"{path}: {key}: {name} works on differences from a common ancestor: give the key 'base'")
