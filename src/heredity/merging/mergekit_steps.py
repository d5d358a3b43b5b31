"""mergekit's arithmetic on 16-bit floats: task vectors whose every step is rounded to the models' dtype.

This package computes in float32 and rounds the result once, which is nearer to what a method says. mergekit computes
in the dtype that a configuration asks for: differences, rescaled and weighted task vectors, their sum, the divisor, the
mean and λ times it are each rounded to bfloat16 or float16. A configuration's merge repeats these steps, since whoever
comes from mergekit expects the same model. dtype: float32 with out_dtype: bfloat16 asks for the one rounding instead.

Equal magnitudes at a trimming threshold remain a difference: here the earlier entries are kept, while mergekit takes
them in the order of an unstable sort, which depends on the processor's vector instructions.
Source: mergekit 0.1.5, merge_methods/generalized_task_arithmetic.py and sparsify.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from heredity.merging.chunks import all_finite, buffers, chunk_spans
from heredity.merging.mergekit_directions import SteppedModelStock, SteppedNuSlerp, narrow_finite
from heredity.merging.methods import FlatMerge, TensorMethod, per_model
from heredity.merging.model_stock import ModelStock
from heredity.merging.slerp import Slerp
from heredity.merging.sparsify import Delta, Mask, aligned_chunk, mask_for, row_length
from heredity.merging.task_vector import GeneralizedTaskArithmetic, elect, kept_weights

if TYPE_CHECKING:
    from torch import Tensor


def in_steps(method: TensorMethod | None, dtype: str) -> TensorMethod | None:
    """The method as mergekit computes it for inputs of that dtype (torch's name of it).

    Linear merges and SLERP are float32 arithmetic in mergekit too, and float32 inputs need no rounding: those are
    returned as they are.
    """
    if dtype not in ("bfloat16", "float16"):
        return method
    if isinstance(method, GeneralizedTaskArithmetic):
        return SteppedTaskArithmetic(method)
    if isinstance(method, ModelStock):
        return SteppedModelStock(filter_wise=method.filter_wise)
    if isinstance(method, Slerp) and method.by_weight and method.around_base:
        return SteppedNuSlerp()
    return method


@dataclass(frozen=True)
class SteppedTaskArithmetic(TensorMethod):
    """A task-vector method with every step rounded to the dtype of the models.

    Attributes:
        rule: the method, whose settings count.
    """

    needs_base: ClassVar[bool] = True
    takes_base: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = GeneralizedTaskArithmetic.takes

    rule: GeneralizedTaskArithmetic

    def _merge(self, job: FlatMerge) -> bool:
        rule, base, out = self.rule, job.base, job.out
        assert base is not None
        count, n = len(job.tensors), out.numel()
        weights = torch.tensor(per_model(job.params.weight, rule.weight, count), dtype=out.dtype)
        whole = weights.sum()
        each: list[float] = weights.tolist()
        chunk = min(aligned_chunk(rule.sparsify, row_length(job.shape)), n)
        narrow, divisor = (torch.empty(chunk, dtype=out.dtype, device=out.device) for _ in range(2))
        total, spare, *kept = buffers(base, 2 + count, chunk)
        deltas = [Delta(tensor, base, narrow, stepwise=True) for tensor in job.tensors]
        masks = self._masks(job, deltas)
        finite = True
        for start, stop in chunk_spans(n, chunk):
            size = stop - start
            acc, mixed = total[:size], narrow[:size]
            parts = []
            for (mask, factor), delta, weight, buffer in zip(masks, deltas, each, kept, strict=True):
                part = mask.apply(delta.read(start, stop, buffer), start)
                if factor != 1.0 or rule.rescale == "inverse":
                    _round(part.mul_(factor), mixed)
                if weight != 1.0:
                    _round(part.mul_(weight), mixed)
                parts.append(part)
            torch.add(parts[0], parts[1], out=acc) if count > 1 else acc.copy_(parts[0])
            for part in parts[2:]:
                acc.add_(part)
            if rule.consensus:
                # a step could lose an infinity that is outvoted
                finite = finite and all(all_finite(part) for part in parts)
                elect(parts, rule.consensus, acc, spare[:size])
            mixed.copy_(acc)
            if rule.normalize and rule.consensus:
                mixed.div_(divisor[:size].copy_(kept_weights(parts, each, spare[:size])))
            elif rule.normalize and abs(float(whole)) >= 1e-8:
                mixed.div_(whole)
            if rule.lam != 1.0:
                mixed.mul_(rule.lam)
            finite = narrow_finite(torch.add(base[start:stop], mixed, out=out[start:stop])) and finite
        return finite

    def _masks(self, job: FlatMerge, deltas: Sequence[Delta]) -> list[tuple[Mask, float]]:
        rule, params, count = self.rule, job.params, len(deltas)
        densities = per_model(params.density, rule.density, count)
        gammas, epsilons = per_model(params.gamma, rule.gamma, count), per_model(params.epsilon, rule.epsilon, count)
        return [
            mask_for(
                delta,
                rule.sparsify,
                density=densities[i],
                gamma=gammas[i],
                epsilon=epsilons[i],
                rescale=rule.rescale,
                shape=job.shape,
                key=(job.seed, i, job.name),
            )
            for i, delta in enumerate(deltas)
        ]


def _round(values: Tensor, narrow: Tensor) -> None:
    """Round float32 values, in place, to the dtype of the buffer `narrow`."""
    values.copy_(narrow.copy_(values))
