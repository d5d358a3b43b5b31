"""Bounded and unbounded spaces of real vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from heredity.search.base import Space
from heredity.search.vector import FlatParams

Vector: TypeAlias = NDArray[np.float64]
Bound: TypeAlias = float | Sequence[float] | Vector | None
Vectors: TypeAlias = "Box | int | FlatParams"


class Box(Space[Vector]):
    """Vectors [n] with low ≤ x ≤ high, coordinate by coordinate.

    Args:
        low, high: numbers or vectors [n]; None is unbounded.
        dim: n, where both bounds are numbers or None.
        start: where searches begin [n]; default the middle of a bounded coordinate, 0 of an unbounded one, the bound
            of one that is bounded on one side only.
        scale: standard deviations [n] or one number, of mutation and of the first steps of a search; default 0.3 of
            the range, 1 where it is unbounded.

    Raises:
        ValueError: a bound is NaN, low is not below high, lengths differ, or `start` lies outside.
    """

    def __init__(
        self,
        low: Bound = None,
        high: Bound = None,
        *,
        dim: int | None = None,
        start: Sequence[float] | Vector | None = None,
        scale: float | Sequence[float] | Vector | None = None,
    ) -> None:
        sizes = [len(np.atleast_1d(np.asarray(v))) for v in (low, high, start, scale) if v is not None and np.ndim(v)]
        self.dim = dim if dim is not None else (sizes[0] if sizes else 0)
        if self.dim < 1:
            raise ValueError(f"a box needs at least one dimension: pass dim, or bounds as vectors, got dim={dim}")
        self.low = _vector(-np.inf if low is None else low, self.dim, "low")
        self.high = _vector(np.inf if high is None else high, self.dim, "high")
        if not (self.low < self.high).all():
            k = int(np.argmin(self.low < self.high))
            raise ValueError(f"low must be below high; at coordinate {k} they are {self.low[k]} and {self.high[k]}")
        finite_low, finite_high = np.isfinite(self.low), np.isfinite(self.high)
        bounded = finite_low & finite_high
        middle = np.where(finite_low, self.low, 0.0) + np.where(finite_high, self.high, 0.0)
        self.start = np.where(bounded, middle / 2, middle) if start is None else _vector(start, self.dim, "start")
        if not np.isfinite(self.start).all() or not self.valid(self.start):
            raise ValueError("start must hold finite numbers inside the bounds")
        span = np.where(bounded, self.high - np.where(bounded, self.low, 0.0), 1 / 0.3)
        self.scale = 0.3 * span if scale is None else _vector(scale, self.dim, "scale")
        if not (np.isfinite(self.scale).all() and (self.scale > 0).all()):
            raise ValueError("scale must hold positive numbers")
        self._open = not bool(finite_low.any() or finite_high.any())
        self._lows = {kind: self.low.astype(kind) for kind in "fd"}
        self._highs = {kind: self.high.astype(kind) for kind in "fd"}

    @property
    def open(self) -> bool:
        """Whether no coordinate has a bound."""
        return self._open

    @property
    def bounded(self) -> bool:
        """Whether every coordinate has two finite bounds."""
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    def sample(self, rng: np.random.Generator) -> Vector:
        """Uniform in the bounds; normal around `start` where a coordinate is unbounded."""
        first: Vector = self.samples(1, rng)[0]
        return first

    def samples(self, n: int, rng: np.random.Generator) -> Vector:
        """`n` draws [n, dim]."""
        box = np.isfinite(self.low) & np.isfinite(self.high)
        if box.all():
            drawn: Vector = rng.uniform(self.low, self.high, size=(n, self.dim))
            return drawn
        drawn = self.fold(self.start + self.scale * rng.standard_normal((n, self.dim)))
        if box.any():
            low, high = np.where(box, self.low, 0.0), np.where(box, self.high, 1.0)
            drawn = np.where(box, rng.uniform(low, high, size=(n, self.dim)), drawn)
        return drawn

    def mutate(self, x: Vector, rng: np.random.Generator) -> Vector:
        """A normal step of a tenth of `scale`, folded back at the bounds."""
        return self.fold(x + 0.1 * self.scale * rng.standard_normal(self.dim))

    def crossover(self, a: Vector, b: Vector, rng: np.random.Generator) -> Vector:
        """Uniform crossover: each coordinate from either parent."""
        mixed: Vector = np.where(rng.random(self.dim) < 0.5, a, b)
        return mixed

    def valid(self, x: Vector) -> bool:
        """Whether `x` has the right length and lies inside."""
        return bool(np.shape(x) == (self.dim,) and (x >= self.low).all() and (x <= self.high).all())

    def fold(self, x: Vector) -> Vector:
        """Mirror vectors [..., dim] at the bounds they cross, as often as needed; `x` itself if all are inside.

        A search that sees f(fold(y)) sees a continuous function of an unbounded y with no preferred direction at a
        bound, which clipping would have.
        """
        if self._open:
            return x
        lows, highs = self._lows.get(x.dtype.char, self.low), self._highs.get(x.dtype.char, self.high)
        inside = x >= lows
        inside &= x <= highs
        if inside.all():
            return x
        # Of large generations little lies outside: only that is computed.
        folded = np.array(x, order="C")
        flat = folded.reshape(-1)
        out = np.flatnonzero(~inside)
        place = out % self.dim
        low, high, y = lows[place], highs[place], flat[out]
        y = np.where(y < low, 2 * low - y, np.where(y > high, 2 * high - y, y))
        if (far := ((y < low) | (y > high)) & np.isfinite(high - low)).any():  # steps longer than the box
            base, span = low[far], high[far] - low[far]
            phase = np.mod(y[far] - base, 2 * span)
            y[far] = base + np.where(phase > span, 2 * span - phase, phase)
        flat[out] = np.clip(y, low, high)  # rounding may leave the last bit outside
        return folded


def as_box(space: Vectors) -> Box:
    """The box that a searcher of vectors was given: a box, a number of unbounded dimensions, or a network's layout.

    Raises:
        TypeError: it is none of these.
    """
    if isinstance(space, Box):
        return space
    if isinstance(space, FlatParams):
        return Box(start=space.start.double().numpy())
    if isinstance(space, (int, np.integer)) and not isinstance(space, bool):
        return Box(dim=int(space))
    raise TypeError(
        f"a searcher of vectors takes a Box, a number of dimensions or FlatParams, got {type(space).__name__}"
    )


def _vector(value: float | Sequence[float] | Vector, dim: int, name: str) -> Vector:
    array = np.asarray(value, dtype=np.float64)
    if array.ndim > 1 or (array.ndim == 1 and len(array) != dim):
        raise ValueError(f"{name} should be a number or have shape ({dim},), it has {array.shape}")
    if np.isnan(array).any():
        raise ValueError(f"{name} holds NaN")
    return np.broadcast_to(array, (dim,)).copy()
