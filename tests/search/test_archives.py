import numpy as np
import pytest

from heredity.search.archives import CVTArchive, GridArchive


def test_cells_of_a_grid():
    archive = GridArchive([0, -1], [1, 1], [2, 4])
    points = np.array([[0.0, -1.0], [0.49, -0.51], [0.5, -1.0], [1.0, 1.0], [9.0, 9.0], [-9.0, 0.1]])
    assert archive.cells == 8
    assert archive.cell(points).tolist() == [0, 0, 4, 7, 7, 2]


def test_every_cell_of_a_grid_can_be_reached():
    archive = GridArchive([0, 0], [1, 1], [7, 3])
    found = archive.cell(np.random.default_rng(0).random((5000, 2)))
    assert set(found.tolist()) == set(range(21))


def test_centroids_are_distinct_nearest_and_cells_about_equally_large():
    archive = CVTArchive([0, 100], [1, 300], 30)
    assert archive.centroids.shape == (30, 2)
    assert archive.cell(archive.centroids).tolist() == list(range(30))
    points = np.random.default_rng(0).random((30000, 2)) * [1, 200] + [0, 100]
    units = (points[:, None] - archive.centroids) / [1, 200]
    np.testing.assert_array_equal(archive.cell(points), np.argmin(np.square(units).sum(axis=2), axis=1))
    counts = np.bincount(archive.cell(points), minlength=30)
    assert counts.min() > 400  # 1000 each if all were equal
    assert counts.max() < 2000


def test_the_same_seed_has_the_same_centroids():
    one, two, other = (CVTArchive([0], [1], 9, seed=seed).centroids for seed in (1, 1, 2))
    assert (one == two).all()
    assert (one != other).any()


@pytest.mark.parametrize(
    "make",
    [
        lambda: GridArchive([0], [0], [3]),
        lambda: GridArchive([0, 0], [1, 1], [3]),
        lambda: GridArchive([0], [np.inf], [3]),
        lambda: GridArchive([0, 0], [1], [3]),
        lambda: CVTArchive([0], [1], 0),
        lambda: CVTArchive([0], [1], 10, samples=5),
    ],
)
def test_wrong_settings_are_named(make):
    with pytest.raises(ValueError, match=r"should|must"):
        make()
