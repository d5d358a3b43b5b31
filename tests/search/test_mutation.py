import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heredity.search.box import Box
from heredity.search.mutation import Gaussian, Polynomial, Reset, Swap

BOX = Box([-1, 0, 10], [1, 5, 11])
PARTS = [Gaussian(), Gaussian(0.5, rate=0.3), Polynomial(), Polynomial(5, rate=1.0), Reset(), Swap()]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("part", PARTS)
def test_shape_and_dtype_are_kept_and_the_parent_is_not_touched(part, dtype):
    x = BOX.samples(50, np.random.default_rng(0)).astype(dtype)
    before = x.copy()
    mutant = part.rows(x, np.random.default_rng(1), BOX)
    assert mutant.shape == x.shape
    assert mutant.dtype == dtype
    assert (x == before).all()
    assert (mutant != x).any()


@given(st.floats(0, 100), st.integers(0, 2**32))
def test_polynomial_steps_end_at_the_bounds(eta, seed):
    rng = np.random.default_rng(seed)
    x = BOX.samples(20, rng)
    x[:2] = BOX.low, BOX.high
    mutant = Polynomial(eta, rate=1.0).rows(x, rng, BOX)
    assert all(BOX.valid(row) for row in mutant)


def test_polynomial_steps_spread_as_their_law_says():
    # In the middle of [0, 1] with η = 1 and δ = ½ on both sides: u < ½ moves by (2u + (1 − 2u)/4)^½ − 1, which at
    # u = ¼ is −0.209431 of the range; a quarter of all steps go further down. Standard deviation 0.0014.
    box = Box(0, 1, dim=100)
    mutant = Polynomial(1.0, rate=1.0).rows(np.full((1000, 100), 0.5), np.random.default_rng(0), box)
    assert abs((mutant < 0.5 - 0.209431).mean() - 0.25) < 0.006
    assert abs((mutant < 0.5).mean() - 0.5) < 0.007
    # Nearer to a bound steps towards it are shorter, so that none has to be cut off.
    for near in (0.1, 0.9):
        mutant = Polynomial(1.0, rate=1.0).rows(np.full((1000, 100), near), np.random.default_rng(0), box)
        assert 0 < mutant.min() < 0.001
        assert 0.999 < mutant.max() < 1


def test_polynomial_steps_far_from_bounds_have_the_distribution_of_the_paper():
    # |δ| = 1 − u^(1/(η+1)) with u uniform, so P(|δ| ≤ x) = 1 − (1 − x)^(η+1), up to the half range at which steps end.
    n, eta = 40_000, 8.0
    box = Box(dim=1, scale=0.3)  # the unit of a step is scale / 0.3 = 1
    x = Polynomial(eta, rate=1.0).rows(np.zeros((n, 1)), np.random.default_rng(0), box)
    for step in (0.05, 0.1, 0.3):
        assert np.mean(np.abs(x) <= step) == pytest.approx(1 - (1 - step) ** (eta + 1), abs=0.01)
    assert np.mean(x < 0) == pytest.approx(0.5, abs=0.01)


def test_rates_are_kept():
    box = Box(0, 1, dim=10)
    x = np.full((4000, 10), 0.5)
    for part, rate in ((Polynomial(), 0.1), (Reset(), 0.1), (Reset(0.4), 0.4), (Gaussian(rate=0.7), 0.7)):
        moved = part.rows(x, np.random.default_rng(0), box) != x
        assert abs(moved.mean() - rate) < 0.01  # standard deviation at most 0.0025


def test_gaussian_steps_have_the_scale_of_the_box():
    box = Box(dim=2, scale=[1.0, 10.0])
    step = Gaussian(0.5).rows(np.zeros((20000, 2)), np.random.default_rng(0), box)
    np.testing.assert_allclose(step.std(axis=0), [0.5, 5.0], rtol=0.03)


def test_unbounded_coordinates_move_within_the_range_that_the_scale_stands_for():
    box = Box(dim=2, scale=0.3)  # as of a range of 1
    step = Polynomial(0.0, rate=1.0).rows(np.full((2000, 2), 7.0), np.random.default_rng(0), box) - 7
    assert 0.4 < np.abs(step).max() <= 0.5


def test_swaps_keep_the_entries():
    x = np.arange(12.0).reshape(2, 6)
    mutant = Swap(1).rows(x, np.random.default_rng(0), BOX)
    assert ((mutant != x).sum(axis=1) == 2).all()
    assert (np.sort(mutant, axis=1) == x).all()
    order = Swap(3).item(tuple("abcdef"), np.random.default_rng(0))
    assert sorted(order) == list("abcdef")
    assert order != tuple("abcdef")


def test_wrong_settings_and_items_are_named():
    for make in (lambda: Gaussian(0), lambda: Polynomial(-1), lambda: Reset(-0.1), lambda: Swap(0)):
        with pytest.raises(ValueError, match="got"):
            make()
    with pytest.raises(TypeError, match="vectors of numbers"):
        Gaussian().item("abc", np.random.default_rng(0))
    with pytest.raises(ValueError, match="two positions"):
        Swap().item((1,), np.random.default_rng(0))
