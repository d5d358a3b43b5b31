"""CEM: the cross-entropy method, a mean and standard deviations fitted to the best of each generation.

Source: Rubinstein, The Cross-Entropy Method for Combinatorial and Continuous Optimization (1999), with its smoothing;
decreasing extra noise: Szita & Lőrincz, Learning Tetris Using the Noisy Cross-Entropy Method (2006).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from heredity.search.box import Vectors
from heredity.search.generations import Array, Vector, VectorSearcher
from heredity.search.noise import around


class CEM(VectorSearcher):
    """Ask and tell over vectors [dim].

    Args:
        space: where, and from where with which first standard deviations (`Box.start`, `Box.scale`).
        population: candidates per generation.
        elites: how many of the best the distribution is fitted to; at least 2. Failures are never among them.
        smoothing: share of the fit in the new mean and standard deviations; the rest is the old ones.
        noise: standard deviation added to the fitted one, as a share of `Box.scale`: against shrinking too early.
        noise_decay: the extra noise is lessened by this share of its first value each generation, down to none.
        seed, dtype, metric: as in `VectorSearcher`.

    Where few elites meet many dimensions the fit shrinks before it arrives; more elites, or noise, help.
    """

    def __init__(
        self,
        space: Vectors,
        population: int = 64,
        elites: int = 8,
        *,
        smoothing: float = 1.0,
        noise: float = 0.0,
        noise_decay: float = 0.01,
        seed: int = 0,
        dtype: DTypeLike = np.float64,
        metric: str | None = None,
    ) -> None:
        super().__init__(space, population, seed=seed, dtype=dtype, metric=metric)
        if not 2 <= elites <= population:
            raise ValueError(f"elites must lie between 2 and the population {population}, got {elites}")
        if not 0 < smoothing <= 1:
            raise ValueError(f"smoothing must lie in (0, 1], got {smoothing}")
        self.elites, self.smoothing, self.noise, self.noise_decay = elites, smoothing, noise, noise_decay
        self._mean = self.space.start.astype(self.dtype)
        self._sigma = self.space.scale.astype(self.dtype)
        self._drawn: Array = np.empty((0, self.dim), self.dtype)
        self._learned = 0

    @property
    def center(self) -> Array:
        """The mean [dim]."""
        return self._mean.copy()

    @property
    def sigma(self) -> Array:
        """The standard deviations [dim]."""
        return self._sigma.copy()

    def _draw(self, rng: np.random.Generator) -> Array:
        self._drawn = self._normal(rng, (self.population, self.dim), self._drawn)
        return around(self._mean, self._sigma, self._drawn)

    def _inject(self, x: Array, places: slice) -> None:
        pass  # it learns from where the best are, whoever found them

    def _learn(self, x: Array, fitness: Vector) -> None:
        # The elites as handed out: a mean of points in the box lies in the box.
        elite = x[elite_places(fitness, self.elites)]
        self._learned += 1
        self._mean += (self.smoothing * (elite.mean(axis=0) - self._mean)).astype(self.dtype)
        if len(elite) < 2:
            return  # one point has no spread
        extra = self.noise * max(0.0, 1 - self.noise_decay * self._learned) * self.space.scale
        fitted = np.sqrt(elite.var(axis=0) + np.square(extra))
        self._sigma += (self.smoothing * (fitted - self._sigma)).astype(self.dtype)

    def _method_state(self) -> Mapping[str, Any]:
        return {"mean": self._mean.copy(), "sigma": self._sigma.copy(), "learned": self._learned}

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._mean = np.array(state["mean"], dtype=self.dtype)
        self._sigma = np.array(state["sigma"], dtype=self.dtype)
        self._learned = int(state["learned"])

    def _config(self) -> dict[str, Any]:
        names = ("elites", "smoothing", "noise", "noise_decay")
        return {**super()._config(), **{name: getattr(self, name) for name in names}}


def elite_places(fitness: Vector, count: int) -> NDArray[np.int64]:
    """Places of the best `count` that did not fail, best first; the earlier of equals."""
    order = np.argsort(-fitness, kind="stable")[:count]
    return order[fitness[order] > -np.inf]
