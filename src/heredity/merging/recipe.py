"""A merge recipe: one method, and its weights and densities per group of layers, model and filter.

The genotype of evolutionary merging in parameter space, written down in plain numbers and patterns.
Source: arXiv 2403.13187, section 3.1 (and its per-layer, per-filter coefficients).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

from heredity.errors import MergeError
from heredity.merging.layers import group_index
from heredity.merging.methods import TensorMethod, TensorParams, method_for

Table = tuple[tuple[tuple[float, ...], ...], ...]  # [group][model][filter]


@dataclass(frozen=True, slots=True)
class MergeRecipe:
    """How to merge, tensor by tensor: only strings, numbers and tuples (lists are turned into tuples).

    Attributes:
        method: name of a row.
        groups: patterns of layer groups, tried in order; see `heredity.merging.layers.layer_groups`.
        filters: patterns of tensor kinds, tried in order.
        weight: [group][model][filter].
        density: the same shape, or None for the method's own; methods that keep every entry do not read it.
        normalize: overrides the method's own.
        lam: λ of methods that have one.
    """

    method: str
    weight: Table
    groups: tuple[str, ...] = ("",)
    filters: tuple[str, ...] = ("",)
    density: Table | None = None
    normalize: bool | None = None
    lam: float = 1.0

    def __post_init__(self) -> None:
        for name in ("groups", "filters"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("weight", "density"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, self._table(name))
        self.tensor_method()

    def _table(self, name: str) -> Table:
        try:
            table = tuple(tuple(tuple(float(x) for x in row) for row in models) for models in getattr(self, name))
        except TypeError as error:
            raise MergeError(f"{name} of a recipe must be nested [group][model][filter]") from error
        models = len(self.weight[0]) if self.weight else 0
        found = (len(table), *{len(group) for group in table}, *{len(row) for group in table for row in group})
        if not models or found != (len(self.groups), models, len(self.filters)):
            raise MergeError(
                f"{name} of a recipe must have {len(self.groups)} groups × {models or 'one or more'} models × "
                f"{len(self.filters)} filters"
            )
        if not all(math.isfinite(x) for group in table for row in group for x in row):
            raise MergeError(f"{name} of a recipe holds NaN or infinity")
        return table

    @property
    def models(self) -> int:
        """How many models the recipe merges."""
        return len(self.weight[0])

    def tensor_method(self) -> TensorMethod:
        """The row with the recipe's own settings.

        Raises:
            MergeError: no such row, or it has no such setting.
        """
        method = method_for(self.method)
        known = {field.name for field in fields(method)}
        changes = {
            **({} if self.normalize is None else {"normalize": self.normalize}),
            **({} if self.lam == 1.0 else {"lam": self.lam}),
        }
        for setting in changes:
            if setting not in known:
                raise MergeError(f"the recipe sets {setting}, which {self.method} has not")
        return replace(method, **changes) if changes else method

    def resolve(self, name: str) -> tuple[tuple[int, ...], TensorParams]:
        """Which models to merge into the tensor called `name`, and with what numbers.

        A method of two models takes the two heaviest, in their order, with t the second's share of their softmax.

        Raises:
            MergeError: the name is in no group or passes no filter.
        """
        method = self.tensor_method()
        g, f = group_index(name, self.groups), group_index(name, self.filters)
        weight = tuple(row[f] for row in self.weight[g])
        if "t" in method.takes and method.max_models == 2:
            if self.models < 2:
                raise MergeError(f"{self.method} merges two models; the recipe has {self.models}")
            first, second = sorted(sorted(range(self.models), key=lambda i: (-weight[i], i))[:2])
            # e^b / (e^a + e^b), written so that it cannot overflow
            t = 0.5 * (1.0 + math.tanh((weight[second] - weight[first]) / 2))
            return (first, second), TensorParams(t=t)
        reads_density = "density" in method.takes and self.density is not None
        density = tuple(row[f] for row in self.density[g]) if reads_density and self.density else None
        return tuple(range(self.models)), TensorParams(
            weight=weight if "weight" in method.takes else None, density=density
        )
