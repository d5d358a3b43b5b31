"""Evolutionary merging in parameter space: search how to merge, one weight and density per layers, model and filter.

As in `heredity.merging.genome`, searching and applying are apart: `RecipeSearcher` asks for recipes, vectors of a
`MergeSpace`, and is told their worth; `EvolutionaryMerger` applies them to weights in memory.
Source: arXiv 2403.13187, section 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from heredity.errors import MergeError, NonFinite
from heredity.evaluation.outcome import Failed, Outcome
from heredity.merging.base import Merger, StateDict, Weights, check_compatible, check_finite
from heredity.merging.merge_space import MergeSpace
from heredity.merging.mergers import merger_for
from heredity.merging.recipe import MergeRecipe
from heredity.search.base import Example, Searcher, Told, fitness_of
from heredity.search.cma import CMA
from heredity.search.decoded import DecodedSearcher

Vector: TypeAlias = NDArray[np.float64]
Score: TypeAlias = Callable[[StateDict], float | Outcome]


class RecipeSearcher(DecodedSearcher[MergeRecipe]):
    """A searcher of vectors, seen as a searcher of recipes; it never touches weights.

    Args:
        space: what the vectors mean.
        vectors: default CMA-ES from `start` with σ0 = 1/6 and `population` 4 + ⌊3 ln n⌋.
        start: where CMA-ES starts; default the space's x0. Not beside `vectors`.
        sigma0: first spread of CMA-ES.
        seed: of CMA-ES.
        metric: the value of an outcome to maximise, where it has several.
    """

    def __init__(
        self,
        space: MergeSpace,
        vectors: Searcher[Vector] | None = None,
        *,
        start: Vector | None = None,
        sigma0: float = 1 / 6,
        population: int | None = None,
        seed: int = 0,
        metric: str | None = None,
    ) -> None:
        if vectors is not None and start is not None:
            raise ValueError("give either a searcher of vectors or a start, not both")
        self.space = space
        first = space.x0 if start is None else start
        super().__init__(vectors or CMA(space.dim, sigma0, first, population=population, seed=seed), metric)

    def decode(self, vector: Vector) -> MergeRecipe:
        """The recipe of a vector."""
        return self.space.decode(vector)

    def refusal(self, vector: Vector) -> str | None:
        """Every vector is a recipe."""
        return None

    def price(self, value: MergeRecipe) -> float:
        """No recipe costs more than another."""
        return 0.0

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """Two models, of which the fitness wants the first whole and nothing of the second."""
        space = MergeSpace(models=2, method="task_arithmetic")

        def near(recipe: MergeRecipe) -> float:
            return -float(np.sum(np.abs(np.ravel(recipe.weight) - [1.0, 0.0])))

        yield "recipes", Example(lambda seed: cls(space, seed=seed), near)


@dataclass(frozen=True, slots=True)
class Round:
    """One batch of a recipe search.

    Attributes:
        evaluations: so far, this batch included.
        best: the best fitness so far.
        mean: of the batch's successes; NaN when there were none.
        failed: failures in the batch.
    """

    evaluations: int
    best: float
    mean: float
    failed: int


class EvolutionaryMerger(Merger):
    """Search a recipe for a score, then merge with it.

    Args:
        score: weights → float or outcome, higher is better. Choose it on data that no test uses.
        space: the recipes; default `MergeSpace.of(models, method, granularity=granularity)`.
        method, granularity: of the default space; the paper's is layer-wise DARE-TIES.
        searcher: of vectors of the space; default CMA-ES with σ0 = 1/6.
        start: the first mean of the default searcher; default the space's x0.
        evaluations: budget; the last batch may be cut short.
        sigma0: first spread of the default searcher.
        seed: of the searcher, and of DARE's masks, which are the same for all recipes and for the final merge.

    After `merge`: `recipe`, `fitness`, `history`, and `searcher`.
    """

    recipe: MergeRecipe
    fitness: float
    history: list[Round]
    searcher: RecipeSearcher

    def __init__(
        self,
        score: Score,
        space: MergeSpace | None = None,
        searcher: Callable[[MergeSpace], Searcher[Vector]] | None = None,
        *,
        method: str = "dare_ties",
        granularity: int = 1,
        start: Vector | None = None,
        evaluations: int = 1000,
        sigma0: float = 1 / 6,
        seed: int = 0,
    ) -> None:
        if evaluations < 1:
            raise ValueError(f"the budget must be at least one evaluation, got {evaluations}")
        self.score, self.space, self.make_searcher = score, space, searcher
        self.method, self.granularity = method, granularity
        self.start, self.evaluations, self.sigma0, self.seed = start, evaluations, sigma0, seed

    def merge(self, models: Sequence[Weights], *, base: Weights | None = None) -> StateDict:
        """Search, and return the merge of the best recipe.

        Raises:
            MergeError: keys, shapes or dtypes differ, or a base is needed and missing.
            NonFinite: a parent holds NaN or infinity.
            EvaluationFailed: every recipe of a batch failed.
        """
        check_compatible(models, base)
        for i, model in enumerate(models):
            for name, tensor in model.items():
                check_finite(tensor, name, f"model {i}")
        space = self.space or MergeSpace.of(models, self.method, granularity=self.granularity)
        if space.models != len(models):
            raise MergeError(f"the space is for {space.models} models, {len(models)} given")
        # Merged once for its errors: a missing base is no failed recipe.
        merger_for(space.decode(space.x0), seed=self.seed).merge(models, base=base)
        vectors = None if self.make_searcher is None else self.make_searcher(space)
        self.searcher = RecipeSearcher(space, vectors, start=self.start, sigma0=self.sigma0, seed=self.seed)
        self.history = []
        done = 0
        while done < self.evaluations:
            candidates = self.searcher.ask()[: self.evaluations - done]
            outcomes = [self._worth(candidate.value, models, base) for candidate in candidates]
            self.searcher.tell(candidates, outcomes)
            done += len(candidates)
            self._record(outcomes, done)
        best = self.searcher.best
        assert best is not None
        self.recipe, self.fitness = best[0].value, best[1]
        return merger_for(self.recipe, seed=self.seed).merge(models, base=base)

    def _worth(self, recipe: MergeRecipe, models: Sequence[Weights], base: Weights | None) -> float | Outcome:
        try:
            child = merger_for(recipe, seed=self.seed).merge(models, base=base)
        except (MergeError, NonFinite) as error:  # weights that add up to zero, or overflow
            return Failed(str(error))
        return self.score(child)

    def _record(self, outcomes: Sequence[Told], done: int) -> None:
        values = [value for value in map(fitness_of, outcomes) if value is not None]
        best = self.searcher.best
        self.history.append(
            Round(
                *(done, best[1] if best else math.nan, math.fsum(values) / len(values) if values else math.nan),
                failed=len(outcomes) - len(values),
            )
        )

    @classmethod
    def examples(cls) -> Iterable[tuple[str, Merger]]:
        """A tiny run; the score prefers small weights."""

        def small(weights: StateDict) -> float:
            return -sum(float(tensor.double().abs().sum()) for tensor in weights.values())

        return [("layer-wise linear", cls(small, method="linear", evaluations=16))]

    def model_counts(self) -> tuple[int, int | None]:
        return (1, None) if self.space is None else (self.space.models, self.space.models)
