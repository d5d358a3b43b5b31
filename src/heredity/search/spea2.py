"""SPEA2's environmental selection; every objective is maximised.

Source: Zitzler, Laumanns & Thiele, SPEA2: Improving the Strength Pareto Evolutionary Algorithm, TIK report 103 (2001),
sections 3.1 (fitness) and 3.2 (truncation).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heredity.search.dominance import Indices, Points, as_points


def spea2_fitness(points: ArrayLike) -> NDArray[np.float64]:
    """SPEA2's fitness F [n] of finite points [n, m], to be minimised: raw fitness plus density; below 1 for a front.

    Raises:
        ValueError: a value is not finite.
    """
    values = as_points(points)
    if not np.isfinite(values).all():
        raise ValueError("SPEA2's fitness compares finite objectives; drop what failed first")
    better = np.ones((len(values), len(values)), dtype=bool)  # row dominates column
    for column in values.T:
        better &= column[:, None] >= column[None, :]
    better &= ~better.T  # as good everywhere and not the other way round
    strength = better.sum(axis=1)
    raw = strength @ better
    k = min(int(np.sqrt(len(values))), len(values) - 1)  # place 0 is the point itself
    nearest = np.sort(_distances(values), axis=1)[:, k] if len(values) else np.empty(0)
    return np.asarray(raw + 1 / (nearest + 2))


def spea2_select(points: ArrayLike, n: int) -> Indices:
    """Indices of the `n` that SPEA2 keeps of points [N, m]; of fewer, all.

    The front comes first, in input order; when it is smaller than `n`, others follow by fitness; when it is larger, the
    member nearest to another one is dropped again and again. Failures come last. Distances are those of the objectives
    as given: scale objectives that are not commensurable.
    """
    values = as_points(points)
    if n < 0:
        raise ValueError(f"cannot select {n} members")
    finite = np.isfinite(values).all(axis=1)
    alive, failed = np.flatnonzero(finite), np.flatnonzero(~finite)
    fitness = spea2_fitness(values[alive])
    front = np.flatnonzero(fitness < 1)
    if len(front) > n:
        return alive[front[_truncate(values[alive][front], n)]]
    others = np.flatnonzero(fitness >= 1)
    others = others[np.argsort(fitness[others], kind="stable")]
    return np.concatenate([alive[front], alive[others], failed])[:n].astype(np.int64)


def _distances(values: Points) -> NDArray[np.float64]:
    squares = np.zeros((len(values), len(values)))
    for column in values.T:
        squares += np.square(column[:, None] - column[None, :])
    return np.sqrt(squares)


def _truncate(values: Points, n: int) -> Indices:
    """Drop the point whose sorted distances to the others are lexicographically least, until `n` are left."""
    distances = _distances(values)
    np.fill_diagonal(distances, np.inf)
    left = np.arange(len(values))
    while len(left) > n:
        nearest = distances.min(axis=1)
        tied = np.flatnonzero(nearest == nearest.min())
        rows = np.sort(distances[tied], axis=1)
        drop = tied[np.lexsort(rows.T[::-1])[0]]
        left = np.delete(left, drop)
        distances = np.delete(np.delete(distances, drop, axis=0), drop, axis=1)
    return left
