"""Normal noise in bulk, for evolution strategies: drawn, spread around a mean, and summed with weights.

Every function gives the same bits whatever the number of threads. Large float32 arrays are drawn by torch, which takes
a third of numpy's time for them; float64 ones are not, since there torch takes twice numpy's. Sums of squares go block
by block, so that the squares stay in the processor's cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

BULK = 4096  # entries; below, a call to torch costs more than it saves
BLOCK = 1 << 16  # entries whose squares are held at a time: 256 KB of float32


def normal(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: DTypeLike, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Standard normal noise.

    Args:
        rng: all randomness comes from it. Large float32 arrays take one number of 32 bits from it, the seed of a
            generator of torch (whose seeds have no more bits): two of n such arrays are equal with a chance of n²/2³³.
        out: written to and returned where it has this shape and dtype, so that a generation need not allocate.
    """
    dtype = np.dtype(dtype)
    if out is None or out.shape != shape or out.dtype != dtype:
        out = np.empty(shape, dtype)
    if dtype == np.float32 and out.size >= BULK:
        torch.from_numpy(out).normal_(generator=torch.Generator().manual_seed(int(rng.integers(1 << 32))))
    elif dtype == np.float32:
        rng.standard_normal(out=out, dtype=np.float32)
    else:
        rng.standard_normal(out=out)
    return out


def around(mean: NDArray[Any], sigma: NDArray[Any], noise: NDArray[Any]) -> NDArray[Any]:
    """mean + sigma · noise [n, dim], a new array."""
    if noise.size < BULK:
        near: NDArray[Any] = noise * sigma
        near += mean
        return near
    x = np.empty_like(noise)
    torch.addcmul(*map(torch.from_numpy, (mean, noise, sigma)), out=torch.from_numpy(x))
    return x


def mirrored(mean: NDArray[Any], sigma: NDArray[Any], noise: NDArray[Any]) -> NDArray[Any]:
    """Rows 2i and 2i + 1 are mean ± sigma · noise[i]: [2n, dim], a new array."""
    n, dim = noise.shape
    x = np.empty((n, 2, dim), noise.dtype)
    if noise.size < BULK:
        step = noise * sigma
        np.add(mean, step, out=x[:, 0])
        np.subtract(mean, step, out=x[:, 1])
    else:
        center, steps, scale, pairs = map(torch.from_numpy, (mean, noise, sigma, x))
        torch.addcmul(center, steps, scale, out=pairs[:, 0])
        torch.addcmul(center, steps, scale, value=-1, out=pairs[:, 1])
    return x.reshape(2 * n, dim)


def weighted_sum(weights: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    """Σᵢ wᵢ rowsᵢ: [n], [n, dim] → [dim]."""
    if rows.size < BULK:
        return np.asarray(weights @ rows)
    # numpy's own product of large arrays has other last bits with another number of threads.
    return torch.mv(torch.from_numpy(rows).T, torch.from_numpy(weights)).numpy()


def weighted_squares(weights: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    """Σᵢ wᵢ rowsᵢ²: [n], [n, dim] → [dim]."""
    n, dim = rows.shape
    step = max(1, BLOCK // dim)
    if step >= n:
        return weighted_sum(weights, np.square(rows))
    total, squares = np.zeros(dim, rows.dtype), np.empty((step, dim), rows.dtype)
    for first in range(0, n, step):
        block = rows[first : first + step]
        held = np.square(block, out=squares[: len(block)])
        total += weighted_sum(weights[first : first + step], held)
    return total
