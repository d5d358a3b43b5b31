"""Fitness turned into weights: what evolution strategies learn from instead of raw fitness.

All functions take fitness [..., n] (higher is better, −∞ for failures) and give weights of the same shape; ties keep
the order of the input unless it says otherwise.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


def ranks(fitness: NDArray[Any]) -> NDArray[np.int64]:
    """0 for the best, n − 1 for the worst."""
    order = np.argsort(-np.asarray(fitness), axis=-1, kind="stable")
    found = np.empty_like(order)
    if order.ndim == 1:  # several times faster
        found[order] = np.arange(len(order))
        return found
    np.put_along_axis(found, order, np.broadcast_to(np.arange(order.shape[-1]), order.shape), axis=-1)
    return found


def centered_ranks(fitness: NDArray[Any], *, ties: Literal["order", "average"] = "order") -> NDArray[np.float64]:
    """½ for the best to −½ for the worst in equal steps. Source: Salimans et al., arXiv 1703.03864.

    Args:
        ties: "average" gives equal fitness equal weights, so that a plateau or several failures teach nothing about
            each other.
    """
    found: NDArray[Any] = ranks(fitness)
    if ties == "average" and _has_equals(fitness):
        # Ranks with the later of equals first: the mean of both orders is the same for all equals.
        found = (found + (ranks(np.asarray(fitness)[..., ::-1])[..., ::-1])) / 2
    return np.asarray(0.5 - found / max(1, found.shape[-1] - 1), dtype=np.float64)


def _has_equals(fitness: NDArray[Any]) -> bool:
    ordered = np.sort(fitness, axis=-1)
    return bool((ordered[..., 1:] == ordered[..., :-1]).any())


def pair_signs(fitness: NDArray[Any]) -> NDArray[np.float64]:
    """1 for the better and 0 for the worse of the pairs (2i, 2i + 1), ½ for both of a tie.

    Source: arXiv 2402.05828, antithetic task sampling (where a tie counts for the second).
    """
    pairs = np.asarray(fitness).reshape(*np.shape(fitness)[:-1], -1, 2)
    first = 0.5 + 0.5 * (pairs[..., 0] > pairs[..., 1]) - 0.5 * (pairs[..., 0] < pairs[..., 1])
    return np.stack([first, 1 - first], axis=-1).reshape(np.shape(fitness))


def z_scores(fitness: NDArray[Any]) -> NDArray[np.float64]:
    """Fitness less its mean over its standard deviation; failures count as the worst that did not fail.

    Source: arXiv 2511.16652. Unlike ranks it follows the size of differences, and so single very large ones.
    """
    found = np.asarray(fitness, dtype=np.float64)
    finite = np.isfinite(found)
    found = np.where(finite, found, np.min(np.where(finite, found, np.inf), axis=-1, keepdims=True))
    found = found - found.mean(axis=-1, keepdims=True)
    spread = found.std(axis=-1, keepdims=True)
    return np.asarray(found / np.where(spread > 0, spread, 1.0), dtype=np.float64)


def nes_utilities(n: int) -> NDArray[np.float64]:
    """Utilities by rank [n], best first, summing to zero: max(0, ln(n/2 + 1) − ln k), normalised, less 1/n.

    Source: Wierstra et al., Natural Evolution Strategies, JMLR 15 (2014), section 3.1.
    """
    raw = np.maximum(0.0, np.log(n / 2 + 1) - np.log(np.arange(1, n + 1)))
    return np.asarray(raw / raw.sum() - 1 / n, dtype=np.float64)
