import math

import numpy as np
import pytest

from heredity.search.box import Box
from heredity.search.cr_fm_nes import CRFMNES, _inverse_h
from heredity.search.test_functions import TEST_FUNCTIONS


def generations(searcher, loss, count):
    for _ in range(count):
        searcher.tell_array(-loss(searcher.ask_array()))
    return searcher


def natural_gradient(v, y):
    """Of the log-likelihood of y under N(0, D (I + v vᵀ) D) at D = I, for (v, D), by the Fisher matrix itself."""
    n = len(v)
    inverse = np.linalg.inv(np.eye(n) + np.outer(v, v))
    changes = []
    for i in range(n):  # ∂C/∂vᵢ = eᵢ vᵀ + v eᵢᵀ
        unit = np.eye(n)[i]
        changes.append(np.outer(unit, v) + np.outer(v, unit))
    for i in range(n):  # ∂C/∂Dᵢ = eᵢ eᵢᵀ C + C eᵢ eᵢᵀ at D = I
        pick = np.diag(np.eye(n)[i])
        C = np.eye(n) + np.outer(v, v)
        changes.append(pick @ C + C @ pick)
    whitened = [inverse @ change for change in changes]
    fisher = np.array([[np.trace(a @ b) / 2 for b in whitened] for a in whitened])
    gradient = np.array([(y @ a @ inverse @ y - np.trace(a)) / 2 for a in whitened])
    return np.split(np.linalg.solve(fisher, gradient), 2)


@pytest.mark.parametrize("length", [0.5, 1.0, 4.0])
def test_v_and_d_follow_their_natural_gradient(length):
    # With v spread evenly over its coordinates, VD-CMA's α is 1 and its formulas are exact.
    searcher = CRFMNES(Box(dim=4), 6, seed=0)
    v = length * np.array([0.5, -0.5, 0.5, 0.5])
    searcher._v, searcher._D, searcher._p_c = v.copy(), np.ones(4), np.zeros(4)
    searcher._y = np.random.default_rng(1).standard_normal((6, 4))
    weights = 1e-3 * np.arange(-2.0, 4.0)
    searcher._turn(weights, 0.0)
    parts = [natural_gradient(v, y) for y in searcher._y]
    assert np.allclose(searcher._v - v, sum(w * t for w, (t, _) in zip(weights, parts, strict=True)), atol=1e-12)
    assert np.allclose(searcher._D - 1, sum(w * s for w, (_, s) in zip(weights, parts, strict=True)), atol=1e-12)


def test_the_path_counts_as_one_more_sample():
    a, b = CRFMNES(Box(dim=4), 4, seed=0), CRFMNES(Box(dim=4), 4, seed=0)
    y = np.random.default_rng(2).standard_normal((4, 4))
    a._y, b._y = y, y[:3]
    b._p_c = y[3].copy()
    a._turn(np.array([0.01, 0.02, -0.01, 0.005]), 0.0)
    b._turn(np.array([0.01, 0.02, -0.01]), 0.005)
    assert np.allclose(a._v, b._v) and np.allclose(a._D, b._D)


def test_mean_and_step_of_the_first_generation():
    # Algorithm 1, for z in mirrored pairs; two of eight fail, and rank last, the farther one lowest.
    n, size = 6, 8
    searcher = CRFMNES(Box(dim=n, start=np.full(n, 3.0), scale=2.0), size, seed=5)
    x = searcher.ask_array().copy()
    z = searcher._z.copy()
    assert np.allclose(z[4:], -z[:4])
    loss = np.square(x).sum(1)
    failed = [1, 6]
    told = loss.copy()
    told[failed] = np.nan
    searcher.tell_array(-told)
    order = [i for i in np.argsort(loss) if i not in failed] + sorted(failed, key=lambda i: np.linalg.norm(z[i]))
    raw = np.maximum(0, math.log(size / 2 + 1) - np.log(np.arange(1, size + 1)))
    ranked = raw / raw.sum() - 1 / size
    mu_eff = 1 / np.square(ranked + 1 / size).sum()
    c_sigma = (mu_eff + 2) / (n + mu_eff + 5)
    path = math.sqrt(c_sigma * (2 - c_sigma) * mu_eff) * ranked @ z[order]
    chi = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2))
    good, rate, weights = 6, 1.0, ranked
    if np.linalg.norm(path) >= chi:
        alpha = _inverse_h(n) * min(1, math.sqrt(size / n)) * math.sqrt(good / size)
        far = raw * np.exp(alpha * np.linalg.norm(z[order], axis=1))
        weights = far / far.sum() - 1 / size
    elif np.linalg.norm(path) >= 0.1 * chi:
        rate = math.tanh((0.024 * good + 0.7 * n + 20) / (n + 12))
    assert np.allclose(searcher.center, 3 + weights @ (x[order] - 3))
    growth = rate / 2 * (weights @ (np.square(z[order]) - 1)).sum() / n
    assert searcher._sigma == pytest.approx(2 * math.exp(growth))


