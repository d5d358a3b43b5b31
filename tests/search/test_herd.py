import numpy as np
import pytest

from heredity.search.base import Space
from heredity.search.box import Box
from heredity.search.herd import Items, Rows


def test_rows_breed_fold_and_keep():
    box = Box(0, 1, dim=2)
    herd = Rows(box, lambda a, b, rng: (a + b) / 2, lambda x, rng: x + 0.9, np.dtype(np.float32))
    rng = np.random.default_rng(0)
    herd.found(0, 3, rng)
    founders = herd.generation.copy()
    herd.pool(np.arange(3))
    herd.keep(np.array([2, 0, 1]))
    assert (herd.member(0) == founders[2]).all()
    herd.breed(3, np.array([0, 1]), np.array([1, -1]), rng)
    wanted = np.stack([(founders[2] + founders[0]) / 2, founders[0]]) + np.float32(0.9)
    np.testing.assert_allclose(herd.generation, np.where(wanted > 1, 2 - wanted, wanted), rtol=1e-6)
    assert herd.generation.dtype == np.float32
    herd.remember(1)
    best = herd.value(1)
    assert len(herd.pool(np.array([1]))) == 4
    herd.keep(np.array([3, 0]))
    herd.put(1, 9, np.ones(2))
    again = Rows(box, lambda a, b, rng: a, lambda x, rng: x, np.dtype(np.float32))
    again.load(herd.state())
    for one in (herd, again):
        assert (one.best() == best).all()
        assert (one.member(0) == best).all()
        assert (one.member(1) == 1).all()


class Words(Space[list[str]]):
    """Lists, which a user could edit; those that end in "x" are not valid."""

    def sample(self, rng):
        return [str(rng.choice(list("abx"))) for _ in range(4)]

    def mutate(self, x, rng):
        return [*x[:-1], str(rng.choice(list("abx")))]

    def crossover(self, a, b, rng):
        return a[:2] + b[2:]

    def valid(self, x):
        return x[-1] != "x"


def test_items_are_valid_copied_and_made_again():
    herd = Items(Words(), seed=3)
    herd.found(0, 12, np.random.default_rng(0))
    values = [herd.value(place) for place in range(12)]
    assert all(word[-1] != "x" for word in values)
    herd.value(0).clear()
    assert herd.value(0) == values[0]
    herd.remember(5)
    herd.pool(np.array([1, 5, 7]))
    herd.keep(np.array([2, 0]))
    herd.put(1, 12, ["guest"] * 4)
    herd.breed(13, np.array([0, 1, 0]), np.array([1, -1, 0]), np.random.default_rng(0))
    children = [herd.value(place) for place in range(3)]
    assert children[0] == values[7][:2] + ["guest"] * 2
    assert children[1][:3] == ["guest"] * 3
    again = Items(Words(), seed=3)
    again.load(herd.state())
    again.breed(13, np.array([0, 1, 0]), np.array([1, -1, 0]), np.random.default_rng(0))
    assert [again.value(place) for place in range(3)] == children
    assert again.best() == herd.best() == values[5]
    assert again.member(1) == ["guest"] * 4


def test_a_space_without_valid_candidates_is_an_error():
    class Never(Words):
        def valid(self, x):
            return False

    with pytest.raises(ValueError, match="Never gave no valid candidate in 100 tries"):
        Items(Never(), 0).found(0, 1, np.random.default_rng(0))
