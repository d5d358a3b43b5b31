import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heredity.search.box import Box

INF = np.inf
BOXES = [Box(-1, 2, dim=3), Box(dim=3), Box([0, -INF, -INF], [INF, 1, INF]), Box([0, -INF, -1], [1, 1, INF])]


def mirrored(x, low, high):
    """One coordinate, one bound at a time."""
    while not low <= x <= high:
        x = 2 * low - x if x < low else 2 * high - x
    return x


@pytest.mark.parametrize("box", BOXES)
@given(st.lists(st.floats(-30, 30), min_size=3, max_size=3))
def test_vectors_are_mirrored_at_every_bound_they_cross(box, x):
    row = np.array([x])
    wanted = [mirrored(*each) for each in zip(x, box.low, box.high, strict=True)]
    np.testing.assert_allclose(box.fold(row)[0], wanted, rtol=1e-9, atol=1e-9)
    assert box.valid(box.fold(row)[0])


def test_inside_nothing_is_copied_and_outside_the_input_stays():
    x = np.random.default_rng(0).uniform(-1, 2, (100, 3)).astype(np.float32)
    assert BOXES[0].fold(x) is x
    assert BOXES[1].fold(9 * x) is not x
    far = np.array([[50.0, -50.0, 1e300], [0.0, 1.0, 2.0]])
    before = far.copy()
    folded = BOXES[0].fold(far)
    assert (far == before).all()
    assert (folded[1] == far[1]).all()
    assert BOXES[0].valid(folded[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_and_layout_are_kept(dtype):
    x = (9 * np.random.default_rng(0).standard_normal((3, 5))).astype(dtype)
    folded = BOXES[0].fold(x.T)
    assert folded.dtype == dtype
    assert folded.shape == (5, 3)
    for k in range(5):
        np.testing.assert_array_equal(folded[k], BOXES[0].fold(np.ascontiguousarray(x[:, k])))
