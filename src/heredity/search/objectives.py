"""Outcomes with several numbers: objectives to maximise, constraints to keep, and whoever does it better.

A constraint is a number g that should be at most 0; a candidate's violation is the sum of its positive ones, and it is
feasible when that is 0. A feasible candidate beats any infeasible one, and of two infeasible ones the lesser violation
wins.
Source: Deb, An Efficient Constraint Handling Method for Genetic Algorithms, CMAME 186 (2000).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from heredity.evaluation.outcome import Failed, Ok, Outcome, Pending
from heredity.search.base import Candidate
from heredity.search.dominance import Indices, Points, front_ranks

ManyTold: TypeAlias = float | Sequence[float] | NDArray[Any] | Outcome
Judged: TypeAlias = tuple[tuple[float, ...], float]  # objectives and violation


def objectives_of(
    told: ManyTold, metrics: Sequence[str] | None = None, constraints: Sequence[str] = ()
) -> Judged | None:
    """The objectives to maximise and the total violation in an outcome; None when it failed.

    Args:
        told: numbers, the objectives and after them the constraints, or an `Ok` that names them. One that is not finite
            makes a failure.
        metrics: the values of an `Ok` that are objectives; by default all that are no constraint, in their order.
        constraints: the values of an `Ok` that should be at most 0.

    Raises:
        ValueError: the outcome is pending, holds too few numbers, or lacks a name.
    """
    if isinstance(told, Pending):
        raise ValueError("a pending evaluation cannot be told; tell it when it has ended")
    if isinstance(told, Failed):
        return None
    if isinstance(told, Ok):
        wanted = [name for name in told.values if name not in constraints] if metrics is None else list(metrics)
        if missing := [name for name in (*wanted, *constraints) if name not in told.values]:
            raise ValueError(f"the outcome has no value {missing[0]!r}; it has {sorted(told.values)}")
        numbers, count = [told[name] for name in (*wanted, *constraints)], len(wanted)
    else:
        row = np.asarray(told, dtype=np.float64)
        if row.ndim > 1:
            raise ValueError(f"a candidate is told a vector of objectives, got shape {row.shape}")
        numbers = np.atleast_1d(row).tolist()
        if not all(map(math.isfinite, numbers)):  # also a single NaN, whatever the number of objectives
            return None
        count = len(numbers) - len(constraints)
        if metrics is not None and count != len(metrics):
            raise ValueError(
                f"{len(metrics)} objectives and {len(constraints)} constraints are needed, got {len(numbers)} numbers"
            )
    if count < 1:
        raise ValueError(f"at least one objective has to be told beside {len(constraints)} constraints")
    return tuple(numbers[:count]), sum(g for g in numbers[count:] if g > 0)


def told_objectives(
    candidates: Sequence[Candidate[Any]],
    outcomes: Sequence[ManyTold],
    open_ids: Collection[int],
    *,
    metrics: Sequence[str] | None,
    constraints: Sequence[str],
    count: int | None,
) -> dict[int, Judged | None]:
    """Objectives and violation (None when failed) by candidate id.

    Args:
        count: how many objectives there are; None before any was told.

    Raises:
        ValueError: lengths differ, a candidate was not asked or is told twice, an outcome is pending, or the number of
            objectives changes.
    """
    if len(candidates) != len(outcomes):
        raise ValueError(f"{len(candidates)} candidates were told with {len(outcomes)} outcomes")
    told: dict[int, Judged | None] = {}
    for candidate, outcome in zip(candidates, outcomes, strict=True):
        if candidate.id not in open_ids or candidate.id in told:
            raise ValueError(f"candidate {candidate.id} was never asked, or has been told before")
        judged = told[candidate.id] = objectives_of(outcome, metrics, constraints)
        if judged is not None:
            count = len(judged[0]) if count is None else count
            if len(judged[0]) != count:
                raise ValueError(f"candidate {candidate.id} has {len(judged[0])} objectives, others have {count}")
    return told


def constrained_ranks(objectives: Points, violation: NDArray[np.float64]) -> Indices:
    """The number of each point's front under constrained domination [n], −1 for failures.

    The fronts of the feasible come first; then those of the infeasible, one for each violation, the least first.

    Args:
        objectives: [n, m], maximised.
        violation: [n], 0 where a point is feasible.
    """
    if not violation.any():
        return front_ranks(objectives)
    finite = np.isfinite(objectives).all(axis=1) & np.isfinite(violation)
    found = np.full(len(objectives), -1, dtype=np.int64)
    feasible, infeasible = finite & (violation <= 0), finite & (violation > 0)
    found[feasible] = front_ranks(objectives[feasible])
    found[infeasible] = found.max(initial=-1) + 1 + np.unique(violation[infeasible], return_inverse=True)[1]
    return found
