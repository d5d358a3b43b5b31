"""Spherical interpolation: SLERP, NuSLERP (weights, optional origin) and Multi-SLERP (several models).

Sources: Shoemake (1985), "Animating rotation with quaternion curves"; NuSLERP and Multi-SLERP as mergekit defines them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, overload

import torch

from heredity.errors import MergeError
from heredity.merging.base import StateDict, Weights
from heredity.merging.chunks import all_finite, buffers, chunk_spans, store
from heredity.merging.linear import normalized
from heredity.merging.methods import FlatMerge, TensorMethod, TensorParams, per_model

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Slerp(TensorMethod):
    """sin((1−t)θ)/sin θ · a + sin(tθ)/sin θ · b with θ the angle between the flattened tensors.

    Attributes:
        t: default position, 0 (first model) to 1 (second).
        by_weight: take t = w_2 / (w_1 + w_2) from the weights instead.
        around_base: interpolate the differences from the base, where one is given.
        parallel: above this |cos θ| the interpolation is linear.
        eps: a norm up to this counts as zero.
    """

    takes_base: ClassVar[bool] = True
    min_models: ClassVar[int] = 2
    max_models: ClassVar[int | None] = 2
    takes: ClassVar[tuple[str, ...]] = ("t", "weight")

    t: float = 0.5
    by_weight: bool = False
    around_base: bool = False
    parallel: float = 0.9995
    eps: float = 1e-8

    def _merge(self, job: FlatMerge) -> bool:
        tensors, params, base, out = job.tensors, job.params, job.base, job.out
        origin = base if self.around_base else None
        t = self.t if params.t is None else params.t
        if self.by_weight and params.t is None:
            weights = per_model(params.weight, 1.0, 2)
            # opposite weights have no position between the models: half-way, as mergekit does
            t = 0.5 if abs(sum(weights)) < 1e-6 else weights[1] / sum(weights)
        gram = _gram(tensors, origin)
        norms = [math.sqrt(gram[i][i]) if math.isfinite(gram[i][i]) else math.nan for i in range(2)]
        # a zero vector has no direction: it is left as it is and stands at a right angle to everything
        cosine = gram[0][1] / math.prod(norm if norm > self.eps else 1.0 for norm in norms)
        if not math.isfinite(cosine):
            return False
        if abs(cosine) > self.parallel:
            factors = (1 - t, t)
        else:
            theta = math.acos(cosine)
            factors = (math.sin((1 - t) * theta) / math.sin(theta), math.sin(t * theta) / math.sin(theta))
        return _combine(tensors, factors, origin, out)


@dataclass(frozen=True)
class MultiSlerp(TensorMethod):
    """The weighted mean of directions, as long as the weighted mean of norms: ‖θ‖_w · Σ w_i û_i / ‖Σ w_i û_i‖.

    This is barycentric interpolation on the sphere, from the normalised mean. The tangent step that the reference takes
    from there is zero: Σ w_i û_i has no component orthogonal to its own direction.

    Attributes:
        normalize: divide the weights by their sum.
        weight: default weight of a model.
        eps: norms and mean directions below this count as zero.
    """

    takes_base: ClassVar[bool] = True

    normalize: bool = True
    weight: float = 1.0
    eps: float = 1e-8

    def keeps_equal(self, params: TensorParams, count: int) -> bool:
        return count == 1 or self.normalize or math.isclose(sum(per_model(params.weight, self.weight, count)), 1.0)

    def _merge(self, job: FlatMerge) -> bool:
        name, tensors, params, base, out = job.name, job.tensors, job.params, job.base, job.out
        count = len(tensors)
        if count == 1:
            return _combine(tensors, [1.0], None, out)
        weights = per_model(params.weight, self.weight, count)
        if self.normalize:
            weights = normalized(weights, name)
        gram = _gram(tensors, base)
        if not all(math.isfinite(value) for row in gram for value in row):
            return False
        norms = [math.sqrt(gram[i][i]) for i in range(count)]
        directions = [weight / (norm + self.eps) for weight, norm in zip(weights, norms, strict=True)]
        square = sum(directions[i] * directions[j] * gram[i][j] for i in range(count) for j in range(count))
        length = math.sqrt(max(square, 0.0))
        if length < self.eps:
            if count != 2 and any(norms):
                raise MergeError(f"directions of {name!r} cancel: their weighted mean is zero; use other weights")
            return _combine(tensors, weights, base, out)
        norm = sum(weight * norm for weight, norm in zip(weights, norms, strict=True))
        return _combine(tensors, [direction * norm / length for direction in directions], base, out)


def _gram(tensors: Sequence[Tensor], base: Tensor | None) -> list[list[float]]:
    """Inner products of all pairs of (differences of) flat tensors, summed in float64 over chunks."""
    count = len(tensors)
    gram = [[0.0] * count for _ in range(count)]
    origin, *rows = buffers(tensors[0], count + 1)
    for start, stop in chunk_spans(tensors[0].numel()):
        size = stop - start
        heads = [row[:size].copy_(tensor[start:stop]) for row, tensor in zip(rows, tensors, strict=True)]
        if base is not None:
            ground = origin[:size].copy_(base[start:stop])
            for head in heads:
                head.sub_(ground)
        for i in range(count):
            for j in range(i + 1):
                gram[i][j] += float(torch.dot(heads[i], heads[j]))
    for i in range(count):
        for j in range(i):
            gram[j][i] = gram[i][j]
    return gram


def _combine(tensors: Sequence[Tensor], factors: Sequence[float], base: Tensor | None, out: Tensor) -> bool:
    """Write base + Σ f_i (θ_i − base), or Σ f_i θ_i without base; return whether all of it is finite."""
    total, origin, spare = buffers(out, 3)
    finite = True
    for start, stop in chunk_spans(out.numel()):
        size = stop - start
        acc, ground, other = total[:size], origin[:size], spare[:size]
        if base is not None:
            ground.copy_(base[start:stop])
        for i, (factor, tensor) in enumerate(zip(factors, tensors, strict=True)):
            other.copy_(tensor[start:stop])
            if base is not None:
                other.sub_(ground)
            if i == 0:
                torch.mul(other, factor, out=acc)
            else:
                acc.add_(other, alpha=factor)
        if base is not None:
            acc.add_(ground)
        finite = store(acc, out[start:stop]) and all_finite(acc) and finite
    return finite


@overload
def slerp(a: Tensor, b: Tensor, t: float, eps: float = 1e-7) -> Tensor: ...
@overload
def slerp(a: Weights, b: Weights, t: float, eps: float = 1e-7) -> StateDict: ...
def slerp(a: Tensor | Weights, b: Tensor | Weights, t: float, eps: float = 1e-7) -> Tensor | StateDict:
    """Interpolate spherically between two tensors, or two state dicts tensor by tensor.

    Args:
        a: at t = 0.
        b: at t = 1.
        t: position.
        eps: a norm up to this counts as zero.

    Raises:
        MergeError: keys, shapes or dtypes differ.
        NonFinite: an input holds NaN or infinity.
    """
    method = Slerp(t=t, eps=eps)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        from heredity.merging.mergers import MethodMerger

        return MethodMerger(method).merge([a, b])
    if isinstance(a, Mapping) or isinstance(b, Mapping):
        raise MergeError("slerp interpolates two tensors or two state dicts, not one of each")
    return method.merge_tensor("tensor", [a, b])


ROWS: dict[str, TensorMethod] = {
    "slerp": Slerp(),
    "nuslerp": Slerp(by_weight=True, around_base=True, parallel=1 - 1e-12),
    "multislerp": MultiSlerp(),
}
