from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heredity.search.box import Box
from heredity.search.crossover import BLX, SBX, Arithmetic, Line, Points, Uniform

OPEN = Box(dim=6)
PARTS = [Uniform(), Points(1), Points(2), Points(5), Arithmetic(), Line(), BLX(), SBX(), SBX(bounded=False)]


def parents(n=200, dim=6, dtype=np.float64):
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, n, dim)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("part", PARTS)
def test_shape_dtype_and_parents_are_kept_and_equal_parents_have_their_like(part, dtype):
    a, b = parents(dtype=dtype)
    before = a.copy(), b.copy()
    children = part.rows(a, b, np.random.default_rng(1), OPEN)
    assert children.shape == (2, *a.shape)
    assert children.dtype == dtype
    assert (a == before[0]).all()
    assert (b == before[1]).all()
    for child in part.rows(a, a.copy(), np.random.default_rng(1), OPEN):
        np.testing.assert_allclose(child, a, rtol=1e-6)


@given(st.floats(0, 50), st.integers(0, 2**32))
def test_sbx_children_have_the_mean_of_their_parents(eta, seed):
    a, b = parents(20)
    c, d = SBX(eta).rows(a, b, np.random.default_rng(seed), OPEN)
    np.testing.assert_allclose(c + d, a + b, rtol=1e-9, atol=1e-9 * np.abs(c).max())


@given(st.integers(0, 10_000), st.sampled_from([0.0, 2.0, 20.0]), st.booleans())
def test_bounded_sbx_children_lie_inside_and_untouched_coordinates_stay(seed, eta, bounded):
    rng = np.random.default_rng(seed)
    box = Box([0.0, -1.0, 2.0], [1.0, 5.0, 3.0]) if bounded else Box(0.0, None, dim=3)
    a, b = box.samples(6, rng), box.samples(6, rng)
    a[0, 0], b[1, 1] = box.low[0], a[1, 1] + 1e-300
    children = SBX(eta).rows(a, b, rng, box)
    assert np.isfinite(children).all()
    assert (children >= box.low - 1e-12).all() and (children <= box.high + 1e-12).all()
    stays = (children[0] == a) & (children[1] == b)
    assert 0 < stays.sum() < stays.size


def test_sbx_spreads_as_its_law_says():
    # Unbounded: β = |c₁ − c₂| / |a − b| is below 1 for half of all pairs, and P(β ≤ x) = x^(η+1) / 2 there.
    n, eta = 40_000, 2.0
    a, b = np.zeros((n, 1)), np.ones((n, 1))
    first, second = SBX(eta, rate=1.0).rows(a, b, np.random.default_rng(0), Box(dim=1))
    beta = np.abs(first - second).ravel()
    for x in (0.5, 0.8, 1.0):
        assert np.mean(beta <= x) == pytest.approx(x ** (eta + 1) / 2, abs=0.01)  # 4 standard errors
    assert np.mean(beta <= 2.0) == pytest.approx(1 - 2.0 ** -(eta + 1) / 2, abs=0.01)
    # Bounded at 0 and 1: α = 2 − 1 = 1, so that β = u^(1/(η+1)) and no child is further out than its parent.
    first, second = SBX(eta, rate=1.0).rows(a, b, np.random.default_rng(0), Box(0, 1, dim=1))
    beta = np.abs(first - second).ravel()
    assert beta.max() <= 1
    assert np.mean(beta <= 0.8) == pytest.approx(0.8 ** (eta + 1), abs=0.01)
    # Half of the crossed coordinates change sides.
    first, _ = SBX(1.0, rate=0.6).rows(a, b, np.random.default_rng(0), Box(dim=1))
    assert np.mean(first == 0) == pytest.approx(0.4, abs=0.01)
    assert np.mean(first < 0.5) == pytest.approx(0.7, abs=0.01)


