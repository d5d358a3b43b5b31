"""Normal noise that is a function of a seed, the same on every machine: what seed chains are made of.

Source: Such et al., Deep Neuroevolution (arXiv 1712.06567); its released code cuts noise out of one table.
"""

from __future__ import annotations

import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
BLOCK = 1 << 16  # values per counter of the generator; part of what a seed means
_TABLE_SEED = 123  # of the fixed table of noise, as in the released code


def add_noise(target: Floats, seed: int, power: float, *, pool: ThreadPoolExecutor | None = None) -> None:
    """target ← target + power · N(seed), in place; target [P] float32 and contiguous.

    N(seed) is made of raw numbers of Philox under the key `seed`, which numpy promises to keep: 16 bits pick one of
    65,536 equally likely quantiles of the normal distribution (standard deviation 0.99999, kurtosis 2.999, none beyond
    4.3). That takes a sixth of the time of numpy's own normal numbers, whose algorithm numpy may change. Blocks of
    65,536 values have counters of their own: so the values do not depend on how many threads make them, and a longer
    vector begins as a shorter one.
    """
    starts = range(0, target.size, BLOCK)
    if pool is None:
        for start in starts:
            _add_block(target, seed, power, start)
    else:
        list(pool.map(lambda start: _add_block(target, seed, power, start), starts))


@functools.lru_cache(maxsize=1)
def quantiles() -> Floats:
    """The 65,536 values that noise is made of, ascending: the normal distribution's at (i + ½) / 65,536."""
    upper = np.array([NormalDist().inv_cdf(0.5 + (i + 0.5) / 65536) for i in range(32768)]).astype(np.float32)
    values = np.concatenate([-upper[::-1], upper])
    values.flags.writeable = False
    return values


class _Scratch(threading.local):
    """Memory that each thread uses again for block after block."""

    def __init__(self) -> None:
        self.index, self.noise = np.empty(BLOCK, np.intp), np.empty(BLOCK, np.float32)


_scratch = _Scratch()


def _add_block(target: Floats, seed: int, power: float, start: int) -> None:
    part = target[start : start + BLOCK]
    bits = np.random.Philox(key=seed, counter=(start // BLOCK) << 128).random_raw(-(-part.size // 4))
    index, noise = _scratch.index[: part.size], _scratch.noise[: part.size]
    index[:] = bits.astype("<u8", copy=False).view("<u2")[: part.size]
    np.take(quantiles(), index, out=noise, mode="wrap")  # indices are in range; "wrap" spares a copy of `out`
    with np.errstate(over="ignore"):  # a decoder refuses what overflows
        noise *= np.float32(power)
        part += noise


@functools.lru_cache(maxsize=1)
def noise_table(size: int) -> Floats:
    """One fixed vector of normal values, kept while its size is asked for."""
    values = np.zeros(size, np.float32)
    add_noise(values, _TABLE_SEED, 1.0)
    values.flags.writeable = False
    return values
