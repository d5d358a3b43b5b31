"""Children: their spread, their bounds, and that there are no needless copies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heredity.search.base import Space
from heredity.search.box import Box
from heredity.search.breeding import Individuals, polynomial, sbx


@given(st.integers(0, 10_000), st.sampled_from([0.0, 2.0, 20.0]), st.booleans())
def test_children_lie_inside_and_untouched_coordinates_stay(seed, eta, bounded):
    rng = np.random.default_rng(seed)
    box = Box(np.array([0.0, -1.0, 2.0]), np.array([1.0, 5.0, 3.0])) if bounded else Box(0.0, None, dim=3)
    a, b = box.samples(6, rng), box.samples(6, rng)
    a[0, 0] = box.low[0]
    where = rng.random(a.shape) < 0.5
    children = sbx(a, b, box, where=where, eta=eta, rng=rng)
    mutants = polynomial(a, box, where=where, eta=eta, rng=rng)
    for x in (*children, mutants):
        assert np.isfinite(x).all()
        assert all(box.valid(row) for row in x)
    assert (children[0][~where] == a[~where]).all()
    assert (children[1][~where] == b[~where]).all()
    assert (mutants[~where] == a[~where]).all()


def test_the_spread_of_children_has_the_distribution_of_the_paper():
    # Unbounded: β = |c₁ − c₂| / |a − b| is below 1 for half of all pairs, and P(β ≤ x) = x^(η+1) / 2 there.
    n, eta = 40_000, 2.0
    a, b = np.zeros((n, 1)), np.ones((n, 1))
    first, second = sbx(a, b, Box(dim=1), where=np.ones_like(a, dtype=bool), eta=eta, rng=np.random.default_rng(0))
    beta = np.abs(first - second).ravel()
    np.testing.assert_allclose(first + second, 1.0, atol=1e-12)  # the middle stays
    for x in (0.5, 0.8, 1.0):
        assert np.mean(beta <= x) == pytest.approx(x ** (eta + 1) / 2, abs=0.01)  # 4 standard errors
    assert np.mean(beta <= 2.0) == pytest.approx(1 - 2.0 ** -(eta + 1) / 2, abs=0.01)


def test_the_steps_of_mutation_have_the_distribution_of_the_paper():
    # Far from bounds: |δ| = 1 − u^(1/(η+1)) with u uniform, so P(|δ| ≤ x) = 1 − (1 − x)^(η+1).
    n, eta = 40_000, 3.0
    box = Box(dim=1, scale=0.3)  # the unit of a step is scale / 0.3 = 1
    x = polynomial(np.zeros((n, 1)), box, where=np.ones((n, 1), dtype=bool), eta=eta, rng=np.random.default_rng(0))
    for step in (0.1, 0.3):
        assert np.mean(np.abs(x) <= step) == pytest.approx(1 - (1 - step) ** (eta + 1), abs=0.01)
    assert np.mean(x < 0) == pytest.approx(0.5, abs=0.01)


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


def test_individuals_are_valid_and_new_while_the_space_lasts():
    brood = Individuals(Letters(), 0, crossover=0.5, mutation=0.5, key=lambda x: x)
    rng = np.random.default_rng(0)
    brood.found(0, 4, rng)
    founders = [brood.young(k) for k in range(4)]
    assert len(set(founders)) == 4
    assert all(map(Letters().valid, founders))
    brood.select(np.arange(4), 0)
    brood.breed(4, 3, np.array([[0, 1], [2, 3]]), rng)
    everybody = founders + [brood.young(k) for k in range(3)]
    assert len(set(everybody)) == 7  # of 8
    again = Individuals(Letters(), 0, crossover=0.5, mutation=0.5, key=lambda x: x)
    again.load(brood.state())
    assert [again.member(k) for k in range(4)] + [again.young(k) for k in range(3)] == everybody
    assert again.champion() == founders[0]


def test_a_space_that_is_too_small_gives_known_candidates_and_one_without_valid_ones_is_named():
    brood = Individuals(Letters(), 0, crossover=0.5, mutation=0.5, key=lambda x: x)
    brood.found(0, 10, np.random.default_rng(0))
    assert len({brood.young(k) for k in range(10)}) == 8

    class Nothing(Letters):
        def valid(self, x):
            return False

    with pytest.raises(ValueError, match="Nothing made no valid candidate"):
        Individuals(Nothing(), 0, crossover=0.5, mutation=0.5, key=lambda x: x).found(0, 1, np.random.default_rng(0))
