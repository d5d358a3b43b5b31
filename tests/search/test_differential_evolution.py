import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heredity.search.box import Box
from heredity.search.differential_evolution import (
    DifferentialEvolution,
    binomial,
    clu_de,
    distinct,
    winner_cluster,
)


def sphere(x):
    return np.square(x).sum(axis=1)


def minimise(searcher, f, generations):
    history = []
    for _ in range(generations):
        searcher.tell_array(-f(searcher.ask_array()))
        history.append(-searcher.best[1])
    return history


@given(st.integers(4, 30), st.integers(0, 2**32))
def test_the_others_are_distinct_from_the_member_and_from_one_another(n, seed):
    r = distinct(n, 3, np.random.default_rng(seed))
    rows = np.concatenate([np.arange(n)[None], r])
    assert r.min() >= 0
    assert r.max() < n
    assert all(len(set(column)) == 4 for column in rows.T.tolist())


def test_the_others_are_drawn_uniformly():
    rng = np.random.default_rng(0)
    drawn = np.concatenate([distinct(5, 2, rng)[:, 2:3] for _ in range(12000)], axis=1)  # of member 2
    pairs, counts = np.unique(drawn, axis=1, return_counts=True)
    assert pairs.shape[1] == 12  # 4 · 3 ordered pairs of the others, 1000 expected of each, standard deviation 30
    assert abs(counts - 1000).max() < 150


def test_too_few_others_are_an_error():
    with pytest.raises(ValueError, match="3 members"):
        distinct(3, 3, np.random.default_rng(0))


def test_crossover_takes_at_least_one_coordinate_and_its_rate_of_the_others():
    rng = np.random.default_rng(1)
    assert (binomial(np.zeros(50), 7, rng).sum(axis=1) == 1).all()
    assert binomial(np.ones(50), 7, rng).all()
    share = binomial(np.full(400, 0.3), 100, rng).mean()
    assert abs(share - (0.01 + 0.99 * 0.3)) < 0.01  # the forced one, then 0.3; standard deviation 0.0023


@pytest.mark.parametrize("make", [DifferentialEvolution, clu_de])
def test_solves_the_sphere_as_specified(make):
    # The specification measured 7e-13 for rand/1 and 6e-21 for Clu-DE.
    options = {} if make is clu_de else {"F": 0.5, "CR": 0.9, "strategy": "rand1"}
    history = minimise(make(Box(-5, 5, dim=10), 40, seed=0, **options), sphere, 300)
    assert history[-1] < 1e-9
    assert (np.diff(history) <= 0).all()


@pytest.mark.parametrize("strategy", ["rand1", "best1", "current_to_best1", "clustering"])
@pytest.mark.parametrize("F", [0.5, (0.3, 0.9), None])
def test_members_never_get_worse(strategy, F):
    searcher = DifferentialEvolution(Box(-5, 5, dim=4), 10, strategy=strategy, F=F, CR=None)
    minimise(searcher, sphere, 1)
    for _ in range(20):
        before = searcher.members[1]
        minimise(searcher, sphere, 1)
        members, fitness = searcher.members
        assert (fitness >= before).all()
        assert members.shape == (10, 4)
        np.testing.assert_allclose(fitness, -sphere(members))


def test_gpba_keeps_the_best_of_mutants_and_targets():
    searcher = clu_de(Box(-5, 5, dim=4), 10, mutants=4)
    minimise(searcher, sphere, 1)
    for _ in range(20):
        before = searcher.members[1]
        x = searcher.ask_array()
        places, trial = searcher._places, -sphere(x)
        searcher.tell_array(trial)
        expected = np.sort(np.concatenate([before[places], trial[places]]))[-4:]
        np.testing.assert_array_equal(np.sort(searcher.members[1][places]), expected)
        others = np.setdiff1d(np.arange(10), places)
        np.testing.assert_array_equal(searcher.members[1][others], np.maximum(before, trial)[others])


def test_trials_differ_from_their_targets_in_few_coordinates_without_crossover():
    searcher = DifferentialEvolution(Box(-5, 5, dim=6), 12, F=0.5, CR=0.0)
    minimise(searcher, sphere, 1)
    assert ((searcher.ask_array() != searcher.members[0]).sum(axis=1) == 1).all()


def test_the_cluster_with_the_best_mean_wins():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 0.1, (20, 3)), rng.normal(5, 0.1, (20, 3))])
    cost = np.concatenate([rng.normal(1, 0.1, 20), rng.normal(5, 0.1, 20)])
    cost[25] = 0.5  # the best of all is in the worse cluster
    labels, winner, best = winner_cluster(x, -cost, 2, rng)
    assert len(set(labels[:20])) == len(set(labels[20:])) == 1
    assert winner == labels[0]
    assert best == np.argmin(cost[:20])


def test_clusters_of_equal_members_and_of_failures():
    rng = np.random.default_rng(0)
    _, _, best = winner_cluster(np.ones((6, 2)), np.arange(6.0), 3, rng)  # two clusters are empty
    assert best == 5
    x = np.repeat([[0.0], [9.0]], 3, axis=0)
    fitness = np.array([1.0, 2.0, -np.inf, -np.inf, -np.inf, -np.inf])
    assert winner_cluster(x, fitness, 2, rng)[2] == 1
    with pytest.raises(ValueError, match="every member failed"):
        winner_cluster(x, np.full(6, -np.inf), 2, rng)


def test_adapted_parameters_stay_in_their_ranges():
    searcher = DifferentialEvolution(Box(-5, 5, dim=5), 20, F=None, CR=None)
    minimise(searcher, sphere, 60)
    assert 0.1 <= searcher._member_F.min() <= searcher._member_F.max() <= 1.0
    assert len(np.unique(searcher._member_F)) > 3  # some were renewed and succeeded
    assert 0 <= searcher._member_CR.min() <= searcher._member_CR.max() <= 1


def test_a_migrant_takes_the_place_of_the_worst_once():
    searcher = DifferentialEvolution(Box(-5, 5, dim=3), 6)
    minimise(searcher, sphere, 1)
    worst = int(np.argmin(searcher.members[1]))
    searcher.receive(np.zeros((2, 3)), np.zeros(2))
    members, fitness = searcher.members
    assert (members[worst] == 0).all()
    assert (fitness == 0).sum() == 1
    searcher.ask()
    with pytest.raises(ValueError, match="between generations"):
        searcher.receive(np.zeros((1, 3)), np.zeros(1))


@pytest.mark.parametrize(
    "options",
    [
        {"population": 4},
        {"F": 0.0},
        {"F": (0.9, 0.1)},
        {"CR": 1.1},
        {"update": "gpba"},
        {"mutants": 99},
        {"strategy": "x"},
    ],
)
def test_wrong_settings_are_named(options):
    with pytest.raises(ValueError, match=r"got|makes none|no strategy"):
        DifferentialEvolution(3, **{"population": 10, **options})
