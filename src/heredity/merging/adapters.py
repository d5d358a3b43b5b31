"""Merging LoRA adapters, as factors or as the changes that they stand for.

The mean of B_i times the mean of A_i is not the mean of B_i A_i. `space="factors"` merges A and B one by one, as the
published recipes do; `space="delta"` merges ΔW_i = s_i B_i A_i and truncates the result back to a rank.
Sources: arXiv 2503.01155 (factors); arXiv 2106.09685 (adapters and their scaling).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from heredity.errors import MergeError
from heredity.merging.base import Merger, StateDict, Weights, check_compatible, check_finite, same_tensor
from heredity.merging.chunks import work_dtype
from heredity.merging.linear import Linear
from heredity.merging.low_rank import recompress, to_delta, to_factors
from heredity.merging.methods import TensorMethod, TensorParams, method_for, per_model, spread

FACTOR = re.compile(r"^(?P<module>.*\.)?lora_(?:embedding_)?(?P<side>[AB])(?P<rest>(?:\.[^.]+)*)$")


@dataclass(frozen=True)
class AdapterMerger(Merger):
    """Merges state dicts of LoRA adapters (… `lora_A.weight`, … `lora_B.weight`), other tensors as they are.

    Methods that work on differences take the adapters as differences: their base is zero.

    Attributes:
        method: a method, or the name of a row.
        space: "factors" or "delta".
        weight: one for all adapters or one per adapter; default the method's own.
        density: share of each task vector kept, likewise.
        t: position between two adapters.
        scaling: α / r of all adapters or one per adapter; the result has the first's. In space "factors" all must
            be equal, since factors of unequal scaling are not of one kind.
        rank: of the result in space "delta"; default the first adapter's, so that its configuration still fits.
        seed: seeds random masks.
    """

    method: TensorMethod | str = "linear"
    space: Literal["factors", "delta"] = "factors"
    weight: float | Sequence[float] | None = None
    density: float | Sequence[float] | None = None
    t: float | None = None
    scaling: float | Sequence[float] = 1.0
    rank: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.method, str):
            object.__setattr__(self, "method", method_for(self.method))
        if self.space not in ("factors", "delta"):
            raise MergeError(f"space must be 'factors' or 'delta', got {self.space!r}")
        for name in ("weight", "density", "scaling"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, (int, float)):
                object.__setattr__(self, name, tuple(float(x) for x in value))

    def merge(self, models: Sequence[Weights], *, base: Weights | None = None) -> StateDict:
        """Merge adapters; `base` is not read, since an adapter is a difference already."""
        scaling = spread(self.scaling, len(models))
        assert scaling is not None
        if len(scaling) != len(models) or not all(scaling):
            raise MergeError(f"scaling must be one non-zero number per adapter ({len(models)}), got {scaling}")
        pairs = _pairs(models[0]) if models else {}
        if self.space == "factors" or not pairs:
            if len(set(scaling)) > 1:
                raise MergeError(f"adapters have unequal scaling {scaling}: merge them with space='delta'")
            check_compatible(models)
            return {name: self._tensor(name, [model[name] for model in models]) for name in models[0]}
        factors = {name for pair in pairs.values() for name in pair}
        check_compatible([{name: _without_rank(name, tensor) for name, tensor in model.items()} for model in models])
        if any("lora_magnitude_vector" in name for name in models[0]):
            raise MergeError("DoRA adapters rescale whole weights and have no change of their own: use space='factors'")
        merged: StateDict = {}
        for name_a, name_b in pairs.values():
            merged[name_a], merged[name_b] = self._pair(name_a, name_b, models, scaling)
        others = {name: self._tensor(name, [m[name] for m in models]) for name in models[0] if name not in factors}
        return {name: merged[name] if name in factors else others[name] for name in models[0]}

    def _pair(
        self, name_a: str, name_b: str, models: Sequence[Weights], scaling: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        method, first = self._method, models[0]
        As, Bs = [model[name_a] for model in models], [model[name_b] for model in models]
        for i, (A, B) in enumerate(zip(As, Bs, strict=True)):
            check_finite(A, name_a, f"model {i}")
            check_finite(B, name_b, f"model {i}")
        rank = As[0].shape[0] if self.rank is None else self.rank
        params = self._params(len(models))
        equal = all(A.shape == As[0].shape and same_tensor(A, As[0]) for A in As) and all(
            B.shape == Bs[0].shape and same_tensor(B, Bs[0]) for B in Bs
        )
        fixed = not method.needs_base and method.keeps_equal(params, len(models)) and len(set(scaling)) == 1
        if equal and fixed and rank == As[0].shape[0]:
            return As[0].clone(), Bs[0].clone()
        if isinstance(method, Linear) and As[0].dim() == 2:
            weights = per_model(params.weight, method.weight, len(models))
            whole = sum(weights) if method.normalize else 1.0
            if whole == 0:
                raise MergeError(f"the weights {weights} add up to zero and cannot be normalised")
            # the weighted sum of products is a product of stacked factors, whose decomposition needs no dense matrix
            shares = [weight / whole * s / scaling[0] for weight, s in zip(weights, scaling, strict=True)]
            wide = work_dtype(As[0].dtype)
            stacked = torch.cat([B.to(wide) * share for B, share in zip(Bs, shares, strict=True)], dim=1)
            A, B = recompress(torch.cat([A.to(wide) for A in As]), stacked, rank)
        else:
            deltas = [to_delta(A, B, s) for A, B, s in zip(As, Bs, scaling, strict=True)]
            delta = self._tensor(name_b, deltas).div_(scaling[0])
            A, B = to_factors(delta, rank)
        return A.to(first[name_a].dtype), B.to(first[name_b].dtype)

    def _tensor(self, name: str, tensors: list[Tensor]) -> Tensor:
        base = torch.zeros_like(tensors[0]) if self._method.needs_base else None
        return self._method.merge_tensor(name, tensors, self._params(len(tensors)), base=base, seed=self.seed)

    def _params(self, count: int) -> TensorParams:
        return TensorParams(weight=spread(self.weight, count), density=spread(self.density, count), t=self.t)

    @property
    def _method(self) -> TensorMethod:
        assert not isinstance(self.method, str)
        return self.method

    @classmethod
    def examples(cls) -> Iterable[tuple[str, Merger]]:
        yield "adapters as factors", cls()
        yield "adapters as deltas", cls(space="delta")

    def model_counts(self) -> tuple[int, int | None]:
        return self._method.min_models, self._method.max_models


def _pairs(adapter: Weights) -> dict[str, tuple[str, str]]:
    """The names of A and B of every adapted module.

    Raises:
        MergeError: one of the two is missing.
    """
    sides: dict[str, dict[str, str]] = {}
    for name in adapter:
        if match := FACTOR.match(name):
            sides.setdefault(f"{match['module'] or ''}{match['rest']}", {})[match["side"]] = name
    for found in sides.values():
        if len(found) != 2:
            [(side, name)] = found.items()
            raise MergeError(f"{name!r} has no lora_{'B' if side == 'A' else 'A'} beside it")
    return {key: (found["A"], found["B"]) for key, found in sides.items()}


def _without_rank(name: str, tensor: Tensor) -> Tensor:
    """For comparing shapes: a factor without the dimension of its rank, which may differ between adapters."""
    match = FACTOR.match(name)
    if not match:
        return tensor
    return tensor.select(0 if match["side"] == "A" else 1, 0)
