import numpy as np
import pytest

from heredity.search.box import Box
from heredity.search.mean_es import MeanES


def test_the_mean_moves_to_the_mean_of_the_elites():
    searcher = MeanES(3, population=5, elites=2, sigma=0.2)
    x = searcher.ask_array().copy()
    searcher.tell_array([1.0, 5.0, np.nan, 4.0, 3.0])
    assert np.allclose(searcher.center, (x[1] + x[3]) / 2)
    spread = np.concatenate([MeanES(3, population=200, sigma=0.2, seed=s).ask_array() for s in range(10)]).std()
    assert abs(spread - 0.2) < 0.2 * 5 / np.sqrt(2 * 6000)  # five standard errors


def test_failures_never_count():
    searcher = MeanES(2, population=4, elites=3)
    x = searcher.ask_array().copy()
    searcher.tell_array([np.nan, 2.0, -np.inf, np.inf])
    assert np.array_equal(searcher.center, x[1])


def test_it_ends_at_a_distance_in_the_size_of_sigma():
    searcher = MeanES(10, population=40, elites=10, sigma=0.1, seed=1)
    distances = []
    for _ in range(300):
        searcher.tell_array(-np.sum(np.square(searcher.ask_array() - 1), axis=1))
        distances.append(np.linalg.norm(searcher.center - 1))
    # Random walk of the mean of ten: 0.1 √(10 / 10), lessened by selection.
    assert 0.01 < np.mean(distances[200:]) < 0.1


def test_wrong_deviations_are_named():
    with pytest.raises(ValueError, match=r"should be a number or have shape \(2,\)"):
        MeanES(2, sigma=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="positive"):
        MeanES(Box(dim=2), sigma=0.0)
    with pytest.raises(ValueError, match="between 1 and the population 4, got 5"):
        MeanES(2, population=4, elites=5)
