import numpy as np
import pytest

from heredity.search.gan_spaces import HAND_MADE, DSpace, GSpace

SPACES = {
    "generators": GSpace(3),
    "few operations": GSpace(2, (0, 1, 3)),
    "discriminators": DSpace(3),
    "few halvings": DSpace(3, (0, 1, 2, 3, 5), halvings=1),
}


def differing(a, b):
    return [(c, p) for c in range(len(a)) for p in range(7) if a[c][p] != b[c][p]]


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_everything_drawn_is_valid(space):
    rng = np.random.default_rng(0)
    for _ in range(250):
        a, b = space.sample(rng), space.sample(rng)
        assert all(space.valid(x) for x in (a, b, space.mutate(a, rng), space.crossover(a, b, rng)))


@pytest.mark.parametrize("space", [SPACES["generators"], SPACES["few operations"]])
def test_a_mutation_of_a_generator_changes_one_gene(space):
    rng = np.random.default_rng(1)
    for _ in range(300):
        a = space.sample(rng)
        assert len(differing(a, space.mutate(a, rng))) == 1


def test_a_mutation_of_a_discriminator_changes_one_gene_or_whether_a_cell_halves():
    rng = np.random.default_rng(2)
    switched = 0
    for _ in range(500):
        a = SPACES["discriminators"].sample(rng)
        b = SPACES["discriminators"].mutate(a, rng)
        places = differing(a, b)
        if len(places) == 2:
            (cell, first), (other, second) = places
            assert cell == other and (first, second) == (5, 6) and (a[cell][5] < 0) != (b[cell][5] < 0)
            switched += 1
        else:
            assert len(places) == 1
    assert switched > 10


def test_a_crossover_takes_one_gene_of_the_other_parent():
    space, rng = SPACES["generators"], np.random.default_rng(3)
    for _ in range(200):
        a, b = space.sample(rng), space.sample(rng)
        ((cell, place),) = differing(a, space.crossover(a, b, rng))
        child = space.crossover(a, b, np.random.default_rng(4))
        assert all(child[c][p] in (a[c][p], b[c][p]) for c in range(3) for p in range(7))
        assert 0 <= cell < 3 and 0 <= place < 7


def test_equal_parents_have_a_mutant():
    space, rng = SPACES["discriminators"], np.random.default_rng(5)
    a = space.sample(rng)
    assert differing(a, space.crossover(a, a, rng))


def test_nodes_without_input_and_halves_of_a_halving_are_refused():
    space = DSpace(3)
    assert space.valid(HAND_MADE)
    assert not space.valid(((3, 0, 0, 0, 2, 0, 0), *HAND_MADE[1:]))  # node 2 takes in nothing
    assert not space.valid(((3, 0, 3, 0, 2, 0, -1), *HAND_MADE[1:]))
    assert not space.valid(((0, 0, 3, 0, 2, 0, 0), *HAND_MADE[1:]))  # node 1 takes in nothing
    assert not DSpace(3, halvings=0).valid(HAND_MADE)
    generators = GSpace(1)
    assert generators.valid(((0, 2, 0, 1, 0, 0, 6),))
    assert not generators.valid(((0, 2, 0, 0, 1, 1, 1),)) and not generators.valid(((0, 2, 1, 1, 0, 0, 0),))
    assert not generators.valid(((3, 2, 1, 1, 1, 0, 0),)) and not generators.valid(())


def test_a_space_without_operations_is_refused():
    with pytest.raises(ValueError, match="operations"):
        GSpace(2, (0,))
    with pytest.raises(ValueError, match="operations"):
        DSpace(2, (1, 9))
