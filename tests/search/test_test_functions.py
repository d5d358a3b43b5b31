import numpy as np
import pytest

from heredity.search.test_functions import SCHWEFEL, TEST_FUNCTIONS, random_rotation

NAMES = sorted(TEST_FUNCTIONS)


@pytest.mark.parametrize("rotate", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_lowest_at_the_optimum(name, rotate):
    problem = TEST_FUNCTIONS[name](6, seed=2, rotate=rotate, value=-3.0)
    assert (np.abs(problem.optimum) <= 4).all() and np.abs(problem.optimum).max() > 0.1
    # Schwefel's optimum is known to 17 digits, of which its sum of 2,500 keeps 1e-12.
    assert problem(problem.optimum) == pytest.approx(-3.0, abs=1e-9)
    rng = np.random.default_rng(0)
    for spread in (1e-3, 0.1, 1.0, 5.0):
        assert (problem(problem.optimum + spread * rng.standard_normal((500, 6))) > -3.0).all()
    assert (problem(rng.uniform(-5, 5, (5000, 6))) > -3.0).all()


@pytest.mark.parametrize("name", NAMES)
def test_vectorised_over_all_but_the_last_axis(name):
    problem = TEST_FUNCTIONS[name](4, seed=1)
    x = np.random.default_rng(0).uniform(-5, 5, (2, 3, 4))
    together = problem(x)
    assert together.shape == (2, 3)
    assert np.allclose(together, [[problem(row) for row in rows] for rows in x], rtol=1e-12)
    with pytest.raises(ValueError, match="function of 4 numbers"):
        problem(x[..., :3])


@pytest.mark.parametrize(
    # Worked out by hand at z = (1, 2) from the formulas, without rotation, at the scale of their own domain.
    ("name", "domain", "value"),
    [
        ("sphere", 5, 1 + 4),
        ("ellipsoid", 5, 1 + 4e6),
        ("discus", 5, 1e6 + 4),
        ("bent_cigar", 5, 1 + 4e6),
        ("rastrigin", 5, 1 + 4),  # cos 2πz is 1 at integers
        ("ackley", 32, 20 - 20 * np.exp(-0.2 * np.sqrt(2.5)) + np.e - np.e),
        ("griewank", 600, 5 / 4000 + 1 - np.cos(1) * np.cos(2 / np.sqrt(2))),
        ("schwefel12", 5, 1 + (1 + 2) ** 2),
        ("sharp_ridge", 5, 1 + 100 * 2),
        ("different_powers", 5, np.sqrt(1 + 2**6)),
    ],
)
def test_values_by_hand(name, domain, value):
    problem = TEST_FUNCTIONS[name](2, optimum=0.0, rotate=False, radius=domain)
    assert problem(np.array([1.0, 2.0])) == pytest.approx(value, rel=1e-12)


def test_rosenbrock_by_hand():
    # The optimum of the formula is at (1, …, 1): with the optimum put there, x is z. 100 (3 − 4)² + (1 − 2)² = 101.
    problem = TEST_FUNCTIONS["rosenbrock"](2, optimum=1.0, rotate=False)
    assert problem([2.0, 3.0]) == 101 and problem([1.0, 1.0]) == 0 and problem([0.0, 0.0]) == 1


def test_schwefel_by_hand():
    # f(0) = 418.9829 n, as published; beyond 500 it rises and never falls below its value at the optimum.
    problem = TEST_FUNCTIONS["schwefel"](3, optimum=SCHWEFEL, rotate=False, radius=500.0)
    assert problem(np.zeros(3)) == pytest.approx(3 * 418.9829, abs=1e-3)
    far = np.linspace(-3000, 3000, 20_001)
    others = np.full((len(far), 2), SCHWEFEL)
    assert (problem(np.column_stack([far, others])) > -1e-9).all()


def test_ackley_keeps_its_digits_near_the_optimum():
    problem = TEST_FUNCTIONS["ackley"](2, optimum=0.0, rotate=False, radius=32.0)
    # For small r = |z| / √2 the loss is 20 · 0.2 r.
    assert problem([1e-12, 0.0]) == pytest.approx(4 * 1e-12 / np.sqrt(2), rel=1e-6)


def test_rotation_is_orthogonal_and_turns_the_same_loss():
    rotation = random_rotation(7, np.random.default_rng(3))
    assert np.allclose(rotation @ rotation.T, np.eye(7), atol=1e-12)
    turned = TEST_FUNCTIONS["ellipsoid"](5, seed=4)
    straight = TEST_FUNCTIONS["ellipsoid"](5, seed=4, rotate=False)
    assert (turned.optimum == straight.optimum).all()
    step = np.random.default_rng(0).standard_normal(5)
    assert turned(turned.optimum + step) == pytest.approx(straight(straight.optimum + turned.rotation @ step))


def test_seeds_and_radius():
    family = TEST_FUNCTIONS["rastrigin"]
    assert (family(3, seed=1).optimum == family(3, seed=1).optimum).all()
    assert (family(3, seed=1).optimum != family(3, seed=2).optimum).any()
    small, usual = family(3, seed=1, radius=0.5), family(3, seed=1)
    assert np.allclose(small.optimum * 10, usual.optimum)
    assert small(np.ones(3) / 10) == pytest.approx(usual(np.ones(3)))


def test_misuse_is_named():
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        TEST_FUNCTIONS["rosenbrock"](1)
    with pytest.raises(ValueError, match="radius"):
        TEST_FUNCTIONS["sphere"](2, radius=0)
    with pytest.raises(ValueError, match="2 finite numbers"):
        TEST_FUNCTIONS["sphere"](2, optimum=[1.0, 2.0, 3.0])
