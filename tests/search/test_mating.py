import numpy as np
import pytest

from heredity.search.mating import Rank, Roulette, Tournament, Truncation

FITNESS = np.array([1.0, 4.0, 2.0, 3.0])


def shares(part, n=20000):
    return np.bincount(part(FITNESS, n, np.random.default_rng(0)), minlength=4) / n


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (Truncation(0.5), [0, 1 / 2, 0, 1 / 2]),
        (Truncation(0.01), [0, 1, 0, 0]),
        (Truncation(1.0), [1 / 4] * 4),
        # Of two drawn with replacement the r-th worst of four wins with (2r − 1)/16.
        (Tournament(2), [1 / 16, 7 / 16, 3 / 16, 5 / 16]),
        (Tournament(1), [1 / 4] * 4),
        (Roulette(), [1 / 10, 4 / 10, 2 / 10, 3 / 10]),
        (Rank(), [1 / 10, 4 / 10, 2 / 10, 3 / 10]),
    ],
)
def test_members_are_drawn_with_their_probabilities(part, expected):
    np.testing.assert_allclose(shares(part), expected, atol=0.02)  # standard deviation at most 0.0036


def test_the_first_of_equals_wins_a_tournament():
    assert set(Tournament(50)(np.ones(3), 20, np.random.default_rng(0)).tolist()) == {0}


def test_wrong_settings_are_named():
    for make in (lambda: Truncation(0.0), lambda: Truncation(1.5), lambda: Tournament(0)):
        with pytest.raises(ValueError, match="got"):
            make()
