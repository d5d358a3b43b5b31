"""Crossover as parts: two parents, one child.

A part crosses rows of vectors, `rows(a, b, rng)`, many pairs at once; those that only exchange positions also cross
sequences of anything, `item(a, b, rng)`. Children may leave a box; the searcher folds them back.
Sources: Eshelman & Schaffer, Real-Coded Genetic Algorithms and Interval-Schemata (1993) for BLX; Deb & Agrawal,
Simulated Binary Crossover for Continuous Search Space (1995) for SBX.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
S = TypeVar("S")


class Crossover(ABC):
    """Two parents → one child."""

    @abstractmethod
    def rows(self, a: Array, b: Array, rng: np.random.Generator) -> Array:
        """Children [n, dim] of the pairs (a[i], b[i]) [n, dim]; a fresh array of the same dtype."""

    def item(self, a: Any, b: Any, rng: np.random.Generator) -> Any:
        """The child of two parents that are no vectors.

        Raises:
            TypeError: the part computes with numbers.
        """
        raise TypeError(f"{type(self).__name__} crosses vectors of numbers, not {type(a).__name__}")


class Exchange(Crossover):
    """Every position comes from one parent or the other."""

    @abstractmethod
    def mask(self, n: int, dim: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Where [n, dim] the child takes after the first parent."""

    def rows(self, a: Array, b: Array, rng: np.random.Generator) -> Array:
        """Children [n, dim]."""
        return np.where(self.mask(len(a), a.shape[1], rng), a, b)

    def item(self, a: Any, b: Any, rng: np.random.Generator) -> Any:
        """The child of two tuples, lists or arrays of the same length."""
        if not isinstance(a, (tuple, list, np.ndarray)) or type(a) is not type(b) or len(a) != len(b):
            raise TypeError(f"{type(self).__name__} crosses two sequences of one type and length, not {a!r} and {b!r}")
        first = self.mask(1, len(a), rng)[0]
        if isinstance(a, np.ndarray):
            return np.where(first.reshape(-1, *[1] * (a.ndim - 1)), a, b)
        return type(a)(x if own else y for x, y, own in zip(a, b, first, strict=True))


@dataclass(frozen=True, slots=True)
class Uniform(Exchange):
    """Each position from the first parent with probability `rate`."""

    rate: float = 0.5

    def mask(self, n: int, dim: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Where the child takes after the first parent."""
        return rng.random((n, dim), dtype=np.float32) < self.rate


@dataclass(frozen=True, slots=True)
class Points(Exchange):
    """Cut at `count` distinct points between positions; pieces come from the parents by turns, the first from `a`."""

    count: int = 2

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"a crossover needs at least one point, got {self.count}")

    def mask(self, n: int, dim: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Where the child takes after the first parent; shorter parents have as many cuts as they can."""
        count = min(self.count, dim - 1)
        if count < 1:
            return np.ones((n, dim), dtype=bool)
        # dim − 1 places to cut, the lowest `count` of random keys: distinct, uniform.
        keys = rng.random((n, dim - 1), dtype=np.float32)
        cuts = np.zeros((n, dim), dtype=np.int8)
        np.put_along_axis(cuts, np.argpartition(keys, count - 1, axis=1)[:, :count] + 1, 1, axis=1)
        return np.asarray(np.cumsum(cuts, axis=1) % 2 == 0)


@dataclass(frozen=True, slots=True)
class Arithmetic(Crossover):
    """A point on the line between the parents: w a + (1 − w) b, one w ~ U(0, 1) for each pair."""

    def rows(self, a: Array, b: Array, rng: np.random.Generator) -> Array:
        """Children [n, dim]."""
        return np.asarray(b + rng.random((len(a), 1)).astype(a.dtype) * (a - b))


@dataclass(frozen=True, slots=True)
class BLX(Crossover):
    """Each coordinate uniform in the parents' interval, longer by the share `alpha` at either end."""

    alpha: float = 0.5

    def __post_init__(self) -> None:
        if self.alpha < 0:
            raise ValueError(f"alpha must not be negative, got {self.alpha}")

    def rows(self, a: Array, b: Array, rng: np.random.Generator) -> Array:
        """Children [n, dim]."""
        w = rng.random(a.shape, dtype=a.dtype)
        w *= 1 + 2 * self.alpha
        w -= self.alpha
        w *= a - b
        w += b
        return w


@dataclass(frozen=True, slots=True)
class SBX(Crossover):
    """Simulated binary crossover: the children lie symmetrically about the parents' mean.

    Args:
        eta: large values keep children near their parents.
        rate: probability that a coordinate is crossed; the others come from the first parent.
    """

    eta: float = 15.0
    rate: float = 0.5

    def __post_init__(self) -> None:
        if self.eta < 0 or not 0 < self.rate <= 1:
            raise ValueError(f"needs eta ≥ 0 and rate in (0, 1], got {self.eta} and {self.rate}")

    def both(self, a: Array, b: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """The two children [n, dim] of each pair, where every coordinate is crossed: their mean is their parents'."""
        half = 0.5 * (1 - self._spread(a, rng)) * (a - b)
        return a - half, b + half

    def rows(self, a: Array, b: Array, rng: np.random.Generator) -> Array:
        """Children [n, dim]: in each crossed coordinate of one of the two children, with equal chances."""
        chosen = rng.random(a.shape, dtype=np.float32)
        half = (0.5 * (1 - self._spread(a, rng))).astype(a.dtype, copy=False)
        # The child near a is a − half (a − b), that near b is a − (1 − half) (a − b).
        np.subtract(1, half, out=half, where=chosen < self.rate / 2)
        half *= a - b
        half[chosen >= self.rate] = 0
        return np.asarray(a - half)

    def _spread(self, a: Array, rng: np.random.Generator) -> Array:
        """β: (2u)^(1/(η+1)) for u ≤ ½, else (1 / (2 − 2u))^(1/(η+1))."""
        u = 2 * rng.random(a.shape, dtype=a.dtype)
        base = np.where(u <= 1, u, 1 / np.maximum(2 - u, np.finfo(a.dtype).tiny))
        return np.asarray(np.power(base, a.dtype.type(1 / (self.eta + 1))))
