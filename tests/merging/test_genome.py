import itertools
import json

import numpy as np
import pytest

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Failed, Ok
from heredity.merging.births import GenomeConfig, Succession
from heredity.merging.genome import GenomeSearcher


class World:
    """A weight-free executor: individuals are points, a child is computed from the proposal alone."""

    def __init__(self, founders, seed=0):
        self.at = dict(enumerate(np.random.default_rng(seed).normal(size=(founders, 3))))

    def position(self, i, birth):
        if birth.kind != "founder":
            parents = [self.at[p] for p in birth.parents]
            if birth.kind in {"init", "crossover"}:
                self.at[i] = sum(c * p for c, p in zip(birth.coefficients, parents, strict=True))
            elif birth.kind == "mutate":
                self.at[i] = parents[0] + np.random.default_rng(birth.seed).normal(0, birth.sigma, 3)
            else:
                x = parents[0]
                self.at[i] = x + sum(c * (p - x) for c, p in zip(birth.coefficients, parents[1:], strict=True))
        return self.at[i]


TARGET = np.array([0.2, -0.1, 0.3])


def score(x):
    return float(np.exp(-((x - TARGET) ** 2).sum()))


def run(searcher, world, steps=None):
    for _ in itertools.count() if steps is None else range(steps):
        candidates = searcher.ask()
        if not candidates:
            return searcher
        searcher.tell(candidates, [score(world.position(c.id, c.value)) for c in candidates])
    return searcher


PLUS = Succession()


@pytest.mark.parametrize("init", ["pairs", "parents"])
@pytest.mark.parametrize("succession", [None, PLUS])
@pytest.mark.parametrize("selection", ["roulette", "tournament", "rank", "random"])
def test_the_best_is_never_lost_and_the_size_is_kept(init, succession, selection):
    searcher = GenomeSearcher(8, init=init, succession=succession, selection=selection, patience=None, seed=1)
    world = run(searcher, World(8)) and searcher
    bests = [generation.best for generation in searcher.history]
    assert bests == sorted(bests) and len(bests) == 11
    assert all(len(generation.members) == 10 for generation in searcher.history)
    assert searcher.best[1] == bests[-1]
    assert world.done and searcher.ask() == []


def test_it_searches():
    searcher = run(GenomeSearcher(8, succession=PLUS, sigma=0.1, generations=20, seed=0), World(8))
    assert searcher.history[-1].best > searcher.history[0].best
    assert searcher.history[-1].mean > searcher.history[0].mean


def test_more_founders_than_places_are_selected_at_once():
    searcher = GenomeSearcher(12, population=5, init="parents", seed=0)
    candidates = searcher.ask()
    assert [c.value.kind for c in candidates] == ["founder"] * 12
    searcher.tell(candidates, [float(c.id) for c in candidates])
    assert len(searcher.history[0].members) == 5 and 11 in searcher.history[0].members
    assert len(searcher.history[0].deaths) == 7


def test_parents_are_filled_up_by_pairs():
    kinds = [c.value.kind for c in GenomeSearcher(3, population=5, init="parents").ask()]
    assert kinds == ["founder"] * 3 + ["init"] * 2


def test_every_pair_is_used_before_one_is_used_again():
    pairs = [c.value.parents for c in GenomeSearcher(4, population=8, seed=3).ask()]
    assert len(set(pairs[:6])) == 6 and pairs[6:] == pairs[:2]
    assert all(a < b for a, b in pairs)
    for c in GenomeSearcher(4, population=8, seed=3).ask():
        assert abs(sum(c.value.coefficients) - 1) < 1e-12 and min(c.value.coefficients) >= 0


