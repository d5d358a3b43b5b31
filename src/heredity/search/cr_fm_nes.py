"""CR-FM-NES: natural evolution strategy for many dimensions, of covariance σ² D (I + v vᵀ) D, linear in time.

Source: Nomura & Ono, Fast Moving Natural Evolution Strategy for High-Dimensional Problems (CEC 2022), arXiv 2201.11422,
with the constants of the authors' code; the natural gradient of v and D is that of VD-CMA (Akimoto, Auger & Hansen,
GECCO 2014).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from heredity.search.box import Vectors, as_box
from heredity.search.generations import Array, Vector, VectorSearcher
from heredity.search.migration import clipped
from heredity.search.noise import weighted_squares, weighted_sum

SIGMA = 1e-25, 1e25  # far from the limits of float32
# The paper has no limits; without, a step can turn D negative, which ends the search. They rarely bite.
FACTOR = 10.0  # most by which a coordinate of D changes in one generation; v changes by at most 1 + |v|
RATIO = {"float64": 1e14, "float32": 1e10}  # of eigenvalues of the covariance, beyond what `Box.scale` says


class CRFMNES(VectorSearcher):
    """Ask and tell over vectors [dim]. Samples come in mirrored pairs.

    Args:
        space: where, and from where with which first standard deviations (`Box.start`, `Box.scale`).
        population: λ, default 4 + ⌊3 ln dim⌋, made even; of an odd one the last sample has no mirror image.
        seed, dtype, metric: as in `VectorSearcher`.

    Failures rank last, the farther from the mean the worse, and slow the step size's adaptation: the paper's handling
    of constraints that only say no. The deviation of a coordinate with two bounds stays at most about their distance.
    """

    def __init__(
        self,
        space: Vectors,
        population: int | None = None,
        *,
        seed: int = 0,
        dtype: DTypeLike = np.float64,
        metric: str | None = None,
    ) -> None:
        n = as_box(space).dim
        usual = 4 + int(3 * np.log(n))
        super().__init__(
            space, usual + usual % 2 if population is None else population, seed=seed, dtype=dtype, metric=metric
        )
        size = self.population
        self._raw = np.maximum(0.0, math.log(size / 2 + 1) - np.log(np.arange(1, size + 1)))
        positive = self._raw / self._raw.sum()
        self._ranked = positive - 1 / size
        self._mu_eff = 1 / float(positive @ positive)
        self._c_sigma = (self._mu_eff + 2) / (n + self._mu_eff + 5)
        self._c_c = (4 + self._mu_eff / n) / (n + 4 + 2 * self._mu_eff / n)
        # differs from paper: below five dimensions its rate of the path would be negative; here it is zero.
        self._c_1 = 2 / ((n + 1.3) ** 2 + self._mu_eff) * max(0, n - 5) / 6
        self._chi = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n))
        self._alpha = _inverse_h(n) * min(1.0, math.sqrt(size / n))
        self._span = (self.space.high - self.space.low).astype(self.dtype)
        self._mean = self.space.start.astype(self.dtype)
        self._sigma = math.exp(float(np.log(self.space.scale).mean()))
        self._first = (self.space.scale / self._sigma).astype(self.dtype)
        self._D = self._first.copy()  # with a product of one, together with v
        self._v = (self._rng.standard_normal(n) / math.sqrt(n)).astype(self.dtype)
        self._p_sigma, self._p_c = np.zeros(n, self.dtype), np.zeros(n, self.dtype)
        self._z = self._y = np.empty((0, n), self.dtype)

    @property
    def center(self) -> Array:
        """The mean, folded into the bounds [dim]."""
        return self.space.fold(self._mean.copy())

    @property
    def sigma(self) -> Array:
        """The standard deviations of the samples [dim]."""
        deviations: Array = self._sigma * self._D * np.sqrt(1 + np.square(self._v))
        return deviations.astype(self.dtype, copy=False)

    def _draw(self, rng: np.random.Generator) -> Array:
        half = self._normal(rng, (self.population - self.population // 2, self.dim))
        self._z = np.concatenate([half, -half[: self.population // 2]])
        self._y = self._stretched(self._z, 0.5)
        drawn = self._y * (self._sigma * self._D)
        drawn += self._mean
        return drawn.astype(self.dtype, copy=False)

    def _stretched(self, x: Array, power: float) -> Array:
        """Rows of `x` [k, dim] times (I + v vᵀ) to a power."""
        length = np.linalg.norm(self._v)
        direction = self._v / length
        return np.asarray(x + np.outer(x @ direction, ((1 + length**2) ** power - 1) * direction))

    def _inject(self, x: Array, places: slice) -> None:
        steps = (x - self._mean) / (self._sigma * self._D)
        self._z[places] = clipped(self._stretched(steps, -0.5))
        self._y[places] = self._stretched(self._z[places], 0.5)

    def _learn(self, x: Array, fitness: Vector) -> None:
        n, size, z = self.dim, self.population, self._z
        squares = np.einsum("ij,ij->i", z, z, dtype=np.float64)
        order = np.lexsort((np.where(np.isfinite(fitness), 0.0, squares), -fitness))
        good = int(np.isfinite(fitness).sum())  # λ_F
        # Evolution path of the step size, by the weights of the ranks.
        w = np.empty(size, self.dtype)
        w[order] = self._ranked
        self._p_sigma *= 1 - self._c_sigma
        self._p_sigma += math.sqrt(self._c_sigma * (2 - self._c_sigma) * self._mu_eff) * weighted_sum(w, z)
        length = math.sqrt(float(self._p_sigma @ self._p_sigma))
        if length >= self._chi:  # it moves: farther samples count more
            far = self._alpha * math.sqrt(good / size) * np.sqrt(squares[order])
            weighted = self._raw * np.exp(far - far.max())
            w[order] = weighted / weighted.sum() - 1 / size
            rate = 1.0
        elif length >= 0.1 * self._chi:  # it stagnates
            rate = math.tanh((0.024 * good + 0.7 * n + 20) / (n + 12))
        else:  # it converges
            rate = 2 * math.tanh((0.025 * good + 0.75 * n + 10) / (n + 4))
        y_mean = self._D * weighted_sum(w, self._y)
        self._p_c *= 1 - self._c_c
        self._p_c += math.sqrt(self._c_c * (2 - self._c_c) * self._mu_eff) * y_mean
        self._mean += self._sigma * y_mean
        self._turn(_rate_b(n, good) * w, self._c_1 * good / size)
        # Σ w (z² − 1) is Σ w z², since weights sum to zero.
        self._sigma = _limit(self._sigma * math.exp(min(1.0, rate / 2 * float(w @ squares) / n)))
        self._keep_usable()

    def _turn(self, w: Array, w_path: float) -> None:
        """Change v and D by their natural gradients, of the samples with weights `w` [λ] and of the path."""
        y, path = self._y, (self._p_c / self._D).astype(np.float64)
        v = self._v.astype(np.float64)
        norm = math.sqrt(float(v @ v))
        norm2, norm4, gamma = norm**2, norm**4, 1 + norm**2
        bar = v / norm
        bar2 = np.square(bar)
        alpha = min(1.0, math.sqrt(norm4 + (2 * gamma - math.sqrt(gamma)) / float(bar2.max())) / (2 + norm2))
        # Everything below is linear in the samples, so the weighted sums are taken first.
        along, along_path = y @ bar.astype(self.dtype), float(path @ bar)
        total = float(w.sum()) + w_path
        crossed = weighted_sum(w * along, y) + w_path * along_path * path
        squares = weighted_squares(w, y) + w_path * np.square(path)
        t = crossed - bar * ((float(w @ np.square(along)) + w_path * along_path**2 + total * gamma) / 2)
        s = squares - norm2 / gamma * bar * crossed - total
        b = -(1 - alpha**2) * norm4 / gamma + 2 * alpha**2
        H = 2 - (b + 2 * alpha**2) * bar2
        s -= alpha / gamma * ((2 + norm2) * bar * t - norm2 * (bar @ t) * bar2)
        scaled = bar2 / H
        s = s / H - b / (1 + b * (bar2 @ scaled)) * (scaled @ s) * scaled
        t -= alpha * ((2 + norm2) * bar * s - (bar2 @ s) * bar)
        t /= max(norm, float(np.linalg.norm(t)) / (1 + norm))
        self._v += t.astype(self.dtype, copy=False)
        self._D *= np.clip(1 + s, 1 / FACTOR, FACTOR).astype(self.dtype, copy=False)

    def _keep_usable(self) -> None:
        """D and v with determinant one, and within limits."""
        ratio = RATIO[self.dtype.name]
        length2 = float(self._v @ self._v)
        if not 1e-16 < length2 < ratio:
            self._v[0] += 1e-12 if length2 == 0 else 0.0  # v needs a direction
            self._v *= math.sqrt(1e-16 if length2 < 1 else ratio) / np.linalg.norm(self._v)
            length2 = float(self._v @ self._v)
        relative = self._D / self._first
        np.maximum(relative, relative.max() / math.sqrt(ratio), out=relative)
        self._D = self._first * relative
        self._D /= self._root(length2)
        wide = self._sigma * self._D / self._span
        if (wide > 1).any():
            self._D /= np.maximum(wide, 1)
            root = self._root(length2)
            self._D /= root
            self._sigma = _limit(self._sigma * root)

    def _root(self, length2: float) -> float:
        """The dim-th root of the determinant of D (I + v vᵀ)^½."""
        return math.exp((float(np.log(self._D, dtype=np.float64).sum()) + math.log1p(length2) / 2) / self.dim)

    def _method_state(self) -> Mapping[str, Any]:
        arrays = {"mean": self._mean, "v": self._v, "D": self._D, "p_sigma": self._p_sigma, "p_c": self._p_c}
        return {"sigma": self._sigma, **{name: array.copy() for name, array in arrays.items()}}

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._sigma = float(state["sigma"])
        self._mean, self._v, self._D, self._p_sigma, self._p_c = (
            np.array(state[name], dtype=self.dtype) for name in ("mean", "v", "D", "p_sigma", "p_c")
        )


def _limit(sigma: float) -> float:
    return min(max(sigma, SIGMA[0]), SIGMA[1])


def _rate_b(n: int, good: int) -> float:
    """η_B, the rate of v and D."""
    return math.tanh((min(0.02 * good, 3 * math.log(n)) + 5) / (0.23 * n + 25))


def _inverse_h(n: int) -> float:
    """The α with (1 + α²) exp(α²/2) / 0.24 − 10 = n, by Newton's method."""
    alpha = 6.0
    for _ in range(200):
        grown = math.exp(alpha * alpha / 2) / 0.24
        step = ((1 + alpha * alpha) * grown - 10 - n) / (alpha * (3 + alpha * alpha) * grown)
        alpha -= step
        if abs(step) < 1e-14 * alpha:
            break
    return alpha
