"""The genotypes of evolutionary merging in parameter space: vectors that are merge recipes.

Source: arXiv 2403.13187, section 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from heredity.errors import MergeError
from heredity.merging.base import Weights
from heredity.merging.layers import layer_groups
from heredity.merging.methods import method_for
from heredity.merging.recipe import MergeRecipe, Table
from heredity.search.base import Space

Vector: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class MergeSpace(Space[Vector]):
    """Vectors that are merge recipes: weights [group, model, filter], then densities likewise, where they are searched.

    Attributes:
        models: how many models are merged.
        groups, filters: name patterns, see `heredity.merging.layers`; `MergeSpace.of` finds the groups.
        method: a row of `heredity.merging.methods`.
        allow_negative: weights keep their sign; else the weight is |g|, so that the search never meets a wall at 0.
        densities: search densities; default wherever the method has some.
        normalize, lam: overrides of the method, as in the recipe.
        limit: `sample` draws weights up to this; decoding takes any finite vector.
    """

    models: int
    groups: tuple[str, ...] = ("",)
    filters: tuple[str, ...] = ("",)
    method: str = "dare_ties"
    allow_negative: bool = False
    densities: bool | None = None
    normalize: bool | None = None
    lam: float = 1.0
    limit: float = 1.0

    def __post_init__(self) -> None:
        if self.models < 1:
            raise MergeError(f"a merge needs at least one model, got models={self.models}")
        row = method_for(self.method)
        # Task arithmetic belongs to the family that has densities, but keeps every entry.
        takes_density = "density" in row.takes and getattr(row, "sparsify", "") is not None
        if self.densities is None:
            object.__setattr__(self, "densities", takes_density)
        elif self.densities and not takes_density:
            raise MergeError(f"{self.method} keeps every entry: there is no density to search")
        self.decode(self.x0)  # a space that cannot make a recipe is refused at once

    @classmethod
    def of(
        cls,
        models: Sequence[Weights],
        method: str = "dare_ties",
        *,
        granularity: int = 1,
        filters: Sequence[str] | None = None,
        **settings: Any,
    ) -> MergeSpace:
        """The space for given models; only the names of their tensors are read.

        Args:
            granularity: successive layers that share numbers; 0 gives one group for the whole network.
            filters: patterns of tensor kinds with numbers of their own; default one for all.
        """
        if not models:
            raise MergeError("nothing to merge: the list of models is empty")
        groups = layer_groups(models[0], granularity) if granularity else ("",)
        return cls(len(models), groups, tuple(filters or ("",)), method, **settings)

    @property
    def shape(self) -> tuple[int, int, int]:
        """[group, model, filter]."""
        return len(self.groups), self.models, len(self.filters)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return math.prod(self.shape) * (2 if self.densities else 1)

    @property
    def x0(self) -> Vector:
        """Where the search starts: weights 1/N, densities 1."""
        return self.start([1 / self.models] * self.models)

    @property
    def bounds(self) -> tuple[Vector, Vector]:
        """The box that `sample` draws from."""
        low, high = self._joined(-self.limit if self.allow_negative else 0.0, 0.0), self._joined(self.limit, 1.0)
        return low, high

    def start(self, weights: Sequence[float], density: float = 1.0) -> Vector:
        """The vector of one weight per model in every group and filter, such as an individual's mixture of founders."""
        if len(weights) != self.models:
            raise MergeError(f"need {self.models} weights, one per model, got {len(weights)}")
        return self._joined(np.broadcast_to(np.asarray(weights, float)[None, :, None], self.shape), density)

    def decode(self, x: Vector) -> MergeRecipe:
        """The recipe of a vector [dim].

        Raises:
            MergeError: wrong length, or NaN or infinity.
        """
        x = np.asarray(x, dtype=np.float64)
        if x.shape != (self.dim,) or not np.isfinite(x).all():
            raise MergeError(f"a recipe of this space needs {self.dim} finite numbers, got shape {x.shape}")
        size = math.prod(self.shape)
        weight = x[:size] if self.allow_negative else np.abs(x[:size])
        density = np.clip(np.abs(x[size:]), 0, 1) if self.densities else None
        return MergeRecipe(
            self.method,
            _table(weight.reshape(self.shape)),
            groups=self.groups,
            filters=self.filters,
            density=None if density is None else _table(density.reshape(self.shape)),
            normalize=self.normalize,
            lam=self.lam,
        )

    def sample(self, rng: np.random.Generator) -> Vector:
        """Uniform in the box."""
        low, high = self.bounds
        return rng.uniform(low, high)

    def mutate(self, x: Vector, rng: np.random.Generator) -> Vector:
        """Add N(0, (1/6)²) to every coordinate, the first spread of the paper's search."""
        return x + rng.normal(0, 1 / 6, self.dim)

    def crossover(self, a: Vector, b: Vector, rng: np.random.Generator) -> Vector:
        """Every coordinate from one of the two."""
        return np.where(rng.random(self.dim) < 0.5, a, b)

    def valid(self, x: Vector) -> bool:
        """Whether `decode` accepts it."""
        return np.shape(x) == (self.dim,) and bool(np.isfinite(x).all())

    def _joined(self, weight: float | Vector, density: float) -> Vector:
        parts = [np.broadcast_to(np.asarray(weight, float), self.shape).reshape(-1)]
        if self.densities:
            parts.append(np.full(math.prod(self.shape), float(density)))
        return np.concatenate(parts)


def _table(values: Vector) -> Table:
    return tuple(tuple(tuple(float(x) for x in row) for row in group) for group in values)
