import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heredity.search.bounds import mirror
from heredity.search.box import Box

BOXES = [Box(-1, 2, dim=3), Box(dim=3), Box([0, -np.inf, -np.inf], [np.inf, 1, np.inf])]


@pytest.mark.parametrize("box", BOXES)
@given(st.lists(st.floats(-3.5, 4.5), min_size=3, max_size=3))
def test_the_same_as_fold_for_steps_no_longer_than_the_box(box, x):
    row = np.array([x])
    np.testing.assert_allclose(mirror(row.copy(), box), box.fold(row), rtol=1e-12, atol=1e-12)


def test_inside_nothing_changes_and_far_outside_comes_inside():
    x = np.random.default_rng(0).uniform(-1, 2, (100, 3)).astype(np.float32)
    assert (mirror(x.copy(), BOXES[0]) == x).all()
    assert BOXES[0].valid(mirror(np.array([[50.0, -50.0, 1e300]]), BOXES[0])[0])
