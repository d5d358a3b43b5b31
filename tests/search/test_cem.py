import numpy as np
import pytest

from heredity.search.box import Box
from heredity.search.cem import CEM


def test_one_update_by_hand():
    searcher = CEM(Box(dim=2, scale=2.0), population=5, elites=2, smoothing=0.25, noise=0.5, noise_decay=0.1)
    x = searcher.ask_array().copy()
    searcher.tell_array([1.0, 5.0, 2.0, 4.0, 3.0])
    mean, half = (x[1] + x[3]) / 2, (x[1] - x[3]) / 2  # the standard deviation of two is half their distance
    noise = 0.5 * 0.9 * 2.0
    assert np.allclose(searcher.center, 0.25 * mean)
    assert np.allclose(searcher.sigma, 0.75 * 2.0 + 0.25 * np.sqrt(half**2 + noise**2))


def test_failures_are_no_elites_and_one_success_keeps_the_spread():
    searcher = CEM(2, population=4, elites=3)
    x = searcher.ask_array().copy()
    searcher.tell_array([np.nan, 2.0, 1.0, -np.inf])
    assert np.allclose(searcher.center, (x[1] + x[2]) / 2)
    sigma, x = searcher.sigma, searcher.ask_array().copy()
    searcher.tell_array([np.nan, 2.0, np.nan, np.inf])
    assert np.allclose(searcher.center, x[1]) and np.array_equal(searcher.sigma, sigma)


def test_sphere_and_ellipsoid_from_a_wide_start_with_enough_elites():
    # The optimum lies within the first samples; 10⁻²⁷ was measured on seeds 0 … 3. From a start with deviation 1, three
    # of four seeds get there and one stalls at 0.02: a coordinate's spread can shrink before its mean has arrived.
    scales = 10 ** (2 * np.arange(10) / 9)
    for function in (lambda x: -np.sum(np.square(x - 1), axis=1), lambda x: -np.square(x - 1) @ scales):
        searcher = CEM(Box(dim=10, scale=3.0), population=100, elites=25, seed=2)
        for _ in range(100):
            searcher.tell_array(function(searcher.ask_array()))
        assert searcher.best[1] > -1e-20


def test_extra_noise_keeps_a_narrow_start_alive():
    found = []
    for noise in (0.0, 0.2):
        searcher = CEM(Box(dim=5, scale=0.3), elites=4, noise=noise, noise_decay=0.02, seed=3)
        for _ in range(60):
            searcher.tell_array(-np.sum(np.square(searcher.ask_array() - 3), axis=1))
        found.append(-searcher.best[1])
    assert found[1] < 0.2 * found[0]


def test_too_few_elites_are_refused():
    with pytest.raises(ValueError, match="between 2 and the population 10, got 1"):
        CEM(2, population=10, elites=1)
