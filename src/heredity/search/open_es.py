"""OpenES: evolution strategy with antithetic pairs of fixed noise and Adam, by OpenAI.

Source: Salimans, Ho, Chen, Sidor & Sutskever, Evolution Strategies as a Scalable Alternative to Reinforcement Learning,
arXiv 1703.03864; the shaping by pairs is that of arXiv 2402.05828 (antithetic task sampling).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from heredity.search.box import Vectors
from heredity.search.generations import Array, Vector, VectorSearcher
from heredity.search.gradient_steps import StepName, gradient_step
from heredity.search.mean_es import deviations
from heredity.search.noise import mirrored, weighted_sum
from heredity.search.pgpe import length
from heredity.search.shaping import centered_ranks, pair_signs, z_scores

Shaping: TypeAlias = Literal["centered_rank", "pair", "z_score"]


class OpenES(VectorSearcher):
    """Ask and tell over vectors [dim]; candidates 2i and 2i + 1 are the pair mean ± sigma · noise.

    Args:
        space: where, and from where (`Box.start`).
        pairs: half the population.
        sigma: standard deviation of the noise, a number or [dim], in the unit of the coordinates; default a tenth of
            `Box.scale`.
        lr: step size, in the unit of the coordinates for "adam"; default a twentieth of the mean of `Box.scale`.
        shaping: "centered_rank" over the whole population (equals get equal weights), "z_score", or "pair": 1 for the
            better of each pair and 0 for the worse, which compares only the two of a pair: they may then be
            evaluated on a task of their own.
        sigma_decay, lr_decay: factors per generation, down to `sigma_limit` and `lr_limit` of the first value.
        weight_decay: the gradient is lessened by this times the mean.
        step: "adam", "clipup" or "sgd"; step_options: of its class in `heredity.search.gradient_steps`.
        seed, dtype, metric: as in `VectorSearcher`.
    """

    def __init__(
        self,
        space: Vectors,
        pairs: int = 32,
        sigma: float | Sequence[float] | NDArray[Any] | None = None,
        lr: float | None = None,
        *,
        shaping: Shaping = "centered_rank",
        sigma_decay: float = 1.0,
        sigma_limit: float = 0.01,
        lr_decay: float = 1.0,
        lr_limit: float = 0.001,
        weight_decay: float = 0.0,
        step: StepName = "adam",
        step_options: Mapping[str, Any] | None = None,
        seed: int = 0,
        dtype: DTypeLike = np.float64,
        metric: str | None = None,
    ) -> None:
        super().__init__(space, 2 * pairs, seed=seed, dtype=dtype, metric=metric)
        self.pairs, self.shaping = pairs, shaping
        check_shaping(shaping)
        self._first_sigma = deviations(sigma, 0.1 * self.space.scale).astype(self.dtype)
        self.lr = float(0.05 * np.mean(self.space.scale)) if lr is None else lr
        self.sigma_decay, self.sigma_limit, self.lr_decay, self.lr_limit = sigma_decay, sigma_limit, lr_decay, lr_limit
        self.weight_decay, self.step, self.step_options = weight_decay, step, dict(step_options or {})
        self._mean = self.space.start.astype(self.dtype)
        self._stepper = gradient_step(step, np.zeros_like(self._mean), self.step_options)
        self._learned = 0
        self._noise: Array = np.empty((0, self.dim), self.dtype)

    @property
    def center(self) -> Array:
        """The mean, folded into the bounds [dim]."""
        return self.space.fold(self._mean.copy())

    @property
    def sigma(self) -> Array:
        """The standard deviations of the present generation [dim]."""
        return np.asarray(self._first_sigma * max(self.sigma_limit, self.sigma_decay**self._learned), dtype=self.dtype)

    def _draw(self, rng: np.random.Generator) -> Array:
        self._noise = self._normal(rng, (self.pairs, self.dim), self._noise)
        return mirrored(self._mean, self.sigma, self._noise)

    def _learn(self, x: Array, fitness: Vector) -> None:
        gradient = weighted_sum(pair_weights(fitness, self.shaping).astype(self.dtype), self._noise) / self.sigma
        if self.weight_decay:
            gradient -= self.weight_decay * self._mean
        lr = self.lr * max(self.lr_limit, self.lr_decay**self._learned)
        self._learned += 1
        self._mean += self._stepper.step(gradient, lr, length)

    def _method_state(self) -> Mapping[str, Any]:
        return {"mean": self._mean.copy(), "moments": self._stepper.state(np.copy), "learned": self._learned}

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._mean = np.array(state["mean"], dtype=self.dtype)
        self._stepper.load(state["moments"], lambda moment: np.array(moment, dtype=self.dtype))
        self._learned = int(state["learned"])

    def _config(self) -> dict[str, Any]:
        names = ("shaping", "lr", "sigma_decay", "sigma_limit", "lr_decay", "lr_limit", "weight_decay", "step")
        own = {name: getattr(self, name) for name in (*names, "step_options")}
        return {**super()._config(), **own, "sigma": self._first_sigma}


def check_shaping(shaping: str) -> None:
    """ValueError unless `shaping` is one of the three."""
    if shaping not in get_args(Shaping):
        raise ValueError(f"shaping must be one of {', '.join(get_args(Shaping))}, got {shaping!r}")


def pair_weights(fitness: Vector, shaping: Shaping) -> Vector:
    """(w⁺ − w⁻) / 2n for each of n pairs, from fitness [2n]: the gradient is their sum with the noise, over sigma."""
    if shaping == "pair":
        weights = pair_signs(fitness)
    else:
        weights = z_scores(fitness) if shaping == "z_score" else centered_ranks(fitness, ties="average")
    pairs = weights.reshape(-1, 2)
    return np.asarray((pairs[:, 0] - pairs[:, 1]) / (2 * len(pairs)), dtype=np.float64)