def test_same_seed_same_lineage():
    hashes = [run(GenomeSearcher(6, succession=PLUS, seed=s), World(6)).lineage_hash for s in (5, 5, 6)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_resumed_in_mid_run_equals_uninterrupted():
    settings = {"succession": PLUS, "mutate": 0.5, "patience": None, "seed": 2}
    whole = run(GenomeSearcher(6, **settings), World(6))
    for steps in range(0, 12, 3):
        world = World(6)
        first = run(GenomeSearcher(6, **settings), world, steps)
        out = first.ask()
        first.tell(out[1:3], [score(world.position(c.id, c.value)) for c in out[1:3]])  # a batch half told
        resumed = GenomeSearcher(6, **settings)
        resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
        assert resumed.needed == first.needed
        run(resumed, world)
        assert resumed.lineage_hash == whole.lineage_hash
        assert resumed.history == whole.history and resumed.best == whole.best


def test_state_of_other_settings_is_refused():
    state = GenomeSearcher(6, seed=1).state_dict()
    with pytest.raises(ValueError, match="seed=1, this searcher has seed=2"):
        GenomeSearcher(6, seed=2).load_state_dict(state)
    with pytest.raises(ValueError, match="founders=6"):
        GenomeSearcher(7, seed=1).load_state_dict(state)


def test_tells_in_parts_and_out_of_order_change_nothing():
    whole = run(GenomeSearcher(6, succession=PLUS, seed=9), World(6))
    parts, world = GenomeSearcher(6, succession=PLUS, seed=9), World(6)
    while not parts.done:
        candidates = parts.ask(3) + parts.ask()
        assert parts.ask() == []
        for c in reversed(candidates):
            parts.tell([c], [score(world.position(c.id, c.value))])
    assert parts.lineage_hash == whole.lineage_hash


def test_needed_holds_every_parent_of_later_births():
    searcher, world, alive = (
        GenomeSearcher(6, succession=PLUS, mutate=0.5, patience=None, seed=4),
        World(6),
        set(range(6)),
    )
    while not searcher.done:
        candidates = searcher.ask()
        for c in candidates:
            assert set(c.value.parents) <= alive
        searcher.tell(candidates, [score(world.position(c.id, c.value)) for c in candidates])
        alive = (alive | {c.id for c in candidates}) & searcher.needed
    assert len(alive) < len(searcher.lineage) / 2


def test_succession_by_hand():
    # φ = (0, 0, 1, 0), r = 1, λ = .5: C = 1, so x moves half-way to the best.
    rule = Succession(step=0.5, inertia=0, cognitive=0, social=1, repel=0)
    assert rule.coefficients((1, 1, 1, 1), 0.5, None) == (0, 0, 0.5, 0)
    # φ = (.2, .2, .2, .1), r = 1: C = .7; a first velocity other − x counts λ · .2/.7 = 1/7, repulsion −λ · .1/.7.
    np.testing.assert_allclose(PLUS.coefficients((1, 1, 1, 1), 0.5, None), (1 / 7, 1 / 7, 1 / 7, -1 / 14))
    # v = (x − previous)/.5: inertia .5 · (.2/.7)/.5 away from where it was.
    np.testing.assert_allclose(PLUS.coefficients((1, 1, 1, 1), 0.5, 0.5), (-2 / 7, 1 / 7, 1 / 7, -1 / 14))
    # r = 0 throughout: C is guarded and nothing moves.
    assert PLUS.coefficients((0, 0, 0, 0), 0.5, None) == (0, 0, 0, 0)


def test_velocity_is_carried_from_one_generation_to_the_next():
    # Inertia alone: the first move is λ (other − x); v stays the same since C = r φ_w cancels r φ_w, so the second move
    # is λ · decay / λ = decay times the first.
    rule = Succession(step=0.5, decay=0.8, inertia=1, cognitive=0, social=0, repel=0)
    config = GenomeConfig(population=4, generations=2, crossover=0, mutate=0, succession=rule, init="parents", seed=0)
    searcher, world = GenomeSearcher(4, config), World(4)
    run(searcher, world, 3)
    second = [(i, b) for i, b in searcher.lineage.items() if b.kind == "succeed" and b.roles[1] == "previous"]
    assert second
    for i, birth in second:
        x, previous = (world.at[p] for p in birth.parents[:2])
        np.testing.assert_allclose(world.at[i] - x, 0.8 * (x - previous))


def test_steps_decay_once_per_generation():
    searcher = run(
        GenomeSearcher(6, succession=Succession(step=0.5, decay=0.5), generations=3, patience=None), World(6)
    )
    assert [generation.step for generation in searcher.history[1:]] == [0.5, 0.25, 0.125]


def test_moved_members_are_evaluated_and_take_roles():
    searcher = GenomeSearcher(4, population=4, init="parents", crossover=0, mutate=0, succession=PLUS, seed=0)
    first = searcher.ask()
    searcher.tell(first, [0.1, 0.9, 0.5, 0.2])
    moves = searcher.ask()
    assert [c.value.kind for c in moves] == ["succeed"] * 4 and [c.value.parents[0] for c in moves] == [0, 1, 2, 3]
    for c in moves:
        assert c.value.roles == ("parent", "other", "best_own", "best", "worst")
        assert c.value.parents[1] != c.value.parents[0] and c.value.parents[3:] == (1, 0)
    searcher.tell(moves, [0.2, 0.1, 0.6, 0.1])
    # The elite 1 stands for selection beside the four that moved; it cannot be lost.
    assert 1 in searcher.history[-1].members and len(searcher.history[-1].members) == 4
    again = {c.value.parents[0]: c.value for c in searcher.ask()}
    moved_from_1 = moves[1].id
    if moved_from_1 in again:  # its own best is where it came from
        assert again[moved_from_1].parents[1:4] == (1, 1, 1) and again[moved_from_1].roles[1] == "previous"


def test_a_failed_move_is_not_made_and_a_failed_child_dies():
    searcher = GenomeSearcher(4, population=4, init="parents", crossover=1, mutate=1, succession=PLUS, seed=0)
    first = searcher.ask()
    searcher.tell(first, [0.1, 0.9, 0.5, 0.2])
    moves = searcher.ask()
    searcher.tell(moves, [Failed("no"), Ok({"value": 0.3}), float("nan"), 0.2])
    assert {member.id for member in searcher.members} == {0, moves[1].id, 2, moves[3].id, 1}
    children = searcher.ask()
    assert {c.value.kind for c in children} == {"crossover", "mutate"}
    searcher.tell(children, [Failed("no")] * len(children))
    assert not {c.id for c in children} & set(searcher.history[-1].members)
    assert {c.id for c in children} <= set(searcher.history[-1].deaths)
    assert searcher.best[1] == 0.9


def test_all_failed_is_an_error():
    searcher = GenomeSearcher(4, population=4)
    candidates = searcher.ask()
    with pytest.raises(EvaluationFailed, match="all 4 individuals of generation 0 failed"):
        searcher.tell(candidates, [Failed("no")] * 4)


def test_patience_ends_a_run_without_progress():
    searcher = GenomeSearcher(6, succession=PLUS, generations=50, patience=5, seed=0)
    while not searcher.done:
        candidates = searcher.ask()
        searcher.tell(candidates, [0.5] * len(candidates))
    assert len(searcher.history) == 6  # the first population and five generations without a new best


def test_crossover_weighs_by_fitness_and_puts_the_fitter_first():
    searcher = GenomeSearcher(2, population=2, init="parents", crossover=1, mutate=0, seed=0)
    searcher.tell(searcher.ask(), [1.0, 3.0])
    (child,) = searcher.ask()
    assert child.value.parents == (1, 0) and child.value.coefficients == (0.75, 0.25)


def test_negative_fitness_crosses_by_its_distance_from_the_worst():
    searcher = GenomeSearcher(3, population=3, init="parents", crossover=1, mutate=0, seed=0)
    searcher.tell(searcher.ask(), [-3.0, -2.0, -1.0])
    (child,) = searcher.ask()
    a, b = child.value.coefficients
    assert a + b == pytest.approx(1) and a > b > 0


def test_mixture_of_founders_is_what_linear_births_compute():
    searcher, world = GenomeSearcher(6, succession=PLUS, mutate=0, patience=None, seed=3), World(6)
    run(searcher, world)
    founders = np.stack([world.at[i] for i in range(6)])
    for i in searcher.history[-1].members:
        shares = searcher.mixture(i)
        assert sum(shares) == pytest.approx(1)
        np.testing.assert_allclose(np.array(shares) @ founders, world.at[i], atol=1e-9)


@pytest.mark.parametrize(
    ("founders", "settings", "message"),
    [
        (1, {}, "at least 2 founders"),
        (4, {"population": 1}, "population"),
        (4, {"elite": 1.5}, "elite"),
        (4, {"crossover": 0, "mutate": 0}, "nothing would ever be born"),
        (4, {"selection": "luck"}, "luck"),
        (4, {"patience": 0}, "patience"),
    ],
)
def test_bad_settings_are_named(founders, settings, message):
    with pytest.raises(ValueError, match=message):
        GenomeSearcher(founders, **settings)


def test_bad_succession_is_named():
    with pytest.raises(ValueError, match="not all zero"):
        Succession(inertia=0, cognitive=0, social=0, repel=0)
