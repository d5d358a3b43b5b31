"""Reading a recipe file: every mistake is one line that says where, what, and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from heredity.errors import RecipeError
from heredity.recipes.schema import Recipe
from heredity.recipes.search_schema import SearchRecipe

R = TypeVar("R", Recipe, SearchRecipe)
DEMO = "two_shifts"


def builtin_recipes() -> dict[str, Path]:
    """The recipe files that come with Heredity, by name."""
    folder = Path(str(resources.files("heredity.recipes")))
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def builtin_recipe(name: str = DEMO) -> Path:
    """A recipe file that comes with Heredity, by default the demo's."""
    return builtin_recipes()[name]


def find_recipe(path: Path) -> Path:
    """The file, or where there is none the built-in recipe of that name.

    Raises:
        RecipeError: a bare name that is neither.
    """
    if path.exists() or path.suffix or len(path.parts) != 1:
        return path
    known = builtin_recipes()
    name = path.name.replace("-", "_")
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"built in are {', '.join(known)}"
    raise RecipeError(f"{path} is no file and no built-in recipe; {hint}")


def load_any(path: Path, changes: Mapping[str, Any] | None = None) -> Recipe | SearchRecipe:
    """The validated recipe in a YAML file: with a section `search` a search, otherwise a population of models.

    Args:
        changes: as in `load_recipe`.

    Raises:
        RecipeError: as in `load_recipe`.
    """
    data, tree = _read(path, changes)
    if "search" in data:
        return _validated(SearchRecipe, path, data, tree)
    return _checked(path, data, tree)


def load_recipe(path: Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """The validated recipe in a YAML file; relative paths in it are meant from the file's folder.

    Args:
        changes: values by dotted key that replace or add to what the file says, e.g. {"population.generations": 3}.

    Raises:
        RecipeError: the file is missing, is no YAML, or says something a recipe cannot say.
    """
    return _checked(path, *_read(path, changes))


def _checked(path: Path, data: dict[str, Any], tree: yaml.Node | None) -> Recipe:
    recipe = _validated(Recipe, path, data, tree)
    _check_methods(path, recipe)
    return recipe


def _read(path: Path, changes: Mapping[str, Any] | None) -> tuple[dict[str, Any], yaml.Node | None]:
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
        keys = "founders and task, or the key search"
        raise RecipeError(f"{path}: a recipe is a mapping with the keys {keys}; see heredity evolve --help")
    for key, value in (changes or {}).items():
        _set(data, key, value)
    return data, tree


def _validated(root: type[R], path: Path, data: dict[str, Any], tree: yaml.Node | None) -> R:
    try:
        return root.model_validate(data)
    except ValidationError as error:
        raise RecipeError("\n".join(dict.fromkeys(_lines(path, tree, error, root, data)))) from None


def changes_of(assignments: Sequence[str]) -> dict[str, Any]:
    """Changes by dotted key from `a.b=value` assignments, whose values are read as YAML.

    Raises:
        RecipeError: one is no assignment, or no YAML.
    """
    changes = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"--set {assignment!r}: write key=value, e.g. population.generations=3")
        try:
            changes[key.strip()] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise RecipeError(f"--set {key}: {text!r} is no YAML value") from None
    return changes


def _set(data: dict[str, Any], key: str, value: Any) -> None:
    """Put a value at a dotted key, making the sections on the way."""
    *sections, last = key.split(".")
    for section in sections:
        inner = data.get(section)
        if not isinstance(inner, dict):
            inner = data[section] = {}
        data = inner
    data[last] = value


def _lines(
    path: Path, tree: yaml.Node | None, error: ValidationError, root: type[BaseModel], data: Mapping[str, Any]
) -> Iterator[str]:
    for problem in error.errors():
        location = _keys(problem["loc"], data, missing=problem["type"] == "missing")
        yield f"{path}:{_line_of(tree, location)}: {_sentence(location, problem, root, data)}"


def _keys(location: Sequence[int | str], data: Any, *, missing: bool) -> list[int | str]:
    """The keys in a location, without the names of a union's branches, which no file says."""
    kept: list[int | str] = []
    for place, part in enumerate(location):
        if kept == ["search"] and place == 1 and isinstance(data, Mapping) and data.get("kind") == part:
            continue  # may be a key, too
        listed = isinstance(part, int) and isinstance(data, (list, tuple)) and part < len(data)
        if listed or (isinstance(data, Mapping) and part in data):
            data = data[part]
        elif not (missing and place == len(location) - 1):
            continue
        kept.append(part)
    return kept


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


def _sentence(location: Sequence[int | str], problem: Any, root: type[BaseModel], data: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in location)
    kind, given = problem["type"], problem["input"]
    if kind == "extra_forbidden":
        known = list(_section_at(root, location[:-1], data).model_fields)
        near = difflib.get_close_matches(str(location[-1]), known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"unknown key {key!r}; {hint}"
    if kind == "missing":
        return f"the key {key!r} is missing"
    if kind == "value_error":
        return f"{key + ': ' if key else ''}{problem['ctx']['error']}"
    if kind.startswith("union_tag"):
        known = [
            str(tag)
            for section in _sections(SearchRecipe.model_fields["search"].annotation)
            for tag in _kind_of(section)
        ]
        if kind == "union_tag_not_found":
            return f"the key '{key}.kind' is missing; it is one of {', '.join(known)}"
        near = difflib.get_close_matches(str(given["kind"]), known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it should be one of {', '.join(known)}"
        return f"{key}.kind is {given['kind']!r}; {hint}"
    message = problem["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    return f"{key} is {given!r}; it should be {message}"


def _section_at(root: type[BaseModel], location: Sequence[int | str], data: Any) -> type[BaseModel]:
    section = root
    for part in location:
        data = data[part]
        if isinstance(part, str) and part in section.model_fields:
            found = list(_sections(section.model_fields[part].annotation)) or [section]
            kind = data.get("kind") if isinstance(data, Mapping) else None
            section = next((one for one in found if kind in _kind_of(one)), found[0])
    return section


def _kind_of(section: type[BaseModel]) -> tuple[Any, ...]:
    """The values of the key `kind` that mean this section."""
    return get_args(section.model_fields["kind"].annotation) if "kind" in section.model_fields else ()


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
