"""Crowding, NSGA-II's selection and tournaments, CARS: hand cases and what must hold always."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from heredity.search.dominance import front_ranks
from heredity.search.pareto import cars_select, crowding_distance, nsga2_select, tournament_dcd


def test_crowding_by_hand():
    # Ranges are 4 and 4. Of (1,2): (3 − 0) / 4 + (4 − 1) / 4 = 1.5; of (3,1): (4 − 1) / 4 + (2 − 0) / 4 = 1.25.
    points = [(0, 4), (1, 2), (3, 1), (4, 0)]
    assert crowding_distance(points).tolist() == [np.inf, 1.5, 1.25, np.inf]
    # An objective that does not vary adds nothing between its ends; failures are −∞.
    assert crowding_distance([(0, 1), (1, 1), (4, 1), (np.nan, 0)])[[1, 3]].tolist() == [1.0, -np.inf]


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 15), st.integers(1, 3)), elements=st.floats(0, 1)))
def test_crowding_of_several_fronts_is_that_of_each(points):
    ranks = front_ranks(points)
    together = crowding_distance(points, ranks)
    for rank in set(ranks.tolist()):
        assert together[ranks == rank].tolist() == crowding_distance(points[ranks == rank]).tolist()


def test_selection_takes_fronts_and_of_the_last_the_least_crowded():
    points = [(0, 4), (1, 2), (3, 1), (4, 0), (9, np.nan), (0, 0)]
    assert nsga2_select(points, 3).tolist() == [0, 3, 1]
    assert nsga2_select(points, 5).tolist() == [0, 1, 2, 3, 5]
    assert nsga2_select(points, 9).tolist() == [0, 1, 2, 3, 5, 4]  # the failure last
    assert nsga2_select(points, 0).tolist() == []


def test_everybody_who_dominates_all_wins_its_two_tournaments():
    points = np.array([(9.0, 9.0), *[(k, -k) for k in range(7)]])
    for seed in range(20):
        winners = tournament_dcd(points, 8, rng=np.random.default_rng(seed)).tolist()
        assert winners.count(0) == 2
        assert max(winners.count(k) for k in range(8)) <= 2


def test_in_a_tournament_of_equals_the_less_crowded_wins():
    # One front: the ends have infinite distance and win unless they meet each other; 2 of 4 places.
    points = [(0, 3), (1, 2), (1.1, 1.9), (3, 0)]
    winners = [tournament_dcd(points, 4, rng=np.random.default_rng(seed)).tolist() for seed in range(200)]
    share = np.mean([k in (0, 3) for drawn in winners for k in drawn])
    # The ends meet with probability 1/3: 1 end of 2 winners then, else both winners are ends: 1/3·1/2 + 2/3 = 5/6.
    assert share == pytest.approx(5 / 6, abs=0.05)


def test_tournaments_demand_a_multiple_of_four_and_finite_points():
    rng = np.random.default_rng(0)
    for n in (3, 8):
        with pytest.raises(ValueError, match="multiple of 4"):
            tournament_dcd(np.eye(4), n, rng=rng)
    with pytest.raises(ValueError, match="finite"):
        tournament_dcd([(np.nan, 0)] * 4, 4, rng=rng)


def test_cars_by_hand():
    rng = np.random.default_rng(0)
    constant = [[1, 1, 1]]
    assert cars_select([3, 2, 1], constant, 1, rng).tolist() == [0]
    assert set(cars_select([3, 2, 1], constant, 2, rng).tolist()) == {0, 1}
    # Target and objective in opposite order: all three are in one of the two first fronts, a seeded choice decides.
    drawn = [int(cars_select([3, 2, 1], [[1, 2, 3]], 1, np.random.default_rng(seed))[0]) for seed in range(30)]
    assert set(drawn) == {0, 1, 2}
    # In the same order the second and third are kept by the reversed objective alone.
    same = [int(cars_select([3, 2, 1], [[3, 2, 1]], 1, np.random.default_rng(seed))[0]) for seed in range(30)]
    assert set(same) == {0, 1, 2}
    assert cars_select([3, 2, 1], [[3, 2, 1]], 1, rng, reverse=False).tolist() == [0]
    assert cars_select([3, 2, np.nan], [[1, 2, 3]], 3, rng).tolist() == [0, 1, 2]
    assert cars_select([np.nan, 2, 1], [[1, 2, 3], [0, 0, 0]], 2, rng, reverse=(False, True)).tolist() == [1, 2]
    with pytest.raises(ValueError, match="flag"):
        cars_select([1.0], [[1.0]], 1, rng, reverse=(True, False))


@given(
    hnp.arrays(np.float64, st.tuples(st.just(3), st.integers(1, 9)), elements=st.floats(0, 1)),
    st.integers(0, 10),
    st.integers(0, 3),
)
def test_cars_chooses_distinct_members(columns, n, seed):
    chosen = cars_select(columns[0], list(columns[1:]), n, np.random.default_rng(seed)).tolist()
    assert len(set(chosen)) == len(chosen) == min(n, columns.shape[1])
