"""Searchers by name: found by looking through `heredity.search`, and made with the settings that they take."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal

from heredity.errors import RecipeError
from heredity.search.base import Searcher

Needs = Literal["vectors", "space"]
ABBREVIATIONS = {
    "random": "random_search",
    "de": "differential_evolution",
    "ga": "genetic",
    "cma": "cma_es",
    "pso": "particle_swarm",
}
ABOVE = ("operators", "probes")  # wrap parts for the lab and hold no searchers
BEHAVIOUR = ("behaviour", "descriptors")  # arguments of searchers that must be told more than objectives
SEVERAL = "ParetoSearcher"
_MAKES = re.compile(r"def __init__\(\s*self,\s*space:")  # in the text of modules that are worth an import


@cache
def searchers(needs: Needs, *, several: bool = False) -> Mapping[str, type[Searcher[Any]]]:
    """Every searcher that can be made of a space alone, by name.

    Args:
        needs: searchers that know vectors, or those that know any space with its own mutation.
        several: those of several objectives, or of one.
    """
    found: dict[str, type[Searcher[Any]]] = {}
    for file in sorted(resources.files("heredity.search").iterdir(), key=lambda file: file.name):
        name = file.name.removesuffix(".py")
        if name == file.name or name in ABOVE or not _MAKES.search(file.read_text(encoding="utf-8")):
            continue
        module = importlib.import_module(f"heredity.search.{name}")
        own = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
        kinds = [c for c in own if issubclass(c, Searcher) and not inspect.isabstract(c)]
        for kind in kinds:
            if _fits(kind, needs) and any(base.__name__ == SEVERAL for base in kind.__mro__) == several:
                found[name if len(kinds) == 1 and _plain(kind) != name else _plain(kind)] = kind
    return found


def _plain(kind: type) -> str:
    """`OpenES` → open_es, `CMAES` → cmaes."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", kind.__name__).lower()


def _fits(kind: type[Searcher[Any]], needs: Needs) -> bool:
    first, *others = inspect.signature(kind).parameters.values()
    if first.name != "space" or any(p.default is p.empty and p.kind is not p.VAR_KEYWORD for p in others):
        return False
    if any(p.name in BEHAVIOUR for p in others):
        return False
    takes = str(first.annotation)
    if needs == "space":
        return "Space[" in takes
    # Those that tell candidates apart by hashing them cannot take arrays.
    hashes = any(p.name == "key" for p in others) and "Vectors" not in takes and "FlatParams" not in takes
    return not hashes and any(word in takes for word in ("Vectors", "FlatParams", "Space["))


def breeds(name: str, *, several: bool = False) -> bool:
    """Whether a searcher of that name knows spaces of any kind."""
    return _named(name, searchers("space", several=several)) is not None


def _named(name: str, known: Mapping[str, type[Searcher[Any]]]) -> type[Searcher[Any]] | None:
    wanted = _written(name)
    classes = {one: kind for kind in known.values() for one in (_plain(kind), kind.__name__.lower())}
    return known.get(wanted) or classes.get(wanted)


def _written(name: str) -> str:
    plain = name.replace("-", "_").lower()
    return ABBREVIATIONS.get(plain, plain)


def searcher_class(name: str, needs: Needs, *, several: bool = False, also: tuple[str, ...] = ()) -> type[Any]:
    """The searcher of a name.

    Args:
        also: further names that are allowed, for the error.

    Raises:
        RecipeError: there is none of that name that fits.
    """
    known = searchers(needs, several=several)
    if (kind := _named(name, known)) is not None:
        return kind
    wanted = _written(name)
    by_class = {_plain(kind): kind for kind in known.values()}
    names = [*also, *known]
    near = difflib.get_close_matches(wanted, [*names, *by_class], 1)
    if _named(name, searchers(needs, several=not several)) is not None:
        hint = f"it is for {'one objective' if several else 'several objectives'}; known: {', '.join(names)}"
    elif near:
        meant = by_class.get(near[0])
        hint = f"did you mean {next((key for key, kind in known.items() if kind is meant), near[0])!r}?"
    else:
        hint = f"known: {', '.join(names)}"
    raise RecipeError(f"search.searcher is {name!r}; {hint}")


def make(kind: type[Any], *arguments: Any, options: Mapping[str, Any], population: int | None, **fixed: Any) -> Any:
    """A searcher.

    Args:
        arguments: its first ones.
        options: what the recipe says; lists become tuples.
        population: of a generation, under whatever name it has; None for the searcher's own.
        fixed: arguments that the recipe does not say; those that the searcher lacks are left out.

    Raises:
        RecipeError: it has no such setting, or refuses one.
    """
    parameters = inspect.signature(kind).parameters
    known = [name for name in list(parameters)[len(arguments) :] if name not in ("seed", "metric", "dtype", *fixed)]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"
            raise RecipeError(f"search.options.{name}: {kind.__name__} has no such setting; {hint}")
    settings = {name: value for name, value in fixed.items() if name in parameters}
    if population is not None:
        if "population" in parameters:
            settings["population"] = population
        elif "pairs" in parameters:
            settings["pairs"] = max(1, population // 2)
    settings |= {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    try:
        return kind(*arguments, **settings)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"search: {kind.__name__} cannot be made: {error}") from error
