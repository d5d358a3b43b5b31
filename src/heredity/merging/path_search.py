"""Evolutionary merging in data-flow space: search a path through layers; applying a path is `path_folding`'s.

Source: arXiv 2403.13187, section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from heredity.evaluation.outcome import Failed
from heredity.merging.data_flow import DataFlowRecipe, DataFlowSpace
from heredity.search.base import Candidate, Searcher, Told, fitness_of
from heredity.search.cma import CMA

Vector: TypeAlias = NDArray[np.float64]


class PathSearcher(Searcher[DataFlowRecipe]):
    """A searcher of vectors, seen as a searcher of paths; it never touches weights.

    Vectors without any active slot are no path: they are told as failures here and never handed out, so that `ask` may
    give fewer candidates than asked for. Paths longer than the space's `max_length` pay `per_layer` for each layer
    too many; `best` reports the fitness after that.

    Args:
        space: what the vectors mean.
        vectors: default CMA-ES from the space's x0 (the first parent as it is), diagonal above 100 dimensions.
        sigma0: first spread of CMA-ES.
        per_layer: price of a layer beyond `max_length`.
        seed: of CMA-ES.
        metric: the value of an outcome to maximise, where it has several.
    """

    def __init__(
        self,
        space: DataFlowSpace,
        vectors: Searcher[Vector] | None = None,
        *,
        sigma0: float = 1 / 6,
        population: int | None = None,
        per_layer: float = 0.01,
        seed: int = 0,
        metric: str | None = None,
    ) -> None:
        self.space, self.per_layer, self.metric = space, per_layer, metric
        self.vectors: Searcher[Vector] = vectors or CMA(space.dim, sigma0, space.x0, population=population, seed=seed)
        self._out: dict[int, Candidate[Vector]] = {}

    def ask(self, n: int | None = None) -> list[Candidate[DataFlowRecipe]]:
        """Paths to evaluate.

        Raises:
            EvaluationFailed: a whole batch of vectors holds no path.
        """
        asked = self.vectors.ask(n)
        paths = [candidate for candidate in asked if self.space.valid(candidate.value)]
        self._out |= {candidate.id: candidate for candidate in paths}
        empty = [candidate for candidate in asked if candidate.id not in self._out]
        if empty:
            self.vectors.tell(empty, [Failed("no slot is active: the data would pass through no layer")] * len(empty))
        return [Candidate(candidate.id, self.space.decode(candidate.value)) for candidate in paths]

    def tell(self, candidates: Sequence[Candidate[DataFlowRecipe]], outcomes: Sequence[Told]) -> None:
        """Report outcomes, before any price for length."""
        unknown = [candidate.id for candidate in candidates if candidate.id not in self._out]
        if unknown:
            raise ValueError(f"candidate {unknown[0]} was never asked, or has been told before")
        told: list[Told] = []
        for candidate, outcome in zip(candidates, outcomes, strict=True):
            fitness = fitness_of(outcome, self.metric)
            price = self.space.penalty(candidate.value, self.per_layer)
            told.append(Failed("no fitness") if fitness is None else fitness - price)
        self.vectors.tell([self._out[candidate.id] for candidate in candidates], told)
        for candidate in candidates:
            del self._out[candidate.id]

    @property
    def best(self) -> tuple[Candidate[DataFlowRecipe], float] | None:
        """The best path told so far, with its fitness less the price of its length."""
        best = self.vectors.best
        return None if best is None else (Candidate(best[0].id, self.space.decode(best[0].value)), best[1])

    def state_dict(self) -> Mapping[str, Any]:
        """The state of the searcher of vectors, and what is out."""
        return {
            "vectors": self.vectors.state_dict(),
            "out": [[candidate.id, candidate.value.tolist()] for candidate in self._out.values()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue."""
        self.vectors.load_state_dict(state["vectors"])
        self._out = {int(i): Candidate(int(i), np.asarray(value)) for i, value in state["out"]}
