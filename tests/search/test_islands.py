import numpy as np
import pytest

from heredity.errors import EvaluationFailed
from heredity.search.box import Box
from heredity.search.cma_es import CMAES
from heredity.search.cr_fm_nes import CRFMNES
from heredity.search.differential_evolution import DifferentialEvolution
from heredity.search.evolution import ElitistEvolution, RegularizedEvolution
from heredity.search.genetic import GeneticAlgorithm
from heredity.search.islands import Islands
from heredity.search.nsga2 import NSGA2
from heredity.search.open_es import OpenES
from heredity.search.particle_swarm import PSO
from heredity.search.permutations import Permutations
from heredity.search.random_search import RandomSearch
from heredity.search.shade import SHADE
from heredity.search.snes import SNES
from heredity.search.xnes import XNES

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
            self._round.begin(self.population)

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
    with pytest.raises(TypeError, match="island 0, a OpenES"):
        Islands([OpenES(BOX), PSO(BOX, 5)])
    with pytest.raises(NotImplementedError, match="OpenES cannot learn"):
        OpenES(BOX).receive([np.zeros(3)], [0.0])
    with pytest.raises(NotImplementedError, match="RandomSearch cannot learn"):
        RandomSearch(BOX).receive([np.zeros(3)], [0.0])
    with pytest.raises(ValueError, match="same objectives"):
        Islands([NSGA2(BOX, 4), PSO(BOX, 5)])
    with pytest.raises(ValueError, match="same objectives"):
        Islands([NSGA2(BOX, 4, constraints=("g",)), NSGA2(BOX, 4)])


HOSTS = [
    lambda: CMAES(BOX, 8),
    lambda: SNES(BOX, 8),
    lambda: XNES(BOX, 8),
    lambda: CRFMNES(BOX, 8),
    lambda: RegularizedEvolution(BOX, 8, 3),
    lambda: ElitistEvolution(BOX, 8, 4, 4, 2, key=lambda x: x.tobytes()),
    lambda: GeneticAlgorithm(BOX, 8),
    lambda: DifferentialEvolution(BOX, 8),
    lambda: SHADE(BOX, 8),
    lambda: PSO(BOX, 8),
]


@pytest.mark.parametrize("make", HOSTS)
def test_what_a_host_receives_it_sends_on_and_keeps_over_a_save(make):
    host, again = make(), make()
    round_of(host)
    assert host.hosts
    known = np.ones(3) + 1e-3
    host.receive([known], [worth(known)])
    again.load_state_dict(host.state_dict())
    for one in (host, again):
        round_of(one)
    (first,), (fitness,) = host.emigrants(1)
    assert fitness == worth(known)
    np.testing.assert_array_equal(first, known)
    assert str(again.state_dict()) == str(host.state_dict())
    if not isinstance(host, RegularizedEvolution):  # which asks children one by one, whoever is out
        host.ask()
        if not isinstance(host, ElitistEvolution):  # whose archive does not depend on what is out
            with pytest.raises(ValueError, match="between generations"):
                host.receive([known], [0.0])


@pytest.mark.parametrize("kind", [SNES, XNES, CRFMNES])
def test_a_near_stranger_is_seen_as_the_draw_that_it_could_be(kind):
    searcher = kind(Box(dim=4, start=[3.0, -1.0, 0.5, 2.0]), 10, seed=3)
    for _ in range(30):
        searcher.tell_array(-np.square(searcher.ask_array() * [1.0, 2.0, 4.0, 8.0] @ TURN).sum(axis=1))
    searcher.ask_array()
    stranger = searcher.center + 0.5 * np.sqrt(np.diag(_covariance(searcher)))
    searcher._inject(stranger[None], slice(9, 10))
    if kind is CRFMNES:
        seen = searcher.center + searcher._sigma * searcher._D * searcher._y[9]
        np.testing.assert_allclose(searcher._y[9], searcher._stretched(searcher._z[9:], 0.5)[0], rtol=1e-12)
    else:
        spread = np.diag(searcher.sigma) if kind is SNES else searcher._sigma * searcher._shape
        seen = searcher.center + spread @ searcher._noise[9]
    np.testing.assert_allclose(seen, stranger, rtol=1e-9)


TURN = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]


def _covariance(searcher):
    return searcher.covariance if isinstance(searcher, XNES) else np.diag(searcher.sigma**2)


@pytest.mark.parametrize("kind", [CMAES, SNES, CRFMNES])
def test_a_far_stranger_moves_a_distribution_by_no_more_than_a_long_draw(kind):
    box = Box(dim=4)
    shifts = []
    for stranger in (100.0, 1e6):
        searcher = kind(box, 10, seed=3)
        searcher.tell_array(-np.square(searcher.ask_array()).sum(axis=1))
        before, sigma = searcher.center, searcher.sigma
        searcher.receive([np.full(4, stranger)], [0.0])
        x = searcher.ask_array()
        assert (x[-1] == stranger).all()
        searcher.tell_array(np.arange(10.0))  # the stranger, in the last place, is the best
        shifts.append(searcher.center - before)
        assert (np.abs(shifts[-1]) < 4 * sigma).all()  # √4 + 2·4/6 = 3.3 deviations at most
        assert (shifts[-1] > 0).all()
    np.testing.assert_allclose(*shifts, rtol=0.01)  # the direction differs a little, the length does not


def test_a_stranger_from_a_better_place_helps():
    def run(helped):
        searcher = CMAES(Box(dim=5, start=[20.0] * 5, scale=0.1), 8, seed=1)
        for _ in range(40):
            if helped:
                searcher.receive([np.full(5, 1.5)], [0.0])
            x = searcher.ask_array()
            searcher.tell_array(-np.square(x - 1).sum(axis=1))
        return np.abs(searcher.center - 1).max()

    assert run(True) < 0.3 * run(False)


def test_islands_of_several_objectives_exchange_members():
    def outcome(x):
        return (-float(np.square(x - 1).sum()), -float(np.square(x + 1).sum()), float(x[0] - 0.5))

    searcher = Islands([NSGA2(BOX, 8, constraints=("g",), seed=s) for s in (1, 2)], every=2, migrants=3)
    for _ in range(6):
        round_of(searcher, outcome)
    assert searcher.births == [48, 48]
    assert searcher.arrivals == [9, 9]
    tables = [{values for _, values, _ in island.members} for island in searcher.searchers]
    assert tables[0] & tables[1]
    for island in searcher.searchers:
        for candidate, values, violation in island.members:
            told = outcome(candidate.value)
            assert values == pytest.approx(told[:2])
            assert violation == pytest.approx(max(0.0, told[2]))
    candidates = searcher.ask()
    searcher.tell(candidates[:5], [outcome(c.value) for c in candidates[:5]])
    assert searcher.best[1] == max(island.best[1] for island in searcher.searchers) or searcher.best[0].id >= 96
