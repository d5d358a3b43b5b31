"""Pareto dominance and the fronts it makes; every objective is maximised.

Points are arrays [n, m]. A row that holds NaN or an infinity is a failure: it is in no front and dominates nothing.
Sources: Deb, Pratap, Agarwal & Meyarivan, NSGA-II, IEEE TEC 6 (2002), section III-A (fronts); Zhang, Tian, Cheng & Jin,
An Efficient Approach to Non-dominated Sorting, IEEE TEC 19 (2015) (sorted insertion with a binary search over fronts).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]
BLOCK = 256  # rows compared at once where there are more than three objectives


def dominates(a: Sequence[float] | Points, b: Sequence[float] | Points, tol: float = 0.0) -> bool:
    """Whether `a` [m] is nowhere worse than `b` [m] by more than `tol`, and somewhere better by more than `tol`.

    A failure (a value that is not finite) dominates nothing and is dominated by everything that did not fail.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"two vectors of the same length are compared, got shapes {first.shape} and {second.shape}")
    if not np.isfinite(first).all():
        return False
    if not np.isfinite(second).all():
        return True
    return bool((first >= second - tol).all() and (first > second + tol).any())


def front_ranks(points: ArrayLike, most: int | None = None) -> Indices:
    """The number of each point's front [n]: 0 for points that nobody dominates, −1 for failures.

    Args:
        points: [n, m].
        most: tell only so many fronts apart; all further points get the number `most`.
    """
    values = as_points(points)
    found = np.full(len(values), -1, dtype=np.int64)
    alive = np.flatnonzero(np.isfinite(values).all(axis=1))
    if not len(alive):
        return found
    values = values[alive] if len(alive) < len(values) else values
    order = np.argsort(-values[:, 0])  # best first by the first objective, then the second, …
    leading = values[order, 0]
    if (leading[1:] == leading[:-1]).any():
        order = np.lexsort(-values.T[::-1])
    ordered = values[order]
    if most is None:
        most = len(ordered)
    elif most < 1:
        raise ValueError(f"at least one front has to be told apart, got most={most}")
    # Whatever dominates a point comes before it; equal points are neighbours and share a front.
    fresh = np.ones(len(ordered), dtype=bool)
    fresh[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    distinct = ordered if fresh.all() else ordered[fresh]
    m = values.shape[1]
    ranks = _ranks_1, _ranks_2, _ranks_3, _ranks_many
    of_distinct = ranks[min(m, 4) - 1](distinct, most)
    found[alive[order]] = of_distinct[np.cumsum(fresh) - 1]
    return found


def non_dominated_sort(points: ArrayLike) -> list[Indices]:
    """Indices of the fronts, the best front first, each ascending; failures are in none."""
    ranks = front_ranks(points)
    order = np.argsort(ranks, kind="stable")
    sizes = np.bincount(ranks + 1, minlength=1)
    return np.split(order, np.cumsum(sizes[:-1]))[1:] if len(sizes) > 1 else []


def pareto_front(points: ArrayLike) -> Indices:
    """Indices of the points that no other dominates, ascending; of equal points all."""
    return np.flatnonzero(front_ranks(points, most=1) == 0)


def as_points(points: ArrayLike) -> Points:
    """The array [n, m] of objectives.

    Raises:
        ValueError: another shape, or no objective.
    """
    values = np.asarray(points, dtype=np.float64)
    if values.ndim != 2 and not values.size:
        return np.empty((0, 1))
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(f"objectives should have shape [n, m] with m ≥ 1, they have {values.shape}")
    return values


# The sorts below take distinct points, lexicographically from the best on.


def _ranks_1(points: Points, most: int) -> Indices:
    return np.minimum(np.arange(len(points)), most)


def _ranks_2(points: Points, most: int) -> Indices:
    tails: list[float] = []  # minus the highest second objective of each front, ascending
    ranks = []
    for value in (-points[:, 1]).tolist():
        # The fronts whose best is at least as good come first: the new point belongs to the one after them.
        rank = _after(tails, value)
        ranks.append(rank)
        if rank < len(tails):
            tails[rank] = value
        elif rank < most:
            tails.append(value)
    return np.array(ranks, dtype=np.int64)


def _after(tails: list[float], value: float) -> int:
    low, high = 0, len(tails)
    while low < high:
        middle = (low + high) // 2
        if tails[middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low


def _ranks_3(points: Points, most: int) -> Indices:
    """Each front keeps the staircase of its second and third objectives: the second ascends, the third descends."""
    fronts: list[tuple[list[float], list[float]]] = []
    ranks = []
    for y, z in points[:, 1:].tolist():
        low, high = 0, len(fronts)
        while low < high:
            middle = (low + high) // 2
            ys, zs = fronts[middle]
            step = bisect_left(ys, y)
            if step < len(ys) and zs[step] >= z:
                low = middle + 1
            else:
                high = middle
        ranks.append(low)
        if low == len(fronts):
            if low < most:
                fronts.append(([y], [z]))
            continue
        ys, zs = fronts[low]
        last = first = bisect_left(ys, y)
        while first and zs[first - 1] <= z:
            first -= 1
        if last < len(ys) and ys[last] == y:
            last += 1
        ys[first:last], zs[first:last] = [y], [z]
    return np.array(ranks, dtype=np.int64)


def _ranks_many(points: Points, most: int) -> Indices:
    """A point's front is one more than the last front of those that dominate it, found a block of rows at a time."""
    n = len(points)
    small: Any = np.int16 if n < 2**15 else np.int32  # numbers by order compare several times faster than floats
    columns = np.empty((points.shape[1], n), dtype=small)
    for column, values in zip(columns, points.T, strict=True):
        column[:] = np.unique(values, return_inverse=True)[1]
    after = np.zeros(n, dtype=small)  # a point's front + 1
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        # Rows: the block; columns: all that come before its end. The first objective is sorted, but may tie.
        worse = columns[1][start:stop, None] <= columns[1][None, :stop]
        for column in columns[2:]:
            worse &= column[start:stop, None] <= column[None, :stop]
        inner = np.tril(worse[:, start:], -1).astype(small)  # nobody dominates himself or an earlier point
        block = np.ones(stop - start, dtype=small)
        if start:
            block += (worse[:, :start] * after[:start]).max(axis=1)
        while True:
            longer = np.maximum(block, (inner * block).max(axis=1) + inner.any(axis=1))
            if (longer == block).all():
                break
            block = longer
        after[start:stop] = np.minimum(block, most + 1)
    return after.astype(np.int64) - 1
