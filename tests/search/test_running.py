"""The run loop: signs, budgets, failures, and fronts of several objectives."""

import numpy as np
import pytest

from heredity.errors import EvaluationFailed
from heredity.search.box import Box
from heredity.search.nsga2 import NSGA2
from heredity.search.snes import SNES

BOX = Box(-2.0, 3.0, dim=2)


def sphere(x):
    return float(np.sum(np.square(x)))


def two(x):
    """A gain up to 1 at 1 and a loss that is least at −1."""
    return 1 - float(np.sum(np.square(x - 1))), float(np.sum(np.square(x + 1)))


def test_losses_are_minimised_and_reported_in_their_own_sign():
    found = SNES(BOX, seed=0).run(sphere, 300, direction="minimize")
    assert found.value == sphere(found.best) < 0.01
    assert found.evaluations == 300
    assert [value for _, value in found.history] == sorted((value for _, value in found.history), reverse=True)
    assert found.front == []
    assert "lowest value" in str(found)


def test_several_objectives_give_a_front_in_the_sign_of_the_function():
    found = NSGA2(BOX, 20, seed=1).run(two, 410, direction=("maximize", "minimize"))
    assert found.evaluations == 410  # the last round is a part of one
    for x, values in found.front:
        assert values == pytest.approx(two(x))
    gains, losses = zip(*[values for _, values in found.front], strict=True)
    assert found.value[0] == max(g for g, _ in [found.value, *zip(gains, losses, strict=True)]) > 0.9
    assert found.value == pytest.approx(two(found.best))
    assert min(losses) < 0.1
    order = np.argsort(gains)
    assert (np.diff(np.array(losses)[order]) >= 0).all()  # more gain costs more loss
    assert str(found).startswith(f"a front of {len(found.front)} after 410 evaluations")


def test_vectorized_is_the_same_and_constraints_follow_the_objectives():
    def arrays(x):
        return np.stack([1 - np.square(x - 1).sum(1), np.square(x + 1).sum(1), x[:, 0] - 0.5], axis=1)

    def single(x):
        return (*two(x), float(x[0]) - 0.5)

    runs = [
        NSGA2(BOX, 20, constraints=("left",), seed=2).run(f, 300, direction=["maximize", "minimize"], vectorized=v)
        for f, v in ((arrays, True), (single, False))
    ]
    assert all(x[0] <= 0.5 for x, _ in runs[0].front)
    assert len(runs[0].front) == len(runs[1].front) > 5
    for (a, values), (b, others) in zip(runs[0].front, runs[1].front, strict=True):
        np.testing.assert_allclose(a, b)
        np.testing.assert_allclose(values, others)


def test_declared_failures_are_counted_and_never_in_the_front():
    def sometimes(x):
        if x[0] > 0:
            raise EvaluationFailed("too far right")
        return two(x) if x[1] < 0.5 else (float("nan"), 1.0)

    found = NSGA2(BOX, 20, seed=3).run(sometimes, 200, direction=("maximize", "minimize"))
    assert found.failures > 0
    assert all(x[0] <= 0 and x[1] < 0.5 for x, _ in found.front)


def test_reports_hold_the_front_of_their_round():
    sizes = []
    NSGA2(BOX, 20, seed=4).run(
        two, 60, direction=("maximize", "minimize"), report=lambda run: sizes.append(len(run.front))
    )
    assert len(sizes) == 3
    assert min(sizes) > 0


def test_directions_have_to_fit_the_searcher_and_the_function():
    with pytest.raises(ValueError, match="one direction for each objective"):
        NSGA2(BOX, 20).run(two, 20, direction="maximize")
    with pytest.raises(ValueError, match="a single direction"):
        SNES(BOX).run(sphere, 20, direction=("maximize",))
    for wrong in ("up", ("maximize", "up"), ()):
        with pytest.raises(ValueError, match="maximize"):
            NSGA2(BOX, 20).run(two, 20, direction=wrong)
    with pytest.raises(ValueError, match="3 objectives and constraints, it gave 2"):
        NSGA2(BOX, 20).run(two, 20, direction=("maximize",) * 3)
    with pytest.raises(ValueError, match=r"shape \(20, 2\)"):
        NSGA2(BOX, 20).run(lambda x: x[:, 0], 20, direction=("maximize", "minimize"), vectorized=True)
