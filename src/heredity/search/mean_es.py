"""MeanES: the mean moves to the mean of the best, the noise stays. The plainest evolution strategy, (μ/μ, λ).

Source: Rechenberg, Evolutionsstrategie '94 (1994); as a baseline of EvoLLM, arXiv 2402.18381.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from heredity.search.box import Vectors, as_box
from heredity.search.cem import elite_places
from heredity.search.generations import Array, Vector, VectorSearcher
from heredity.search.noise import around


class MeanES(VectorSearcher):
    """Ask and tell over vectors [dim]; it ends about sigma √dim / √elites from an optimum and stays there.

    Args:
        space: where, and from where (`Box.start`).
        population: default 4 + ⌊3 ln dim⌋.
        elites: how many of the best the mean is taken of; default half. Failures are never among them.
        sigma: standard deviation, a number or [dim], in the unit of the coordinates; default a tenth of `Box.scale`.
        seed, dtype, metric: as in `VectorSearcher`.
    """

    def __init__(
        self,
        space: Vectors,
        population: int | None = None,
        elites: int | None = None,
        sigma: float | Sequence[float] | NDArray[Any] | None = None,
        *,
        seed: int = 0,
        dtype: DTypeLike = np.float64,
        metric: str | None = None,
    ) -> None:
        population = 4 + int(3 * np.log(as_box(space).dim)) if population is None else population
        super().__init__(space, population, seed=seed, dtype=dtype, metric=metric)
        self.elites = population // 2 if elites is None else elites
        if not 1 <= self.elites <= population:
            raise ValueError(f"elites must lie between 1 and the population {population}, got {elites}")
        self._sigma = deviations(sigma, 0.1 * self.space.scale).astype(self.dtype)
        self._mean = self.space.start.astype(self.dtype)
        self._noise: Array = np.empty((0, self.dim), self.dtype)

    @property
    def center(self) -> Array:
        """The mean [dim]."""
        return self._mean.copy()

    def _draw(self, rng: np.random.Generator) -> Array:
        self._noise = self._normal(rng, (self.population, self.dim), self._noise)
        return around(self._mean, self._sigma, self._noise)

    def _inject(self, x: Array, places: slice) -> None:
        pass  # it learns from where the best are, whoever found them

    def _learn(self, x: Array, fitness: Vector) -> None:
        self._mean = x[elite_places(fitness, self.elites)].mean(axis=0, dtype=self.dtype)

    def _method_state(self) -> Mapping[str, Any]:
        return {"mean": self._mean.copy()}

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._mean = np.array(state["mean"], dtype=self.dtype)

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), "elites": self.elites, "sigma": self._sigma}


def deviations(sigma: float | Sequence[float] | NDArray[Any] | None, default: Vector) -> Vector:
    """Standard deviations [dim] from what a user said; `default` [dim] where that was nothing.

    Raises:
        ValueError: another shape, or not positive.
    """
    found = np.asarray(default if sigma is None else sigma, dtype=np.float64)
    if found.shape not in ((), default.shape):
        raise ValueError(f"sigma should be a number or have shape {default.shape}, it has {found.shape}")
    if not (np.isfinite(found).all() and (found > 0).all()):
        raise ValueError("sigma must hold positive numbers")
    return np.broadcast_to(found, default.shape).copy()
