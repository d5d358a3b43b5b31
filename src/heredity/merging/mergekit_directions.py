"""mergekit's NuSLERP and Model Stock on 16-bit floats, with every step rounded to the models' dtype.

Sums over whole tensors are carried in wider floats and rounded once, which is what torch does with 16-bit sums.
Source: mergekit 0.1.5, merge_methods/nuslerp.py and model_stock.py. Why: see `heredity.merging.mergekit_steps`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from heredity.merging.chunks import CHUNK, chunk_spans
from heredity.merging.methods import FlatMerge, TensorMethod, per_model
from heredity.merging.model_stock import NO_ANGLE

if TYPE_CHECKING:
    from torch import Tensor

NO_NORM = 1e-7  # norms below this are raised to it
PARALLEL = 1e-16  # 1 − cos² up to this is interpolated linearly


@dataclass(frozen=True)
class SteppedNuSlerp(TensorMethod):
    """Spherical interpolation by weights, of the models or of their differences from a base."""

    takes_base: ClassVar[bool] = True
    min_models: ClassVar[int] = 2
    max_models: ClassVar[int | None] = 2

    def _merge(self, job: FlatMerge) -> bool:
        base, out = job.base, job.out
        weights = per_model(job.params.weight, 1.0, 2)
        # opposite weights have no position between the models: half-way
        t = 0.5 if abs(sum(weights)) < 1e-6 else weights[1] / sum(weights)

        def arms(start: int, stop: int) -> list[Tensor]:
            parts = [tensor[start:stop] for tensor in job.tensors]
            return parts if base is None else [part - base[start:stop] for part in parts]

        def units(start: int, stop: int) -> list[Tensor]:
            return [arm / norm for arm, norm in zip(arms(start, stop), norms, strict=True)]

        norms = [
            _norm(lambda start, stop, i=i: arms(start, stop)[i], out).clamp(min=NO_NORM)  # type: ignore[misc]
            for i in range(2)
        ]
        cosine = _total(lambda start, stop: torch.mul(*units(start, stop)), out).clamp(-1, 1)
        if not cosine.isfinite():
            return False
        parallel = bool((1 - cosine.square()) <= PARALLEL)
        theta = torch.acos(cosine)
        sine = torch.sin(theta)
        near, far = torch.sin((1 - t) * theta), torch.sin(t * theta)
        finite = True
        for start, stop in chunk_spans(out.numel()):
            a, b = arms(start, stop)
            merged = (1 - t) * a + t * b if parallel else (near * a + far * b) / sine
            out[start:stop] = merged if base is None else base[start:stop] + merged
            finite = narrow_finite(out[start:stop]) and finite
        return finite


@dataclass(frozen=True)
class SteppedModelStock(TensorMethod):
    """t · mean(θ_i) + (1 − t) · θ_0 with t = N cos θ / (1 + (N − 1) cos θ).

    Attributes:
        filter_wise: one angle per row (last dimension) instead of one per tensor.
    """

    needs_base: ClassVar[bool] = True
    takes_base: ClassVar[bool] = True
    min_models: ClassVar[int] = 2
    takes: ClassVar[tuple[str, ...]] = ()

    filter_wise: bool = False

    def _merge(self, job: FlatMerge) -> bool:
        base, out, models = job.base, job.out, job.tensors
        assert base is not None
        row = job.shape[-1] if self.filter_wise and job.shape else 1
        chunk = max(CHUNK // row, 1) * row
        ratio = None if self.filter_wise else self._whole(models, base)
        finite = True
        for start, stop in chunk_spans(out.numel(), chunk):
            ground, *parts = (tensor[start:stop].view(-1, row) for tensor in (base, *models))
            t = ratio if ratio is not None else _rows_ratio([part - ground for part in parts])
            total = parts[0]
            for part in parts[1:]:
                total = total + part
            merged = t * (total / len(parts)) + (1 - t) * ground
            out[start:stop] = merged.view(-1)
            finite = narrow_finite(out[start:stop]) and finite
        return finite

    def _whole(self, models: list[Tensor], base: Tensor) -> Tensor:
        def offset(i: int) -> Callable[[int, int], Tensor]:
            return lambda start, stop: models[i][start:stop] - base[start:stop]

        offsets = [offset(i) for i in range(len(models))]
        norms = [_norm(read, base) for read in offsets]
        dots = [
            _total(lambda start, stop, a=a, b=b: a(start, stop) * b(start, stop), base)  # type: ignore[misc]
            for a, b in itertools.combinations(offsets, 2)
        ]
        return _ratio(norms, dots)


def _rows_ratio(offsets: list[Tensor]) -> Tensor:
    norms = [torch.linalg.vector_norm(offset, dim=-1) for offset in offsets]
    return _ratio(norms, [(a * b).sum(dim=-1) for a, b in itertools.combinations(offsets, 2)]).unsqueeze(-1)


def _ratio(norms: list[Tensor], dots: list[Tensor]) -> Tensor:
    """t from norms and inner products of all pairs, in their dtype; 0 where the angle says nothing."""
    cosines = [
        (dot / (a * b).clamp(min=1e-6)).clamp(-1, 1)
        for dot, (a, b) in zip(dots, itertools.combinations(norms, 2), strict=True)
    ]
    cosine, count = torch.stack(cosines).mean(dim=0), len(norms)
    below = 1 + (count - 1) * cosine
    return torch.where(below.abs() < NO_ANGLE, torch.zeros_like(below), count * cosine / below)


def _chunks(read: Callable[[int, int], Tensor], numel: int) -> Iterator[Tensor]:
    for start, stop in chunk_spans(numel):
        yield read(start, stop)


def _total(read: Callable[[int, int], Tensor], like: Tensor) -> Tensor:
    """The sum of what is read, rounded once."""
    parts = [part.sum(dtype=torch.float32).double() for part in _chunks(read, like.numel())]
    return torch.stack(parts).sum().to(like.dtype)


def _norm(read: Callable[[int, int], Tensor], like: Tensor) -> Tensor:
    """The Euclidean norm of what is read, rounded once."""
    parts = [torch.linalg.vector_norm(part, dtype=torch.float32).double() for part in _chunks(read, like.numel())]
    whole: Tensor = torch.linalg.vector_norm(torch.stack(parts))
    return whole.to(like.dtype)


def narrow_finite(part: Tensor) -> bool:
    """Whether 16-bit values are finite; a sum that overflows is looked at again."""
    return bool(part.sum(dtype=torch.float32).isfinite()) or bool(part.isfinite().all())
