"""Choosing among points with several objectives, all maximised: crowding; selection as in NSGA-II, SPEA2 and CARS.

Points are arrays [n, m]. A row that holds NaN or an infinity is a failure: never in a front, chosen last.
Sources: Deb, Pratap, Agarwal & Meyarivan, NSGA-II, IEEE TEC 6 (2002); Yang et al., CARS, arXiv 1909.04977, as used in
arXiv 2111.15097; `spea2` and `hypervolume` name their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heredity.search.dominance import (  # noqa: F401  # dominance and its volume are part of this subject
    Indices,
    as_points,
    dominates,
    front_ranks,
    non_dominated_sort,
    pareto_front,
)
from heredity.search.hypervolume import hypervolume  # noqa: F401
from heredity.search.spea2 import spea2_select  # noqa: F401


def crowding_distance(points: ArrayLike, ranks: Sequence[int] | Indices | None = None) -> NDArray[np.float64]:
    """How far apart each point's neighbours are [n]: the sum over objectives, each in units of its range in the front.

    The first and last of a front in any objective get +∞; an objective that does not vary adds nothing. Failures
    get −∞.

    Args:
        points: [n, m].
        ranks: each point's front; neighbours are those of the same front. By default all are of one front.
    """
    values = as_points(points)
    n = len(values)
    alive = np.isfinite(values).all(axis=1)
    front = np.zeros(n, dtype=np.int64) if ranks is None else np.asarray(ranks, dtype=np.int64)
    if front.shape != (n,):
        raise ValueError(f"ranks should have shape ({n},), they have {front.shape}")
    where = np.flatnonzero(alive)
    found = np.full(n, -np.inf)
    if not len(where):
        return found
    inner = np.zeros(len(where))
    group = front[where]
    for column in values[where].T:
        order = np.lexsort((column, group))
        ordered, groups = column[order], group[order]
        starts = np.flatnonzero(np.diff(groups, prepend=groups[0] - 1))
        ends = np.append(starts[1:], len(groups)) - 1
        span = np.repeat(ordered[ends] - ordered[starts], ends - starts + 1)
        gap = np.zeros(len(ordered))
        gap[1:-1] = ordered[2:] - ordered[:-2]
        gap = np.divide(gap, span, out=np.zeros_like(gap), where=span > 0)
        gap[starts] = gap[ends] = np.inf
        inner[order] += gap
    found[where] = inner
    return found


def nsga2_select(points: ArrayLike, n: int) -> Indices:
    """Indices of the `n` that NSGA-II keeps of points [N, m]; of fewer, all.

    Fronts come in order, each in input order; of the front that does not fit, the least crowded, these first. Failures
    come last.
    """
    values = as_points(points)
    if n < 0:
        raise ValueError(f"cannot select {n} members")
    return select_fronts(values, front_ranks(values), n)


def select_fronts(points: ArrayLike, ranks: Indices, n: int) -> Indices:
    """`nsga2_select` with the fronts [N] given, −1 for failures; constraints may have made them."""
    values = as_points(points)
    ranks = np.where(ranks < 0, np.iinfo(np.int64).max, ranks)
    order = np.argsort(ranks, kind="stable")
    if n >= len(order):
        return order
    if n == 0:
        return order[:0]
    last = ranks[order[n - 1]]
    kept = order[ranks[order] < last]
    split = np.flatnonzero(ranks == last)
    split = split[np.argsort(-crowding_distance(values[split]), kind="stable")]
    return np.concatenate([kept, split[: n - len(kept)]])


def tournament_dcd(points: ArrayLike, n: int, *, rng: np.random.Generator) -> Indices:
    """Parents by NSGA-II's binary tournaments: the dominating of two wins, else the less crowded, else either.

    Everybody meets in two random orders, so nobody is drawn more than twice.

    Args:
        points: [N, m], all finite.
        n: winners, a multiple of 4 and at most N.

    Raises:
        ValueError: `n` is neither, or a point is not finite.
    """
    values = as_points(points)
    if n % 4 or not 0 <= n <= len(values):
        raise ValueError(f"the number of winners is a multiple of 4 and at most {len(values)}, got {n}")
    if not np.isfinite(values).all():
        raise ValueError("tournaments compare finite objectives; drop what failed first")
    crowding = crowding_distance(values, front_ranks(values))
    orders = [rng.permutation(len(values))[:n].reshape(-1, 2, 2) for _ in range(2)]
    pairs = np.concatenate(orders, axis=1).reshape(-1, 2)  # two pairs of the first order, two of the second, …
    a, b = values[pairs[:, 0]], values[pairs[:, 1]]
    a_better, b_better = (a > b).any(axis=1), (b > a).any(axis=1)
    spread = crowding[pairs]
    second = b_better & ~a_better
    undecided = a_better == b_better
    coin = rng.random(len(pairs)) < 0.5
    second |= undecided & ((spread[:, 1] > spread[:, 0]) | ((spread[:, 1] == spread[:, 0]) & coin))
    return np.where(second, pairs[:, 1], pairs[:, 0]).astype(np.int64)


def cars_select(
    target: Sequence[float] | NDArray[np.float64],
    objectives: Sequence[Sequence[float] | NDArray[np.float64]],
    n: int,
    rng: np.random.Generator,
    *,
    reverse: bool | Sequence[bool] = True,
) -> Indices:
    """Indices of the `n` that CARS keeps of N; of fewer, all.

    The target is paired with each objective, and once more with that objective reversed, so that, for instance, large
    candidates are not driven out by small ones that learn sooner. The first fronts of all pairings come first, then
    the second fronts, …; of those that do not fit, a random choice. Failures come last.

    Args:
        target: [N], maximised.
        objectives: each [N], maximised.
        reverse: which objectives are also minimised. EAGAN's released code reverses the quality objective, too, which
            keeps bad members; its method needs (False, True) for (−FID, −parameters).

    Raises:
        ValueError: no objective, or lengths differ.
    """
    size = len(target)
    flags = [reverse] * len(objectives) if isinstance(reverse, bool) else list(reverse)
    if not objectives or len(flags) != len(objectives):
        raise ValueError(f"one flag to reverse for each objective is needed: {len(objectives)} and {len(flags)}")
    columns = np.array([target, *objectives], dtype=np.float64)  # numpy says which lengths differ
    finite = np.isfinite(columns).all(axis=0)
    alive = np.flatnonzero(finite)
    signs = [(k, sign) for k, flag in enumerate(flags) for sign in ((1, -1) if flag else (1,))]
    pairs = [np.stack([columns[0, alive], sign * columns[1 + k, alive]], axis=1) for k, sign in signs]
    ranks = np.full(size, size, dtype=np.int64)  # failures
    ranks[alive] = np.min([front_ranks(pair) for pair in pairs], axis=0)
    order = np.argsort(ranks, kind="stable")
    if n >= size:
        return order
    if n < 1:
        return order[:0]
    last = ranks[order[n - 1]]
    kept, split = np.flatnonzero(ranks < last), np.flatnonzero(ranks == last)
    kept = kept[np.argsort(ranks[kept], kind="stable")]
    return np.concatenate([kept, rng.choice(split, size=n - len(kept), replace=False)])
