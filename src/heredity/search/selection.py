"""Who may breed: truncation, tournament, roulette and rank selection over a vector of fitness.

Every function returns indices into `fitness` (higher is better). Ties keep the order of the input, so that a caller who
lists its members by age breaks ties by age; NaN and −∞ (failures) come last and are drawn only when nothing else is
left. Randomness comes from the generator passed in.
Source: Goldberg & Deb, A Comparative Analysis of Selection Schemes (1991).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Fitness: TypeAlias = Sequence[float] | NDArray[np.float64]
Indices: TypeAlias = list[int]


def ranking(fitness: Fitness) -> Indices:
    """All indices, best first; ties in input order, failures last."""
    values, _ = _values(fitness)
    return [int(i) for i in np.argsort(-values, kind="stable")]


def truncation(fitness: Fitness, count: int | float) -> Indices:
    """The best `count` (int), or the best share `count` (float in (0, 1], at least one), best first."""
    size = len(fitness)
    if isinstance(count, float):
        if not 0 < count <= 1:
            raise ValueError(f"a share to keep must lie in (0, 1], got {count}")
        count = max(1, int(count * size + 1e-9))
    if not 1 <= count <= size:
        raise ValueError(f"cannot keep {count} of {size} members")
    return ranking(fitness)[:count]


def tournament(fitness: Fitness, n: int, size: int = 3, *, rng: np.random.Generator, replace: bool = True) -> Indices:
    """Winners of `n` tournaments among `size` distinct members drawn uniformly.

    Args:
        size: members per tournament; fewer are drawn when fewer are left.
        replace: whether a winner may win again; without, n may not exceed the number of members.
    """
    values, _ = _values(fitness)
    _check(len(values), n, replace)
    if size < 1:
        raise ValueError(f"a tournament needs at least one member, got size={size}")
    left = np.arange(len(values))
    winners: Indices = []
    for _ in range(n):
        drawn = np.sort(rng.choice(left, size=min(size, len(left)), replace=False))
        winner = int(drawn[np.argmax(values[drawn])])
        winners.append(winner)
        if not replace:
            left = left[left != winner]
    return winners


def roulette(fitness: Fitness, n: int, *, rng: np.random.Generator, replace: bool = True) -> Indices:
    """Draw `n` members with the probabilities of `roulette_probabilities`."""
    _, failed = _values(fitness)
    return _draw(roulette_probabilities(fitness), failed, n, rng, replace)


def rank(fitness: Fitness, n: int, *, rng: np.random.Generator, replace: bool = True) -> Indices:
    """Draw `n` members with probability ∝ N − rank, so that the best of N is N times as likely as the worst."""
    values, failed = _values(fitness)
    weights = np.empty(len(values))
    weights[ranking(fitness)] = np.arange(len(values), 0, -1)
    weights[failed] = 0.0
    return _draw(_normalised(weights, failed), failed, n, rng, replace)


def roulette_probabilities(fitness: Fitness) -> NDArray[np.float64]:
    """Probabilities ∝ fitness in float64; failures get 0.

    When some fitness is zero or negative, all are shifted by the minimum plus a millionth of the range, so that the
    worst keeps a small chance. All equal is uniform.
    """
    values, failed = _values(fitness)
    alive = values[~failed]
    weights = np.zeros(len(values))
    if len(alive):
        low, high = float(alive.min()), float(alive.max())
        span = high / 2 - low / 2  # halved, so that the range cannot overflow; 0 also between the smallest of numbers
        if span == 0:
            weights[~failed] = 1.0
        elif low > 0:
            weights[~failed] = alive / high  # divided first, so that the sum cannot overflow
        else:
            weights[~failed] = (alive / 2 - low / 2) / span + 1e-6
    return _normalised(weights, failed)


def _values(fitness: Fitness) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values = np.asarray(fitness, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"fitness must be a non-empty vector, got shape {values.shape}")
    if np.isposinf(values).any():
        raise ValueError(f"fitness of member {int(np.argmax(values))} is +inf, which is not a measurement")
    failed = ~np.isfinite(values)
    return np.where(failed, -np.inf, values), failed


def _normalised(weights: NDArray[np.float64], failed: NDArray[np.bool_]) -> NDArray[np.float64]:
    if failed.all():
        return np.full(len(weights), 1 / len(weights))
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _check(members: int, n: int, replace: bool) -> None:
    if n < 0 or (not replace and n > members):
        raise ValueError(f"cannot draw {n} of {members} members" + ("" if replace else " without replacement"))


def _draw(
    p: NDArray[np.float64], failed: NDArray[np.bool_], n: int, rng: np.random.Generator, replace: bool
) -> Indices:
    _check(len(p), n, replace)
    if replace:
        return [int(i) for i in rng.choice(len(p), size=n, p=p)]
    drawn: Indices = []
    weights = p.copy()
    for _ in range(n):
        if not weights.sum() > 0:  # only failures are left
            weights = np.where(failed, 1.0, 0.0)
            weights[drawn] = 0.0
        chosen = int(rng.choice(len(p), p=weights / weights.sum()))
        drawn.append(chosen)
        weights[chosen] = 0.0
    return drawn