@pytest.mark.parametrize("n", [1, 10, 1000])
def test_the_distance_weight_s_exponent_solves_its_equation(n):
    alpha = _inverse_h(n)
    assert (1 + alpha**2) * math.exp(alpha**2 / 2) / 0.24 - 10 == pytest.approx(n, abs=1e-9)


@pytest.mark.parametrize(
    # About twice what seeds 0 to 4 needed: at most 1,230, 2,580 and 9,450.
    ("name", "rotate", "budget"),
    [("sphere", True, 2_500), ("ellipsoid", False, 5_200), ("rosenbrock", True, 19_000)],
)
def test_converges(name, rotate, budget):
    problem = TEST_FUNCTIONS[name](10, seed=12, rotate=rotate)
    searcher = CRFMNES(Box(dim=10, scale=2.0), seed=12)
    generations(searcher, problem, budget // searcher.population)
    assert -searcher.best[1] <= 1e-10


def test_only_ranks_matter():
    loss = TEST_FUNCTIONS["rosenbrock"](5, seed=1)
    a = generations(CRFMNES(Box(-5, 5, dim=5), seed=2), loss, 60)
    b = generations(CRFMNES(Box(-5, 5, dim=5), seed=2), lambda x: loss(x) ** 3, 60)
    assert a.center.tobytes() == b.center.tobytes() and a.sigma.tobytes() == b.sigma.tobytes()


def test_the_edge_of_a_failing_region_is_found():
    searcher = CRFMNES(Box(dim=6, scale=1.0), seed=4)
    generations(searcher, lambda x: np.where(x[:, 0] > 0.5, np.nan, np.square(x - 1).sum(1)), 250)
    assert searcher.best[1] == pytest.approx(-0.25, abs=1e-6)  # x0 = ½ where 1 would be best


def test_scale_of_the_box_is_the_first_diagonal():
    units = 10.0 ** np.arange(-3, 4)
    plain, scaled = CRFMNES(Box(dim=7, scale=1.0), seed=0), CRFMNES(Box(dim=7, scale=units), seed=0)
    for _ in range(50):
        x, y = plain.ask_array(), scaled.ask_array()
        assert np.allclose(x, y / units, rtol=1e-6, atol=1e-9)
        plain.tell_array(-np.square(x - 1).sum(1))
        scaled.tell_array(-np.square(y / units - 1).sum(1))


@pytest.mark.parametrize("box", [Box(-1, 1, dim=3), Box(dim=3), Box(dim=1)], ids=["box", "unbounded", "line"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", [lambda x: np.zeros(len(x)), lambda x: x.sum(1)], ids=["plateau", "slope"])
def test_stays_finite_without_an_optimum(box, dtype, loss):
    searcher = CRFMNES(box, seed=0, dtype=dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        generations(searcher, lambda x: loss(x.astype(np.float64)), 1500)
    assert np.isfinite(searcher.center).all() and np.isfinite(searcher.sigma).all()
    assert searcher.center.dtype == searcher.sigma.dtype == searcher.ask_array().dtype == dtype


def test_equal_fitness_keeps_the_order_of_the_candidates():
    # Told as equal, or as different in the same order: the same update.
    equal, falling = CRFMNES(Box(dim=4), 6, seed=0), CRFMNES(Box(dim=4), 6, seed=0)
    equal.ask_array(), falling.ask_array()
    equal.tell_array(np.zeros(6))
    falling.tell_array(-np.arange(6.0))
    assert equal.center.tobytes() == falling.center.tobytes() and equal.sigma.tobytes() == falling.sigma.tobytes()


def test_the_determinant_stays_one():
    searcher = generations(CRFMNES(Box(dim=8), seed=1), TEST_FUNCTIONS["ellipsoid"](8, seed=1), 100)
    root = np.log(searcher._D).sum() + np.log1p(searcher._v @ searcher._v) / 2
    assert root == pytest.approx(0, abs=1e-9)


def test_the_last_of_an_odd_population_has_no_mirror_image():
    searcher = CRFMNES(Box(dim=3), 5, seed=0)
    searcher.ask_array()
    assert np.allclose(searcher._z[3:], -searcher._z[:2]) and len(searcher._z) == 5
