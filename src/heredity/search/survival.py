"""Who lives on, as parts of a genetic algorithm: of members and children together, so many.

A part is called with the `Pool` and how many may live, and returns indices into the pool. Any function of these two
will do in its place. Failures never enter a pool, so there may be fewer to choose from than may live.
Sources: Beyer & Schwefel, Evolution Strategies (2002) for the plus and comma schemes; Real et al., arXiv 1802.01548,
for age; Harik, Finding Multimodal Solutions Using Restricted Tournament Selection (1995) for crowding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Places: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Pool:
    """Members, then their children.

    Args:
        fitness: [m], finite, higher is better.
        born: [m] numbers that grow with the time of birth.
        members: how many of them, the first, are members; the others are the new children.
        values: the candidates, an array [m, dim] or a sequence.
    """

    fitness: NDArray[np.float64]
    born: NDArray[np.int64]
    members: int
    values: NDArray[Any] | Sequence[Any]


class Survival(ABC):
    """Chooses who lives."""

    @abstractmethod
    def __call__(self, pool: Pool, n: int) -> Places:
        """Distinct indices into the pool, at most `n`."""


@dataclass(frozen=True, slots=True)
class Plus(Survival):
    """(μ + λ): the best of all; of equals the older."""

    def __call__(self, pool: Pool, n: int) -> Places:
        """Indices, best first."""
        return _best(pool)[:n]


@dataclass(frozen=True, slots=True)
class Comma(Survival):
    """(μ, λ): the best children, after the best `elites` members.

    Members fill up where there are too few children.
    """

    elites: int = 1

    def __post_init__(self) -> None:
        if self.elites < 0:
            raise ValueError(f"elites must not be negative, got {self.elites}")

    def __call__(self, pool: Pool, n: int) -> Places:
        """Indices: elites, children, then what is needed to fill up."""
        order = _best(pool)
        old, new = order[order < pool.members], order[order >= pool.members]
        elites = min(self.elites, n)
        return np.concatenate([old[:elites], new, old[elites:]])[:n]


@dataclass(frozen=True, slots=True)
class Age(Survival):
    """The youngest, whatever they are worth, after the best `elites` of all."""

    elites: int = 0

    def __post_init__(self) -> None:
        if self.elites < 0:
            raise ValueError(f"elites must not be negative, got {self.elites}")

    def __call__(self, pool: Pool, n: int) -> Places:
        """Indices: elites, then by age."""
        elites = _best(pool)[: min(self.elites, n)]
        young = np.argsort(-pool.born, kind="stable")
        return np.concatenate([elites, young[~np.isin(young, elites)]])[:n]


@dataclass(frozen=True, slots=True)
class Crowding(Survival):
    """Each child takes the place of the member nearest to it if it is fitter, so that several optima are held.

    Args:
        distance: of two candidates; default Euclidean, of vectors.
    """

    distance: Callable[[Any, Any], float] | None = None

    def __call__(self, pool: Pool, n: int) -> Places:
        """Indices, one for each member, and children while there is room."""
        living = list(range(min(pool.members, n)))
        for child in range(pool.members, len(pool.fitness)):
            if len(living) < n:
                living.append(child)
                continue
            nearest = int(np.argmin(self._distances(pool.values, living, child)))
            if pool.fitness[child] > pool.fitness[living[nearest]]:
                living[nearest] = child
        return np.array(living, dtype=np.intp)

    def _distances(self, values: NDArray[Any] | Sequence[Any], living: list[int], child: int) -> NDArray[np.float64]:
        if self.distance is not None:
            return np.array([self.distance(values[i], values[child]) for i in living])
        if not isinstance(values, np.ndarray):
            raise TypeError("candidates that are no vectors need Crowding(distance=…)")
        return np.asarray(np.square(values[living] - values[child], dtype=np.float64).sum(axis=1))


def _best(pool: Pool) -> Places:
    """All indices, best first, the older of equals first."""
    return np.lexsort((pool.born, -pool.fitness))
