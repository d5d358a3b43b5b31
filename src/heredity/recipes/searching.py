"""Running a recipe's search: every candidate a recorded birth, a table of the best, a named winner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from heredity.errors import EvaluationFailed, RecipeError
from heredity.evaluation.outcome import Failed, Ok
from heredity.lab import Lab, Model
from heredity.lab.engine import Evolution
from heredity.lab.evolved import Evolved
from heredity.recipes.rows import Report
from heredity.recipes.search_schema import (
    ArchitectureSection,
    CodeSection,
    FunctionSection,
    PolicySection,
    SearchRecipe,
    TuningSection,
)
from heredity.recipes.searches import Search

BEST = 5  # rows of a table; a front shows up to twice as many


@dataclass(frozen=True)
class SearchRow:
    """One line of a search's table.

    Args:
        what: its place: winner, 2nd, …, or of a front its number.
        model: the birth.
        values: of the aims.
        test: by name, what was measured that the search never saw; empty where there is nothing.
        text: the candidate in words.
    """

    what: str
    model: Model
    values: Mapping[str, float]
    test: Mapping[str, float]
    text: str


@dataclass(frozen=True)
class Found:
    """What a search found.

    Args:
        rows: the best first; after them, of a single objective, the best of the first batch.
        winner: of several objectives the best in the first.
        evolved: what the engine says.
        search: what was run.
    """

    rows: tuple[SearchRow, ...]
    winner: Model
    evolved: Evolved
    search: Search


def prepare(recipe: SearchRecipe, folder: Path) -> Search:
    """The search of a recipe, ready to run; nothing is run or written.

    Args:
        folder: what the recipe's relative paths are meant from.

    Raises:
        RecipeError: a file, a function, a space, a searcher or one of its settings is not as it should be.
        MissingExtra: an optional dependency is needed.
    """
    section = recipe.search
    if isinstance(section, TuningSection):
        from heredity.recipes.tuning import prepare_tuning

        return prepare_tuning(recipe, section, folder)
    if isinstance(section, PolicySection):
        from heredity.recipes.policies import prepare_policy

        return prepare_policy(recipe, section)
    if isinstance(section, ArchitectureSection):
        from heredity.recipes.architectures import prepare_architecture

        return prepare_architecture(recipe, section, folder)
    if isinstance(section, FunctionSection):
        from heredity.recipes.functions import prepare_function

        return prepare_function(recipe, section, folder)
    assert isinstance(section, CodeSection)
    from heredity.recipes.programs import prepare_code

    return prepare_code(recipe, section, folder)


def _silent(stage: str, done: int, total: int, best: float | None) -> None:
    """Report nothing."""


def run_search(recipe: SearchRecipe, lab: Lab, *, folder: Path = Path(), report: Report = _silent) -> Found:
    """Run a recipe's search in a lab. Killed and run again it goes on, and ends the same.

    Args:
        report: called as the run goes on.

    Raises:
        RecipeError: as in `prepare`.
        EvaluationFailed: no candidate has a value.
    """
    search = prepare(recipe, folder)
    search.begin(lab)
    aims = list(search.aims.items())
    evolution = Evolution(
        lab,
        search.searcher,
        birth=lambda candidate: search.birth(candidate, evolution),
        probe=search.probe,
        metric=[metric for metric, _ in aims] if search.several else aims[0][0],
        direction=[direction for _, direction in aims] if search.several else aims[0][1],
        mode=search.mode,
        in_flight=search.in_flight,
        name=recipe.name,
        evaluations=search.evaluations,
    )

    def tell(found: Evolved) -> None:
        search.ended(evolution)
        best = None if search.several or not found.history else found.value
        report(recipe.search.kind, found.told, search.evaluations, best)

    try:
        found = evolution.run(tell)
    except EvaluationFailed as error:
        reasons = evolution.result.failures
        if reasons and (first := next(iter(reasons.values())).splitlines()[0]) not in str(error):
            raise EvaluationFailed(f"{error}; the first that failed: {first}") from error
        raise
    rows = _rows(lab, search, found)
    if not rows:
        raise RecipeError(f"{recipe.name}: no candidate was told; evaluations is {search.evaluations}")
    winner = rows[0].model
    if not winner.has_weights:
        lab.rebuild(winner)
    lab.name(winner, f"{recipe.name}-winner")
    return Found(tuple(rows), winner, found, search)


def _rows(lab: Lab, search: Search, found: Evolved) -> list[SearchRow]:
    born = {model: _values(lab, search, lab[model]) for model in dict.fromkeys(found.births.values())}
    values = {model: worth for model, worth in born.items() if worth}
    metric, direction = next(iter(search.aims.items()))
    sign = -1.0 if direction == "maximize" else 1.0
    place = {model: i for i, model in enumerate(values)}

    def order(model: str) -> tuple[float, int]:
        return sign * values[model][metric], place[model]

    if search.several:
        front = sorted(dict.fromkeys(found.births[i] for i, _ in found.front), key=order)
        named = [("winner" if not k else f"front {k + 1}", model) for k, model in enumerate(_spread(front))]
    else:
        ranked = sorted(values, key=order)
        if found.best is not None and found.best.id in values:  # a searcher may know better, by repeated looks
            ranked = [found.best.id, *(model for model in ranked if model != found.best.id)]
        named = [("winner" if not k else f"place {k + 1}", model) for k, model in enumerate(ranked[:BEST])]
        first = [found.births[i] for i in list(found.births)[: found.history[0][0]] if found.births[i] in values]
        if first and found.history[0][0] < found.told:
            named.append(("best of the first" if len(first) > 1 else "the first", min(first, key=order)))
    return [_row(lab, search, what, lab[model], values[model]) for what, model in named]


def _spread(front: Sequence[str]) -> list[str]:
    """At most so many as a table shows, from one end of a front to the other."""
    most = 2 * BEST
    if len(front) <= most:
        return list(front)
    return [front[round(k * (len(front) - 1) / (most - 1))] for k in range(most)]


def _values(lab: Lab, search: Search, model: Model) -> Mapping[str, float]:
    outcome = lab.outcome(search.probe, model)
    return {} if isinstance(outcome, Failed) else {name: outcome[name] for name in search.aims}


def _row(lab: Lab, search: Search, what: str, model: Model, values: Mapping[str, float]) -> SearchRow:
    test: Mapping[str, float] = {}
    if search.test is not None:
        outcome = lab.measure(search.test, model)
        test = outcome.values if isinstance(outcome, Ok) else {}
    return SearchRow(what, model, values, test, search.what(model))
