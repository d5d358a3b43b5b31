"""Weighted sums of float32 and bfloat16 arrays in numpy: bit for bit what `heredity.merging.linear` computes in torch.

To load torch takes longer than to merge a small model; a merge of files that only adds up does not need it.
Source: the arithmetic is that of `Linear` and `Passthrough`; bfloat16 is the upper half of a float32, rounded to the
nearest, ties to even.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]

DTYPES = ("float32", "bfloat16")
_CHUNK = 1 << 16  # values: the few buffers of 256 KB stay in the second-level cache


def weighted_sum(inputs: Sequence[Bytes], dtype: str, weights: Sequence[float], whole: float, out: Bytes) -> bool:
    """whole · x_r + Σ wᵢ (xᵢ − x_r) around the input r of the largest weight, computed in float32.

    Args:
        inputs: raw bytes, as many for each.
        dtype: of inputs and output, one of `DTYPES`.
        weights: one for each input.
        whole: what they add up to.
        out: written to.

    Returns:
        Whether every value was finite; if not, what stands in `out` means nothing.
    """
    stored = np.dtype(np.float32 if dtype == "float32" else np.uint16)
    arrays, result = [raw.view(stored) for raw in inputs], out.view(stored)
    heaviest = max(range(len(weights)), key=lambda i: abs(weights[i]))
    buffers = [np.empty(min(_CHUNK, len(result)), np.float32) for _ in range(3)]
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(result), _CHUNK):
            span = slice(start, min(start + _CHUNK, len(result)))
            anchor, total, spare = (buffer[: span.stop - start] for buffer in buffers)
            _widen(arrays[heaviest][span], anchor)
            if len(arrays) == 2 and whole == 1.0:
                total = anchor  # the only difference is taken before anything is added
            else:
                np.multiply(anchor, np.float32(whole), out=total)
            for i, (weight, array) in enumerate(zip(weights, arrays, strict=True)):
                if i != heaviest:
                    _widen(array[span], spare)
                    spare -= anchor
                    spare *= np.float32(weight)
                    total += spare
            if not (_finite(total) and _narrow(total, spare, result[span])):
                return False
    return True


def equal(inputs: Sequence[Bytes], dtype: str) -> bool:
    """Whether all inputs have the same values; 0 and −0 are the same, NaN is not even itself."""
    if dtype == "float32":
        first, *others = (raw.view(np.float32) for raw in inputs)
        return all(np.array_equal(first[:64], other[:64]) and np.array_equal(first, other) for other in others)
    first_bits, *bits = (raw.view(np.uint16) for raw in inputs)
    return all(_equal_halves(first_bits[:64], other[:64]) and _equal_halves(first_bits, other) for other in bits)


def all_finite(raw: Bytes, dtype: str) -> bool:
    """Whether no value is NaN or infinite."""
    if dtype == "float32":
        values = raw.view(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            return all(_finite(values[start : start + _CHUNK]) for start in range(0, len(values), _CHUNK))
    return not bool(((raw.view(np.uint16) & 0x7F80) == 0x7F80).any())


def _equal_halves(a: NDArray[np.uint16], b: NDArray[np.uint16]) -> bool:
    different = a[a != b], b[a != b]
    zeros = not ((different[0] | different[1]) & 0x7FFF).any()
    return zeros and not ((a & 0x7FFF) > 0x7F80).any()


def _widen(stored: NDArray[np.float32] | NDArray[np.uint16], out: Floats) -> None:
    if stored.dtype == np.float32:
        np.copyto(out, stored)
    else:
        bits = out.view(np.uint32)
        np.copyto(bits, stored)
        np.left_shift(bits, 16, out=bits)


def _narrow(values: Floats, spare: Floats, out: NDArray[np.float32] | NDArray[np.uint16]) -> bool:
    """Round finite values into `out`; whether they still are finite. `values` and `spare` are used up."""
    if out.dtype == np.float32:
        np.copyto(out, values)
        return True
    bits, odd = values.view(np.uint32), spare.view(np.uint32)
    np.right_shift(bits, 16, out=odd)
    odd &= 1
    odd += 0x7FFF
    bits += odd
    np.right_shift(bits, 16, out=bits)
    np.copyto(out, bits, casting="unsafe")
    bits &= 0x7FFF
    return int(bits.max(initial=0)) < 0x7F80  # the largest float32 values round to infinity


def _finite(values: Floats) -> bool:
    # NaN and infinity survive a sum; a sum may overflow where every value is finite.
    return bool(np.isfinite(values.sum())) or bool(np.isfinite(values).all())
