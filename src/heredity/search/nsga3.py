"""NSGA-III: survival by fronts, and within the last of them by niches around reference directions.

Sources: Deb & Jain, An Evolutionary Many-Objective Optimization Algorithm Using Reference-Point-Based Nondominated
Sorting, part I, IEEE TEC 18 (2014); constraints as in part II (Jain & Deb); directions by Das & Dennis, SIAM Journal on
Optimization 8 (1998).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heredity.search.base import Example, Space
from heredity.search.box import Box, Vectors
from heredity.search.dominance import Indices, Points
from heredity.search.multiobjective import ParetoSearcher, paired_tournament

X = TypeVar("X")
EPSILON = 1e-6  # weight of the other objectives when extreme points are sought (part I, equation 4)


def das_dennis(objectives: int, divisions: int) -> Points:
    """All points [n, m] of the unit simplex whose coordinates are multiples of 1 / divisions.

    >>> len(das_dennis(3, 12))
    91
    """
    if objectives < 1 or divisions < 1:
        raise ValueError(f"directions need objectives and divisions, got {objectives} and {divisions}")
    chosen = list(combinations(range(divisions + objectives - 1), objectives - 1))
    bars = np.array(chosen, dtype=np.int64).reshape(len(chosen), objectives - 1)
    padded = np.pad(bars, ((0, 0), (1, 0)), constant_values=-1)
    padded = np.pad(padded, ((0, 0), (0, 1)), constant_values=divisions + objectives - 1)
    return (np.diff(padded, axis=1) - 1) / divisions


class NSGA3(ParetoSearcher[X]):
    """Ask and tell with three objectives or more.

    Args:
        space: a box, or any space with its own crossover and mutation.
        objectives: how many; default the number of `metrics`.
        divisions: of the simplex by Das and Dennis; 12 gives 91 directions for three objectives.
        directions: the reference directions themselves [h, m], not negative; instead of `divisions`.
        population: members, and children per generation; default the smallest multiple of 4 that is not below the
            number of directions.
        crossover, eta_crossover, mutation, eta_mutation: the paper's values.
        metrics, constraints, key, seed: as in `ParetoSearcher`.
    """

    def __init__(
        self,
        space: Space[X] | Vectors,
        objectives: int | None = None,
        divisions: int = 12,
        *,
        directions: ArrayLike | None = None,
        population: int | None = None,
        metrics: Sequence[str] | None = None,
        constraints: Sequence[str] = (),
        crossover: float = 1.0,
        mutation: float | None = None,
        eta_crossover: float = 30.0,
        eta_mutation: float = 20.0,
        key: Callable[[X], Hashable] | None = None,
        seed: int = 0,
    ) -> None:
        if objectives is None:
            if metrics is None:
                raise ValueError("NSGA-III has to know the number of objectives: pass objectives or metrics")
            objectives = len(metrics)
        if metrics is not None and len(metrics) != objectives:
            raise ValueError(f"{objectives} objectives were announced and {len(metrics)} metrics named")
        rays = das_dennis(objectives, divisions) if directions is None else np.array(directions, dtype=np.float64)
        if rays.ndim != 2 or rays.shape[1] != objectives or not len(rays):
            raise ValueError(f"directions should have shape [h, {objectives}], they have {rays.shape}")
        if not (np.isfinite(rays).all() and (rays >= 0).all() and (rays.sum(axis=1) > 0).all()):
            raise ValueError("reference directions hold finite numbers of at least 0, not all of them 0")
        self.directions = rays
        super().__init__(
            space,
            max(4, -(-len(rays) // 4) * 4) if population is None else population,
            metrics=metrics,
            constraints=constraints,
            crossover=crossover,
            mutation=mutation,
            eta_crossover=eta_crossover,
            eta_mutation=eta_mutation,
            key=key,
            seed=seed,
        )
        self._announced = objectives
        self._ideal = np.full(objectives, np.inf)  # the lowest costs (minus objectives) of any feasible candidate
        self._extremes: Points = np.empty((0, objectives))  # the costs that lie nearest to each axis [≤ m, m]

    def _survivors(
        self, objectives: Points, violation: NDArray[np.float64], ranks: Indices, rng: np.random.Generator
    ) -> Indices:
        order = np.argsort(ranks, kind="stable")
        feasible = violation == 0
        if not feasible.any():
            return order[: self.population]
        costs = -objectives
        first = costs[feasible & (ranks == 0)]
        self._ideal = np.minimum(self._ideal, first.min(axis=0))
        nadir = self._nadir(first)
        if len(order) <= self.population:
            return order
        last = ranks[order[self.population - 1]]
        kept, split = order[ranks[order] < last], np.flatnonzero(ranks == last)
        if not feasible[split[0]]:  # fewer feasible ones than members: the others by violation
            return order[: self.population]
        both = np.concatenate([kept, split])
        niche, distance = self._associate((costs[both] - self._ideal) / (nadir - self._ideal))
        taken = np.bincount(niche[: len(kept)], minlength=len(self.directions))
        chosen = _fill(taken, niche[len(kept) :], distance[len(kept) :], self.population - len(kept), rng)
        return np.concatenate([kept, split[chosen]])

    def _nadir(self, first: Points) -> NDArray[np.float64]:
        """Intercepts of the plane through the extreme points (part I, section IV-C), in costs [m].

        Where there is no such plane, or it cuts an axis at or below the ideal point, which the paper leaves open: the
        worst of the first front. Extreme points are remembered, which the paper leaves open, too.
        """
        m = len(self._ideal)
        candidates = np.concatenate([self._extremes, first])
        weights = np.where(np.eye(m, dtype=bool), 1.0, EPSILON)
        shifted = candidates - self._ideal
        self._extremes = candidates[np.argmin((shifted[None] / weights[:, None]).max(axis=2), axis=1)]
        worst = first.max(axis=0)
        nadir = worst
        try:
            plane = np.linalg.solve(self._extremes - self._ideal, np.ones(m))
        except np.linalg.LinAlgError:
            pass
        else:
            with np.errstate(divide="ignore"):
                intercepts = 1 / plane
            if np.isfinite(intercepts).all() and (intercepts > EPSILON).all():
                nadir = self._ideal + intercepts
        return np.where(nadir - self._ideal > EPSILON, nadir, self._ideal + 1.0)  # an objective that does not vary

    def _associate(self, scaled: Points) -> tuple[Indices, NDArray[np.float64]]:
        """The nearest direction of each point [n] and the distance to its line [n]."""
        unit = self.directions / np.linalg.norm(self.directions, axis=1, keepdims=True)
        along = scaled @ unit.T
        squares = np.square(scaled).sum(axis=1, keepdims=True) - np.square(along)
        niche = np.argmin(squares, axis=1)
        return niche, np.sqrt(np.maximum(squares[np.arange(len(niche)), niche], 0.0))

    def _parents(self, n: int, rng: np.random.Generator) -> Indices:
        """Parents are drawn evenly (part I); of two of which one is infeasible the less violating (part II)."""
        violation = self._violation
        return paired_tournament(n, len(violation), lambda a, b: np.sign(violation[b] - violation[a]).astype(int), rng)

    def _method_state(self) -> Mapping[str, Any]:
        return {"ideal": self._ideal.copy(), "extremes": self._extremes.copy()}

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._ideal = np.array(state["ideal"], dtype=np.float64)
        self._extremes = np.array(state["extremes"], dtype=np.float64).reshape(-1, len(self._ideal))

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), "directions": self.directions}

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """Three spheres with different centres in a box."""
        yield (
            "NSGA3",
            Example(
                lambda seed: cls(Box(-2.0, 3.0, dim=3), 3, 4, seed=seed),
                lambda x: tuple(-float(np.sum(np.square(x - center))) for center in (-1.0, 0.5, 2.0)),
            ),
        )


def _fill(
    taken: Indices, niche: Indices, distance: NDArray[np.float64], count: int, rng: np.random.Generator
) -> Indices:
    """Niching (part I, algorithm 4): `count` places of the last front, always for a direction with the fewest members.

    A direction without members takes the nearest to its line, another one any of those nearest to it.
    """
    waiting: dict[int, list[int]] = {}
    for place in np.lexsort((distance, niche)).tolist():
        waiting.setdefault(int(niche[place]), []).append(place)
    crowd = {h: int(taken[h]) for h in waiting}  # directions that nobody waits for are left out at once
    chosen: list[int] = []
    while len(chosen) < count:
        fewest = min(crowd.values())
        open_to = [h for h, members in crowd.items() if members == fewest]
        h = open_to[int(rng.integers(len(open_to)))]
        queue = waiting[h]
        chosen.append(queue.pop(0 if fewest == 0 else int(rng.integers(len(queue)))))
        crowd[h] += 1
        if not queue:
            del crowd[h]
    return np.array(chosen, dtype=np.int64)
