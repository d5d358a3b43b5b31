import json

import numpy as np
import pytest

from heredity.errors import EvaluationFailed
from heredity.search.base import Space
from heredity.search.evolution import ElitistEvolution, RegularizedEvolution
from heredity.search.random_search import RandomSearch


class Bits(Space):
    """Tuples of 24 bits."""

    n = 24

    def sample(self, rng):
        return tuple(int(b) for b in rng.integers(2, size=self.n))

    def mutate(self, x, rng):
        place = int(rng.integers(self.n))
        return tuple(b ^ (i == place) for i, b in enumerate(x))

    def crossover(self, a, b, rng):
        return tuple(int(v) for v in np.where(rng.random(self.n) < 0.5, a, b))

    def valid(self, x):
        return len(x) == self.n


class Two(Bits):
    n = 2


def count(x):
    return float(sum(x))


def run(search, budget, score=count):
    spent = 0
    while spent < budget:
        candidates = search.ask()
        if not candidates:
            break
        spent += len(candidates)
        search.tell(candidates, [score(c.value) for c in candidates])
    return search


MAKERS = {
    "oldest": lambda **kw: RegularizedEvolution(Bits(), 20, 5, **kw),
    "worst": lambda **kw: RegularizedEvolution(Bits(), 20, 5, "worst", **kw),
    "elitist": lambda **kw: ElitistEvolution(Bits(), 20, 5, 10, 6, **kw),
}
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@every
def test_selection_beats_random_search(make):
    best = [run(make(seed=s), 400).best[1] for s in range(5)]
    chance = [run(RandomSearch(Bits(), s), 400).best[1] for s in range(5)]
    # The best of 400 draws of Binomial(24, ½) is about 12 + 2.9·2.45 = 19.
    assert min(best) > max(chance) and np.mean(best) >= 22


@every
def test_same_seed_same_run_and_another_seed_another(make):
    a, b, c = (run(make(seed=s), 120) for s in (1, 1, 2))
    assert a.state_dict() == b.state_dict() != c.state_dict()


@every
def test_resumed_equals_uninterrupted(make):
    whole = run(make(seed=3), 200)
    half = run(make(seed=3), 100)
    for _ in range(2):  # saved twice in a row, to see that loading keeps everything that saving needs
        resumed = make(seed=3)
        resumed.load_state_dict(json.loads(json.dumps(half.state_dict())))
        half = resumed
    run(half, 100)
    assert half.state_dict() == whole.state_dict() and half.best == whole.best


@every
def test_order_of_tells_in_a_batch_does_not_matter(make):
    a, b = make(seed=4), make(seed=4)
    for _ in range(6):
        left, right = a.ask(10), b.ask(10)
        assert left == right
        a.tell(left, [count(c.value) for c in left])
        for c in reversed(right):
            b.tell([c], [count(c.value)])
    assert a.state_dict() == b.state_dict()


@every
def test_a_run_killed_between_ask_and_tell_goes_on(make):
    search = make(seed=5)
    out = search.ask(7)
    search.tell(out[3:5], [1.0, 2.0])
    resumed = make(seed=5)
    resumed.load_state_dict(search.state_dict())
    resumed.tell(out[:1], [3.0])  # may be told, though it was not handed out again
    again = resumed.ask(6)
    # What was out and is not told: 1, 2, 5, 6; then new ones.
    assert [c.id for c in again][:4] == [out[1].id, out[2].id, out[5].id, out[6].id]
    assert [c.value for c in again][:4] == [out[i].value for i in (1, 2, 5, 6)]
    resumed.tell(again, [0.0] * 6)
    assert resumed.best[0] == out[0] and resumed.best[1] == 3.0


@every
def test_failures_never_win_and_all_failing_raises(make):
    search = make(seed=6)
    batch = search.ask()
    search.tell(batch, [float("nan")] * (len(batch) - 1) + [-5.0])
    assert search.best == (batch[-1], -5.0)
    lost = make(seed=6)
    with pytest.raises(EvaluationFailed, match="all"):
        lost.tell(lost.ask(), [float("nan")] * len(batch))
    assert lost.best is None and lost.ask()  # and it can go on


@every
def test_a_candidate_is_told_once(make):
    search = make()
    batch = search.ask(3)
    search.tell(batch[:1], [1.0])
    with pytest.raises(ValueError, match="told before"):
        search.tell(batch[:1], [1.0])


@every
def test_a_state_of_another_configuration_is_refused(make):
    with pytest.raises(ValueError, match="seed=1"):
        make(seed=2).load_state_dict(make(seed=1).state_dict())


def founded(kill):
    search = RegularizedEvolution(Bits(), 3, 1, kill, seed=0)
    search.tell(search.ask(), [5.0, 1.0, 1.0])
    return search


def test_the_oldest_dies_however_good():
    search = founded("oldest")
    search.tell(search.ask(), [0.0])
    assert [(c.id, f) for c, f in search.members] == [(1, 1.0), (2, 1.0), (3, 0.0)]
    assert search.best[0].id == 0  # remembered, though dead


