"""Who becomes a parent, drawn with replacement: the schemes of `selection` as parts of a genetic algorithm.

A part is called with fitness [m] (higher is better, finite), how many parents are wanted, and a generator; it returns
that many indices. Any function of these three will do in its place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from heredity.search import selection

Vector: TypeAlias = NDArray[np.float64]
Places: TypeAlias = NDArray[np.intp]


class Mating(ABC):
    """Chooses parents."""

    @abstractmethod
    def __call__(self, fitness: Vector, n: int, rng: np.random.Generator) -> Places:
        """Indices [n] of parents into `fitness` [m]."""


@dataclass(frozen=True, slots=True)
class Truncation(Mating):
    """Uniform draws from the best `share` (at least one).

    Args:
        share: in (0, 1]; 1 gives everybody the same chance.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must lie in (0, 1], got {self.share}")

    def __call__(self, fitness: Vector, n: int, rng: np.random.Generator) -> Places:
        """Indices [n]."""
        best = np.array(selection.truncation(fitness, float(self.share)), dtype=np.intp)
        return best[rng.integers(0, len(best), size=n)]


@dataclass(frozen=True, slots=True)
class Tournament(Mating):
    """The fittest of `size` members drawn with replacement; the first of equals."""

    size: int = 2

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"a tournament needs at least one member, got size={self.size}")

    def __call__(self, fitness: Vector, n: int, rng: np.random.Generator) -> Places:
        """Indices [n]."""
        drawn = np.sort(rng.integers(0, len(fitness), size=(n, self.size)), axis=1)
        return np.asarray(drawn[np.arange(n), np.argmax(fitness[drawn], axis=1)])


@dataclass(frozen=True, slots=True)
class Roulette(Mating):
    """Draws in proportion to fitness, as `selection.roulette`."""

    def __call__(self, fitness: Vector, n: int, rng: np.random.Generator) -> Places:
        """Indices [n]."""
        return np.array(selection.roulette(fitness, n, rng=rng), dtype=np.intp)


@dataclass(frozen=True, slots=True)
class Rank(Mating):
    """Draws in proportion to rank, as `selection.rank`."""

    def __call__(self, fitness: Vector, n: int, rng: np.random.Generator) -> Places:
        """Indices [n]."""
        return np.array(selection.rank(fitness, n, rng=rng), dtype=np.intp)
