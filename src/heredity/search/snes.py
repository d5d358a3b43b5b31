"""SNES: separable natural evolution strategy, a mean and one standard deviation per coordinate.

Source: Schaul, Glasmachers & Schmidhuber, High Dimensions and Heavy Tails for Natural Evolution Strategies (GECCO
2011); utilities and rates as in Wierstra et al., JMLR 15 (2014), table 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from heredity.search.box import Vectors, as_box
from heredity.search.generations import Array, Vector, VectorSearcher
from heredity.search.migration import clipped
from heredity.search.noise import around, weighted_squares, weighted_sum
from heredity.search.shaping import nes_utilities


class SNES(VectorSearcher):
    """Ask and tell over vectors [dim].

    Args:
        space: where, and from where with which first standard deviations (`Box.start`, `Box.scale`).
        population: default 4 + ⌊3 ln dim⌋.
        mean_rate: step of the mean along its natural gradient.
        sigma_rate: step of the logarithms of the standard deviations; default (3 + ln dim) / (5 √dim).
        seed, dtype, metric: as in `VectorSearcher`.
    """

    def __init__(
        self,
        space: Vectors,
        population: int | None = None,
        *,
        mean_rate: float = 1.0,
        sigma_rate: float | None = None,
        seed: int = 0,
        dtype: DTypeLike = np.float64,
        metric: str | None = None,
    ) -> None:
        dim = as_box(space).dim
        super().__init__(
            space, 4 + int(3 * np.log(dim)) if population is None else population, seed=seed, dtype=dtype, metric=metric
        )
        self.mean_rate = mean_rate
        self.sigma_rate = (3 + np.log(dim)) / (5 * np.sqrt(dim)) if sigma_rate is None else sigma_rate
        self._mean = self.space.start.astype(self.dtype)
        self._sigma = self.space.scale.astype(self.dtype)
        self._utilities = nes_utilities(self.population)
        self._noise: Array = np.empty((0, dim), self.dtype)

    @property
    def center(self) -> Array:
        """The mean, folded into the bounds [dim]."""
        return self.space.fold(self._mean.copy())

    @property
    def sigma(self) -> Array:
        """The standard deviations [dim]."""
        return self._sigma.copy()

    def _draw(self, rng: np.random.Generator) -> Array:
        self._noise = self._normal(rng, (self.population, self.dim), self._noise)
        return around(self._mean, self._sigma, self._noise)

    def _inject(self, x: Array, places: slice) -> None:
        self._noise[places] = clipped((x - self._mean) / self._sigma)

    def _learn(self, x: Array, fitness: Vector) -> None:
        weights = np.empty(self.population, self.dtype)
        weights[np.argsort(-fitness, kind="stable")] = self._utilities
        # Σ u (s² − 1) is Σ u s², since utilities sum to zero.
        shape = weighted_squares(weights, self._noise)
        self._mean += self.mean_rate * self._sigma * weighted_sum(weights, self._noise)
        self._sigma *= np.exp(0.5 * self.sigma_rate * shape).astype(self.dtype)

    def _method_state(self) -> Mapping[str, Any]:
        return {"mean": self._mean.copy(), "sigma": self._sigma.copy()}

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._mean = np.array(state["mean"], dtype=self.dtype)
        self._sigma = np.array(state["sigma"], dtype=self.dtype)

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), "mean_rate": self.mean_rate, "sigma_rate": self.sigma_rate}
