import numpy as np
import pytest

from heredity.search.survival import Age, Comma, Crowding, Plus, Pool

# Three members, then three children.
POOL = Pool(
    fitness=np.array([5.0, 1.0, 3.0, 2.0, 5.0, 4.0]),
    born=np.array([3, 1, 2, 10, 11, 12]),
    members=3,
    values=np.array([[0.0], [10.0], [20.0], [9.0], [19.0], [1.0]]),
)


@pytest.mark.parametrize(
    ("part", "n", "expected"),
    [
        (Plus(), 3, [0, 4, 5]),  # of equals the older first
        (Comma(0), 3, [4, 5, 3]),
        (Comma(1), 3, [0, 4, 5]),
        (Comma(1), 5, [0, 4, 5, 3, 2]),  # members fill up
        (Age(), 3, [5, 4, 3]),
        (Age(1), 3, [0, 5, 4]),
        (Crowding(), 3, [0, 3, 4]),  # 9 beats 10 and 19 beats 20, but 1 is worse than 0
        (Crowding(), 4, [0, 1, 4, 3]),  # the first child has room, 19 takes the place of 20
        (Plus(), 9, [0, 4, 5, 2, 3, 1]),
    ],
)
def test_survivors(part, n, expected):
    assert part(POOL, n).tolist() == expected


def test_crowding_measures_other_candidates_by_a_given_distance():
    words = Pool(np.array([1.0, 1.0, 2.0]), np.arange(3), 2, ["aaa", "bbb", "bbc"])
    part = Crowding(distance=lambda a, b: sum(x != y for x, y in zip(a, b, strict=True)))
    assert part(words, 2).tolist() == [0, 2]
    with pytest.raises(TypeError, match="distance"):
        Crowding()(words, 2)


def test_wrong_settings_are_named():
    for make in (lambda: Comma(-1), lambda: Age(-1)):
        with pytest.raises(ValueError, match="got"):
            make()
