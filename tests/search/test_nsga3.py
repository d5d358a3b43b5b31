"""NSGA-III: reference directions, normalisation, niching, and a known front of three objectives."""

import numpy as np
import pytest

from heredity.search.box import Box
from heredity.search.nsga3 import NSGA3, _fill, das_dennis
from heredity.search.pareto_problems import dtlz


def test_directions_of_das_and_dennis():
    assert das_dennis(2, 2).tolist() == [[0, 1], [0.5, 0.5], [1, 0]]
    # C(divisions + m − 1, m − 1): 91 for 3 and 12 (the paper's table I), 210 for 5 and 6.
    for m, divisions, count in ((3, 12, 91), (5, 6, 210), (1, 4, 1)):
        rays = das_dennis(m, divisions)
        assert rays.shape == (count, m)
        assert len(np.unique(rays, axis=0)) == count
        np.testing.assert_allclose(rays.sum(axis=1), 1)
    with pytest.raises(ValueError, match="divisions"):
        das_dennis(3, 0)


def test_it_covers_the_sphere_of_dtlz2():
    problem = dtlz(2)
    searcher = NSGA3(problem.space, 3, seed=21)
    assert searcher.population == 92
    for _ in range(150):
        searcher.tell_array(problem(searcher.ask_array()))
    values = np.array([values for _, values in searcher.front])
    assert np.abs(np.linalg.norm(values, axis=1) - 1).max() < 0.05
    # On the ideal set every direction has its member; the median direction's member should lie almost on it.
    rays = problem.front(91)
    gaps = np.linalg.norm(rays[:, None] - values[None], axis=2).min(axis=1)
    assert np.median(gaps) < 0.02
    assert gaps.mean() < 0.06


def test_objectives_of_unequal_range_are_covered_alike():
    # DTLZ2 with objectives stretched by 1, 10 and 100 (the paper's scaled problems).
    problem, scale = dtlz(2), np.array([1.0, 10.0, 100.0])
    searcher = NSGA3(problem.space, 3, seed=22)
    for _ in range(150):
        searcher.tell_array(problem(searcher.ask_array()) * scale)
    values = np.array([values for _, values in searcher.front]) / scale
    gaps = np.linalg.norm(problem.front(91)[:, None] - values[None], axis=2).min(axis=1)
    assert gaps.mean() < 0.08


def test_the_plane_through_the_extremes_cuts_the_axes_at_the_nadir():
    # Costs on the plane 2 a + b + c / 4 = 4: intercepts 2, 4, 16 above the ideal point (1, 1, 1).
    searcher = NSGA3(Box(0.0, 1.0, dim=2), 3, 4, seed=0)
    searcher._ideal = np.ones(3)
    first = np.ones(3) + np.array([(2, 0, 0), (0, 4, 0), (0, 0, 16), (1, 1, 4)])
    np.testing.assert_allclose(searcher._nadir(first), (3, 5, 17))
    # Later fronts may have lost the extremes: they are remembered.
    np.testing.assert_allclose(searcher._nadir(first[3:]), (3, 5, 17))


def test_without_such_a_plane_the_worst_of_the_front_counts():
    searcher = NSGA3(Box(0.0, 1.0, dim=2), 3, 4, seed=0)
    searcher._ideal = np.zeros(3)
    # The third objective does not vary, its unit is 1.
    np.testing.assert_allclose(searcher._nadir(np.array([(1.0, 0.0, 0.0), (0.0, 2.0, 0.0)])), (1, 2, 1))


def test_niches_with_the_fewest_members_are_filled_first_and_empty_ones_by_the_nearest():
    taken = np.array([0, 1, 5])
    niche, distance = np.array([0, 0, 1, 2, 2]), np.array([0.3, 0.1, 0.2, 0.0, 0.0])
    for seed in range(10):
        rng = np.random.default_rng(seed)
        assert _fill(taken, niche, distance, 1, rng).tolist() == [1]
        assert set(_fill(taken, niche, distance, 3, rng).tolist()) == {0, 1, 2}
        assert set(_fill(taken, niche, distance, 5, rng).tolist()) == {0, 1, 2, 3, 4}


def test_constraints_are_kept_from_an_infeasible_start():
    # DTLZ2 with the third objective's cost at least .5: its founders are told as far away.
    problem = dtlz(2)

    def judge(x):
        values = problem(x)
        return [*values.tolist(), 0.5 + float(values[2])]

    searcher = NSGA3(problem.space, 3, 5, constraints=("high",), seed=23)
    founders = searcher.ask()
    searcher.tell(founders, [[*problem(c.value).tolist(), 2.0 + c.value[0]] for c in founders])
    assert searcher.best is None
    assert len(searcher.members) == searcher.population
    for _ in range(60):
        candidates = searcher.ask()
        searcher.tell(candidates, [judge(c.value) for c in candidates])
    assert all(violation == 0 for *_, violation in searcher.members)
    assert all(values[2] <= -0.5 for _, values in searcher.front)


def test_wrong_configurations_are_named():
    box = Box(0.0, 1.0, dim=2)
    with pytest.raises(ValueError, match="number of objectives"):
        NSGA3(box)
    with pytest.raises(ValueError, match="2 objectives were announced and 3"):
        NSGA3(box, 2, metrics=("a", "b", "c"))
    with pytest.raises(ValueError, match=r"shape \[h, 2\]"):
        NSGA3(box, 2, directions=np.ones((4, 3)))
    with pytest.raises(ValueError, match="at least 0"):
        NSGA3(box, 2, directions=[[0.0, 0.0]])
    searcher = NSGA3(box, metrics=("a", "b"), directions=[[1, 0], [0, 1]])
    assert searcher.population == 4
    with pytest.raises(ValueError, match="2 objectives and 0 constraints"):
        searcher.tell(searcher.ask(), [(1.0, 2.0, 3.0)] * 4)
    searcher = NSGA3(box, 2, 3)
    with pytest.raises(ValueError, match="has 3 objectives, others have 2"):
        searcher.tell(searcher.ask(), [(1.0, 2.0, 3.0)] * 4)
