"""NSGA-II: survival by fronts, and within the last of them by crowding.

Source: Deb, Pratap, Agarwal & Meyarivan, A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, IEEE TEC 6
(2002); constraints as in its section VI.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from heredity.search.base import Example, Space
from heredity.search.box import Box, Vectors
from heredity.search.cells import DagCellSpace
from heredity.search.dominance import Indices, Points
from heredity.search.multiobjective import ParetoSearcher, paired_tournament
from heredity.search.objectives import constrained_ranks
from heredity.search.pareto import crowding_distance, select_fronts

X = TypeVar("X")


class NSGA2(ParetoSearcher[X]):
    """Ask and tell with a few objectives (two or three; with more, `NSGA3`).

    Args:
        space: a box, or any space with its own crossover and mutation.
        population: members, and children per generation.
        crossover, eta_crossover, mutation, eta_mutation: the paper's values.
        metrics, constraints, key, seed: as in `ParetoSearcher`.
    """

    def __init__(
        self,
        space: Space[X] | Vectors,
        population: int = 100,
        *,
        metrics: Sequence[str] | None = None,
        constraints: Sequence[str] = (),
        crossover: float = 0.9,
        mutation: float | None = None,
        eta_crossover: float = 20.0,
        eta_mutation: float = 20.0,
        key: Callable[[X], Hashable] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            space,
            population,
            metrics=metrics,
            constraints=constraints,
            crossover=crossover,
            mutation=mutation,
            eta_crossover=eta_crossover,
            eta_mutation=eta_mutation,
            key=key,
            seed=seed,
        )

    def _survivors(
        self, objectives: Points, violation: NDArray[np.float64], ranks: Indices, rng: np.random.Generator
    ) -> Indices:
        return select_fronts(objectives, ranks, self.population)

    def _parents(self, n: int, rng: np.random.Generator) -> Indices:
        ranks = constrained_ranks(self._objectives, self._violation)
        crowding = crowding_distance(self._objectives, ranks)

        def better(a: Indices, b: Indices) -> Indices:
            nearer = np.sign(ranks[b] - ranks[a])
            rarer = (crowding[a] > crowding[b]).astype(np.int64) - (crowding[a] < crowding[b])
            return np.where(nearer != 0, nearer, rarer)

        return paired_tournament(n, len(ranks), better, rng)

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """Two spheres in a box; small cells with few edges and many operations that are not the identity."""
        yield (
            "NSGA2",
            Example(
                lambda seed: cls(Box(-2.0, 3.0, dim=3), 12, seed=seed),
                lambda x: (-float(np.sum(np.square(x - 1.0))), -float(np.sum(np.square(x + 1.0)))),
            ),
        )
        yield (
            "NSGA2 on cells",
            Example(
                lambda seed: NSGA2(DagCellSpace(("conv", "pool", "same"), nodes=6), 8, seed=seed),
                lambda cell: (float(sum(op == "conv" for op in cell.ops)), -float(len(cell.edges))),
            ),
        )
