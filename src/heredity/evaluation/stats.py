"""Intervals for means and proportions, and paired comparisons. Written once; every table and claim uses it.

Sources: Wilson 1927 (score interval); Efron & Tibshirani 1993, chapters 13 and 16 (percentile bootstrap, clusters).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its interval.

    Args:
        mean: the estimate.
        low, high: ends of the interval.
        std: standard deviation of the observations (sample, n − 1).
        n: number of observations, or of clusters where they are resampled together.
    """

    mean: float
    low: float
    high: float
    std: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def wilson(successes: int, n: int, level: float = 0.95) -> Estimate:
    """Score interval of a proportion; sensible at 0, at 1 and for small n.

    Raises:
        ValueError: n is not positive, or successes lie outside 0…n.

    >>> print(wilson(8, 10))
    0.800 [0.490, 0.943]
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"a proportion needs 0 ≤ successes ≤ n and n > 0; got {successes} of {n}")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At 0 and n the ends are exact; rounding must not push them outside.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Estimate(p, low, high, math.sqrt(p * (1 - p) * n / max(n - 1, 1)), n)


def bootstrap(
    values: ArrayLike,
    *,
    cluster: Sequence[int] | NDArray[np.int_] | None = None,
    level: float = 0.95,
    n: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """Percentile bootstrap of a mean.

    Args:
        values: [N] finite observations.
        cluster: [N] labels; observations with the same label are resampled together (one image under eight shifts).
        level: of the interval.
        n: resamples.
        seed: of the resampling.

    Raises:
        ValueError: no values, a non-finite one, or labels of another length.
    """
    observed = np.asarray(values, dtype=np.float64).reshape(-1)
    if observed.size == 0 or not np.isfinite(observed).all():
        bad = int((~np.isfinite(observed)).sum())
        raise ValueError(f"the bootstrap needs finite values; {observed.size} given, {bad} of them not finite")
    sums: NDArray[np.float64] = observed
    counts = np.ones_like(observed)
    if cluster is not None:
        labels = np.asarray(cluster).reshape(-1)
        if labels.shape != observed.shape:
            raise ValueError(f"{labels.size} cluster labels for {observed.size} values")
        _, inverse = np.unique(labels, return_inverse=True)
        sums = np.bincount(inverse, observed).astype(np.float64)
        counts = np.bincount(inverse).astype(np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty(n)
    block = max(1, 4_000_000 // len(sums))  # bounds memory, does not change the draws
    for start in range(0, n, block):
        drawn = rng.integers(len(sums), size=(min(block, n - start), len(sums)))
        means[start : start + len(drawn)] = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    std = float(observed.std(ddof=1)) if observed.size > 1 else 0.0
    return Estimate(float(observed.mean()), float(low), float(high), std, len(sums))


def paired_bootstrap(  # noqa: PLR0917 - the order of the two samples and their clusters is the interface
    a: ArrayLike,
    b: ArrayLike,
    cluster: Sequence[int] | NDArray[np.int_] | None = None,
    level: float = 0.95,
    n: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """Interval of mean(a − b) over pairs; a clear difference has an interval that does not cover 0.

    Args:
        a, b: [N] observations of the same items, in the same order.
        cluster: [N] labels of pairs that are resampled together.

    Raises:
        ValueError: lengths differ, or values are not finite.
    """
    first, second = np.asarray(a, dtype=np.float64).reshape(-1), np.asarray(b, dtype=np.float64).reshape(-1)
    if first.shape != second.shape:
        raise ValueError(f"pairs need equal lengths; got {first.size} and {second.size}")
    return bootstrap(first - second, cluster=cluster, level=level, n=n, seed=seed)
