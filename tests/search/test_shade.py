import numpy as np
import pytest

from heredity.search.box import Box
from heredity.search.shade import SHADE, l_shade


def ellipsoid(x):
    return (10.0 ** np.linspace(0, 4, x.shape[1]) * np.square(x @ ROTATION)).sum(axis=1)


ROTATION = np.linalg.qr(np.random.default_rng(5).standard_normal((6, 6)))[0]


def test_solves_a_rotated_ellipsoid():
    searcher = SHADE(Box(-5, 5, dim=6), 30)
    for _ in range(250):
        searcher.tell_array(-ellipsoid(searcher.ask_array()))
    assert -searcher.best[1] < 1e-9


def test_the_memory_takes_weighted_means_of_what_succeeded():
    searcher = SHADE(Box(-5, 5, dim=2), 4, memory=2, archive=0.5)
    searcher.ask_array()
    searcher.tell_array([0.0, 0.0, 0.0, 0.0])
    before = searcher.members[0]
    x = searcher.ask_array().copy()
    searcher._trial = (np.array([0.2, 0.6, 0.9, 0.9]), np.array([0.5, 1.0, 0.1, 0.1]))
    searcher.tell_array([3.0, 1.0, 0.0, -1.0])
    # Gains 3 and 1 weigh ¾ and ¼: CR = 0.15 + 0.15; F = Σ w F² / Σ w F = (0.1875 + 0.25) / (0.375 + 0.25). A tie
    # replaces its target without being a success.
    assert searcher._CR[0] == pytest.approx(0.3)
    assert searcher._F[0] == pytest.approx(0.7)
    assert searcher._CR[1] == searcher._F[1] == 0.5
    np.testing.assert_array_equal(searcher.members[0], np.concatenate([x[:3], before[3:]]))
    np.testing.assert_array_equal(searcher._replaced, before[:2])


def test_the_archive_stays_within_its_size():
    searcher = SHADE(Box(-5, 5, dim=3), 10, archive=0.7)
    for _ in range(40):
        searcher.tell_array(-np.square(searcher.ask_array()).sum(axis=1))
        assert len(searcher._replaced) <= 7
    assert len(searcher._replaced) == 7


def test_no_archive_is_allowed_and_failed_members_are_replaced():
    searcher = SHADE(Box(-5, 5, dim=3), 10, archive=0)
    fitness = np.full(10, np.nan)
    fitness[3] = -1.0
    searcher.ask_array()
    searcher.tell_array(fitness)
    for _ in range(3):
        searcher.tell_array(-np.square(searcher.ask_array()).sum(axis=1))
    assert np.isfinite(searcher.members[1]).all()
    assert np.isfinite(searcher._F).all()


@pytest.mark.parametrize("options", [{"population": 3}, {"greediness": 0.0}, {"memory": 0}, {"archive": -1.0}])
def test_wrong_settings_are_named(options):
    with pytest.raises(ValueError, match="got"):
        SHADE(3, **options)


def test_l_shade_shrinks_by_its_worst_to_four_over_its_budget():
    searcher = l_shade(Box(-5, 5, dim=6), 4000)
    assert searcher.population == 108
    told, sizes = 0, []
    while told < 4000:
        x = searcher.ask_array()
        searcher.tell_array(-ellipsoid(x))
        told += len(x)
        sizes.append(len(x))
        members, fitness = searcher.members
        # Equation 10: round((4 − 108) · told / 4000 + 108), and 4 in the end; the founders all live.
        assert len(members) == len(fitness) == (108 if told == 108 else max(4, round(108 - 104 * told / 4000)))
        assert searcher.best[1] == fitness.max()
        assert len(searcher.state_dict()["method"]["replaced"]) <= int(2.6 * len(members))
    assert sizes[:2] == [108, 108] and sizes[-1] < 8
    ids = [c.id for c in searcher.ask()]
    assert ids == list(range(told, told + 4))


def test_l_shade_takes_lehmer_means_of_both():
    searcher = SHADE(Box(-5, 5, dim=2), 4, memory=2, budget=10**6)
    searcher.ask_array()
    searcher.tell_array([0.0, 0.0, 0.0, 0.0])
    searcher.ask_array()
    searcher._trial = (np.array([0.2, 0.6, 0.9, 0.9]), np.array([0.5, 1.0, 0.1, 0.1]))
    searcher.tell_array([3.0, 1.0, -1.0, -1.0])
    # Σ w CR² / Σ w CR = (0.03 + 0.09) / (0.15 + 0.15).
    assert searcher._CR[0] == pytest.approx(0.4)
    assert searcher._F[0] == pytest.approx(0.7)


def test_l_shade_beats_a_constant_population_in_its_budget():
    def run(**options):
        searcher = SHADE(Box(-5, 5, dim=6), 108, seed=2, greediness=0.11, archive=2.6, **options)
        while searcher.state_dict()["round"]["first"] < 6000:
            searcher.tell_array(-ellipsoid(searcher.ask_array()))
        return -searcher.best[1]

    assert run(budget=6000) < 0.1 * run()
