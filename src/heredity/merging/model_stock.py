"""Model Stock: how far to go from the base towards the mean of fine-tuned models follows from the angle between them.

Source: arXiv 2403.19522, equation 3 and its N-model form; the angle of more than two models is the mean of the pairwise
cosines, which the paper leaves open.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from heredity.merging.chunks import CHUNK, buffers, chunk_spans, store
from heredity.merging.methods import FlatMerge, TensorMethod
from heredity.merging.sparsify import row_length

if TYPE_CHECKING:
    from torch import Tensor

NO_ANGLE = 1e-6  # denominators below this: the offsets cancel, and the base is the better estimate


@dataclass(frozen=True)
class ModelStock(TensorMethod):
    """θ_0 + t · (mean(θ_i) − θ_0) with t = N cos θ / (1 + (N − 1) cos θ).

    Attributes:
        filter_wise: one angle per row (first dimension) instead of one per tensor.
    """

    needs_base: ClassVar[bool] = True
    takes_base: ClassVar[bool] = True
    min_models: ClassVar[int] = 2
    takes: ClassVar[tuple[str, ...]] = ()

    filter_wise: bool = False

    def _merge(self, job: FlatMerge) -> bool:
        tensors, base, out, shape = job.tensors, job.base, job.out, job.shape
        assert base is not None
        n, count = out.numel(), len(tensors)
        row = row_length(shape) if self.filter_wise else n
        per_row = max(CHUNK // row, 1) * row if self.filter_wise else CHUNK
        origin, total, *offsets = buffers(out, 2 + count, per_row)
        ratio = None if self.filter_wise else self._whole_ratio(tensors, base, origin, offsets)
        finite = True
        for start, stop in chunk_spans(n, per_row):
            size = stop - start
            ground, acc = origin[:size].copy_(base[start:stop]), total[:size].zero_()
            for offset, tensor in zip(offsets, tensors, strict=True):
                acc.add_(offset[:size].copy_(tensor[start:stop]).sub_(ground))
            if ratio is not None:
                acc.mul_(ratio / count)
            else:
                heads = [offset[:size].view(-1, row) for offset in offsets]
                gram = torch.stack([(a * b).sum(1, dtype=torch.float64) for a, b in _pairs(heads)])
                acc.view(-1, row).mul_(_ratio(gram, count).div_(count).to(acc.dtype).unsqueeze(1))
            finite = store(acc.add_(ground), out[start:stop]) and finite
        return finite

    def _whole_ratio(self, tensors: list[Tensor], base: Tensor, origin: Tensor, offsets: list[Tensor]) -> float:
        gram = torch.zeros(len(tensors) * (len(tensors) + 1) // 2, 1, dtype=torch.float64)
        for start, stop in chunk_spans(base.numel()):
            ground = origin[: stop - start].copy_(base[start:stop])
            heads = [
                offset[: stop - start].copy_(tensor[start:stop]).sub_(ground)
                for offset, tensor in zip(offsets, tensors, strict=True)
            ]
            gram[:, 0] += torch.stack([torch.dot(a, b).double().cpu() for a, b in _pairs(heads)])
        return float(_ratio(gram, len(tensors)))


def _pairs(items: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return list(itertools.combinations_with_replacement(items, 2))


def _ratio(gram: Tensor, count: int) -> Tensor:
    """t per column of inner products of all pairs (i ≤ j, row by row); 0 where the angle says nothing."""
    pairs = list(itertools.combinations_with_replacement(range(count), 2))
    norms = {i: gram[k].clamp_min(0).sqrt() for k, (i, j) in enumerate(pairs) if i == j}
    cosines = [
        (gram[k] / (norms[i] * norms[j]).clamp_min(1e-6)).clamp(-1, 1) for k, (i, j) in enumerate(pairs) if i < j
    ]
    cosine = torch.stack(cosines).mean(0)
    below = 1 + (count - 1) * cosine
    return torch.where(below.abs() < NO_ANGLE, torch.zeros_like(below), count * cosine / below)


ROWS: dict[str, TensorMethod] = {"model_stock": ModelStock()}
