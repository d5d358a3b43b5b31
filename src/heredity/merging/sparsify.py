"""Which entries of a task vector are kept, and by what they are scaled: magnitude, band, Bernoulli, ranked Bernoulli.

Each rule becomes a `Mask` for one task vector, which is applied chunk after chunk, in order.
Sources: TIES arXiv 2306.01708 section 3 (magnitude); Model Breadcrumbs arXiv 2312.06795 (band); DARE arXiv 2311.03099
(Bernoulli); DELLA arXiv 2406.11617 section 2.1 (keep probability by rank within a row).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal

import torch

from heredity.errors import MergeError
from heredity.merging.base import tensor_generator
from heredity.merging.chunks import CHUNK, chunk_spans, work_dtype
from heredity.merging.threshold import Threshold, largest

if TYPE_CHECKING:
    from torch import Tensor

Sparsifier = Literal["magnitude", "bernoulli", "magnitude_outliers", "della_magprune"]
Rescale = Literal["inverse", "l1"]
TINY_NORM = 1e-7  # an L1 norm below this is not matched: its quotient would be noise


class Delta:
    """A task vector, model − base, computed piece by piece in float32 (float64 for float64).

    Args:
        model: flat tensor.
        base: flat tensor of the same length and dtype.
        scratch: work buffer; of the models' own dtype where steps are rounded.
        stepwise: round differences, and sums of magnitudes, to the models' dtype.
    """

    def __init__(self, model: Tensor, base: Tensor, scratch: Tensor, *, stepwise: bool = False) -> None:
        self.model, self.base, self.scratch, self.stepwise = model, base, scratch, stepwise
        self.numel = model.numel()

    def read(self, start: int, stop: int, into: Tensor) -> Tensor:
        head, base = into[: stop - start], self.scratch[: stop - start]
        if self.stepwise:
            return head.copy_(torch.sub(self.model[start:stop], self.base[start:stop], out=base))
        base.copy_(self.base[start:stop])
        return head.copy_(self.model[start:stop]).sub_(base)

    def take(self, indices: Tensor) -> Tensor:
        at = indices.to(self.model.device)
        dtype = work_dtype(self.model.dtype)
        if self.stepwise:
            return (self.model[at] - self.base[at]).to(dtype)
        return self.model[at].to(dtype).sub_(self.base[at].to(dtype))

    def buffer(self, size: int) -> Tensor:
        return torch.empty(size, dtype=work_dtype(self.model.dtype), device=self.model.device)


class Mask(ABC):
    """Zeroes dropped entries of successive chunks; NaN and infinity stay visible (as themselves or as NaN)."""

    @abstractmethod
    def apply(self, values: Tensor, start: int) -> Tensor:
        """Mask, in place, the chunk whose first entry has index `start`. Chunks come in order, from 0."""


class Everything(Mask):
    """Keeps all."""

    def apply(self, values: Tensor, start: int) -> Tensor:
        return values


class Nothing(Mask):
    """Keeps none."""

    def apply(self, values: Tensor, start: int) -> Tensor:
        return values.mul_(0.0)


class Largest(Mask):
    """Keeps the magnitudes that a threshold keeps."""

    def __init__(self, threshold: Threshold, dtype: torch.dtype) -> None:
        value = torch.tensor(threshold.value, dtype=dtype)
        self.cut = threshold.cut
        self.above = threshold.value
        # hard shrinkage keeps what exceeds its bound, and "equal or larger" is "larger than the float before"
        self.below = float(torch.nextafter(value, torch.zeros_like(value)))

    def apply(self, values: Tensor, start: int) -> Tensor:
        head = min(max(self.cut - start, 0), values.numel())
        for part, bound in ((values[:head], self.below), (values[head:], self.above)):
            if part.numel():
                torch.ops.aten.hardshrink.out(part, bound, out=part)
        return values


class Band(Mask):
    """Keeps what `lower` keeps (None: all) without what `upper` keeps (None: nothing)."""

    def __init__(self, lower: Threshold | None, upper: Threshold | None, dtype: torch.dtype) -> None:
        self.lower = None if lower is None else Largest(lower, dtype)
        self.upper = None if upper is None else Largest(upper, dtype)

    def apply(self, values: Tensor, start: int) -> Tensor:
        outliers = None if self.upper is None else self.upper.apply(values.clone(), start)
        if self.lower is not None:
            self.lower.apply(values, start)
        # x − x is 0 for dropped outliers, and NaN for infinite ones, which therefore stay visible
        return values if outliers is None else values.sub_(outliers)


class Bernoulli(Mask):
    """Keeps each entry with probability `density`; the draws are counted per (seed, model index, tensor name)."""

    def __init__(self, density: float, generator: torch.Generator, scale: float) -> None:
        self.density, self.generator, self.scale = density, generator, scale

    def apply(self, values: Tensor, start: int) -> Tensor:
        draws = torch.empty(values.numel()).uniform_(generator=self.generator)
        return values.mul_(draws.lt_(self.density).mul_(self.scale).to(values))


class RankedBernoulli(Mask):
    """Keeps an entry with a probability that grows with its rank by magnitude in its row, from d − ε to d + ε.

    Survivors are divided by their own probability when `inverse`, which makes the mask unbiased entry by entry.
    """

    def __init__(self, density: float, epsilon: float, row: int, generator: torch.Generator, inverse: bool) -> None:
        self.density, self.epsilon, self.row = density, epsilon, row
        self.generator, self.inverse = generator, inverse

    def apply(self, values: Tensor, start: int) -> Tensor:
        rows = values.view(-1, self.row)
        ranks = torch.empty(rows.shape, dtype=torch.float32, device=values.device)
        order = torch.arange(self.row, dtype=torch.float32, device=values.device)
        ranks.scatter_(1, _order_by_magnitude(rows), order.expand_as(rows))
        if self.row > 1:
            keep = ranks.mul_(2 * self.epsilon / (self.row - 1)).add_(self.density - self.epsilon)
        else:
            keep = ranks.fill_(self.density)  # a row of one has no ranks
        draws = torch.empty(values.numel()).uniform_(generator=self.generator).to(values.device)
        mask = draws.view_as(keep).lt(keep).to(values.dtype)
        rows.mul_(mask.div_(keep) if self.inverse else mask)
        return values


def _order_by_magnitude(rows: Tensor) -> Tensor:
    """Indices that sort each row by magnitude, ascending; equal magnitudes by index."""
    if rows.dtype != torch.float32 or rows.device.type != "cpu":
        return rows.abs().argsort(dim=1, stable=True)
    # the bits of a positive float sort like the float: with the index below them, one plain sort of integers is stable,
    # and several times faster than sorting indices
    keys = rows.abs().view(torch.int32).long().bitwise_left_shift_(32).add_(torch.arange(rows.shape[1]))
    keys.numpy().sort(axis=1)
    return keys.bitwise_and_(0xFFFF_FFFF)


def row_length(shape: tuple[int, ...]) -> int:
    """Entries per row: everything behind the first dimension; a vector is one row."""
    return math.prod(shape[1:]) if len(shape) > 1 else math.prod(shape)


def mask_for(
    delta: Delta,
    rule: Sparsifier | None,
    *,
    density: float,
    gamma: float = 0.0,
    epsilon: float = 0.0,
    rescale: Rescale | None = None,
    shape: tuple[int, ...],
    key: tuple[int, int, str],
) -> tuple[Mask, float]:
    """The mask of one task vector and the factor by which what it keeps is scaled.

    Args:
        delta: the task vector.
        rule: None keeps everything whatever the density.
        density: share kept; at 1 and above everything is, at 0 nothing. Deterministic rules keep exactly
            int(density · numel) entries.
        gamma: share of the largest entries that "magnitude_outliers" drops first.
        epsilon: half-width of the keep probabilities of "della_magprune".
        rescale: "inverse" divides what a random rule keeps by its probability of being kept, and leaves deterministic
            rules alone; "l1" restores the sum of magnitudes; None does neither.
        shape: the tensor's shape.
        key: (seed, model index, tensor name) of the random draws.

    Raises:
        MergeError: density is negative, gamma outside [0, 1], or density ± epsilon leaves (0, 1).
    """
    n = delta.numel
    if not density >= 0:
        raise MergeError(f"density must be 0 or more, got {density} for {key[2]!r}")
    if rule is None or density >= 1:
        return Everything(), 1.0
    inverse = 1.0 / density if rescale == "inverse" and density > 0 else 1.0
    row, kept = row_length(shape), int(density * n)

    def fresh() -> Mask:
        if rule == "bernoulli":
            return Bernoulli(density, tensor_generator(*key), inverse)
        if rule == "della_magprune":
            return RankedBernoulli(density, epsilon, row, tensor_generator(*key), rescale == "inverse")
        if rule == "magnitude":
            return Largest(largest(delta, [kept])[0], work_dtype(delta.model.dtype))
        top = min(int(gamma * n), n - kept)  # fewer outliers are dropped where the density would not be met
        upper = largest(delta, [top])[0] if top else None
        lower = largest(delta, [top + kept])[0] if top + kept < n else None
        return Band(lower, upper, work_dtype(delta.model.dtype))

    if density == 0 or (kept == 0 and rule in ("magnitude", "magnitude_outliers")):
        return Nothing(), 1.0
    if rule == "magnitude_outliers" and not 0 <= gamma <= 1:
        raise MergeError(f"gamma must lie in [0, 1], got {gamma} for {key[2]!r}")
    if rule == "della_magprune" and not 0 <= epsilon < min(density, 1 - density):
        raise MergeError(f"density ± epsilon must stay inside (0, 1), got {density} ± {epsilon} for {key[2]!r}")
    mask = fresh()
    if rescale != "l1":
        return mask, 1.0
    # mergekit draws for float16 in float32, sums included
    wide = delta.model.dtype == torch.float16 and rule in ("bernoulli", "della_magprune")
    factor = _l1_factor(delta, mask, aligned_chunk(rule, row), rounded=delta.stepwise and not wide)
    # random masks are used up by the look at them, and drawn again from the same seed
    return (fresh() if rule in ("bernoulli", "della_magprune") else mask), factor


def aligned_chunk(rule: Sparsifier | None, row: int) -> int:
    """A chunk size that a rule can work with: whole rows where ranks within rows matter."""
    return max(row, CHUNK // max(row, 1) * row) if rule == "della_magprune" else CHUNK


def _l1_factor(delta: Delta, mask: Mask, chunk: int, *, rounded: bool) -> float:
    """Σ|τ| / Σ|masked τ|, in float64 over chunks; `rounded` rounds both sums and the quotient to the models' dtype."""
    before = after = 0.0
    buffer = delta.buffer(min(chunk, delta.numel))
    for start, stop in chunk_spans(delta.numel, chunk):
        values = delta.read(start, stop, buffer)
        before += float(values.abs().sum())
        after += float(mask.apply(values, start).abs_().sum())
    if before < TINY_NORM or after < TINY_NORM:
        return 1.0
    # a sum beyond float16 stays as it is: mergekit's would be infinite, and its quotient no number
    if rounded and before <= torch.finfo(delta.model.dtype).max:
        pair = torch.tensor([before, after], dtype=delta.model.dtype)
        return float(pair[0] / pair[1])
    return before / after
