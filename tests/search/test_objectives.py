"""Outcomes read as objectives and violation, and ranks under constraints."""

import numpy as np
import pytest

from heredity.evaluation.outcome import Failed, Ok, Pending
from heredity.search.objectives import constrained_ranks, objectives_of


def test_names_choose_objectives_and_constraints():
    told = Ok({"g": 0.5, "a": 1.0, "h": -3.0, "b": 2.0})
    assert objectives_of(told, None, ("g", "h")) == ((1.0, 2.0), 0.5)  # h is kept, g is broken by a half
    assert objectives_of(told, ("b", "a"), ("g",)) == ((2.0, 1.0), 0.5)
    assert objectives_of((1.0, 2.0, 0.5, 0.25), None, ("g", "h")) == ((1.0, 2.0), 0.75)
    assert objectives_of(3.0) == ((3.0,), 0.0)


@pytest.mark.parametrize("told", [Failed("broken"), np.nan, (1.0, np.nan), (np.inf, 1.0), np.array([0.0, -np.inf])])
def test_failures_have_no_objectives(told):
    assert objectives_of(told) is None


def test_what_cannot_be_told_is_named():
    with pytest.raises(ValueError, match="pending"):
        objectives_of(Pending())
    with pytest.raises(ValueError, match="'size'"):
        objectives_of(Ok({"accuracy": 1.0}), ("accuracy", "size"))
    with pytest.raises(ValueError, match="2 objectives and 1 constraints"):
        objectives_of((1.0, 2.0), ("a", "b"), ("g",))
    with pytest.raises(ValueError, match="at least one objective"):
        objectives_of((1.0,), None, ("g",))
    with pytest.raises(ValueError, match="vector"):
        objectives_of(np.ones((2, 2)))


def test_feasible_fronts_come_before_violations_and_failures_have_none():
    points = np.array([(0, 0), (1, 1), (9, 9), (8, 8), (np.nan, 1), (9, 0)], dtype=float)
    violation = np.array([0, 0, 2.0, 1.0, 0, 2.0])
    assert constrained_ranks(points, violation).tolist() == [1, 0, 3, 2, -1, 3]
    assert constrained_ranks(points[2:4], violation[2:4]).tolist() == [1, 0]
