import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heredity.search.permutations import Permutations


@given(st.integers(2, 12), st.integers(0, 2**32))
def test_everything_made_is_an_order_and_mutants_differ(n, seed):
    space, rng = Permutations(n), np.random.default_rng(seed)
    a, b = space.sample(rng), space.sample(rng)
    mutant, child = space.mutate(a, rng), space.crossover(a, b, rng)
    assert space.valid(a)
    assert space.valid(mutant)
    assert space.valid(child)
    assert mutant != a
    assert space.crossover(a, a, rng) == a


def test_order_crossover_by_hand():
    class Cuts:
        def choice(self, *_, **__):
            return np.array([5, 2])

    # Places 2…4 of a stay; from place 5 on, then from 0, follow b's values from its place 5 on without 2, 3, 4.
    child = Permutations(8).crossover(
        (0, 1, 2, 3, 4, 5, 6, 7),
        (3, 7, 4, 6, 2, 1, 0, 5),
        Cuts(),
    )
    assert child == (7, 6, 2, 3, 4, 1, 0, 5)


def test_invalid_orders():
    space = Permutations(3)
    assert not space.valid((0, 1, 1))
    assert not space.valid([0, 1, 2])
    with pytest.raises(ValueError, match="n=1"):
        Permutations(1)
