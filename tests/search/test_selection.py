import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heredity.search.selection import rank, ranking, roulette, roulette_probabilities, tournament, truncation

numbers = st.lists(st.floats(-1e300, 1e300) | st.just(float("nan")) | st.just(0.0), min_size=1, max_size=12)
nan = float("nan")


def rng(seed=0):
    return np.random.default_rng(seed)


def test_ranking_keeps_the_order_of_ties_and_puts_failures_last():
    assert ranking([1.0, nan, 3.0, 1.0, -float("inf"), 3.0]) == [2, 5, 0, 3, 1, 4]


def test_truncation_by_count_and_by_share():
    fitness = [0.0, 3.0, 1.0, 2.0, nan]
    assert truncation(fitness, 2) == [1, 3]
    assert truncation(fitness, 0.4) == [1, 3]
    assert truncation(fitness, 0.1) == [1]  # never nobody
    assert truncation([1.0] * 10, 0.3) == [0, 1, 2]  # .3 · 10 is 2.9999… in binary
    with pytest.raises(ValueError, match="cannot keep 6 of 5"):
        truncation(fitness, 6)
    with pytest.raises(ValueError, match="share"):
        truncation(fitness, 0.0)


@given(numbers)
def test_roulette_probabilities_are_a_distribution_in_the_order_of_fitness(fitness):
    p = roulette_probabilities(fitness)
    assert abs(p.sum() - 1) < 1e-12 and (p >= 0).all()
    alive = [i for i, f in enumerate(fitness) if np.isfinite(f)]
    assert all(p[i] >= p[j] - 1e-12 for i in alive for j in alive if fitness[i] >= fitness[j])
    if alive:
        assert all(p[i] == 0 for i in range(len(fitness)) if i not in alive)


def test_roulette_is_proportional_when_positive():
    np.testing.assert_allclose(roulette_probabilities([1.0, 3.0, nan, 4.0]), [1 / 8, 3 / 8, 0, 1 / 2])


@pytest.mark.parametrize("fitness", [[0.0, 0.0], [-5.0, -5.0], [2.0, 2.0], [nan, nan]])
def test_all_equal_is_uniform(fitness):
    assert roulette_probabilities(fitness).tolist() == [0.5, 0.5]


def test_zero_and_negative_fitness_are_shifted():
    # (0, 1, 2) − min = (0, 1, 2) of range 2: (ε, ½ + ε, 1 + ε) / (1.5 + 3ε), ε = 1e-6
    np.testing.assert_allclose(roulette_probabilities([-3.0, -2.0, -1.0]), [0, 1 / 3, 2 / 3], atol=2e-6)
    assert roulette_probabilities([0.0, 1.0])[0] > 0


def test_draws_follow_the_probabilities():
    drawn = np.bincount(roulette([1.0, 3.0], 10_000, rng=rng()), minlength=2) / 10_000
    assert abs(drawn[1] - 0.75) < 0.02  # standard error .0043
    ranks = np.bincount(rank([10.0, -7.0, 5.0], 10_000, rng=rng()), minlength=3) / 10_000
    np.testing.assert_allclose(ranks, [3 / 6, 1 / 6, 2 / 6], atol=0.02)


def test_tournament_of_everyone_is_won_by_the_best_and_of_one_by_chance():
    fitness = [1.0, 5.0, 5.0, nan]
    assert tournament(fitness, 4, 4, rng=rng()) == [1] * 4  # the earlier of equals
    assert set(tournament(fitness, 100, 1, rng=rng())) == {0, 1, 2, 3}


@given(numbers, st.integers(0, 2**32 - 1))
def test_without_replacement_everyone_is_drawn_once_failures_last(fitness, seed):
    n = len(fitness)
    alive = sum(np.isfinite(fitness))
    for draw in (roulette, rank):
        drawn = draw(fitness, n, rng=rng(seed), replace=False)
        assert sorted(drawn) == list(range(n))
        assert all(np.isfinite(fitness[i]) for i in drawn[:alive])
    assert sorted(tournament(fitness, n, 3, rng=rng(seed), replace=False)) == list(range(n))
    with pytest.raises(ValueError, match="without replacement"):
        roulette(fitness, n + 1, rng=rng(), replace=False)


def test_same_generator_same_draws_and_the_global_one_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    for draw in (roulette, rank, tournament):
        assert draw([1.0, 2.0, 3.0], 20, rng=rng(4)) == draw([1.0, 2.0, 3.0], 20, rng=rng(4))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="non-empty vector"):
        ranking([])
    with pytest.raises(ValueError, match=r"member 1 is \+inf"):
        ranking([0.0, float("inf")])
    with pytest.raises(ValueError, match="at least one member"):
        tournament([1.0], 1, 0, rng=rng())


def test_a_range_too_small_to_be_halved_counts_as_equal():
    assert roulette_probabilities([0.0, 5e-324]).tolist() == [0.5, 0.5]
