"""Hypervolume: how much of objective space a set of points dominates, exactly; every objective is maximised.

Two objectives by one sweep, three by a sweep over a staircase, more by the exclusive volumes of WFG.
Sources: Zitzler & Thiele, IEEE TEC 3 (1999); Fonseca, Paquete & López-Ibáñez, An Improved Dimension-Sweep Algorithm
(CEC 2006); While, Bradstreet & Barone, A Fast Way of Calculating Exact Hypervolumes, IEEE TEC 16 (2012).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from heredity.search.dominance import Points, as_points, pareto_front


def hypervolume(points: ArrayLike, reference: Sequence[float] | Points) -> float:
    """Volume of what lies above `reference` [m] and below one of the `points` [n, m]; 0 for none.

    Points that are not better than the reference in every objective, and failures, add nothing. With more than three
    objectives the time grows exponentially with their number.

    Raises:
        ValueError: the reference has another length or is not finite.
    """
    values, origin = as_points(points), np.asarray(reference, dtype=np.float64)
    if origin.ndim != 1 or not np.isfinite(origin).all():
        raise ValueError("the reference of a hypervolume is a vector of finite numbers")
    if not len(values):
        return 0.0
    if len(origin) != values.shape[1]:
        raise ValueError(f"a reference of length {values.shape[1]} is needed, got {len(origin)}")
    above = values - origin
    with np.errstate(invalid="ignore"):
        above = above[np.isfinite(above).all(axis=1) & (above > 0).all(axis=1)]
    return _volume(above)


def _volume(sides: Points) -> float:
    """The volume under points [n, m], all positive, seen from 0."""
    if not len(sides):
        return 0.0
    m = sides.shape[1]
    if len(sides) == 1:
        return float(np.prod(sides))
    if m == 1:
        return float(sides.max())
    if m == 2:
        ordered = sides[np.argsort(-sides[:, 0], kind="stable")]
        heights = np.maximum.accumulate(ordered[:, 1])
        return float(ordered[:, 0] @ np.diff(heights, prepend=0.0))
    if m == 3:
        return _sweep(sides)
    front = sides[pareto_front(sides)]
    front = front[np.argsort(front[:, -1], kind="stable")]
    total = 0.0
    for place, point in enumerate(front):
        # What follows is at least as high, so what it shares with this point has this point's height.
        shared = np.minimum(front[place + 1 :, :-1], point[:-1])
        total += float(point[-1]) * (float(np.prod(point[:-1])) - _volume(shared))
    return total


def _sweep(sides: Points) -> float:
    """Three objectives: from the highest third objective down, with the area of the staircase of the other two."""
    volume, area, height = 0.0, 0.0, 0.0
    xs: list[float] = []  # ascending, while ys descend
    ys: list[float] = []
    for x, y, z in sides[np.argsort(-sides[:, 2], kind="stable")].tolist():
        volume += area * (height - z)
        height = z
        last = first = bisect_left(xs, x)
        below = ys[last] if last < len(xs) else 0.0
        if below >= y:
            continue
        right = x
        while first and ys[first - 1] <= y:
            first -= 1
            area += (right - xs[first]) * (y - below)
            right, below = xs[first], ys[first]
        area += (right - (xs[first - 1] if first else 0.0)) * (y - below)
        if last < len(xs) and xs[last] == x:
            last += 1
        xs[first:last], ys[first:last] = [x], [y]
    return volume + area * height
