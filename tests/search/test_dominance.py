"""Fronts: hand cases, equality with the definition, and failures that belong to none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from heredity.search.dominance import dominates, front_ranks, non_dominated_sort, pareto_front

# Few distinct values make ties and equal points common.
POINTS = st.integers(1, 5).flatmap(
    lambda m: hnp.arrays(
        np.float64,
        st.tuples(st.integers(0, 14), st.just(m)),
        elements=st.sampled_from([0.0, 1.0, 2.0, 3.0, -0.0, np.nan, np.inf]) | st.floats(-1, 1),
    )
)


def ranks_by_definition(points):
    """Peel what nobody who is left dominates."""
    ranks = np.full(len(points), -1)
    left = [i for i in range(len(points)) if np.isfinite(points[i]).all()]
    front = 0
    while left:
        best = [i for i in left if not any(dominates(points[j], points[i]) for j in left)]
        ranks[best] = front
        left = [i for i in left if i not in best]
        front += 1
    return ranks


def test_a_point_dominates_what_is_nowhere_better_and_somewhere_worse():
    assert dominates((2, 1), (1, 1))
    assert not dominates((1, 1), (1, 1))
    assert not dominates((2, 0), (1, 1))
    # .05 worse in the first is within the tolerance; .05 better in it would not be enough.
    assert dominates((0.95, 2), (1, 1), tol=0.1)
    assert not dominates((1.05, 1), (1, 1), tol=0.1)


def test_failures_dominate_nothing_and_lose_to_everything_that_did_not_fail():
    assert not dominates((np.inf, np.inf), (0, 0))
    assert dominates((0, 0), (np.nan, 9))
    assert not dominates((np.nan, 9), (np.nan, 0))


def test_vectors_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="same length"):
        dominates((1, 2), (1, 2, 3))


def test_the_hand_case_of_the_specification():
    # (1,1), (2,2), (1,2), (2,1) with the second minimised, so negated.
    fronts = non_dominated_sort([(1, -1), (2, -2), (1, -2), (2, -1)])
    assert [front.tolist() for front in fronts] == [[3], [0, 1], [2]]


@given(POINTS)
def test_fronts_are_those_of_the_definition(points):
    assert front_ranks(points).tolist() == ranks_by_definition(points).tolist()


@given(POINTS, st.integers(1, 3))
def test_later_fronts_may_be_left_together(points, most):
    assert front_ranks(points, most).tolist() == np.minimum(ranks_by_definition(points), most).tolist()


@given(POINTS)
def test_the_front_is_the_first_of_the_sort_and_the_sort_leaves_out_failures_alone(points):
    fronts = non_dominated_sort(points)
    assert pareto_front(points).tolist() == (fronts[0].tolist() if fronts else [])
    everybody = sorted(i for front in fronts for i in front.tolist())
    assert everybody == np.flatnonzero(np.isfinite(points).all(axis=1)).tolist()
    assert all(len(front) for front in fronts)


@pytest.mark.parametrize("m", [1, 2, 3, 4, 6])
def test_many_points_over_several_blocks(m):
    # Each copy of a set, shifted down by more than its width, has the same fronts after those of the one above.
    points = np.random.default_rng(m).random((150, m))
    ranks = ranks_by_definition(points)
    fronts = ranks.max() + 1
    stacked = np.concatenate([points - 2 * k for k in (3, 1, 0, 2)])
    assert front_ranks(stacked).tolist() == np.concatenate([ranks + fronts * k for k in (3, 1, 0, 2)]).tolist()


def test_other_shapes_are_refused_and_none_make_no_fronts():
    with pytest.raises(ValueError, match=r"\[n, m\]"):
        non_dominated_sort([1.0, 2.0])
    with pytest.raises(ValueError, match="most=0"):
        front_ranks([[1.0]], 0)
    assert non_dominated_sort([]) == []
    assert non_dominated_sort([[np.nan, 1.0]]) == []
