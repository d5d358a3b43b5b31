"""EGGROLL: evolution strategy whose noise on matrices has low rank, so that a forward pass need not build the weights.

A candidate is never stored: a pair has a seed, and from the seed come, for every matrix [m, n], factors A [m, r] and
B [n, r]; the pair is W ± sigma · A Bᵀ / √r. The sum over the population has full rank.
Source: Sarkar et al., Evolution Strategies at the Hyperscale, arXiv 2511.16652.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor

from heredity.search.box import Vectors
from heredity.search.generations import Array, Vector, VectorSearcher
from heredity.search.gradient_steps import StepName, gradient_step
from heredity.search.open_es import Shaping, check_shaping, pair_weights
from heredity.search.pgpe import length
from heredity.search.vector import FlatParams

Factors: TypeAlias = tuple[Tensor, Tensor]
CHUNK = 1 << 22  # entries of noise held at a time


@dataclass(frozen=True, slots=True)
class _Part:
    """Where a parameter lies in a vector, and where its noise in what is drawn for a pair."""

    shape: tuple[int, ...]
    place: slice
    noise: slice
    rows: int  # 0: not a matrix, the noise is full
    columns: int


class LowRankES(VectorSearcher):
    """Ask and tell over vectors [dim]; candidates 2i and 2i + 1 are a pair, their noise mirrored.

    `ask` and `ask_array` build vectors, as with every searcher. `factors` gives the noise of the present generation
    unbuilt; then `tell_array` takes the fitness, and no more than one vector is ever built.

    Args:
        space: `FlatParams`: parameters of two dimensions or more get noise of low rank (as matrices of the first
            dimension by the rest), others full noise. A `Box` is one parameter of one dimension.
        pairs: half the population.
        rank: r.
        sigma: standard deviation of every entry of the noise; default a tenth of the mean of `Box.scale` (that of
            `FlatParams` is 1).
        lr: step size; default a twentieth of the mean of `Box.scale`.
        shaping: as in `OpenES`; the paper's is "z_score".
        lr_decay: factor of the step size per generation.
        weight_decay: the gradient is lessened by this times the center.
        step: "adam", "sgd" (the paper's; the gradient is the sum over sigma, divided by the population), or "clipup".
        step_options: of its class in `heredity.search.gradient_steps`.
        seed, dtype, metric: as in `VectorSearcher`.
    """

    def __init__(
        self,
        space: Vectors,
        pairs: int = 32,
        rank: int = 1,
        sigma: float | None = None,
        lr: float | None = None,
        *,
        shaping: Shaping = "centered_rank",
        lr_decay: float = 1.0,
        weight_decay: float = 0.0,
        step: StepName = "adam",
        step_options: Mapping[str, Any] | None = None,
        seed: int = 0,
        dtype: DTypeLike = np.float32,
        metric: str | None = None,
    ) -> None:
        super().__init__(space, 2 * pairs, seed=seed, dtype=dtype, metric=metric)
        scale = float(np.mean(self.space.scale))
        self.sigma, self.lr = 0.1 * scale if sigma is None else sigma, 0.05 * scale if lr is None else lr
        if not (np.isfinite(self.sigma) and self.sigma > 0):
            raise ValueError(f"sigma must be positive, got {sigma}")
        if rank < 1:
            raise ValueError(f"the rank must be at least 1, got {rank}")
        check_shaping(shaping)
        self.pairs, self.rank, self.shaping = pairs, rank, shaping
        self.lr_decay, self.weight_decay = lr_decay, weight_decay
        self.step, self.step_options = step, dict(step_options or {})
        self._parts = _layout(space.shapes if isinstance(space, FlatParams) else {"x": (self.dim,)}, rank)
        self._width = max(part.noise.stop for part in self._parts.values())
        self._mean = self.space.start.astype(self.dtype)
        self._stepper = gradient_step(step, np.zeros_like(self._mean), self.step_options)
        self._learned = 0
        self._seeds: list[int] = []

    @property
    def center(self) -> Array:
        """The mean, folded into the bounds [dim]; the weights to which `factors` are added."""
        return self.space.fold(self._mean.copy())

    def factors(self, places: Sequence[int] | None = None) -> dict[str, Factors | Tensor]:
        """The noise of candidates of the present generation, by the parameter's name.

        Args:
            places: 0 … population − 1; default all.

        Returns:
            For a matrix (A [k, m, r], B [k, n, r]): candidate k's matrix is the center's plus A Bᵀ; for others the
            noise [k, *shape] itself.

        Raises:
            ValueError: the space has bounds, at which built vectors are folded and factors cannot be.
        """
        if np.isfinite(self.space.low).any() or np.isfinite(self.space.high).any():
            raise ValueError("factors need a space without bounds")
        self._begin()
        places = range(self.population) if places is None else places
        noise = self._noise([place // 2 for place in places])
        signs = torch.tensor([1.0 - 2.0 * (place % 2) for place in places], dtype=noise.dtype)
        found: dict[str, Factors | Tensor] = {}
        for name, part in self._parts.items():
            if part.rows:
                a, b = self._split(noise, part)
                found[name] = (a * (signs * (self.sigma / self.rank**0.5))[:, None, None], b.clone())
            else:
                dense = noise[:, part.noise] * (signs * self.sigma)[:, None]
                found[name] = dense.reshape(len(places), *part.shape)
        return found

    def _draw(self, rng: np.random.Generator) -> Array | None:
        self._seeds = rng.integers(1 << 32, size=self.pairs).tolist()  # torch's generators have no more bits
        return None

    def _vectors(self, places: Sequence[int]) -> Array:
        built = np.empty((len(places), self.dim), self.dtype)
        rows = torch.from_numpy(built)
        for k, place in enumerate(places):
            noise = self._noise([place // 2])
            for part in self._parts.values():
                if part.rows:
                    a, b = self._split(noise, part)
                    torch.mm(a[0], b[0].T, out=rows[k, part.place].view(part.rows, part.columns))
                    rows[k, part.place] *= self.rank**-0.5
                else:
                    rows[k, part.place] = noise[0, part.noise]
            rows[k] *= self.sigma * (1 - 2 * (place % 2))
        built += self._mean
        return built

    def _learn(self, x: Array, fitness: Vector) -> None:
        weights = torch.from_numpy(pair_weights(fitness, self.shaping).astype(self.dtype))
        gradient = torch.zeros(self.dim, dtype=weights.dtype)
        step = max(1, CHUNK // self._width)
        for first in range(0, self.pairs, step):
            pairs = range(first, min(first + step, self.pairs))
            noise, share = self._noise(pairs), weights[first : first + len(pairs)]
            for part in self._parts.values():
                if part.rows:
                    a, b = self._split(noise, part)
                    left = (a * share[:, None, None]).permute(1, 0, 2).reshape(part.rows, -1)
                    right = b.permute(1, 0, 2).reshape(part.columns, -1)
                    gradient[part.place].view(part.rows, part.columns).addmm_(left, right.T, alpha=self.rank**-0.5)
                else:
                    gradient[part.place] += share @ noise[:, part.noise]
        uphill = gradient.numpy()
        uphill /= self.sigma
        uphill -= self.weight_decay * self._mean
        self._mean += self._stepper.step(uphill, self.lr * self.lr_decay**self._learned, length)
        self._learned += 1

    def _noise(self, pairs: Sequence[int]) -> Tensor:
        """Standard normal [k, width] of pairs of the present generation, drawn anew from their seeds."""
        drawn = torch.empty(len(pairs), self._width, dtype=torch.float32 if self.dtype == np.float32 else torch.float64)
        generator = torch.Generator()
        for row, pair in zip(drawn, pairs, strict=True):
            row.normal_(generator=generator.manual_seed(self._seeds[pair]))
        return drawn

    def _split(self, noise: Tensor, part: _Part) -> Factors:
        own = noise[:, part.noise].view(len(noise), part.rows + part.columns, self.rank)
        return own[:, : part.rows], own[:, part.rows :]

    def _method_state(self) -> Mapping[str, Any]:
        return {"mean": self._mean.copy(), "moments": self._stepper.state(np.copy), "learned": self._learned}

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._mean = np.array(state["mean"], dtype=self.dtype)
        self._stepper.load(state["moments"], lambda moment: np.array(moment, dtype=self.dtype))
        self._learned = int(state["learned"])

    def _config(self) -> dict[str, Any]:
        names = ("rank", "sigma", "lr", "shaping", "lr_decay", "weight_decay", "step", "step_options")
        own = {name: getattr(self, name) for name in names}
        return {**super()._config(), **own, "shapes": str([part.shape for part in self._parts.values()])}


def perturbed_linear(x: Tensor, weight: Tensor, factors: Factors, bias: Tensor | None = None) -> Tensor:
    """A linear layer of k candidates at once: x (W + A Bᵀ)ᵀ + bias, without the k matrices.

    Args:
        x: [k, batch, n]; weight: the center's [m, n]; factors: A [k, m, r] and B [k, n, r]; bias: [k, m] or [m].

    Returns:
        [k, batch, m].
    """
    a, b = factors
    found = x @ weight.T + (x @ b) @ a.transpose(-1, -2)
    return found if bias is None else found + bias.unsqueeze(-2)


def _layout(shapes: Mapping[str, tuple[int, ...]], rank: int) -> dict[str, _Part]:
    parts: dict[str, _Part] = {}
    place = drawn = 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        rows, columns = (shape[0], size // shape[0]) if len(shape) > 1 else (0, 0)
        width = (rows + columns) * rank if rows else size
        parts[name] = _Part(shape, slice(place, place + size), slice(drawn, drawn + width), rows, columns)
        place, drawn = place + size, drawn + width
    return parts
