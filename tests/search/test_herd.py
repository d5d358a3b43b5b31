import numpy as np
import pytest

from heredity.search.base import Space
from heredity.search.box import Box
from heredity.search.crossover import Arithmetic, Crossover
from heredity.search.herd import Items, Rows, _twins
from heredity.search.mutation import Mutation, Polynomial


class Middle(Crossover):
    """The first child is the mean, the second the difference."""

    def rows(self, a, b, rng, box):
        return np.stack([(a + b) / 2, a - b])


class Up(Mutation):
    def rows(self, x, rng, box):
        return x + np.float32(0.9)


F32 = np.dtype(np.float32)


def founded(herd, n=3):
    herd.found(0, n, np.random.default_rng(0))
    herd.pool(np.arange(n))
    herd.keep(np.arange(n))


def test_rows_breed_two_of_each_pair_fold_and_keep():
    box = Box(0, 1, dim=2)
    herd = Rows(box, Middle(), Up(), 1.0, F32)
    rng = np.random.default_rng(0)
    herd.found(0, 3, rng)
    founders = herd.generation.copy()
    herd.pool(np.arange(3))
    herd.keep(np.array([2, 0, 1]))
    herd.breed(3, 3, np.array([[0, 1], [1, 2]]), rng)
    a, b, c = founders[2], founders[0], founders[1]
    wanted = np.stack([(a + b) / 2, np.abs(a - b), (b + c) / 2]) + np.float32(0.9)
    np.testing.assert_allclose(herd.generation, np.where(wanted > 1, 2 - wanted, wanted), rtol=1e-6)
    assert herd.generation.dtype == np.float32
    herd.remember(1)
    best = herd.value(1)
    assert len(herd.pool(np.array([1]))) == 4
    herd.keep(np.array([3, 0]))
    herd.put(1, 9, np.ones(2))
    herd.put(2, 10, np.zeros(2))  # follows the last
    again = Rows(box, Arithmetic(), Up(), 1.0, F32)
    again.load(herd.state())
    for one in (herd, again):
        assert (one.best() == best).all()
        assert (one.member(0) == best).all()
        assert (one.member(1) == 1).all()
        assert (one.member(2) == 0).all()


def test_pairs_that_are_not_crossed_have_children_like_them():
    herd = Rows(Box(0, 1, dim=50), Middle(), Polynomial(20.0, 0.02), 0.0, F32)
    founded(herd)
    herd.breed(3, 4, np.array([[0, 1], [2, 0]]), np.random.default_rng(1))
    for child, parent in enumerate((0, 1, 2, 0)):
        changed = herd.value(child) != herd.member(parent)
        assert 0 < changed.sum() < 10


def test_no_row_is_born_twice_where_mutation_can_prevent_it():
    founded(plain := Rows(Box(0, 1, dim=2), Arithmetic(), Polynomial(20.0, 0.1), 0.0, F32, fresh=False))
    founded(herd := Rows(Box(0, 1, dim=2), Arithmetic(), Polynomial(20.0, 0.5), 0.0, F32))
    pairs = np.array([[0, 1]] * 20)
    for one in (plain, herd):
        one.breed(3, 40, pairs, np.random.default_rng(1))
    members = np.stack([herd.member(k) for k in range(3)])
    assert len(np.unique(np.concatenate([members, herd.generation]), axis=0)) == 43
    assert len(_twins(plain.generation, members)) > 20


def test_twins_are_those_equal_to_the_bit_and_not_those_with_equal_sums():
    members = np.array([[1.0, 2.0], [3.0, 4.0]])
    x = np.array([[2.0, 1.0], [3.0, 4.0], [5.0, 6.0], [5.0, 6.0], [2.0, 1.0]])
    assert _twins(x, members).tolist() == [1, 3, 4]


def test_rows_are_adopted_into_places_and_beyond():
    founded(herd := Rows(Box(0, 1, dim=2), Arithmetic(), Polynomial(), 1.0, F32))
    herd.found(3, 3, np.random.default_rng(5))
    new, old = herd.generation.copy(), herd.member(0)
    herd.adopt(np.array([1, 3]), np.array([2, 0]))
    assert [herd.member(k).tolist() for k in (0, 1, 3)] == [old.tolist(), new[2].tolist(), new[0].tolist()]


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
    herd = Items(Words(), seed=3, mutation=0.0)
    herd.found(0, 12, np.random.default_rng(0))
    values = [herd.value(place) for place in range(12)]
    assert all(word[-1] != "x" for word in values)
    herd.value(0).clear()
    assert herd.value(0) == values[0]
    herd.remember(5)
    herd.pool(np.array([1, 5, 7]))
    herd.keep(np.array([2, 0]))
    guest = ["guest"] * 4
    herd.put(1, 12, guest)
    guest.clear()
    herd.breed(13, 3, np.array([[0, 1], [1, 0]]), np.random.default_rng(0))
    children = [herd.value(place) for place in range(3)]
    assert children == [values[7][:2] + ["guest"] * 2, ["guest"] * 2 + values[7][2:], ["guest"] * 2 + values[7][2:]]
    again = Items(Words(), seed=3, mutation=0.0)
    again.load(herd.state())
    again.breed(13, 3, np.array([[0, 1], [1, 0]]), np.random.default_rng(0))
    assert [again.value(place) for place in range(3)] == children
    assert again.best() == herd.best() == values[5]
    assert again.member(1) == ["guest"] * 4
    herd.adopt(np.array([1, 2]), np.array([2, 0]))
    assert [herd.member(k) for k in (1, 2)] == [children[2], children[0]]


def test_items_have_one_parent_or_two():
    herd = Items(Words(), seed=3, rate=0.0)
    founded(herd, 12)
    herd.breed(12, 12, np.array([[0, 1]] * 6), np.random.default_rng(0))
    for place in range(12):
        assert herd.value(place)[:3] == herd.member(place % 2)[:3]


class Letters(Space[str]):
    """Three letters out of two: eight candidates; some drawn are not valid."""

    def sample(self, rng):
        return "".join(rng.choice(["a", "b", "!"], size=3, p=[0.45, 0.45, 0.1]))

    def mutate(self, x, rng):
        place = rng.integers(3)
        return x[:place] + ("a" if x[place] == "b" else "b") + x[place + 1 :]

    def crossover(self, a, b, rng):
        return a[0] + b[1:]

    def valid(self, x):
        return "!" not in x


def test_items_are_new_while_the_space_lasts():
    herd = Items(Letters(), 0, rate=0.5, mutation=0.5, key=str)
    founded(herd, 4)
    members = [herd.member(k) for k in range(4)]
    assert len(set(members)) == 4
    herd.breed(4, 3, np.array([[0, 1], [2, 3]]), np.random.default_rng(0))
    everybody = members + [herd.value(k) for k in range(3)]
    assert len(set(everybody)) == 7  # of 8
    small = Items(Letters(), 0, key=str)
    small.found(0, 10, np.random.default_rng(0))
    assert len({small.value(k) for k in range(10)}) == 8


def test_a_space_without_valid_candidates_is_an_error():
    class Never(Words):
        def valid(self, x):
            return False

    with pytest.raises(ValueError, match="Never gave no valid candidate in 100 tries"):
        Items(Never(), 0).found(0, 1, np.random.default_rng(0))