def test_exchanges_take_each_position_from_one_parent():
    a, b, box = np.zeros((300, 8)), np.ones((300, 8)), Box(dim=8)
    uniform, other = Uniform(0.25).rows(a, b, np.random.default_rng(0), box)
    assert set(np.unique(uniform)) == {0, 1}
    assert (uniform + other == 1).all()  # what one child does not take, the other does
    assert abs((uniform == 0).mean() - 0.25) < 0.04  # standard deviation 0.009
    for count in (1, 2, 7, 99):
        child, _ = Points(count).rows(a, b, np.random.default_rng(0), box)
        cuts = np.abs(np.diff(child, axis=1)).sum(axis=1)
        assert (child[:, 0] == 0).all()
        assert (cuts == min(count, 7)).all()
    assert (Points(1).rows(a[:, :1], b[:, :1], np.random.default_rng(0), Box(dim=1))[0] == 0).all()


def test_arithmetic_lies_between_and_blx_at_most_alpha_beyond():
    a, b, box = np.zeros((500, 3)), np.ones((500, 3)), Box(dim=3)
    between, other = Arithmetic().rows(a, b, np.random.default_rng(0), box)
    assert (between == between[:, :1]).all()  # one weight for the whole vector
    np.testing.assert_allclose(between + other, 1.0)
    assert 0 <= between.min() < 0.1
    assert 0.9 < between.max() <= 1
    beyond = BLX(0.5).rows(a, b, np.random.default_rng(0), box)
    assert -0.5 <= beyond.min() < -0.45
    assert 1.45 < beyond.max() <= 1.5
    assert (beyond[0] != beyond[1]).all()


def test_line_steps_are_normal_in_units_of_the_distance():
    a, b = np.zeros((20_000, 2)), np.tile([3.0, 4.0], (20_000, 1))
    first, second = Line(0.3).rows(a, b, np.random.default_rng(0), Box(dim=2))
    np.testing.assert_allclose(first[:, 1] * 3, first[:, 0] * 4, atol=1e-12)
    for steps in (first[:, 0] / 3, 1 - second[:, 0] / 3):
        assert np.std(steps) == pytest.approx(0.3, abs=0.006)  # 4 standard errors
    assert abs(np.corrcoef(first[:, 0], second[:, 0])[0, 1]) < 0.03


@pytest.mark.parametrize("part", [Uniform(), Points(2)])
def test_sequences_of_anything_are_exchanged(part):
    a, b = tuple("abcdefgh"), tuple("ABCDEFGH")
    child = part.item(a, b, np.random.default_rng(0))
    assert isinstance(child, tuple)
    assert [c.lower() for c in child] == list("abcdefgh")
    assert child not in (a, b)
    rows = part.item(np.zeros((8, 2)), np.ones((8, 2)), np.random.default_rng(0))
    assert (rows[:, 0] == rows[:, 1]).all()
    with pytest.raises(TypeError, match="one type and length"):
        part.item((1, 2), (1,), np.random.default_rng(0))


def test_parts_that_compute_refuse_what_is_no_vector_and_settings_are_checked():
    with pytest.raises(TypeError, match="vectors of numbers"):
        SBX().item((1,), (2,), np.random.default_rng(0))
    for make in (lambda: Points(0), lambda: BLX(-1), lambda: SBX(-1), lambda: SBX(1, rate=0), lambda: Line(-1)):
        with pytest.raises(ValueError, match="got"):
            make()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(eta=st.floats(0, 60), room=st.floats(0, 1e30), seed=st.integers(0, 2**32))
def test_a_far_bound_is_cut_off_without_a_change(dtype: Any, eta: float, room: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    u = rng.random(50, dtype=dtype)
    rooms = np.concatenate([rng.random(49), [room]]).astype(dtype)
    with np.errstate(over="ignore"):
        share = u * (2 - np.power(1 + 2 * rooms, -(eta + 1)))
    expected = np.power(np.where(share <= 1, share, 1 / (2 - share)), 1 / (eta + 1))
    np.testing.assert_array_equal(SBX(eta)._spread(u, rooms), expected)
