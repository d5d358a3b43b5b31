"""Sep-CMA-ES: CMA-ES with a diagonal covariance, linear in time and memory quick to learn every coordinate's scale.

Source: Ros & Hansen, A Simple Modification in CMA-ES Achieving Linear Time and Space Complexity (PPSN 2008), with the
constants of the tutorial, arXiv 1604.00772; its covariance rates times (n + 2) / 3, positive weights alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from heredity.search.box import Vectors, as_box
from heredity.search.cma_es import CONDITION, Rates
from heredity.search.generations import Array, Vector, VectorSearcher
from heredity.search.migration import clipped
from heredity.search.noise import around, weighted_squares, weighted_sum

STEP = 1e-25, 1e25  # far from the limits of float32


class SepCMA(VectorSearcher):
    """Ask and tell over vectors [dim].

    Args:
        space: where, and from where with which first standard deviations (`Box.start`, `Box.scale`).
        population: λ, default 4 + ⌊3 ln dim⌋.
        seed, dtype, metric: as in `VectorSearcher`.

    Weak where the function turns its coordinates into each other: it sees no correlations. Variances differ by at most
    1e14 (1e6 in float32) times, beyond what `Box.scale` says; the deviation of a coordinate with two bounds is at most
    their distance; and equal fitness makes the step size grow.
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
        super().__init__(
            space, 4 + int(3 * np.log(n)) if population is None else population, seed=seed, dtype=dtype, metric=metric
        )
        self.rates = Rates.of(n, self.population, active=False, separable=True)
        self._weights = self.rates.weights.astype(self.dtype)
        self._scale = self.space.scale.astype(self.dtype)
        self._span = (self.space.high - self.space.low).astype(self.dtype)
        self._condition = CONDITION if self.dtype == np.float64 else 1e6
        self._mean = self.space.start.astype(self.dtype)
        self._step = 1.0  # σ, in units of Box.scale
        self._c = np.ones(n, self.dtype)  # the covariance's diagonal
        self._p_c, self._p_sigma = np.zeros(n, self.dtype), np.zeros(n, self.dtype)
        self._z: Array = np.empty((0, n), self.dtype)

    @property
    def center(self) -> Array:
        """The mean, folded into the bounds [dim]."""
        return self.space.fold(self._mean.copy())

    @property
    def sigma(self) -> Array:
        """The standard deviations of the samples [dim]."""
        return (self._step * self._scale * np.sqrt(self._c)).astype(self.dtype, copy=False)

    def _draw(self, rng: np.random.Generator) -> Array:
        self._z = self._normal(rng, (self.population, self.dim), self._z)
        return around(self._mean, self.sigma, self._z)

    def _inject(self, x: Array, places: slice) -> None:
        self._z[places] = clipped((x - self._mean) / self.sigma)

    def _learn(self, x: Array, fitness: Vector) -> None:
        r = self.rates
        order = np.argsort(-fitness, kind="stable")
        w = np.empty(self.population, self.dtype)
        w[order] = self._weights
        z_mean = weighted_sum(w, self._z)
        self._mean += self.sigma * z_mean
        self._p_sigma *= 1 - r.c_sigma
        self._p_sigma += math.sqrt(r.c_sigma * (2 - r.c_sigma) * r.mu_eff) * z_mean
        length = math.sqrt(float(self._p_sigma @ self._p_sigma))
        stalled = r.stalled(length, self.generation)
        self._p_c *= 1 - r.c_c
        if not stalled:
            self._p_c += math.sqrt(r.c_c * (2 - r.c_c) * r.mu_eff) * np.sqrt(self._c) * z_mean
        keep = 1 - r.c_1 - r.c_mu + (r.c_1 * r.c_c * (2 - r.c_c) if stalled else 0.0)
        self._c *= keep + r.c_mu * weighted_squares(w, self._z)  # the rank-μ update of the diagonal: y² is c z²
        self._c += r.c_1 * np.square(self._p_c)
        grow = r.step(length)
        if fitness[order[0]] == fitness[order[math.ceil(0.7 * self.population) - 1]]:
            grow *= math.exp(0.2 + r.c_sigma / r.d_sigma)  # a plateau, as in `CMAES`
        self._step = min(max(self._step * grow, STEP[0]), STEP[1])
        self._limit()

    def _limit(self) -> None:
        top = float(self._c.max())
        if not 1e-8 < top < 1e8:  # the scale of the diagonal moves into the step size
            self._c /= top
            self._p_c /= math.sqrt(top)
            self._step, top = min(max(self._step * math.sqrt(top), STEP[0]), STEP[1]), 1.0
        np.maximum(self._c, top / self._condition, out=self._c)
        wide = self.sigma / self._span
        if (wide > 1).any():
            self._c /= np.square(np.maximum(wide, 1))

    def _method_state(self) -> Mapping[str, Any]:
        arrays = {"mean": self._mean, "c": self._c, "p_c": self._p_c, "p_sigma": self._p_sigma}
        return {"step": self._step, **{name: array.copy() for name, array in arrays.items()}}

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._step = float(state["step"])
        self._mean, self._c, self._p_c, self._p_sigma = (
            np.array(state[name], dtype=self.dtype) for name in ("mean", "c", "p_c", "p_sigma")
        )
