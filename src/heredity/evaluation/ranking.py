"""Rank correlations, with ties and with the cases in which a correlation does not exist.

A prediction (or truth) that is constant ranks nothing: its correlation is undefined and reported as `constant`, so that
a searcher of predictors can see such a one as the worst.
Source: Spearman (1904), Kendall's tau-b (1945); the top-k form as in the specification of arXiv 2307.10554.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values: TypeAlias = Sequence[float] | NDArray[np.float64]


def spearman(x: Values, y: Values, *, constant: float = -1.0) -> float:
    """Spearman's ρ of two vectors [n] with average ranks for ties, in [−1, 1]; `constant` where one does not vary.

    Raises:
        ValueError: lengths differ, fewer than two pairs, or a value is not finite.
    """
    a, b = _pair(x, y)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return constant
    return float(np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1])


def kendall(x: Values, y: Values, *, constant: float = -1.0) -> float:
    """Kendall's τ-b of two vectors [n], in [−1, 1]; `constant` where one does not vary.

    Raises:
        ValueError: as for `spearman`.
    """
    a, b = _pair(x, y)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return constant
    return float(stats.kendalltau(a, b).statistic)


def spearman_top_k(prediction: Values, truth: Values, k: float, *, constant: float = -1.0) -> float:
    """Spearman's ρ among the best by TRUE value: whether a predictor orders what one would pick.

    Args:
        k: how many of the highest true values (int), or which share of them (float in (0, 1]), at least two; ties at
            the border keep the order of the input.

    Raises:
        ValueError: as for `spearman`, or k is out of range.
    """
    a, b = _pair(prediction, truth)
    if isinstance(k, float):
        if not 0 < k <= 1:
            raise ValueError(f"a share must lie in (0, 1], got {k}")
        k = max(2, int(k * len(b) + 1e-9))
    if not 2 <= k <= len(b):
        raise ValueError(f"cannot look at the best {k} of {len(b)}")
    best = np.argsort(-b, kind="stable")[: int(k)]
    return spearman(a[best], b[best], constant=constant)


def _pair(x: Values, y: Values) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise ValueError(f"two vectors of one length of at least 2 are needed, got shapes {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        bad = int(np.argmin(np.isfinite(a) & np.isfinite(b)))
        raise ValueError(f"pair {bad} holds a value that is not finite: {a[bad]}, {b[bad]}")
    return a, b
