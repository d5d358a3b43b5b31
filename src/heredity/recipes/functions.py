"""`kind: function`: any Python function over a box or over named values, by any searcher."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from heredity.errors import EvaluationFailed, RecipeError
from heredity.lab import Context, Model, Probe, Request
from heredity.lab.engine import Evolution
from heredity.recipes.genotypes import Kin, Point, Traced, genotype_request, key_of, value_of
from heredity.recipes.search_schema import BoxSection, FunctionSection, SearchRecipe
from heredity.recipes.searcher_names import breeds, make, searcher_class
from heredity.recipes.searches import Search, hyperparameters, said, window
from heredity.recipes.tasks import load_function
from heredity.search.base import Candidate, Searcher, Space
from heredity.search.box import Box
from heredity.search.hyperparameters import Hyperparameters, HyperparameterSearcher


@dataclass(frozen=True)
class FunctionValue(Probe):
    """What a function of a candidate's value returns.

    Args:
        target: module:name or file.py:name.
        sha256: of the file that holds it; an edited function is another probe.
        metrics: what its numbers are called, in order; several may also come by name.
        folder: where a file lies.
    """

    target: str
    sha256: str
    metrics: tuple[str, ...]
    folder: str = field(default=".", metadata={"identity": False})

    def measure(self, model: Model, context: Context) -> Mapping[str, float]:
        """Call the function.

        Raises:
            EvaluationFailed: it does not return the numbers that were asked for.
        """
        function, sha = load_function(self.target, Path(self.folder), "search")
        if sha != self.sha256:
            raise EvaluationFailed(f"{self.target} was edited while the run was going on")
        return named(function(value_of(model)), self.metrics, self.target)


def named(given: Any, metrics: Sequence[str], who: str) -> Mapping[str, float]:
    """What a function of the user returned, as numbers by name.

    Raises:
        EvaluationFailed: something is missing, or is no number.
    """
    if isinstance(given, Mapping):
        if missing := [name for name in metrics if name not in given]:
            raise EvaluationFailed(
                f"{who} returned {sorted(map(str, given))}; it must return {missing[0]!r} among them"
            )
        numbers = dict(given)
    else:
        row = np.atleast_1d(np.asarray(given, dtype=object))
        if row.shape != (len(metrics),):
            wanted = "one number" if len(metrics) == 1 else f"{len(metrics)} numbers: {', '.join(metrics)}"
            raise EvaluationFailed(f"{who} returned {given!r:.80}; it must return {wanted}")
        numbers = dict(zip(metrics, row, strict=True))
    try:
        return {str(name): float(number) for name, number in numbers.items()}
    except (TypeError, ValueError) as error:
        raise EvaluationFailed(f"{who} returned {given!r:.80}; it must return numbers") from error


def prepare_function(recipe: SearchRecipe, section: FunctionSection, folder: Path) -> Search:
    """The search of a recipe.

    Raises:
        RecipeError: the function, the space or the searcher is not as it should be.
    """
    _, sha = load_function(section.function, folder, "search.function")
    aims = section.objectives or {"value": section.direction or "minimize"}
    several = section.objectives is not None
    searcher, kin, space = _searcher(recipe, section, aims, several)

    def birth(candidate: Candidate[Any], evolution: Evolution) -> Request | Model:
        if kin is not None:
            return kin(candidate, evolution)
        if isinstance(candidate.value, dict):
            return genotype_request(candidate.value, ())
        return Request(Point(tuple(map(float, candidate.value))))

    return Search(
        searcher,
        birth,
        FunctionValue(section.function, sha, tuple(aims), str(folder)),
        aims,
        section.evaluations,
        [("function", section.function), ("space", space), ("searcher", type(searcher).__name__)],
        what=lambda model: said(value_of(model)),
        files=lambda model: {"winner.json": json.dumps(_plain(value_of(model)), indent=1) + "\n"},
        **window(section.in_flight),
    )


def _searcher(
    recipe: SearchRecipe, section: FunctionSection, aims: Mapping[str, Any], several: bool
) -> tuple[Searcher[Any], Kin | None, str]:
    """The searcher, the kin of candidates where it breeds named values, and its space in words."""
    name = section.searcher or ("nsga2" if several else "cma_es")
    fixed: dict[str, Any] = {"seed": recipe.seed}
    if several:
        fixed["metrics"] = tuple(aims)
    arguments: dict[str, Any] = {"options": section.options, "population": section.population, **fixed}
    if section.box is not None:
        box = _box(section.box)
        kind = searcher_class(name, "vectors", several=several)
        return make(kind, box, **arguments), None, f"{box.dim} numbers"
    assert section.space is not None
    space = hyperparameters(section.space, "search.space")
    return *named_values(space, name, arguments, several=several), f"{len(section.space)} named values"


def named_values(
    space: Hyperparameters,
    name: str,
    arguments: Mapping[str, Any],
    *,
    several: bool = False,
    also: tuple[str, ...] = (),
) -> tuple[Searcher[Any], Kin | None]:
    """A searcher of named values, and their kin: one of any space breeds them, one of vectors knows coordinates.

    Args:
        arguments: of `make`.
        also: as in `searcher_class`.
    """
    if breeds(name, several=several):
        return bred(space, name, arguments, several=several)
    vectors = make(searcher_class(name, "vectors", several=several, also=also), space.box, **arguments)
    return HyperparameterSearcher(space, vectors), None


def bred(
    space: Space[Any], name: str, arguments: Mapping[str, Any], *, several: bool = False
) -> tuple[Searcher[Any], Kin]:
    """A searcher of any space whose candidates are recorded as one another's children."""
    traced = Traced(space)
    searcher = make(searcher_class(name, "space", several=several), traced, **{"key": key_of, **arguments})
    return searcher, Kin(traced, genotype_request)


def _box(section: BoxSection) -> Box:
    try:
        return Box(section.low, section.high, dim=section.dim, start=section.start, scale=section.scale)
    except ValueError as error:
        raise RecipeError(f"search.box: {error}") from error


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
