"""Chunked float32 arithmetic: the few buffers that a merge of one tensor needs, however large the tensor is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 1 << 18  # float32 values: 1 MiB per buffer, so that a merge's buffers stay in the second-level caches


def work_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of the arithmetic: float64 for float64, float32 for everything narrower."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def chunk_spans(numel: int, chunk: int = CHUNK) -> Iterator[tuple[int, int]]:
    """Start and stop of successive chunks of a flat tensor."""
    for start in range(0, numel, chunk):
        yield start, min(start + chunk, numel)


def buffers(like: Tensor, count: int, chunk: int = CHUNK) -> list[Tensor]:
    """`count` uninitialised work buffers of at most `chunk` values, on the device of `like`."""
    size = min(chunk, like.numel())
    return [torch.empty(size, dtype=work_dtype(like.dtype), device=like.device) for _ in range(count)]


def all_finite(values: Tensor) -> bool:
    """Whether a non-empty work buffer is finite: NaN and infinity survive a sum, which costs a tenth of `isfinite`.

    A sum may overflow where every value is finite, so that a non-finite sum is looked at again.
    """
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())


def store(values: Tensor, out: Tensor) -> bool:
    """Round a work buffer into a slice of the output; return whether the stored values are finite."""
    out.copy_(values)
    if not all_finite(values):
        return False
    # narrowing may overflow: float16 ends at 65504, and the largest float32 values round to infinity in bfloat16
    return out.dtype == values.dtype or bool(torch.isfinite(out.sum(dtype=values.dtype))) or bool(out.isfinite().all())
