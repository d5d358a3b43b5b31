"""Ways to make one model of several within a number of evaluations, each a function (problem, settings) → weights.

The papers' methods are parts of `heredity.merging`, driven here; the others are what they are compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from heredity.data.experts import accuracy, train
from heredity.merging.base import StateDict, Weights
from heredity.merging.births import GenomeConfig, Succession
from heredity.merging.breeding import breed
from heredity.merging.data_flow import DataFlowSpace
from heredity.merging.evolutionary import RecipeSearcher
from heredity.merging.genome import GenomeSearcher
from heredity.merging.merge_space import MergeSpace
from heredity.merging.mergers import merger_for
from heredity.merging.path_folding import fold_path, path_layers
from heredity.papers.testbeds.digit_experts import network
from heredity.papers.testbeds.merge_search import Problem
from heredity.search.cma import CMA

Settings = Mapping[str, Any]

# --- without a search -----------------------------------------------------------------------------------------


def ancestor_itself(problem: Problem, settings: Settings) -> Weights:
    """No merge at all."""
    return problem.base


def one_parent(problem: Problem, settings: Settings) -> Weights:
    """The parent with the number `parent`."""
    return problem.models[settings["parent"]]


def best_parent(problem: Problem, settings: Settings) -> Weights:
    """The parent with the highest score."""
    for model in problem.models:
        problem.score(model)
    return problem.winner


def uniform_soup(problem: Problem, settings: Settings) -> Weights:
    """The mean of all parents."""
    return problem.merged("linear")


def greedy_soup(problem: Problem, settings: Settings) -> Weights:
    """Parents in order of their score, each kept where the mean does not get worse. Source: arXiv 2203.05482."""
    scores = [problem.score(model) for model in problem.models]
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    kept, best = [order[0]], scores[order[0]]
    soup: Weights = problem.models[order[0]]
    for i in order[1:]:
        wider = merger_for("linear").merge([problem.models[k] for k in [*kept, i]])
        value = problem.score(wider)
        if value >= best:
            kept, best, soup = [*kept, i], value, wider
    return soup


def grid(problem: Problem, settings: Settings) -> Weights:
    """A named method over densities × scales λ, evenly spaced; as many points as there are evaluations."""
    densities = (
        [{"density": d} for d in _even(settings["density"], settings["densities"])] if "density" in settings else [{}]
    )
    scales = _even(settings["lam"], problem.left // len(densities))
    for density in densities:
        for lam in scales:
            problem.try_merge(problem.merged, settings["method"], lam=lam, **density)
    return problem.winner


def _even(ends: tuple[float, float], count: int) -> list[float]:
    return [float(value) for value in np.linspace(ends[0], ends[1], count)]


def fine_tune(problem: Problem, settings: Settings) -> Weights:
    """Gradients: the best parent trained on four fifths of the fitness images, the epoch chosen on the others."""
    module = network(best_parent(problem, settings))
    cut = len(problem.y) * 4 // 5
    best: tuple[float, StateDict] | None = None

    def keep(state: Any) -> None:
        nonlocal best
        module.eval()
        value = accuracy(module, problem.x[cut:], problem.y[cut:])
        if best is None or value > best[0]:
            best = (value, state.weights)

    x, y = problem.x[:cut], problem.y[:cut]
    train(module, x, y, epochs=settings["epochs"], lr=settings["lr"], seed=problem.seed, on_epoch=keep)
    assert best is not None
    return best[1]


# --- searches -------------------------------------------------------------------------------------------------


def random_merges(problem: Problem, settings: Settings) -> Weights:
    """Linear merges with weights drawn uniformly from the simplex."""
    rng = np.random.default_rng(problem.seed)

    def one() -> None:
        weight = tuple(float(w) for w in rng.dirichlet(np.ones(len(problem.models))))
        problem.score(problem.merged("linear", weight=weight))

    return problem.until_spent(one)


def _space(problem: Problem, settings: Settings) -> MergeSpace:
    return MergeSpace.of(
        problem.models,
        settings["method"],
        granularity=settings["granularity"],
        allow_negative=settings.get("allow_negative", False),
    )


def recipe_cma(problem: Problem, settings: Settings) -> Weights:
    """CMA-ES over the weights (and densities) of a merge; granularity 0 shares them among all layers."""
    searcher = RecipeSearcher(_space(problem, settings), sigma0=settings.get("sigma0", 1 / 6), seed=problem.seed)

    def one_generation() -> None:
        candidates = searcher.ask()
        outcomes = [problem.try_merge(problem.merged, candidate.value) for candidate in candidates]
        searcher.tell(candidates, outcomes)

    return problem.until_spent(one_generation)


def recipe_random(problem: Problem, settings: Settings) -> Weights:
    """Recipes drawn uniformly from the same space."""
    space, rng = _space(problem, settings), np.random.default_rng(problem.seed)
    return problem.until_spent(lambda: problem.try_merge(problem.merged, space.decode(space.sample(rng))))


def population(problem: Problem, settings: Settings) -> Weights:
    """GENOME and GENOME+: the best individual ever, when the evaluations are used up."""
    _evolved(problem, settings)
    return problem.winner


def population_vote(problem: Problem, settings: Settings) -> list[Weights]:
    """The fittest `voters` of the population when the evaluations are used up; of equals the older."""
    searcher, alive = _evolved(problem, {name: value for name, value in settings.items() if name != "voters"})
    members = sorted(searcher.members, key=lambda member: (-member.fitness, member.id))
    return [alive[member.id] for member in members[: settings["voters"]]]


def _evolved(problem: Problem, settings: Settings) -> tuple[GenomeSearcher, dict[int, Weights]]:
    chosen = {name: value for name, value in settings.items() if name != "succession"}
    succession = Succession() if settings.get("succession") else None
    # No early stop: every arm uses its evaluations.
    config = GenomeConfig(succession=succession, seed=problem.seed, generations=10**6, patience=None, **chosen)
    searcher = GenomeSearcher(len(problem.models), config)
    alive: dict[int, Weights] = dict(enumerate(problem.models))

    def one_batch() -> None:
        candidates = searcher.ask()
        for candidate in candidates:
            birth = candidate.value
            if birth.kind != "founder":
                parents = [alive[p] for p in birth.parents]
                alive[candidate.id] = breed(birth, parents, base=problem.base)
        searcher.tell(candidates, [problem.score(alive[candidate.id]) for candidate in candidates])
        for i in [i for i in alive if i not in searcher.needed]:
            del alive[i]

    problem.until_spent(one_batch)
    return searcher, alive


def data_flow_cma(problem: Problem, settings: Settings) -> Weights:
    """CMA-ES over paths through the parents' inner layers.

    With `merge_first` half of the evaluations merge the parents, and the merge is the first parent of the path. With
    `scales` False every input scale is 1.
    """
    models = list(problem.models)
    if settings.get("merge_first"):
        whole, problem.left = problem.left, problem.left // 2
        models.insert(0, recipe_cma(problem, settings))
        problem.left = whole - problem.used
    layers = tuple(path_layers(model, "sequential") for model in models)
    space = DataFlowSpace(layers, settings["repeats"])
    slots = sum(layers) * settings["repeats"]
    dim = space.dim if settings["scales"] else slots
    searcher = CMA(dim, 1 / 6, space.x0[:dim], seed=problem.seed)

    def fold(vector: Any) -> StateDict:
        recipe = space.decode(np.concatenate([vector, np.ones(space.dim - dim)]))
        return fold_path(models, recipe, layers, "sequential")

    def one_generation() -> None:
        candidates = searcher.ask()
        searcher.tell(candidates, [problem.try_merge(fold, candidate.value) for candidate in candidates])

    return problem.until_spent(one_generation)