def test_the_worst_dies_and_the_older_of_equals():
    search = founded("worst")
    search.tell(search.ask(), [1.0])
    assert [c.id for c, _ in search.members] == [0, 2, 3]
    search.tell(search.ask(), [0.0])
    assert [c.id for c, _ in search.members] == [0, 2, 3]


def test_a_tournament_of_all_has_mutants_of_the_fittest():
    search = RegularizedEvolution(Bits(), 8, 8, seed=1)
    founders = search.ask()
    search.tell(founders, range(8))
    for child in search.ask(20):
        assert sum(a != b for a, b in zip(child.value, founders[-1].value, strict=True)) == 1


def test_founders_come_before_children_and_failed_ones_are_replaced():
    search = RegularizedEvolution(Bits(), 4, 2, seed=2)
    batch = search.ask()
    assert len(batch) == 4 and search.ask() == [] and search.ask(3) == []
    search.tell(batch, [1.0, None or float("inf"), 2.0, 3.0])
    (substitute,) = search.ask(5)
    search.tell([substitute], [0.5])
    assert len(search.ask(5)) == 5


def test_scattered_failures_do_not_stop_a_search():
    search = RegularizedEvolution(Bits(), 4, 2, seed=3)
    search.tell(search.ask(), [1.0] * 4)
    for _ in range(5):
        search.tell(search.ask(3), [float("nan")] * 3)
        search.tell(search.ask(1), [1.0])
    with pytest.raises(EvaluationFailed, match="last 4"):
        for _ in range(4):
            search.tell(search.ask(1), [float("nan")])


def test_the_state_holds_only_the_living_and_their_ancestors():
    search = run(RegularizedEvolution(Bits(), 5, 2, seed=4), 300)
    births = {i: parents for i, _, *parents in search.state_dict()["births"]}
    assert {c.id for c, _ in search.members} <= set(births) and len(births) < 300
    assert all(parent in births for parents in births.values() for parent in parents)


def test_the_elite_is_kept_for_ever_and_its_fitness_never_falls():
    search, low = MAKERS["elitist"](seed=7), -1.0
    for _ in range(12):
        run(search, 1)
        fitness = [f for _, f in search.archive]
        assert fitness == sorted(fitness, reverse=True) and len(fitness) == 5 and fitness[0] >= low
        low = fitness[0]


def test_no_genome_is_proposed_twice_even_after_resuming():
    search, seen = ElitistEvolution(Two(), 3, 2, 2, 1, seed=8), []
    while batch := search.ask():
        seen += [c.value for c in batch]
        search.tell(batch, [count(c.value) for c in batch])
        again = ElitistEvolution(Two(), 3, 2, 2, 1, seed=8)
        again.load_state_dict(search.state_dict())
        search = again
    # Four genomes exist. A tries' limit may end the search before the last is found, but none comes twice.
    assert len(seen) == len(set(seen)) >= 3


def test_a_generation_has_its_mutants_crossovers_and_fresh_ones():
    search = ElitistEvolution(Bits(), 20, 5, 10, 6, seed=9)
    run(search, 1)
    search.ask()
    made = [parents for i, _, *parents in search.state_dict()["births"] if i >= 20]
    assert [len(parents) for parents in made] == [1] * 10 + [2] * 6 + [0] * 4
    elite = {c.id for c, _ in search.archive}
    assert all(set(parents) <= elite and len(set(parents)) == len(parents) for parents in made)
    few = ElitistEvolution(Bits(), 20, 5, 10, 6, fresh=1, seed=9)
    run(few, 1)
    assert len(few.ask()) == 17


def test_known_candidates_lead_the_first_generation():
    known = [(1,) * 24, (0,) * 24, (1,) * 24]
    search = ElitistEvolution(Bits(), 10, 3, 5, 2, start=known, seed=1)
    batch = search.ask()
    assert [c.value for c in batch[:2]] == known[:2] and len(batch) == 10
    search.tell(batch, [count(c.value) for c in batch])
    resumed = ElitistEvolution(Bits(), 10, 3, 5, 2, start=known, seed=1)
    resumed.load_state_dict(search.state_dict())
    assert resumed.best == search.best and resumed.best[0].value == known[0]
    assert resumed.ask() == search.ask()


def test_unhashable_candidates_need_a_key():
    class Box(Bits):
        def sample(self, rng):
            return rng.random(24)

    with pytest.raises(TypeError, match="unhashable"):
        ElitistEvolution(Box(), 4, 2, 2, 1).ask()
    assert len(ElitistEvolution(Box(), 4, 2, 2, 1, key=lambda x: x.tobytes()).ask()) == 4


def test_a_space_without_valid_candidates_is_named():
    class Nothing(Bits):
        def valid(self, x):
            return False

    with pytest.raises(ValueError, match="Nothing gave no valid candidate"):
        RegularizedEvolution(Nothing(), 4, 2).ask()
    assert ElitistEvolution(Nothing(), 4, 2, 2, 1).ask() == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RegularizedEvolution(Bits(), 4, 5), "tournament of 5"),
        (lambda: RegularizedEvolution(Bits(), 4, 2, "youngest"), "kill"),
        (lambda: ElitistEvolution(Bits(), 4, 2, 3, 2), "mutants"),
        (lambda: ElitistEvolution(Bits(), 4, 2, 1, 1, fresh="some"), "fresh"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
