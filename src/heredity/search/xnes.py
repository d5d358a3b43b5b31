"""xNES: exponential natural evolution strategy, a mean and a full matrix, updated where that is the identity.

Source: Glasmachers, Schaul, Sun, Wierstra & Schmidhuber, Exponential Natural Evolution Strategies (GECCO 2010);
utilities and rates as in Wierstra et al., JMLR 15 (2014), table 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from heredity.search.box import Vectors, as_box
from heredity.search.generations import Array, Vector, VectorSearcher
from heredity.search.migration import clipped
from heredity.search.shaping import nes_utilities


class XNES(VectorSearcher):
    """Ask and tell over vectors [dim]; the samples are mean + sigma · B s with s standard normal and det B constant.

    A generation costs dim³ for the matrix exponential and population · dim² for the rest: for up to some hundred
    dimensions; `SNES` is for more.

    Args:
        space: where, and from where with which first standard deviations (`Box.start`, `Box.scale`).
        population: default 4 + ⌊3 ln dim⌋.
        mean_rate: step of the mean along its natural gradient.
        sigma_rate: step of the logarithm of sigma; default (9 + 3 ln dim) / (5 dim √dim).
        shape_rate: step of the logarithm of B; default the same.
        seed, dtype, metric: as in `VectorSearcher`.
    """

    def __init__(
        self,
        space: Vectors,
        population: int | None = None,
        *,
        mean_rate: float = 1.0,
        sigma_rate: float | None = None,
        shape_rate: float | None = None,
        seed: int = 0,
        dtype: DTypeLike = np.float64,
        metric: str | None = None,
    ) -> None:
        dim = as_box(space).dim
        super().__init__(
            space, 4 + int(3 * np.log(dim)) if population is None else population, seed=seed, dtype=dtype, metric=metric
        )
        rate = float((9 + 3 * np.log(dim)) / (5 * dim * np.sqrt(dim)))
        self.mean_rate = mean_rate
        self.sigma_rate = rate if sigma_rate is None else sigma_rate
        self.shape_rate = rate if shape_rate is None else shape_rate
        self._mean = self.space.start.astype(self.dtype)
        self._sigma = float(np.exp(np.log(self.space.scale).mean()))
        self._shape = np.diag(self.space.scale / self._sigma).astype(self.dtype)
        self._utilities = nes_utilities(self.population)
        self._noise: Array = np.empty((0, dim), self.dtype)

    @property
    def center(self) -> Array:
        """The mean, folded into the bounds [dim]."""
        return self.space.fold(self._mean.copy())

    @property
    def covariance(self) -> Array:
        """Of the samples [dim, dim]."""
        return np.asarray(self._sigma**2 * (self._shape @ self._shape.T), dtype=self.dtype)

    def _draw(self, rng: np.random.Generator) -> Array:
        self._noise = self._normal(rng, (self.population, self.dim), self._noise)
        drawn: Array = self._noise @ (self._sigma * self._shape).T.astype(self.dtype)
        drawn += self._mean
        return drawn

    def _inject(self, x: Array, places: slice) -> None:
        spread = self._sigma * self._shape.astype(np.float64)
        self._noise[places] = clipped(np.linalg.solve(spread, (x - self._mean).T).T)

    def _learn(self, x: Array, fitness: Vector) -> None:
        weights = np.empty(self.population, self.dtype)
        weights[np.argsort(-fitness, kind="stable")] = self._utilities
        # Σ u (s sᵀ − I) is Σ u s sᵀ, since utilities sum to zero.
        whole = self._noise.T @ (weights[:, None] * self._noise)
        trace = float(np.trace(whole)) / self.dim
        self._mean += (self.mean_rate * self._sigma) * (self._shape @ (weights @ self._noise))
        self._sigma *= float(np.exp(0.5 * self.sigma_rate * trace))
        values, vectors = np.linalg.eigh(0.5 * self.shape_rate * (whole - trace * np.eye(self.dim)))
        self._shape = np.asarray(self._shape @ ((vectors * np.exp(values)) @ vectors.T), dtype=self.dtype)

    def _method_state(self) -> Mapping[str, Any]:
        return {"mean": self._mean.copy(), "sigma": self._sigma, "shape": self._shape.copy()}

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._mean = np.array(state["mean"], dtype=self.dtype)
        self._sigma = float(state["sigma"])
        self._shape = np.array(state["shape"], dtype=self.dtype)

    def _config(self) -> dict[str, Any]:
        rates = {"mean_rate": self.mean_rate, "sigma_rate": self.sigma_rate, "shape_rate": self.shape_rate}
        return {**super()._config(), **rates}
