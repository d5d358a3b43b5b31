"""Gaussian hill climbing, (1 + λ): normal steps from the best point so far, on demand with a rule for their size.

Source: Rechenberg, Evolutionsstrategie (1973); the rule in its form for λ children: Igel, Hansen & Roth, Covariance
Matrix Adaptation for Multi-objective Optimization, Evolutionary Computation 15 (2007), algorithm 2 with table 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from heredity.search.box import Vectors
from heredity.search.generations import Array, Vector, VectorSearcher
from heredity.search.mean_es import deviations
from heredity.search.noise import around


class HillClimb(VectorSearcher):
    """Ask and tell over vectors [dim].

    The first candidate of the first generation is the start itself. A parent keeps the fitness it was told: with noisy
    fitness a lucky one stays for long.

    Args:
        space: where, and from where (`Box.start`).
        population: children λ per generation.
        sigma: standard deviation, a number or [dim], in the unit of the coordinates; default a tenth of `Box.scale`.
        success_rule: adapt the step size to the share of children that beat their parent (the 1/5 rule).
        seed, dtype, metric: as in `VectorSearcher`.
    """

    def __init__(
        self,
        space: Vectors,
        population: int = 10,
        sigma: float | Sequence[float] | NDArray[Any] | None = None,
        *,
        success_rule: bool = False,
        seed: int = 0,
        dtype: DTypeLike = np.float64,
        metric: str | None = None,
    ) -> None:
        super().__init__(space, population, seed=seed, dtype=dtype, metric=metric)
        self._first_sigma = deviations(sigma, 0.1 * self.space.scale).astype(self.dtype)
        self.success_rule = success_rule
        self._parent = self.space.start.astype(self.dtype)
        self._worth: float | None = None  # of the parent; None before it was told
        self.target = 1 / (5 + np.sqrt(population) / 2)
        self._success = self.target  # smoothed share of children that succeed
        self._size = 1.0
        self._noise: Array = np.empty((0, self.dim), self.dtype)

    @property
    def center(self) -> Array:
        """The parent [dim]."""
        return self._parent.copy()

    @property
    def sigma(self) -> Array:
        """The standard deviations of the present generation [dim]."""
        return np.asarray(self._first_sigma * self._size, dtype=self.dtype)

    def _draw(self, rng: np.random.Generator) -> Array:
        self._noise = self._normal(rng, (self.population, self.dim), self._noise)
        if self._worth is None and self.generation == 0:
            self._noise[0] = 0
        return around(self._parent, self.sigma, self._noise)

    def _learn(self, x: Array, fitness: Vector) -> None:
        before = self._worth
        if before is None and self.generation == 0:
            before = float(fitness[0])
        top = int(np.argmax(fitness))
        if self._worth is None or fitness[top] > self._worth:
            self._parent, self._worth = x[top].copy(), float(fitness[top])
        if self.success_rule and before is not None:
            successes = float(np.mean(fitness > before))
            rate = self.target * self.population / (2 + self.target * self.population)
            self._success += rate * (successes - self._success)
            damping = 1 + self.dim / (2 * self.population)
            self._size *= float(np.exp((self._success - self.target) / (damping * (1 - self.target))))

    def _method_state(self) -> Mapping[str, Any]:
        numbers = {"worth": self._worth, "success": self._success, "size": self._size}
        return {"parent": self._parent.copy(), **numbers}

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._parent = np.array(state["parent"], dtype=self.dtype)
        self._worth = None if state["worth"] is None else float(state["worth"])
        self._success, self._size = float(state["success"]), float(state["size"])

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), "sigma": self._first_sigma, "success_rule": self.success_rule}
