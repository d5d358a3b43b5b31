"""Fitness turned into weights: what evolution strategies learn from instead of raw fitness.

All functions take fitness [..., n] (higher is better, −∞ for failures) and give weights of the same shape; ties keep the
order of the input.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def ranks(fitness: NDArray[Any]) -> NDArray[np.int64]:
    """0 for the best, n − 1 for the worst."""
    order = np.argsort(-np.asarray(fitness), axis=-1, kind="stable")
    found = np.empty_like(order)
    np.put_along_axis(found, order, np.broadcast_to(np.arange(order.shape[-1]), order.shape), axis=-1)
    return found


def centered_ranks(fitness: NDArray[Any]) -> NDArray[np.float64]:
    """½ for the best to −½ for the worst in equal steps. Source: Salimans et al., arXiv 1703.03864."""
    found = ranks(fitness)
    return 0.5 - found / max(1, found.shape[-1] - 1)


def nes_utilities(n: int) -> NDArray[np.float64]:
    """Utilities by rank [n], best first, summing to zero: max(0, ln(n/2 + 1) − ln k), normalised, less 1/n.

    Source: Wierstra et al., Natural Evolution Strategies, JMLR 15 (2014), section 3.1.
    """
    raw = np.maximum(0.0, np.log(n / 2 + 1) - np.log(np.arange(1, n + 1)))
    return np.asarray(raw / raw.sum() - 1 / n, dtype=np.float64)
