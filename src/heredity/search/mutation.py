"""Mutation as parts: a changed copy.

A part changes rows of vectors in a box, `rows(x, rng, box)`, many at once; one that only moves positions also changes
sequences of anything, `item(x, rng)`. Results may leave the box unless it is said otherwise; the searcher folds them.
Source: Deb & Goyal, A Combined Genetic Adaptive Search (GeneAS) for Engineering Design (1996), and the bounded form in
Deb's NSGA-II code, for the polynomial mutation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from heredity.search.box import Box

Array: TypeAlias = NDArray[Any]


class Mutation(ABC):
    """One parent → a changed copy."""

    @abstractmethod
    def rows(self, x: Array, rng: np.random.Generator, box: Box) -> Array:
        """Mutants [n, dim] of `x` [n, dim]; a fresh array of the same dtype."""

    def item(self, x: Any, rng: np.random.Generator) -> Any:
        """The mutant of something that is no vector.

        Raises:
            TypeError: the part computes with numbers.
        """
        raise TypeError(f"{type(self).__name__} mutates vectors of numbers, not {type(x).__name__}")


@dataclass(frozen=True, slots=True)
class Gaussian(Mutation):
    """A normal step in each coordinate.

    Args:
        scale: standard deviation in units of `Box.scale`.
        rate: probability that a coordinate moves; default all of them.
    """

    scale: float = 0.1
    rate: float | None = None

    def __post_init__(self) -> None:
        _check_rate(self.rate)
        if self.scale <= 0:
            raise ValueError(f"scale must be positive, got {self.scale}")

    def rows(self, x: Array, rng: np.random.Generator, box: Box) -> Array:
        """Mutants [n, dim]."""
        if self.rate is None:
            step = rng.standard_normal(x.shape, dtype=x.dtype)
            step *= (self.scale * box.scale).astype(x.dtype)
            step += x
            return step
        row, column = _chosen(x, self.rate, rng)
        mutant = x.copy()
        mutant[row, column] += (self.scale * box.scale[column] * rng.standard_normal(len(row))).astype(x.dtype)
        return mutant


@dataclass(frozen=True, slots=True)
class Polynomial(Mutation):
    """Polynomial mutation: a step with a peak at zero that ends at the bounds.

    Args:
        eta: large values keep steps short.
        rate: probability that a coordinate moves; default 1 / dim.

    A coordinate without two bounds moves as if they were at ± `Box.scale` / 0.3 / 2 about it.
    """

    eta: float = 20.0
    rate: float | None = None

    def __post_init__(self) -> None:
        _check_rate(self.rate)
        if self.eta < 0:
            raise ValueError(f"eta must not be negative, got {self.eta}")

    def rows(self, x: Array, rng: np.random.Generator, box: Box) -> Array:
        """Mutants [n, dim], inside the bounds."""
        row, column = _chosen(x, 1 / x.shape[1] if self.rate is None else self.rate, rng)
        at = x[row, column].astype(np.float64)
        low, high = box.low[column], box.high[column]
        span = high - low
        if not box.bounded:
            free = ~np.isfinite(span)
            span = np.where(free, box.scale[column] / 0.3, span)
            low, high = np.where(free, at - span / 2, low), np.where(free, at + span / 2, high)
        u, power = rng.random(len(row)), self.eta + 1
        down = u < 0.5
        room = np.where(down, at - low, high - at) / span
        share = 2 * np.where(down, u, 1 - u)
        step = (1 - (share + (1 - share) * (1 - room) ** power) ** (1 / power)) * span
        moved = np.clip(at + np.where(down, -step, step), low, high)
        mutant = x.copy()
        mutant[row, column] = moved.astype(x.dtype)
        return mutant


@dataclass(frozen=True, slots=True)
class Reset(Mutation):
    """Each coordinate is drawn again, as `Box.samples` does, with probability `rate`, default 1 / dim."""

    rate: float | None = None

    def __post_init__(self) -> None:
        _check_rate(self.rate)

    def rows(self, x: Array, rng: np.random.Generator, box: Box) -> Array:
        """Mutants [n, dim]."""
        row, column = _chosen(x, 1 / x.shape[1] if self.rate is None else self.rate, rng)
        mutant = x.copy()
        mutant[row, column] = box.samples(len(x), rng)[row, column].astype(x.dtype)
        return mutant


@dataclass(frozen=True, slots=True)
class Swap(Mutation):
    """Exchanges two distinct positions, `times` over: for orders, whose entries have to stay the same."""

    times: int = 1

    def __post_init__(self) -> None:
        if self.times < 1:
            raise ValueError(f"at least one exchange is needed, got times={self.times}")

    def rows(self, x: Array, rng: np.random.Generator, box: Box) -> Array:
        """Mutants [n, dim]."""
        mutant, every = x.copy(), np.arange(len(x))
        for i, j in self._places(len(x), x.shape[1], rng):
            mutant[every, i], mutant[every, j] = mutant[every, j], mutant[every, i]
        return mutant

    def item(self, x: Any, rng: np.random.Generator) -> Any:
        """The mutant of a tuple, list or array."""
        if not isinstance(x, (tuple, list, np.ndarray)):
            raise TypeError(f"Swap exchanges positions of a sequence, not of {type(x).__name__}")
        order = np.arange(len(x))
        for i, j in self._places(1, len(x), rng):
            order[[i[0], j[0]]] = order[[j[0], i[0]]]
        return x[order] if isinstance(x, np.ndarray) else type(x)(x[int(place)] for place in order)

    def _places(self, n: int, dim: int, rng: np.random.Generator) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        if dim < 2:
            raise ValueError("two positions are needed to exchange them")
        first = [rng.integers(0, dim, size=n) for _ in range(self.times)]
        return [(i, (i + rng.integers(1, dim, size=n)) % dim) for i in first]


def _chosen(x: Array, rate: float, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the coordinates of `x` [n, dim] that move, each with probability `rate`, in order."""
    row, column = np.nonzero(rng.random(x.shape, dtype=np.float32) < rate)
    return row, column


def _check_rate(rate: float | None) -> None:
    if rate is not None and not 0 <= rate <= 1:
        raise ValueError(f"rate must lie in [0, 1], got {rate}")
