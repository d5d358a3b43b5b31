"""Deep GA: who breeds, that the elite is no lucky one, schedules, the episode cap."""

import numpy as np
import pytest

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Failed, Ok
from heredity.search.deep_ga import DeepGA, Recheck
from heredity.search.deep_ga_schedules import EpisodeCap, PowerSchedule
from heredity.search.seed_noise import add_noise
from heredity.search.seedchain import SeedChain


def theta(chain: SeedChain) -> np.ndarray:
    out = np.zeros(4, np.float32)
    for seed, power in ((chain.root, 1.0), *chain.steps):
        add_noise(out, seed, power)
    return out.astype(np.float64)


def true_value(chain: SeedChain) -> float:
    return -float(np.square(theta(chain)).sum())


def generation(search: DeepGA, fitness) -> None:
    """One whole generation, rechecks included."""
    number = search.generation
    while search.generation == number:
        asked = search.ask()
        search.tell(asked, [fitness(c) for c in asked])


def test_the_elite_is_chosen_on_fresh_evaluations():
    """f = −|θ|² + N(0, 5²): of 30 runs the elite by recheck is truly better on average than that by one score."""
    gains = []
    for run in range(30):
        rng = np.random.default_rng([99, run])
        noisy = DeepGA(30, 5, 0.3, 5, 30, seed=run)
        lucky = DeepGA(30, 5, 0.3, 5, 0, seed=run)
        for search in (noisy, lucky):
            generation(search, lambda c: true_value(c.value) + 5 * rng.normal())  # noqa: B023 - called at once
        gains.append(true_value(noisy.best[0].value) - true_value(lucky.best[0].value))
    assert np.mean(gains) > 0.5  # its standard error is about 0.4; measured 1.9


def test_rechecks_are_marked_and_every_one_is_an_evaluation_of_its_own():
    search = DeepGA(6, 2, 0.1, 3, 4, seed=0)
    children = search.ask()
    assert not search.rechecking
    assert not any(isinstance(c, Recheck) for c in children)
    worth = [3.0, 1.0, 5.0, 4.0, 0.0, 2.0]
    search.tell(children, worth)
    rechecks = search.ask()
    assert search.rechecking
    assert [(r.of, r.repeat) for r in rechecks] == [(i, k) for i in (2, 3, 0) for k in range(4)]
    assert [r.value for r in rechecks] == [children[r.of].value for r in rechecks]
    assert search.ask() == []
    # Child 3 is better than child 2 when evaluated again; means are 1, 2, 0.
    search.tell(rechecks, [{2: 1.0, 3: 2.0, 0: 0.0}[r.of] for r in rechecks])
    assert search.best == (children[3], 2.0)
    assert search.parents == [children[2].value, children[3].value]


