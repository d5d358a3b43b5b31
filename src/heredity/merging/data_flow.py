"""Merging in data-flow space: which layers of which parents the data passes through, in what order, how loud.

All layers of all parents stand in a row, M of them, and the row is repeated r times, which gives T = M·r slots. A
recipe switches slots on and scales the input of each layer by a number that depends on the layer before it.
Source: arXiv 2403.13187, section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from heredity.errors import MergeError
from heredity.search.base import Space

Vector: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DataFlowRecipe:
    """A path through layers.

    Attributes:
        active: T flags, slot t is layer t mod M.
        scale: [M][M]; entry (i, j) multiplies the input of layer j when it follows layer i. The first active layer
            follows the embeddings, for which row 0 stands, as in the paper.
    """

    active: tuple[bool, ...]
    scale: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        layers = len(self.scale)
        if not layers or any(len(row) != layers for row in self.scale):
            raise MergeError(f"scale must be a square of numbers, it has rows of {[len(row) for row in self.scale]}")
        if not self.active or len(self.active) % layers:
            raise MergeError(f"{len(self.active)} slots are no whole number of repetitions of {layers} layers")
        if not any(self.active):
            raise MergeError("no slot is active: the data would pass through no layer at all")
        if not np.isfinite(np.array(self.scale)).all():
            raise MergeError("scale holds NaN or infinity")

    @property
    def path(self) -> tuple[int, ...]:
        """The layers that the data passes through, in order."""
        return tuple(slot % len(self.scale) for slot, on in enumerate(self.active) if on)


class DataFlowModel(nn.Module):
    """Layers of several models in one path; layers are shared with the parents, not copied.

    Args:
        stacks: the parents' layers, each mapping a hidden state to a hidden state of the same shape; M in all.
        prefix: what makes the first hidden state of the input, e.g. the first parent's embedding.
        suffix: what makes the output of the last hidden state, e.g. the first parent's norm and head.
        active: [T] boolean, T a multiple of M.
        scale: [M, M], see `DataFlowRecipe`.
        call: how a layer is applied; default layer(hidden).

    Raises:
        MergeError: no slot is active, or shapes do not fit.
    """

    active: Tensor
    scale: Tensor

    def __init__(
        self,
        stacks: Sequence[nn.ModuleList],
        prefix: nn.Module,
        suffix: nn.Module,
        active: Tensor,
        scale: Tensor,
        *,
        call: Callable[[nn.Module, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        layers = sum(len(stack) for stack in stacks)
        if scale.shape != (layers, layers):
            raise MergeError(f"scale must have shape ({layers}, {layers}), it has {tuple(scale.shape)}")
        # Made for its checks; the buffers below are what counts, so that a loaded state dict changes the path.
        DataFlowRecipe(tuple(active.reshape(-1).bool().tolist()), tuple(map(tuple, scale.double().tolist())))
        self.stacks, self.prefix, self.suffix = nn.ModuleList(stacks), prefix, suffix
        self.register_buffer("active", active.detach().clone().reshape(-1).bool())
        self.register_buffer("scale", scale.detach().clone().float())
        self._call = call

    @classmethod
    def of(
        cls,
        recipe: DataFlowRecipe,
        stacks: Sequence[nn.ModuleList],
        prefix: nn.Module,
        suffix: nn.Module,
        *,
        call: Callable[[nn.Module, Tensor], Tensor] | None = None,
    ) -> DataFlowModel:
        """The model of a recipe."""
        return cls(stacks, prefix, suffix, torch.tensor(recipe.active), torch.tensor(recipe.scale), call=call)

    def forward(self, x: Tensor) -> Tensor:
        """Prefix, the active layers in order, suffix."""
        layers = list(chain.from_iterable(cast("list[nn.ModuleList]", list(self.stacks))))
        hidden = self.prefix(x)
        before = 0
        for slot in torch.nonzero(self.active).flatten().tolist():
            j = slot % len(layers)
            hidden = hidden * self.scale[before, j].to(hidden.dtype)
            hidden = layers[j](hidden) if self._call is None else self._call(layers[j], hidden)
            before = j
        output: Tensor = self.suffix(hidden)
        return output


@dataclass(frozen=True)
class DataFlowSpace(Space[Vector]):
    """Vectors [T + M²] that are paths: first the slots (active where positive), then the scales.

    Attributes:
        layers: layers of each parent, in order; M is their sum.
        repeats: r.
        max_length: longest path that costs nothing; default T.
        margin: |slot value| at the start; small against the searcher's spread, so that slots can switch.
    """

    layers: tuple[int, ...]
    repeats: int = 3
    max_length: int | None = None
    margin: float = 0.1

    def __post_init__(self) -> None:
        if not self.layers or min(self.layers) < 1 or self.repeats < 1:
            raise MergeError(f"need parents of at least one layer and repeats ≥ 1, got {self.layers}, {self.repeats}")
        if self.max_length is not None and self.max_length < 1:
            raise MergeError(f"max_length must be at least 1, got {self.max_length}")

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._m * self.repeats + self._m**2

    @property
    def x0(self) -> Vector:
        """The first parent as it is: its layers on once, all scales 1."""
        slots = np.full(self._m * self.repeats, -self.margin)
        slots[: self.layers[0]] = self.margin
        return np.concatenate([slots, np.ones(self._m**2)])

    def decode(self, x: Vector) -> DataFlowRecipe:
        """The recipe of a vector [dim].

        Raises:
            MergeError: wrong length, NaN or infinity, or no slot is active.
        """
        x = np.asarray(x, dtype=np.float64)
        if x.shape != (self.dim,) or not np.isfinite(x).all():
            raise MergeError(f"a path of this space needs {self.dim} finite numbers, got shape {x.shape}")
        slots = self._m * self.repeats
        rows = x[slots:].reshape(self._m, self._m)
        return DataFlowRecipe(
            tuple(bool(on) for on in x[:slots] > 0), tuple(tuple(float(v) for v in row) for row in rows)
        )

    def penalty(self, recipe: DataFlowRecipe, per_layer: float = 0.01) -> float:
        """What to take from the fitness for layers beyond `max_length`."""
        return 0.0 if self.max_length is None else per_layer * max(0, len(recipe.path) - self.max_length)

    def sample(self, rng: np.random.Generator) -> Vector:
        """Slots on with the share that makes a path as long as the first parent on average; scales N(1, (1/6)²)."""
        slots = self._m * self.repeats
        on = rng.random(slots) < self.layers[0] / slots
        if not on.any():
            on[rng.integers(slots)] = True
        scales = rng.normal(1, 1 / 6, self._m**2)
        return np.concatenate([np.where(on, self.margin, -self.margin), scales])

    def mutate(self, x: Vector, rng: np.random.Generator) -> Vector:
        """Add N(0, margin²) to slots and N(0, (1/6)²) to scales, until some slot is on."""
        slots = self._m * self.repeats
        spread = np.concatenate([np.full(slots, self.margin), np.full(self._m**2, 1 / 6)])
        while True:
            child: Vector = x + rng.normal(0, 1, self.dim) * spread
            if self.valid(child):
                return child

    def crossover(self, a: Vector, b: Vector, rng: np.random.Generator) -> Vector:
        """Slots of both up to a random place from `a`, beyond it from `b`; every scale from one of the two."""
        slots = self._m * self.repeats
        from_a = rng.random(self.dim) < 0.5
        from_a[:slots] = np.arange(slots) < rng.integers(slots + 1)
        child: Vector = np.where(from_a, a, b)
        return child if self.valid(child) else a.copy()

    def valid(self, x: Vector) -> bool:
        """Whether `decode` accepts it."""
        return (
            np.shape(x) == (self.dim,) and bool(np.isfinite(x).all()) and bool((x[: self._m * self.repeats] > 0).any())
        )

    @property
    def _m(self) -> int:
        return sum(self.layers)
