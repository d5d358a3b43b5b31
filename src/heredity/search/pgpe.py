"""PGPE: policy gradients with parameter-based exploration, symmetric samples, a mean and standard deviations.

Source: Sehnke et al., Parameter-exploring Policy Gradients (Neural Networks 23, 2010), symmetric sampling of section
3.2, without its normalisation by the best reward, which ranks replace; steps, ranks and the limit on sigma's change as
in Toklu, Liskowski & Srivastava, ClipUp, arXiv 2008.02387.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from heredity.search.box import Vectors
from heredity.search.generations import Array, Vector, VectorSearcher
from heredity.search.gradient_steps import StepName, gradient_step
from heredity.search.noise import mirrored, weighted_squares, weighted_sum
from heredity.search.shaping import centered_ranks


class PGPE(VectorSearcher):
    """Ask and tell over vectors [dim]; candidates 2i and 2i + 1 are mean ± sigma · noise.

    Args:
        space: where, and from where with which first standard deviations (`Box.start`, `Box.scale`).
        population: even.
        step: of the mean: "clipup", "adam" or "sgd".
        lr: step size of the mean, in the unit of the coordinates; default the length of `Box.scale` over 30 for
            "clipup" (its paper: the radius of the first samples is 15 largest steps, each of two step sizes), a tenth
            of the mean of `Box.scale` for others.
        lr_decay: factor of the step size per generation.
        sigma_rate: step size of the standard deviations.
        sigma_change: largest relative change of a standard deviation in a generation.
        step_options: of the classes of `heredity.search.gradient_steps`.
        seed, dtype, metric: as in `VectorSearcher`.

    Steps of "clipup" and "adam" have a length that only `lr_decay` shrinks: the mean ends within about one step size.
    """

    def __init__(
        self,
        space: Vectors,
        population: int = 50,
        *,
        step: StepName = "clipup",
        lr: float | None = None,
        lr_decay: float = 1.0,
        sigma_rate: float = 0.1,
        sigma_change: float = 0.2,
        step_options: Mapping[str, Any] | None = None,
        seed: int = 0,
        dtype: DTypeLike = np.float64,
        metric: str | None = None,
    ) -> None:
        super().__init__(space, population, seed=seed, dtype=dtype, metric=metric)
        if population % 2:
            raise ValueError(f"symmetric sampling needs an even population, got {population}")
        self.lr = first_step_size(step, self.space.scale) if lr is None else lr
        self.step, self.step_options, self.lr_decay = step, dict(step_options or {}), lr_decay
        self.sigma_rate, self.sigma_change = sigma_rate, sigma_change
        self._mean = self.space.start.astype(self.dtype)
        self._sigma = self.space.scale.astype(self.dtype)
        self._stepper = gradient_step(step, np.zeros_like(self._mean), self.step_options)
        self._learned = 0  # generations that taught something
        self._noise: Array = np.empty((0, self.dim), self.dtype)

    @property
    def center(self) -> Array:
        """The mean, folded into the bounds [dim]."""
        return self.space.fold(self._mean.copy())

    @property
    def sigma(self) -> Array:
        """The standard deviations [dim]."""
        return self._sigma.copy()

    def _draw(self, rng: np.random.Generator) -> Array:
        self._noise = self._normal(rng, (self.population // 2, self.dim), self._noise)
        return mirrored(self._mean, self._sigma, self._noise)

    def _learn(self, x: Array, fitness: Vector) -> None:
        pairs = centered_ranks(fitness, ties="average").reshape(-1, 2)
        count = len(pairs)
        # Gradients in units of sigma: ½ (r⁺ − r⁻) ε for the mean, (½ (r⁺ + r⁻) − baseline) (ε² − 1) for sigma. The
        # baseline is the mean rank, which is zero; so the sum over pairs of the −1 vanishes, too.
        uphill = weighted_sum(((pairs[:, 0] - pairs[:, 1]) / (2 * count)).astype(self.dtype), self._noise)
        spread = weighted_squares(((pairs[:, 0] + pairs[:, 1]) / (2 * count)).astype(self.dtype), self._noise)
        lr = self.lr * self.lr_decay**self._learned
        self._learned += 1
        self._mean += self._stepper.step(self._sigma * uphill, lr, length)
        spread *= self.sigma_rate
        self._sigma *= 1 + np.clip(spread, -self.sigma_change, self.sigma_change, out=spread)

    def _method_state(self) -> Mapping[str, Any]:
        moments = self._stepper.state(np.copy)
        return {"mean": self._mean.copy(), "sigma": self._sigma.copy(), "moments": moments, "learned": self._learned}

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._mean = np.array(state["mean"], dtype=self.dtype)
        self._sigma = np.array(state["sigma"], dtype=self.dtype)
        self._stepper.load(state["moments"], lambda moment: np.array(moment, dtype=self.dtype))
        self._learned = int(state["learned"])

    def _config(self) -> dict[str, Any]:
        names = ("step", "step_options", "lr", "lr_decay", "sigma_rate", "sigma_change")
        return {**super()._config(), **{name: getattr(self, name) for name in names}}


def first_step_size(step: StepName, scale: Vector) -> float:
    """PGPE's default step size of the mean for first standard deviations `scale` [dim]."""
    return float(np.linalg.norm(scale) / 30) if step == "clipup" else float(0.1 * np.mean(scale))


def length(rows: Array) -> Array:
    """Euclidean, along the last axis, which is kept."""
    return np.asarray(np.sqrt(np.square(rows).sum(axis=-1, keepdims=True)))
