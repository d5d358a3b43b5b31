"""Hypervolume: hand cases, equality with counted unit cells, and its invariants."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from heredity.search.hypervolume import hypervolume

GRID = st.integers(1, 5).flatmap(
    lambda m: st.tuples(
        hnp.arrays(np.int64, st.tuples(st.integers(0, 9), st.just(m)), elements=st.integers(0, 4)),
        hnp.arrays(np.int64, (m,), elements=st.integers(0, 1)),
    )
)


def counted(points, reference):
    """Unit cells [c, c + 1]^m above the reference and below a point; corners lie on the grid 0 … 4."""
    cells = itertools.product(*[range(r, 4) for r in reference])
    return sum(any(all(p >= c + 1 for p, c in zip(point, cell, strict=True)) for point in points) for cell in cells)


def test_hand_cases():
    # 2-D: columns of width 1 and heights 3, 2, 1.
    assert hypervolume([(1, 3), (2, 2), (3, 1)], (0, 0)) == 6
    # 3-D: boxes 2·1·1 and 1·2·1 share 1.
    assert hypervolume([(2, 1, 1), (1, 2, 1)], (0, 0, 0)) == 3
    # 4-D: 2·1·1·1 and 1·1·1·2 share 1.
    assert hypervolume([(2, 1, 1, 1), (1, 1, 1, 2)], (0, 0, 0, 0)) == 3
    # Below the reference in one objective, or failed: nothing.
    assert hypervolume([(5, -1), (np.nan, 9), (np.inf, 9)], (0, 0)) == 0
    assert hypervolume([], (0, 0)) == 0


@given(GRID)
def test_it_is_the_number_of_unit_cells_on_a_grid(case):
    points, reference = case
    assert hypervolume(points.astype(float), reference.astype(float)) == counted(points.tolist(), reference.tolist())


@settings(max_examples=50)
@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 9), st.integers(1, 5)), elements=st.floats(0, 1)), st.data())
def test_order_and_dominated_points_change_nothing_and_scaling_scales(points, data):
    m = points.shape[1]
    order = data.draw(st.permutations(range(len(points))))
    volume = hypervolume(points, np.zeros(m))
    assert hypervolume(points[order], np.zeros(m)) == pytest.approx(volume, abs=1e-12)
    assert hypervolume(np.concatenate([points, points * 0.5]), np.zeros(m)) == pytest.approx(volume, abs=1e-12)
    assert hypervolume(points * 2, np.zeros(m)) == pytest.approx(volume * 2**m, abs=1e-11)


def test_three_objectives_agree_with_four_of_which_one_is_constant():
    points = np.random.default_rng(0).random((200, 3))
    raised = np.concatenate([points, np.full((200, 1), 2.0)], axis=1)
    assert hypervolume(raised, np.zeros(4)) == pytest.approx(2 * hypervolume(points, np.zeros(3)), rel=1e-12)


def test_wrong_references_are_refused():
    with pytest.raises(ValueError, match="length 2"):
        hypervolume([(1, 1)], (0, 0, 0))
    with pytest.raises(ValueError, match="finite"):
        hypervolume([(1, 1)], (0, np.nan))