def test_the_elite_is_a_parent_even_where_its_first_score_was_low():
    search = DeepGA(6, 2, 0.1, 3, 1, seed=0)
    children = search.ask()
    search.tell(children, [3.0, 1.0, 5.0, 4.0, 0.0, 2.0])
    rechecks = search.ask()
    search.tell(rechecks, [float(r.of == 0) for r in rechecks])
    assert search.parents == [children[0].value, children[2].value]
    # The next generation: the old elite and the best two stand, and the elite is not copied as a child.
    young = search.ask()
    assert {c.value.parent for c in young} <= set(search.parents)
    search.tell(young, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    assert [r.of for r in search.ask()] == [children[0].id, young[5].id, young[4].id]


def test_children_have_one_more_mutation_of_the_scheduled_power():
    search = DeepGA(4, 1, PowerSchedule(0.4, 0.1, 2, "exponential"), 1, 0, seed=3)
    for power in (None, 0.2, 0.1, 0.1):
        asked = search.ask()
        steps = [c.value.steps for c in asked]
        assert all(s == () if power is None else s[-1][1] == pytest.approx(power) for s in steps)
        search.tell(asked, [true_value(c.value) for c in asked])
    assert PowerSchedule(1.0, 0.0, 4)(1) == 0.75
    assert PowerSchedule(1.0, 0.0, 4)(9) == 0.0


def test_a_candidate_that_failed_a_recheck_stands_behind_those_that_did_not():
    search = DeepGA(4, 1, 0.1, 2, 2, seed=0)
    children = search.ask()
    search.tell(children, [1.0, 2.0, 3.0, 4.0])
    rechecks = search.ask()
    search.tell(rechecks, [Failed("fell") if (r.of, r.repeat) == (3, 1) else float(r.of) for r in rechecks])
    assert search.best == (children[2], 2.0)
    young = search.ask()
    search.tell(young, [1.0, 2.0, 3.0, 4.0])
    rechecks = search.ask()
    search.tell(rechecks, [Failed("fell") if r.repeat else float(r.of) for r in rechecks])  # all failed once
    assert search.best[1] == float(max(r.of for r in rechecks))
    young = search.ask()
    search.tell(young, [1.0, 2.0, 3.0, 4.0])
    rechecks = search.ask()
    with pytest.raises(EvaluationFailed, match="rechecks of generation 2"):
        search.tell(rechecks, [float("nan")] * len(rechecks))
    assert search.generation == 3


def test_the_cap_on_episodes_grows_when_many_are_cut():
    search = DeepGA(4, 2, 0.1, 1, 1, cap=EpisodeCap(100, 0.5, 2.0, 300), seed=0, metric="return")

    def told(cut: int):
        return lambda c: Ok({"return": float(c.id), "truncated": float(c.id % 4 < cut)})

    caps = []
    for cut in (2, 3, 4, 4):
        generation(search, told(cut))
        caps.append(search.episode_cap)
    assert caps == [100, 200, 300, 300]  # half is not more than half; 400 is cut to the highest
    again = DeepGA(4, 2, 0.1, 1, 1, cap=EpisodeCap(100, 0.5, 2.0, 300), seed=0, metric="return")
    again.load_state_dict(search.state_dict())
    assert again.episode_cap == 300
    asked = search.ask()
    with pytest.raises(ValueError, match='"truncated"'):
        search.tell(asked, [Ok({"return": 1.0})] * 4)


def test_where_nobody_breeds_every_child_is_a_root():
    search = DeepGA(5, 0, 0.1, 2, 1, seed=0)
    for _ in range(3):
        generation(search, lambda c: true_value(c.value))
        assert all(len(c.value) == 0 for c in search.ask(5))
        search.load_state_dict(search.state_dict())
    assert search.parents == []


def test_saved_within_rechecks_it_goes_on():
    one, two = (DeepGA(6, 2, 0.1, 2, 3, seed=5) for _ in range(2))
    generation(one, lambda c: true_value(c.value))
    asked = one.ask()
    one.tell(asked, [true_value(c.value) for c in asked])
    rechecks = one.ask()
    one.tell(rechecks[1:3], [0.0, 1.0])
    two.load_state_dict(one.state_dict())
    rest = two.ask()
    assert rest == [rechecks[0], *rechecks[3:]]
    for search in (one, two):
        search.tell(rest, [0.5] * len(rest))
    assert one.best == two.best
    assert one.ask() == two.ask()


@pytest.mark.parametrize("sizes", [(1, 1, 1), (5, 6, 1), (5, 1, 6), (5, -1, 1), (5, 1, 0)])
def test_impossible_sizes_are_refused(sizes):
    population, truncation, candidates = sizes
    with pytest.raises(ValueError, match=f"population={population}"):
        DeepGA(population, truncation, 0.1, candidates)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PowerSchedule(0.0, 1.0, 3, "exponential"),
        lambda: PowerSchedule(1.0, 1.0, 0),
        lambda: EpisodeCap(10, 0.5, 1.0, 20),
        lambda: EpisodeCap(30, 0.5, 2.0, 20),
    ],
)
def test_impossible_schedules_are_refused(make):
    with pytest.raises(ValueError, match=r"schedule|powers|cap"):
        make()
