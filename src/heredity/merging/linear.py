"""Weighted mean and weighted sum of models: model soups, and passing one model through.

Source: arXiv 2203.05482 (model soups).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from heredity.errors import MergeError
from heredity.merging.base import StateDict, Weights
from heredity.merging.chunks import buffers, chunk_spans, store
from heredity.merging.methods import FlatMerge, TensorMethod, TensorParams, per_model


@dataclass(frozen=True)
class Linear(TensorMethod):
    """Σ w_i θ_i, divided by Σ w_i when `normalize`.

    Computed as θ_r + Σ w_i (θ_i − θ_r) around the heaviest model r: entries that are equal in all models stay as they
    are though rounded weights need not add up to 1, and a weight of 1 beside zeros returns its model.

    Attributes:
        normalize: divide by the sum of the weights.
        weight: default weight of a model.
    """

    normalize: bool = True
    weight: float = 1.0

    def keeps_equal(self, params: TensorParams, count: int) -> bool:
        return self.normalize or math.isclose(math.fsum(per_model(params.weight, self.weight, count)), 1.0)

    def terms(self, name: str, params: TensorParams, count: int) -> tuple[tuple[float, ...], float]:
        """The weights that `count` models have in the sum, and what these add up to."""
        weights = per_model(params.weight, self.weight, count)
        whole = math.fsum(weights)
        if self.normalize:
            return normalized(weights, name), 1.0
        return weights, 1.0 if math.isclose(whole, 1.0) else whole

    def _merge(self, job: FlatMerge) -> bool:
        name, tensors, params, out = job.name, job.tensors, job.params, job.out
        weights, whole = self.terms(name, params, len(tensors))
        heaviest = max(range(len(weights)), key=lambda i: abs(weights[i]))
        reference, total, other = buffers(out, 3)
        finite = True
        for start, stop in chunk_spans(out.numel()):
            size = stop - start
            anchor, acc, spare = reference[:size], total[:size], other[:size]
            anchor.copy_(tensors[heaviest][start:stop])
            if len(tensors) == 2 and whole == 1.0:
                acc = anchor  # the only difference is taken before anything is added
            else:
                torch.mul(anchor, whole, out=acc)
            for i, (weight, tensor) in enumerate(zip(weights, tensors, strict=True)):
                if i != heaviest:
                    # Two roundings, not one by a fused multiply-add: numpy has no such thing (`array_sums`).
                    acc.add_(spare.copy_(tensor[start:stop]).sub_(anchor).mul_(weight))
            finite = store(acc, out[start:stop]) and finite
        return finite


@dataclass(frozen=True)
class Passthrough(TensorMethod):
    """The one model given, times its weight (1)."""

    max_models: ClassVar[int | None] = 1

    def keeps_equal(self, params: TensorParams, count: int) -> bool:
        return params.weight is None or params.weight[0] == 1.0

    def terms(self, name: str, params: TensorParams, count: int) -> tuple[tuple[float, ...], float]:
        """As of `Linear`: the one weight, twice."""
        weights = per_model(params.weight, 1.0, count)
        return weights, weights[0]

    def _merge(self, job: FlatMerge) -> bool:
        name, tensors, params, out = job.name, job.tensors, job.params, job.out
        _, factor = self.terms(name, params, len(tensors))
        (buffer,) = buffers(out, 1)
        finite = True
        for start, stop in chunk_spans(out.numel()):
            values = buffer[: stop - start].copy_(tensors[0][start:stop])
            finite = store(values.mul_(factor), out[start:stop]) and finite
        return finite


def linear_merge(models: Sequence[Weights], weights: Sequence[float] | None = None) -> StateDict:
    """The weighted mean of state dicts.

    Args:
        models: one or more.
        weights: one per model, divided by their sum; default equal.

    Raises:
        MergeError: keys, shapes or dtypes differ, or the weights add up to zero.
        NonFinite: a model holds NaN or infinity.

    Example:
        >>> import torch
        >>> linear_merge([{"w": torch.zeros(2)}, {"w": torch.ones(2)}], [1.0, 3.0])["w"]
        tensor([0.7500, 0.7500])
    """
    from heredity.merging.mergers import MethodMerger

    return MethodMerger(Linear(), weight=None if weights is None else tuple(weights)).merge(models)


def normalized(weights: Sequence[float], name: str) -> tuple[float, ...]:
    """Weights divided by their sum.

    Raises:
        MergeError: they add up to zero.
    """
    whole = math.fsum(weights)
    if whole == 0:
        raise MergeError(f"the weights {tuple(weights)} of {name!r} add up to zero and cannot be normalised")
    return tuple(weight / whole for weight in weights)


ROWS: dict[str, TensorMethod] = {"linear": Linear(), "passthrough": Passthrough()}
