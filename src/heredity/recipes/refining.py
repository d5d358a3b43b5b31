"""The stages after the population: recipes evolved in parameter space, then paths through layers.

Source: arXiv 2403.13187, sections 3.1 (recipes), 3.2 (paths) and 3.3 (one after the other).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from heredity.errors import BirthFailed, MergeError, RecipeError
from heredity.evaluation.outcome import Failed, Outcome
from heredity.lab import Model, Request
from heredity.merging.data_flow import DataFlowRecipe, DataFlowSpace
from heredity.merging.evolutionary import RecipeSearcher
from heredity.merging.merge_space import MergeSpace
from heredity.merging.operators import FlowThrough, MergeByRecipe, architecture_of_path, blocks_of, is_adapter
from heredity.merging.path_folding import Step, path_layers
from heredity.merging.path_search import PathSearcher
from heredity.merging.recipe import MergeRecipe
from heredity.recipes.rows import Ground, Row, winner_of
from heredity.recipes.schema import DataFlowSection, MergingSection
from heredity.search.base import Searcher

X = TypeVar("X")


def evolve_recipe(ground: Ground, section: MergingSection, mixture: Sequence[float] | None) -> Row:
    """Search merge recipes of the founders.

    Args:
        mixture: the founders' shares in the population's best, where the search may start.
    """
    founders, seed = ground.founders.models, ground.recipe.seed
    space = merge_space(section, founders)
    start = space.start(mixture) if section.start == "population" and mixture is not None else None
    searcher = RecipeSearcher(space, start=start, sigma0=section.sigma, seed=seed, metric="fitness")

    def request(recipe: MergeRecipe, number: int) -> Request:
        labels = ground.labels("merging", number)
        return Request(MergeByRecipe(recipe), founders, ground.roles(section.method), seed, labels, keep=False)

    return _search(ground, "evolved recipe", searcher, request, section.evaluations)


def evolve_path(ground: Ground, section: DataFlowSection, rows: Sequence[Row]) -> Row:
    """Search paths through the layers of a few models: the winner so far or the best founder, then the next founders.

    Raises:
        RecipeError: the models have no layers that a path can use.
    """
    seed = ground.recipe.seed
    models = _path_parents(ground, section, rows)
    for model in models:
        if not model.has_weights:
            ground.lab.rebuild(model)
    layers = check_paths(models)
    space = DataFlowSpace(layers, section.repeats, section.max_length)
    searcher = PathSearcher(space, sigma0=section.sigma, seed=seed, metric="fitness")
    blocks = blocks_of(models[0])

    def request(recipe: DataFlowRecipe, number: int) -> Request:
        labels = ground.labels("data_flow", number)
        return Request(FlowThrough(recipe, layers, blocks), models, {}, seed, labels, keep=False)

    return _search(ground, "evolved path", searcher, request, section.evaluations, price=space.penalty)


def check_paths(models: Sequence[Model]) -> tuple[int, ...]:
    """How many layers of each model a path may use.

    Raises:
        RecipeError: a model has none, is an adapter, or its architecture cannot change its depth.
    """
    if any(is_adapter(model) for model in models):
        raise RecipeError("data_flow: adapters have no layers of their own; give whole models, or data_flow: null")
    try:
        layers = tuple(path_layers(model.weights(), blocks_of(model)) for model in models)
        steps = [Step(model, layer, 1.0) for model, count in enumerate(layers) for layer in range(count)]
        architecture_of_path([model.architecture for model in models], steps)
    except (MergeError, ValueError) as error:
        raise RecipeError(f"data_flow: {error}") from error
    return layers


def merge_space(section: MergingSection, models: Sequence[Model]) -> MergeSpace:
    """The space of recipes for given founders."""
    return MergeSpace.of(
        [model.weights() for model in models],
        section.method,
        granularity=0 if section.granularity == "all" else section.granularity,
        filters=section.filters or None,
        allow_negative=section.negative,
    )


def _path_parents(ground: Ground, section: DataFlowSection, rows: Sequence[Row]) -> list[Model]:
    worth = [(ground.value(model), -place, model) for place, model in enumerate(ground.founders.models)]
    ranked = [model for _, _, model in sorted(((w, p, m) for w, p, m in worth if w is not None), key=lambda t: t[:2])]
    founders = ranked[::-1]
    first = winner_of(rows).model if section.start == "winner" else founders[0]
    return [first, *(model for model in founders if model != first)][: section.parents]


def _search(
    ground: Ground,
    stage: str,
    searcher: Searcher[X],
    request: Callable[[X, int], Request],
    evaluations: int,
    *,
    price: Callable[[X], float] = lambda _: 0.0,
) -> Row:
    """Ask for candidates, bear and evaluate them, tell; the row of the one with the highest fitness less its price."""
    done, number = 0, 0
    best: tuple[float, Model] | None = None
    while done < evaluations:
        trying = searcher.ask()[: evaluations - done]
        requests = [request(candidate.value, number) for candidate in trying]
        outcomes: list[Outcome] = [Failed("not tried")] * len(trying)
        tried: list[tuple[float | None, Model]] = []
        for index, answer in ground.lab.as_completed(requests, measure=ground.task.fitness):
            if isinstance(answer, BirthFailed):
                outcomes[index] = Failed(str(answer))
            elif isinstance(answer, Exception):
                raise answer
            else:
                outcomes[index] = ground.lab.outcome(ground.task.fitness, answer)
                fitness = ground.value(answer)
                tried.append((None if fitness is None else fitness - price(trying[index].value), answer))
        searcher.tell(trying, outcomes)
        done, number = done + len(trying), number + 1
        best = _keep_best(ground, tried, best)
        ground.report(stage, done, evaluations, best[0] if best else None)
    if best is None:
        raise BirthFailed(f"none of the {done} children of the stage {stage!r} could be evaluated")
    fitness = ground.value(best[1])
    assert fitness is not None
    return ground.row(stage, best[1], fitness, done)


def _keep_best(
    ground: Ground, tried: Sequence[tuple[float | None, Model]], best: tuple[float, Model] | None
) -> tuple[float, Model] | None:
    """The best so far; all others die."""
    losers: list[Model] = []
    for worth, model in sorted(tried, key=lambda pair: pair[1].id):
        if worth is None or (best is not None and worth <= best[0]):
            losers.append(model)
        else:
            losers += [best[1]] if best is not None else []
            best = (worth, model)
    ground.die(losers)
    return best
