import numpy as np
import pytest

from heredity.errors import EvaluationFailed
from heredity.search.box import Box
from heredity.search.differential_evolution import DifferentialEvolution
from heredity.search.genetic import GeneticAlgorithm
from heredity.search.islands import Islands
from heredity.search.particle_swarm import PSO
from heredity.search.permutations import Permutations
from heredity.search.random_search import RandomSearch
from heredity.search.shade import SHADE

BOX = Box(-5, 5, dim=3)


def worth(x):
    return -float(np.square(x - 1).sum())


def islands(topology="ring", every=3, migrants=1, seed=0):
    kinds = [DifferentialEvolution, PSO, SHADE, GeneticAlgorithm]
    searchers = [kind(BOX, size, seed=seed + size) for kind, size in zip(kinds, (8, 9, 10, 11), strict=True)]
    return Islands(searchers, every, migrants, topology, seed=seed)


def round_of(searcher, f=worth):
    candidates = searcher.ask()
    searcher.tell(candidates, [f(c.value) for c in candidates])
    return candidates


def inert(searcher, rounds):
    """Islands on which nobody was born, or nothing changed, in so many rounds."""
    round_of(searcher)  # opens generations, which is a change but no learning
    before = [str(island.state_dict()) for island in searcher.searchers]
    born = list(searcher.births)
    for _ in range(rounds):
        round_of(searcher)
    after = [str(island.state_dict()) for island in searcher.searchers]
    rows = zip(searcher.births, born, after, before, strict=True)
    return [place for place, (b, b0, s, s0) in enumerate(rows) if b == b0 or s == s0]


@pytest.mark.parametrize("topology", ["ring", "full", "random", "none"])
def test_no_island_is_inert(topology):
    searcher = islands(topology)
    assert inert(searcher, 5) == []
    assert searcher.births == [6 * 8, 6 * 9, 6 * 10, 6 * 11]
    assert sum(searcher.births) == 6 * 38


def test_an_inert_island_is_noticed():
    class Asleep(DifferentialEvolution):
        def tell(self, candidates, outcomes):  # learns nothing: its generation stays open for ever
            self._waiting = list(range(self.population))

    searchers = [DifferentialEvolution(BOX, 8), Asleep(BOX, 8)]
    assert inert(Islands(searchers, every=100), 3) == [1]


def test_an_island_with_nothing_to_propose_is_an_error():
    class Empty(PSO):
        def ask(self, n=None):
            return []

    with pytest.raises(ValueError, match="island 1, a Empty, has nothing"):
        Islands([PSO(BOX, 5), Empty(BOX, 5)]).ask()


@pytest.mark.parametrize(("topology", "arrivals"), [("ring", 2), ("full", 6), ("none", 0)])
def test_migrants_arrive_where_the_topology_says(topology, arrivals):
    searcher = islands(topology, every=3, migrants=2)
    for _ in range(2):
        round_of(searcher)
    assert searcher.arrivals == [0] * 4
    round_of(searcher)
    assert searcher.arrivals == [arrivals] * 4


def test_random_migrants_go_to_one_other_island():
    searcher = islands("random", every=1)
    for _ in range(20):
        round_of(searcher)
    assert sum(searcher.arrivals) == 20 * 4
    assert min(searcher.arrivals) > 0


def test_the_best_of_an_island_lives_on_the_next_after_a_migration():
    searcher = islands("ring", every=2)
    round_of(searcher)
    round_of(searcher)
    # The best of all has travelled one step and is now the best of two islands.
    tops = [island.emigrants(1)[1][0] for island in searcher.searchers]
    assert tops.count(max(tops)) == 2


def test_without_migration_islands_are_as_if_alone():
    searcher = islands("none", every=1)
    alone = PSO(BOX, 9, seed=9)
    for _ in range(5):
        round_of(searcher)
        round_of(alone)
    assert searcher.searchers[1].best[1] == alone.best[1]


def test_a_failed_island_goes_on_and_all_failed_is_an_error():
    searcher = islands()
    for _ in range(4):
        candidates = searcher.ask()
        homes = [searcher.island(c) for c in candidates]
        told = [float("nan") if h == 2 else worth(c.value) for h, c in zip(homes, candidates, strict=True)]
        searcher.tell(candidates, told)
    assert searcher.failures == [0, 0, 40, 0]
    round_of(searcher)
    with pytest.raises(EvaluationFailed, match="every island failed"):
        round_of(searcher, lambda x: float("nan"))
    round_of(searcher)


def test_other_spaces_and_numbers_of_candidates():
    order = Permutations(6)
    searcher = Islands([GeneticAlgorithm(order, 6, seed=s) for s in (1, 2)], every=1)
    ids = []
    for _ in range(10):
        ids += [c.id for c in round_of(searcher, lambda x: -float(sum(abs(v - i) for i, v in enumerate(x))))]
    assert ids == list(range(120))
    assert searcher.best[1] == 0
    assert searcher.best[0].value == (0, 1, 2, 3, 4, 5)


def test_wrong_islands_are_named():
    with pytest.raises(TypeError, match="island 1, a RandomSearch"):
        Islands([PSO(BOX, 5), RandomSearch(BOX)])
    with pytest.raises(ValueError, match="two islands"):
        Islands([PSO(BOX, 5)])
    one = PSO(BOX, 5)
    with pytest.raises(ValueError, match="of its own"):
        Islands([one, one])
    with pytest.raises(ValueError, match="topology"):
        Islands([PSO(BOX, 5), PSO(BOX, 5)], topology="star")
