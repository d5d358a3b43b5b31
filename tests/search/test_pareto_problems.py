"""The problems: their best fronts are reached by the known best candidates and by nothing better."""

import numpy as np
import pytest

from heredity.search.pareto import hypervolume
from heredity.search.pareto_problems import dtlz, zdt

PROBLEMS = [zdt(k) for k in (1, 2, 3, 4, 6)] + [dtlz(k, m) for k in (1, 2, 7) for m in (2, 3)]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: f"{p.name}-{p.objectives}")
def test_nothing_drawn_dominates_the_front(problem):
    front = problem.front(200)
    values = problem(problem.space.samples(500, np.random.default_rng(0)))
    assert values.shape == (500, problem.objectives)
    better = (values[:, None] >= front[None]).all(axis=2) & (values[:, None] > front[None] + 1e-9).any(axis=2)
    assert not better.any()


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: f"{p.name}-{p.objectives}")
def test_candidates_with_the_best_distance_coordinates_lie_on_the_front(problem):
    m, rng = problem.objectives, np.random.default_rng(1)
    x = problem.space.samples(400, rng)
    x[:, m - 1 :] = 0.5 if problem.name in ("DTLZ1", "DTLZ2") else 0.0
    values, front = problem(x), problem.front(4000)
    if problem.name == "DTLZ1":
        np.testing.assert_allclose(values.sum(axis=1), -0.5)  # the plane Σ f = ½
    elif problem.name == "DTLZ2":
        np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1)
    reference = np.full(m, -7.0)
    both = np.concatenate([front, values])
    # They add next to nothing to the volume of a dense front, and a front without them could not.
    assert hypervolume(both, reference) == pytest.approx(hypervolume(front, reference), rel=2e-3)
    assert hypervolume(values, reference) == pytest.approx(hypervolume(front, reference), rel=5e-2)


def test_values_by_hand():
    # ZDT1 at x = (.25, 1, …): g = 10, f₂ = 10 (1 − √.025); at rest 0: 1 − √.25 = .5.
    x = np.ones(30)
    x[0] = 0.25
    np.testing.assert_allclose(zdt(1)(x), [-0.25, -10 * (1 - np.sqrt(0.025))])
    np.testing.assert_allclose(zdt(1)(np.array([0.25] + [0.0] * 29)), [-0.25, -0.5])
    # ZDT4 at rest ½: g = 1 + 90 + 9 (¼ − 10 cos 2π) = 3.25.
    np.testing.assert_allclose(zdt(4)(np.array([1.0] + [0.5] * 9))[1], -3.25 * (1 - np.sqrt(1 / 3.25)))
    # DTLZ1 with two objectives at (.25, ½ …): ½ x₀ and ½ (1 − x₀).
    np.testing.assert_allclose(dtlz(1, 2)(np.array([0.25] + [0.5] * 5)), [-0.125, -0.375])
    # DTLZ2 at (⅓, ⅔, ½ …): cos 30° cos 60°, cos 30° sin 60°, sin 30°.
    np.testing.assert_allclose(
        dtlz(2)(np.array([1 / 3, 2 / 3] + [0.5] * 10)), [-np.sqrt(3) / 4, -0.75, -0.5], atol=1e-12
    )
    # DTLZ7 at 0: g = 1, h = m, so f = (0, 0, 2 · 3).
    np.testing.assert_allclose(dtlz(7)(np.zeros(22)), [0, 0, -6])


def test_unknown_problems_are_named():
    with pytest.raises(ValueError, match="got 5"):
        zdt(5)
    with pytest.raises(ValueError, match="got 3 with 3"):
        dtlz(3)
    with pytest.raises(ValueError, match="dimensions"):
        dtlz(2, 5, dim=3)
