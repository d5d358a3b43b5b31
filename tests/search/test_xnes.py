import numpy as np
from scipy.linalg import expm

from heredity.search.box import Box
from heredity.search.shaping import nes_utilities
from heredity.search.xnes import XNES


def test_one_update_equals_the_exponential_of_the_paper():
    searcher = XNES(Box(dim=3, scale=[1.0, 2.0, 0.5]), population=6, mean_rate=0.7, sigma_rate=0.2, shape_rate=0.4)
    # scale has the geometric mean 1, so that A = B = diag(scale) and sigma = 1.
    a = np.diag([1.0, 2.0, 0.5])
    s = searcher.ask_array() @ np.linalg.inv(a)
    fitness = np.array([3.0, 1.0, 2.0, 6.0, 5.0, 4.0])
    u = nes_utilities(6)[(6 - fitness).astype(int)]
    searcher.tell_array(fitness)
    whole = sum(w * (np.outer(v, v) - np.eye(3)) for w, v in zip(u, s, strict=True))
    trace = np.trace(whole) / 3
    shape = np.exp(0.1 * trace) * a @ expm(0.2 * (whole - trace * np.eye(3)))
    assert np.allclose(searcher.center, 0.7 * a @ (u @ s)) and np.allclose(searcher.covariance, shape @ shape.T)


def test_a_rotated_ellipsoid_is_as_easy_as_a_sphere_in_the_end():
    rotation, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))
    hessian = rotation @ np.diag(10.0 ** np.arange(5)) @ rotation.T
    searcher = XNES(5, population=20, seed=1)
    for _ in range(600):
        x = searcher.ask_array() - 1
        searcher.tell_array(-np.einsum("ij,jk,ik->i", x, hessian, x))
    assert searcher.best[1] > -1e-12
    # The covariance has become the inverse Hessian up to a factor: their product has equal eigenvalues.
    values = np.linalg.eigvals(searcher.covariance @ hessian).real
    assert values.max() / values.min() < 30  # of 10 000 at first


def test_the_published_rates():
    searcher = XNES(10)
    assert searcher.population == 10  # 4 + ⌊3 · 2.303⌋
    assert np.isclose(searcher.sigma_rate, (9 + 3 * np.log(10)) / (50 * np.sqrt(10)))
