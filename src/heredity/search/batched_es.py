"""Evolution strategies, many runs at once: the methods of `snes`, `pgpe`, `open_es` and `cem` over `BatchedSearcher`.

Given the same noise, each learns what the single searcher of its name does, up to the rounding of sums.
Source: see the single searchers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heredity.search.batched import BatchedSearcher, halved_sum
from heredity.search.box import Vectors, as_box
from heredity.search.gradient_steps import StepName, gradient_step
from heredity.search.mean_es import deviations
from heredity.search.open_es import Shaping, check_shaping
from heredity.search.pgpe import first_step_size
from heredity.search.shaping import nes_utilities


class BatchedSNES(BatchedSearcher):
    """`SNES` of many seeds; arguments as there and in `BatchedSearcher`."""

    def __init__(
        self,
        space: Vectors,
        seeds: Sequence[int],
        population: int | None = None,
        *,
        mean_rate: float = 1.0,
        sigma_rate: float | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        dim = as_box(space).dim
        population = 4 + int(3 * np.log(dim)) if population is None else population
        super().__init__(space, seeds, population, dtype=dtype, device=device)
        self.draws = population
        self.mean_rate = mean_rate
        self.sigma_rate = float((3 + np.log(dim)) / (5 * np.sqrt(dim))) if sigma_rate is None else sigma_rate
        self._utilities = self._tensor(nes_utilities(population)).expand(self.runs, -1)
        self._state = {"mean": self._rows(self.space.start), "sigma": self._rows(self.space.scale)}

    @property
    def center(self) -> Tensor:
        """The means, folded into the bounds [runs, dim]."""
        return self.fold(self._state["mean"].clone())

    def _draw(self, noise: Tensor) -> Tensor:
        return spread(self._state["mean"], self._state["sigma"], noise)

    def _learn(self, x: Tensor, noise: Tensor, fitness: Tensor, order: Tensor) -> None:
        mean, sigma = self._state["mean"], self._state["sigma"]
        weights = torch.empty_like(self._utilities).scatter_(1, order, self._utilities)
        weighted = weights[..., None] * noise
        squares = weighted * noise
        mean += self.mean_rate * sigma * halved_sum(weighted)
        sigma *= torch.exp(0.5 * self.sigma_rate * halved_sum(squares))

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), "mean_rate": self.mean_rate, "sigma_rate": self.sigma_rate}


class _Stepping(BatchedSearcher):
    """What strategies with mirrored pairs and a gradient step share."""

    def _follow(self, step: StepName, options: Mapping[str, Any] | None) -> None:
        self.step, self.step_options = step, dict(options or {})
        self._state["mean"] = self._rows(self.space.start)
        self._state["decay"] = torch.ones((self.runs, 1), dtype=self.dtype, device=self.device)  # lr_decay ^ learned
        self._stepper = gradient_step(step, torch.zeros_like(self._state["mean"]), options)
        self._state |= {f"moment{k}": moment for k, moment in enumerate(self._stepper.moments)}

    @property
    def center(self) -> Tensor:
        """The means, folded into the bounds [runs, dim]."""
        return self.fold(self._state["mean"].clone())

    def _mirrored(self, sigma: Tensor, noise: Tensor) -> Tensor:
        step, mean = noise * sigma[:, None], self._state["mean"][:, None]
        return torch.stack([mean + step, mean - step], dim=2).view(self.runs, self.population, self.dim)


class BatchedPGPE(_Stepping):
    """`PGPE` of many seeds; arguments as there and in `BatchedSearcher`."""

    def __init__(
        self,
        space: Vectors,
        seeds: Sequence[int],
        population: int = 50,
        *,
        step: StepName = "clipup",
        lr: float | None = None,
        lr_decay: float = 1.0,
        sigma_rate: float = 0.1,
        sigma_change: float = 0.2,
        step_options: Mapping[str, Any] | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(space, seeds, population, dtype=dtype, device=device)
        if population % 2:
            raise ValueError(f"symmetric sampling needs an even population, got {population}")
        self.draws = population // 2
        self.lr = first_step_size(step, self.space.scale) if lr is None else lr
        self.lr_decay, self.sigma_rate, self.sigma_change = lr_decay, sigma_rate, sigma_change
        self._follow(step, step_options)
        self._state["sigma"] = self._rows(self.space.scale)

    def _draw(self, noise: Tensor) -> Tensor:
        return self._mirrored(self._state["sigma"], noise)

    def _learn(self, x: Tensor, noise: Tensor, fitness: Tensor, order: Tensor) -> None:
        sigma, decay = self._state["sigma"], self._state["decay"]
        first, second = rank_weights(fitness, order).to(self.dtype).view(self.runs, -1, 2).unbind(2)
        uphill = halved_sum(((first - second) / self.population)[..., None] * noise)
        squares = ((first + second) / self.population)[..., None] * noise
        squares *= noise
        self._state["mean"] += self._stepper.step(sigma * uphill, self.lr * decay, length)
        sigma *= 1 + (self.sigma_rate * halved_sum(squares)).clamp(-self.sigma_change, self.sigma_change)
        decay *= self.lr_decay

    def _config(self) -> dict[str, Any]:
        names = ("step", "step_options", "lr", "lr_decay", "sigma_rate", "sigma_change")
        return {**super()._config(), **{name: getattr(self, name) for name in names}}


class BatchedOpenES(_Stepping):
    """`OpenES` of many seeds; arguments as there and in `BatchedSearcher`, without "z_score"."""

    def __init__(
        self,
        space: Vectors,
        seeds: Sequence[int],
        pairs: int = 32,
        sigma: float | Sequence[float] | None = None,
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
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(space, seeds, 2 * pairs, dtype=dtype, device=device)
        check_shaping(shaping)
        if shaping == "z_score":
            raise ValueError('batched runs shape by "centered_rank" or "pair"')
        self.draws = pairs
        self._first_sigma = deviations(sigma, 0.1 * self.space.scale)
        self.shaping, self.weight_decay = shaping, weight_decay
        self.lr = float(0.05 * np.mean(self.space.scale)) if lr is None else lr
        self.sigma_decay, self.sigma_limit, self.lr_decay, self.lr_limit = sigma_decay, sigma_limit, lr_decay, lr_limit
        self._follow(step, step_options)
        self._state["sigma_decay"] = torch.ones((self.runs, 1), dtype=self.dtype, device=self.device)

    @property
    def sigma(self) -> Tensor:
        """The standard deviations of the present generation [runs, dim]."""
        return self._tensor(self._first_sigma) * self._state["sigma_decay"].clamp(min=self.sigma_limit)

    def _draw(self, noise: Tensor) -> Tensor:
        return self._mirrored(self.sigma, noise)

    def _learn(self, x: Tensor, noise: Tensor, fitness: Tensor, order: Tensor) -> None:
        if self.shaping == "pair":
            first, second = fitness.view(self.runs, -1, 2).unbind(2)
            differ = (first > second).to(self.dtype) - (first < second).to(self.dtype)
        else:
            first, second = rank_weights(fitness, order).to(self.dtype).view(self.runs, -1, 2).unbind(2)
            differ = first - second
        gradient = halved_sum((differ / self.population)[..., None] * noise) / self.sigma
        gradient -= self.weight_decay * self._state["mean"]
        lr = self.lr * self._state["decay"].clamp(min=self.lr_limit)
        self._state["mean"] += self._stepper.step(gradient, lr, length)
        self._state["decay"] *= self.lr_decay
        self._state["sigma_decay"] *= self.sigma_decay

    def _config(self) -> dict[str, Any]:
        names = ("shaping", "lr", "sigma_decay", "sigma_limit", "lr_decay", "lr_limit", "weight_decay", "step")
        own = {name: getattr(self, name) for name in (*names, "step_options")}
        return {**super()._config(), **own, "sigma": self._first_sigma.tolist()}


class BatchedCEM(BatchedSearcher):
    """`CEM` of many seeds; arguments as there and in `BatchedSearcher`."""

    def __init__(
        self,
        space: Vectors,
        seeds: Sequence[int],
        population: int = 64,
        elites: int = 8,
        *,
        smoothing: float = 1.0,
        noise: float = 0.0,
        noise_decay: float = 0.01,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(space, seeds, population, dtype=dtype, device=device)
        if not 2 <= elites <= population:
            raise ValueError(f"elites must lie between 2 and the population {population}, got {elites}")
        if not 0 < smoothing <= 1:
            raise ValueError(f"smoothing must lie in (0, 1], got {smoothing}")
        self.draws = population
        self.elites, self.smoothing, self.noise, self.noise_decay = elites, smoothing, noise, noise_decay
        self._state = {"mean": self._rows(self.space.start), "sigma": self._rows(self.space.scale)}

    @property
    def center(self) -> Tensor:
        """The means [runs, dim]."""
        return self._state["mean"].clone()

    def _draw(self, noise: Tensor) -> Tensor:
        return spread(self._state["mean"], self._state["sigma"], noise)

    def _learn(self, x: Tensor, noise: Tensor, fitness: Tensor, order: Tensor) -> None:
        mean, sigma = self._state["mean"], self._state["sigma"]
        places = order[:, : self.elites]
        elite = x.gather(1, places[..., None].expand(-1, -1, self.dim))
        good = (fitness.gather(1, places) > -torch.inf).to(self.dtype)[..., None]
        count = good.sum(1).clamp(min=1)  # of whole numbers: exact in any order
        fitted = halved_sum(elite * good) / count
        variance = halved_sum((elite - fitted[:, None]).square_() * good) / count
        extra = (1 - self.noise_decay * (self.learned + 1)).clamp(min=0)[:, None] * self.noise
        deviation = (variance + (extra * self._tensor(self.space.scale)).square()).sqrt()
        mean += self.smoothing * (fitted - mean)
        sigma += torch.where(count > 1, self.smoothing * (deviation - sigma), 0.0)

    def _config(self) -> dict[str, Any]:
        names = ("elites", "smoothing", "noise", "noise_decay")
        return {**super()._config(), **{name: getattr(self, name) for name in names}}


def spread(mean: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """mean + sigma · noise: [runs, dim], [runs, dim], [runs, n, dim] → [runs, n, dim], a new tensor."""
    x = noise * sigma[:, None]
    x += mean[:, None]
    return x


def rank_weights(fitness: Tensor, order: Tensor) -> Tensor:
    """Centered ranks [runs, n] float64 with equal weights for equals, as `centered_ranks(ties="average")`."""
    n = fitness.shape[1]
    counted = torch.arange(n, dtype=torch.float64, device=fitness.device).expand_as(order)
    later = n - 1 - torch.argsort(fitness.flip(1), dim=1, descending=True, stable=True)
    total = torch.empty_like(fitness).scatter_(1, order, counted)
    total += torch.empty_like(fitness).scatter_(1, later, counted)
    return 0.5 - total / (2 * max(1, n - 1))


def length(rows: Tensor) -> Tensor:
    """Euclidean, along the last axis, which is kept: [runs, dim] → [runs, 1]."""
    return halved_sum((rows * rows)[..., None]).sqrt()
