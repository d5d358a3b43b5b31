"""The exact k-th largest magnitude of a tensor too large to sort: sample, bracket, count, select.

A random sample gives an interval that almost surely holds the wanted magnitude; one chunked pass counts what lies above
it and collects what lies inside (a few per cent), where an ordinary selection finishes. A sample that misleads costs
another pass with a wider interval, never exactness. Interval ends are counted, not collected, so that magnitudes shared
by very many entries (differences of bfloat16 weights have few distinct values) cost no memory.
Equal magnitudes are ranked by index, the earlier one first, as in a stable descending sort.
Source: randomised selection after Floyd and Rivest (1975), algorithm SELECT.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from heredity.merging.chunks import CHUNK, chunk_spans

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE = 1 << 14  # entries looked at to find the interval
SIGMAS = 5.0  # half-width of the interval in standard deviations of the sample's rank


class Readable(Protocol):
    """A flat tensor that is computed piece by piece."""

    numel: int

    def read(self, start: int, stop: int, into: Tensor) -> Tensor:
        """Write values [start, stop) into the head of the buffer and return that head."""

    def take(self, indices: Tensor) -> Tensor:
        """The values at some indices, in the dtype of the arithmetic."""

    def buffer(self, size: int) -> Tensor:
        """An uninitialised work buffer."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """The k largest magnitudes: those above `value`, and those equal to it at indices below `cut`."""

    value: float
    cut: int


def largest(values: Readable, ks: Sequence[int], *, chunk: int = CHUNK, sample: int = SAMPLE) -> list[Threshold]:
    """The thresholds that keep exactly the k largest magnitudes, for each k, 1 ≤ k ≤ numel.

    Args:
        values: what to select from. It should hold no NaN: the result is then without meaning, but there is one.
        ks: how many to keep.
        chunk: values held at a time; a tensor up to this size is selected from directly.
        sample: entries looked at to find the interval.

    Raises:
        ValueError: a rank is outside 1 to numel.
    """
    if not values.numel or not all(1 <= k <= values.numel for k in ks):
        raise ValueError(f"ranks {list(ks)} are outside 1 to {values.numel}")
    return [_select(values, k, chunk, sample) for k in ks]


def _select(values: Readable, k: int, chunk: int, sample: int) -> Threshold:
    n = values.numel
    if n <= chunk:
        magnitudes = _magnitudes(values, 0, n, values.buffer(n)).copy()
        value = np.partition(magnitudes, n - k)[n - k]
        quota = k - int(np.count_nonzero(magnitudes > value))
        ties = np.flatnonzero(magnitudes == value)
        return Threshold(float(value), int(ties[quota - 1]) + 1 if quota < len(ties) else n)
    generator = torch.Generator().manual_seed(k)  # any sample will do; a fixed one repeats exactly
    margin = SIGMAS
    while True:
        low, high = _bracket(values, k, margin, sample, generator)
        found = _within(values, k, low, high, chunk)
        if found is not None:
            return found
        if low < 0 and high == math.inf:  # every number lies in this interval: the rest is NaN, which must stay visible
            return Threshold(0.0, n)
        margin *= 4


def _bracket(values: Readable, k: int, margin: float, size: int, generator: torch.Generator) -> tuple[float, float]:
    """An interval of magnitudes that should hold the k-th largest, from a stratified random sample."""
    n = values.numel
    jitter = torch.rand(size, generator=generator, dtype=torch.float64)
    indices = ((torch.arange(size, dtype=torch.float64) + jitter) * (n / size)).long().clamp_(max=n - 1)
    sample = np.sort(values.take(indices).abs().cpu().numpy())  # ascending, NaN last
    share = k / n
    rank = size * (1 - share)
    spread = margin * math.sqrt(size * share * (1 - share)) + margin
    low, high = math.floor(rank - spread), math.ceil(rank + spread)
    return (float(sample[low]) if low >= 0 else -1.0), (float(sample[high]) if high < size else math.inf)


def _within(values: Readable, k: int, low: float, high: float, chunk: int) -> Threshold | None:
    """The threshold when the k-th largest magnitude lies in [low, high], else None."""
    n = values.numel
    buffer = values.buffer(chunk)
    dtype = buffer.cpu().numpy().dtype.type
    lo, hi = dtype(low), dtype(high)
    above, inside = np.empty(chunk, dtype=bool), np.empty(chunk, dtype=bool)
    over_high = from_high = over_low = from_low = 0
    collected: list[np.ndarray] = []
    for start, stop in chunk_spans(n, chunk):
        x = _magnitudes(values, start, stop, buffer)
        a, b = above[: stop - start], inside[: stop - start]
        from_low += int(np.count_nonzero(np.greater_equal(x, lo, out=b)))
        over_low += int(np.count_nonzero(np.greater(x, lo, out=b)))
        over_high += int(np.count_nonzero(np.greater(x, hi, out=a)))
        from_high += int(np.count_nonzero(np.greater_equal(x, hi, out=a)))
        if low < high:
            collected.append(x[np.greater(b, a, out=b)])
    if not over_high < k <= from_low:
        return None
    if k <= from_high:
        value, larger, equal = high, over_high, from_high - over_high
    elif k > over_low:
        value, larger, equal = low, over_low, from_low - over_low
    else:
        middle = np.concatenate(collected)
        place = len(middle) - (k - from_high)
        value = float(np.partition(middle, place)[place])
        larger = from_high + int(np.count_nonzero(middle > value))
        equal = int(np.count_nonzero(middle == value))
    quota = k - larger
    return Threshold(value, n if quota == equal else _index_of_tie(values, dtype(value), quota, buffer, chunk))


def _index_of_tie(values: Readable, value: np.floating, quota: int, buffer: Tensor, chunk: int) -> int:
    """The index just behind the quota-th entry whose magnitude equals the threshold."""
    for start, stop in chunk_spans(values.numel, chunk):
        ties = np.equal(_magnitudes(values, start, stop, buffer), value)
        count = int(np.count_nonzero(ties))
        if quota <= count:
            return start + int(np.flatnonzero(ties)[quota - 1]) + 1
        quota -= count
    raise AssertionError("fewer ties than were counted")


def _magnitudes(values: Readable, start: int, stop: int, buffer: Tensor) -> np.ndarray:
    return values.read(start, stop, buffer).abs_().cpu().numpy()
