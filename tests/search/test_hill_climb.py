import numpy as np

from heredity.search.box import Box
from heredity.search.hill_climb import HillClimb


def test_the_start_is_the_first_candidate_and_worse_children_are_refused():
    searcher = HillClimb(Box(start=[3.0, 4.0]), population=4)
    first = searcher.ask_array().copy()
    assert first[0].tolist() == [3.0, 4.0]
    searcher.tell_array([9.0, 1.0, 2.0, 3.0])
    assert searcher.center.tolist() == [3.0, 4.0]
    second = searcher.ask_array().copy()
    assert not np.array_equal(second[0], [3.0, 4.0])
    searcher.tell_array([8.0, 9.0, 10.0, np.nan])
    assert np.array_equal(searcher.center, second[2])


def test_without_the_rule_sigma_stays_and_with_it_moves_as_by_hand():
    plain, ruled = (HillClimb(4, population=4, sigma=0.5, success_rule=rule) for rule in (False, True))
    for searcher in (plain, ruled):
        searcher.ask_array()
        searcher.tell_array([0.0, 1.0, 2.0, -1.0])  # two of four beat the start
    assert plain.sigma.tolist() == [0.5] * 4
    # Target 1 / (5 + √4 / 2) = 1/6; rate (4/6) / (2 + 4/6) = ¼; damping 1 + 4/8.
    smoothed = 1 / 6 + 0.25 * (0.5 - 1 / 6)
    assert np.allclose(ruled.sigma, 0.5 * np.exp((smoothed - 1 / 6) / (1.5 * (5 / 6))))


def test_the_rule_gives_precision_that_fixed_steps_do_not():
    found = []
    for rule in (False, True):
        searcher = HillClimb(10, population=10, sigma=1.0, success_rule=rule, seed=4)
        for _ in range(1000):
            searcher.tell_array(-np.sum(np.square(searcher.ask_array() - 1), axis=1))
        found.append(-searcher.best[1])
    assert found[1] < 1e-20 and found[0] > 1e-2


def test_a_generation_lost_at_the_start_is_survived():
    searcher = HillClimb(2, population=3)
    searcher.ask_array()
    searcher.tell_array([np.nan, 1.0, 0.5])  # the start itself fails
    assert searcher.best[1] == 1.0 and searcher.center.any()
