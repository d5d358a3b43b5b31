"""Crossover as parts: two parents, two children, each of which takes after one of them.

A part crosses rows of vectors, `rows(a, b, rng, box)`, many pairs at once; those that only exchange positions also
cross sequences of anything, `item(a, b, rng)`. Children may leave the box; the searcher folds them back.
Sources: Eshelman & Schaffer, Real-Coded Genetic Algorithms and Interval-Schemata (1993) for BLX; Deb & Agrawal,
Simulated Binary Crossover for Continuous Search Space, Complex Systems 9 (1995) for SBX, bounded as in Deb & Goyal, A
Combined Genetic Adaptive Search (GeneAS) for Engineering Design, CSI 26 (1996).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from heredity.search.box import Box

Array: TypeAlias = NDArray[Any]


class Crossover(ABC):
    """Two parents → two children."""

    @abstractmethod
    def rows(self, a: Array, b: Array, rng: np.random.Generator, box: Box) -> Array:
        """Children [2, n, dim] of the pairs (a[i], b[i]) [n, dim], the first like a; fresh, of the same dtype."""

    def item(self, a: Any, b: Any, rng: np.random.Generator) -> Any:
        """The child, like a, of two parents that are no vectors.

        Raises:
            TypeError: the part computes with numbers.
        """
        raise TypeError(f"{type(self).__name__} crosses vectors of numbers, not {type(a).__name__}")


class Exchange(Crossover):
    """Every position comes from one parent or the other."""

    @abstractmethod
    def mask(self, n: int, dim: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Where [n, dim] a child takes after its own parent, not the other."""

    def rows(self, a: Array, b: Array, rng: np.random.Generator, box: Box) -> Array:
        """Children [2, n, dim]; what one does not take, the other does."""
        own = self.mask(len(a), a.shape[1], rng)
        return np.stack([np.where(own, a, b), np.where(own, b, a)])

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
    """Each position from the own parent with probability `rate`."""

    rate: float = 0.5

    def mask(self, n: int, dim: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Where a child takes after its own parent."""
        return rng.random((n, dim), dtype=np.float32) < self.rate


@dataclass(frozen=True, slots=True)
class Points(Exchange):
    """Cut at `count` distinct points between positions; pieces come by turns, the first from the own parent."""

    count: int = 2

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"a crossover needs at least one point, got {self.count}")

    def mask(self, n: int, dim: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Where a child takes after its own parent; shorter parents have as many cuts as they can."""
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
    """Points on the line between the parents: w a + (1 − w) b and (1 − w) a + w b, one w ~ U(0, 1) for each pair."""

    def rows(self, a: Array, b: Array, rng: np.random.Generator, box: Box) -> Array:
        """Children [2, n, dim]."""
        step = rng.random((len(a), 1)).astype(a.dtype) * (b - a)
        return np.stack([a + step, b - step])


@dataclass(frozen=True, slots=True)
class Line(Crossover):
    """A step from either parent along the line to the other, normal with deviation `sigma` in units of their distance.

    The directional part of iso+line variation; with `mutation.Gaussian` it is whole.
    Source: Vassiliades & Mouret, arXiv 1804.03906, equation 3.
    """

    sigma: float = 0.2

    def __post_init__(self) -> None:
        if self.sigma < 0:
            raise ValueError(f"sigma must not be negative, got {self.sigma}")

    def rows(self, a: Array, b: Array, rng: np.random.Generator, box: Box) -> Array:
        """Children [2, n, dim]."""
        along = (self.sigma * rng.standard_normal((2, len(a), 1))).astype(a.dtype) * (b - a)
        return np.stack([a + along[0], b - along[1]])


@dataclass(frozen=True, slots=True)
class BLX(Crossover):
    """Each coordinate of both children uniform in the parents' interval, longer by the share `alpha` at either end."""

    alpha: float = 0.5

    def __post_init__(self) -> None:
        if self.alpha < 0:
            raise ValueError(f"alpha must not be negative, got {self.alpha}")

    def rows(self, a: Array, b: Array, rng: np.random.Generator, box: Box) -> Array:
        """Children [2, n, dim]."""
        w = np.asarray(rng.random((2, *a.shape), dtype=a.dtype))
        w *= 1 + 2 * self.alpha
        w -= self.alpha
        w *= a - b
        w += b
        return w


@dataclass(frozen=True, slots=True)
class SBX(Crossover):
    """Simulated binary crossover: the children lie about as far apart as their parents, symmetrically about their mean.

    Args:
        eta: large values keep children near their parents.
        rate: probability that a coordinate is crossed. Of a crossed coordinate either child gets either value.
        bounded: shorten the spread towards a bound, so that no child lies outside; the mean then moves a little.
    """

    eta: float = 15.0
    rate: float = 0.5
    bounded: bool = True

    def __post_init__(self) -> None:
        if self.eta < 0 or not 0 < self.rate <= 1:
            raise ValueError(f"needs eta ≥ 0 and rate in (0, 1], got {self.eta} and {self.rate}")

    def rows(self, a: Array, b: Array, rng: np.random.Generator, box: Box) -> Array:
        """Children [2, n, dim]."""
        children = np.stack([a, b])
        flat = children.reshape(2, -1)
        crossed = rng.random(a.shape, dtype=np.float32) < self.rate
        crossed &= a != b
        where = np.flatnonzero(crossed)
        first, second = flat[0, where], flat[1, where]
        low, high = np.minimum(first, second), np.maximum(first, second)
        gap, u = high - low, np.asarray(rng.random(len(where), dtype=a.dtype))
        swap = rng.random(len(where), dtype=np.float32) < 0.5
        if self.bounded and not box.open:
            place = where % a.shape[1]
            floor, ceiling = (bound.astype(a.dtype)[place] for bound in (box.low, box.high))
            with np.errstate(over="ignore"):  # of a gap that is next to nothing: then nothing is cut off
                down, up = self._spread(u, (low - floor) / gap), self._spread(u, (ceiling - high) / gap)
        else:
            down = up = self._spread(u, None)
        gap *= 0.5
        middle = low + gap
        down, up = middle - down * gap, middle + up * gap
        flat[0, where] = np.where(swap, up, down)
        flat[1, where] = np.where(swap, down, up)
        return children

    def _spread(self, u: Array, room: NDArray[Any] | None) -> Array:
        """β = (uα)^(1/(η+1)), or (1 / (2 − uα))^(1/(η+1)), where the bound is `room` gaps beyond a parent.

        u is uniform; α = 2 − (1 + 2 room)^−(η+1) is 2 without a bound.
        """
        power = self.eta + 1
        share = 2 * u
        if room is not None:
            # Beyond 2^64 to the root nothing is left of the power next to 2, and numbers next to nothing are slow.
            share = u * (2 - np.power(np.minimum(1 + 2 * room, 2 ** (64 / power)), -power))
        return np.asarray(np.power(np.where(share <= 1, share, 1 / (2 - share)), 1 / power))
