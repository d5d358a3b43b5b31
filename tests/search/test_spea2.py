"""SPEA2: fitness by hand, truncation by hand, and what happens with too few."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from heredity.search.dominance import pareto_front
from heredity.search.spea2 import spea2_fitness, spea2_select


def test_fitness_by_hand():
    # (2,2) dominates (1,1) and (0,0): strength 2. (1,1) dominates (0,0): strength 1. Raw: 0, 2, 2 + 1.
    # k = ⌊√3⌋ = 1: nearest neighbours are √2 away: density 1 / (√2 + 2).
    density = 1 / (np.sqrt(2) + 2)
    np.testing.assert_allclose(spea2_fitness([(2, 2), (1, 1), (0, 0)]), np.array([0, 2, 3]) + density)


def test_too_large_a_front_loses_its_most_crowded_members_one_after_another():
    # On a line of slope −1 at 0, 1, 3, 4.5, 10. The nearest pair is 0, 1 (1 apart); the next distances are 3 and 2, so
    # 1 goes. Then 3, 4.5 are nearest (1.5 apart); next are 3 for 3 (to 0) and 4.5 for 4.5: 3 goes.
    points = [(x, -x) for x in (0, 1, 3, 4.5, 10)]
    assert spea2_select(points, 4).tolist() == [0, 2, 3, 4]
    assert spea2_select(points, 3).tolist() == [0, 3, 4]


def test_a_small_front_is_filled_up_by_fitness_and_failures_come_last():
    points = [(np.nan, 0), (0, 0), (2, 2), (1, 1)]
    assert spea2_select(points, 2).tolist() == [2, 3]
    assert spea2_select(points, 4).tolist() == [2, 3, 1, 0]
    assert spea2_select(points, 44).tolist() == [2, 3, 1, 0]  # fewer than wanted: all
    assert spea2_select(np.empty((0, 2)), 3).tolist() == []


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(2, 3)), elements=st.integers(0, 3)),
    st.integers(0, 12),
)
def test_it_keeps_distinct_members_the_front_first(points, n):
    chosen = spea2_select(points, n).tolist()
    assert len(chosen) == len(set(chosen)) == min(n, len(points))
    front = set(pareto_front(points).tolist())
    assert set(chosen) <= front or front <= set(chosen)


def test_failures_have_no_fitness():
    with pytest.raises(ValueError, match="finite"):
        spea2_fitness([(np.nan, 1.0)])
    with pytest.raises(ValueError, match="-1"):
        spea2_select([(1.0, 1.0)], -1)
