import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heredity.search.crossover import BLX, SBX, Arithmetic, Points, Uniform

PARTS = [Uniform(), Points(1), Points(2), Points(5), Arithmetic(), BLX(), SBX()]


def parents(n=200, dim=6, dtype=np.float64):
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, n, dim)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("part", PARTS)
def test_shape_dtype_and_parents_are_kept_and_equal_parents_have_their_like(part, dtype):
    a, b = parents(dtype=dtype)
    before = a.copy(), b.copy()
    child = part.rows(a, b, np.random.default_rng(1))
    assert child.shape == a.shape
    assert child.dtype == dtype
    assert (a == before[0]).all()
    assert (b == before[1]).all()
    np.testing.assert_allclose(part.rows(a, a.copy(), np.random.default_rng(1)), a, rtol=1e-6)


@given(st.floats(0, 50), st.integers(0, 2**32))
def test_sbx_children_have_the_mean_of_their_parents(eta, seed):
    a, b = parents(20)
    c, d = SBX(eta).both(a, b, np.random.default_rng(seed))
    np.testing.assert_allclose(c + d, a + b, rtol=1e-9, atol=1e-9 * np.abs(c).max())


def test_sbx_spreads_as_its_law_says():
    # P(β ≤ 1) = ½, and with η = 1: P(β ≤ ½) = ∫₀^½ β dβ = 1/8. Standard deviations 0.0016 and 0.0010.
    a, b = np.ones((100, 1000)), -np.ones((100, 1000))
    c, _ = SBX(1.0).both(a, b, np.random.default_rng(0))
    assert abs((c <= 1).mean() - 0.5) < 0.008
    assert abs((c <= 0.5).mean() - 0.125) < 0.005
    child = SBX(1.0, rate=0.6).rows(a, b, np.random.default_rng(0))
    assert abs((child == 1).mean() - 0.4) < 0.008  # not crossed
    assert abs((child > 0).mean() - 0.7) < 0.008  # those and half of the crossed ones


def test_exchanges_take_each_position_from_one_parent():
    a, b = np.zeros((300, 8)), np.ones((300, 8))
    uniform = Uniform(0.25).rows(a, b, np.random.default_rng(0))
    assert set(np.unique(uniform)) == {0, 1}
    assert abs((uniform == 0).mean() - 0.25) < 0.04  # standard deviation 0.009
    for count in (1, 2, 7, 99):
        child = Points(count).rows(a, b, np.random.default_rng(0))
        cuts = np.abs(np.diff(child, axis=1)).sum(axis=1)
        assert (child[:, 0] == 0).all()
        assert (cuts == min(count, 7)).all()
    assert (Points(1).rows(a[:, :1], b[:, :1], np.random.default_rng(0)) == 0).all()


def test_arithmetic_lies_between_and_blx_at_most_alpha_beyond():
    a, b = np.zeros((500, 3)), np.ones((500, 3))
    between = Arithmetic().rows(a, b, np.random.default_rng(0))
    assert (between == between[:, :1]).all()  # one weight for the whole vector
    assert 0 <= between.min() < 0.1
    assert 0.9 < between.max() <= 1
    beyond = BLX(0.5).rows(a, b, np.random.default_rng(0))
    assert -0.5 <= beyond.min() < -0.45
    assert 1.45 < beyond.max() <= 1.5


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
    for make in (lambda: Points(0), lambda: BLX(-1), lambda: SBX(-1), lambda: SBX(1, rate=0)):
        with pytest.raises(ValueError, match="got"):
            make()
