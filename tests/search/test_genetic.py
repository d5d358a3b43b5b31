import numpy as np
import pytest

from heredity.errors import EvaluationFailed
from heredity.search.box import Box
from heredity.search.cells import DagCellSpace
from heredity.search.crossover import BLX, SBX, Arithmetic, Points, Uniform
from heredity.search.genetic import GeneticAlgorithm
from heredity.search.mating import Rank, Roulette, Tournament, Truncation
from heredity.search.mutation import Gaussian, Polynomial, Reset, Swap
from heredity.search.permutations import Permutations
from heredity.search.survival import Age, Comma, Crowding, Plus

BOX = Box(-5, 5, dim=4)


def sphere(x):
    return np.square(x - 1).sum(axis=1)


def step(searcher, f=sphere):
    searcher.tell_array(-f(searcher.ask_array()))


@pytest.mark.parametrize("select", [Truncation(), Tournament(), Rank(), Roulette()])
@pytest.mark.parametrize("crossover", [SBX(), BLX(), Arithmetic(), Uniform(), Points()])
def test_every_selection_works_with_every_crossover(select, crossover):
    searcher = GeneticAlgorithm(BOX, 30, select=select, crossover=crossover)
    step(searcher)
    first = -searcher.best[1]
    for _ in range(40):
        step(searcher)
    assert -searcher.best[1] < first / 5


@pytest.mark.parametrize("mutate", [Polynomial(), Gaussian(), Reset()])
@pytest.mark.parametrize("survive", [Plus(), Comma(), Age(elites=1), Crowding()])
def test_every_mutation_works_with_every_survival(mutate, survive):
    searcher = GeneticAlgorithm(BOX, 30, mutate=mutate, survive=survive)
    step(searcher)
    first = -searcher.best[1]
    for _ in range(40):
        step(searcher)
        assert len(searcher.members) == 30
    assert -searcher.best[1] < first / 5


def test_defaults_solve_the_sphere_and_members_are_the_best_so_far():
    searcher = GeneticAlgorithm(BOX, 50)
    seen = []
    for _ in range(100):
        seen.append(-sphere(searcher.ask_array()))
        step(searcher)
    np.testing.assert_array_equal([f for _, f in searcher.members], np.sort(np.concatenate(seen))[:-51:-1])
    assert -searcher.best[1] < 1e-3


def test_children_have_the_number_wanted_and_no_mutation_without_crossover_copies():
    searcher = GeneticAlgorithm(BOX, 10, children=3, rate=0.0, mutate=Swap())
    step(searcher)
    rows = {tuple(sorted(x)) for x, _ in searcher.members}
    children = searcher.ask_array()
    assert children.shape == (3, 4)
    assert all(tuple(sorted(child)) in rows for child in children.tolist())


def test_crowding_holds_two_optima_where_truncation_loses_one():
    def two(x):
        return np.minimum(np.square(x - 3).sum(axis=1), np.square(x + 3).sum(axis=1))

    sides = {}
    for name, survive in (("crowding", Crowding()), ("plus", Plus())):
        searcher = GeneticAlgorithm(Box(-5, 5, dim=2), 30, survive=survive, select=Truncation(1.0))
        for _ in range(150):
            step(searcher, two)
        good = np.array([x for x, fitness in searcher.members if fitness > -0.1])
        sides[name] = sorted(set(np.sign(good[:, 0]).tolist()))
    assert sides == {"crowding": [-1, 1], "plus": sides["plus"]}
    assert len(sides["plus"]) == 1


def test_failures_never_become_members():
    searcher = GeneticAlgorithm(BOX, 10)
    for _ in range(4):
        fitness = -sphere(searcher.ask_array())
        fitness[::2] = np.nan
        searcher.tell_array(fitness)
        assert all(np.isfinite(f) for _, f in searcher.members)
    before = searcher.state_dict()["fitness"]
    searcher.ask_array()
    with pytest.raises(EvaluationFailed, match="all 10"):
        searcher.tell_array(np.full(10, np.inf))
    np.testing.assert_array_equal(searcher.state_dict()["fitness"], before)


def test_architectures_are_bred_with_operators_of_their_own():
    space = DagCellSpace(["conv", "pool", "skip"])
    searcher = GeneticAlgorithm(space, 10, survive=Age(elites=1))
    for _ in range(15):
        candidates = searcher.ask()
        assert all(space.valid(c.value) for c in candidates)
        searcher.tell(candidates, [float(str(c.value).count("conv")) for c in candidates])
    assert len(searcher.members) == 10
    assert searcher.best[1] == 5  # every vertex


def test_functions_will_do_as_operators_and_strangers_stay_in_the_state():
    def first_half(a, b, rng):
        return b if rng.random() < 0.5 else a

    def worth(order):
        return -float(sum(abs(v - i) for i, v in enumerate(order)))

    def make():
        return GeneticAlgorithm(Permutations(6), 8, crossover=first_half, mutate=Swap(), seed=3)

    def round_of(searcher):
        candidates = searcher.ask()
        searcher.tell(candidates, [worth(c.value) for c in candidates])
        return [c.value for c in candidates]

    searcher = make()
    round_of(searcher)
    searcher.receive([tuple(range(6))], np.array([0.5]))
    assert searcher.emigrants(1)[0] == [tuple(range(6))]
    assert (searcher.best[1]) <= 0  # strangers were not told here
    round_of(searcher)
    again = make()
    again.load_state_dict(searcher.state_dict())
    assert again.members == searcher.members
    assert [round_of(again) for _ in range(3)] == [round_of(searcher) for _ in range(3)]
    searcher.ask()
    with pytest.raises(ValueError, match="between generations"):
        searcher.receive([tuple(range(6))], np.array([0.6]))


def test_other_parts_are_another_configuration():
    state = GeneticAlgorithm(BOX, 10, crossover=SBX(15)).state_dict()
    with pytest.raises(ValueError, match="crossover"):
        GeneticAlgorithm(BOX, 10, crossover=SBX(10)).load_state_dict(state)


def test_wrong_uses_are_named():
    with pytest.raises(TypeError, match="no vectors"):
        GeneticAlgorithm(Permutations(4)).ask_array()
    with pytest.raises(TypeError, match="bred by parts"):
        GeneticAlgorithm(BOX, crossover=lambda a, b, rng: a)
    with pytest.raises(ValueError, match="population"):
        GeneticAlgorithm(BOX, 1)
    with pytest.raises(ValueError, match="ask_array first"):
        GeneticAlgorithm(BOX, 4).tell_array(np.zeros(4))
    searcher = GeneticAlgorithm(BOX, 4)
    searcher.ask(1)
    with pytest.raises(ValueError, match="one by one"):
        searcher.ask_array()
