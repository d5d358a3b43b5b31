import json
import math

import numpy as np
import pytest

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Failed
from heredity.papers.testbeds.pbt_toy import toy
from heredity.search.fields import Choice, Int, LogUniform, Uniform
from heredity.search.pbt import PBT

SPACE = {"lr": LogUniform(1e-4, 1.0), "layers": Int(1, 8)}


def test_the_papers_toy_comes_out_as_measured():
    found = [toy(seed) for seed in range(20)]
    assert min(found) > 1.05 and np.mean(found) > 1.15
    assert toy(0, noise=0.0) == pytest.approx(1.167, abs=0.001)
    assert toy(0, exploit=False) == pytest.approx(0.390, abs=0.001)  # 1.2 − 0.81: one coordinate never moves
    assert toy(0, ties=False) == pytest.approx(0.390, abs=0.001)  # it starts with a tie


def played(pbt, fitness, rounds):
    for _ in range(rounds):
        candidates = pbt.ask()
        pbt.tell(candidates, [fitness(c.value) for c in candidates])
    return pbt


def test_losers_go_on_from_winners_and_the_rest_from_themselves():
    pbt = played(PBT(SPACE, 10, seed=3), lambda task: float(task.member), 1)
    first, second = pbt.path(0), [c.value for c in pbt.ask()]
    assert first[0].parent is None
    assert {task.parent for task in second[:2]} <= {8, 9} and [task.donor for task in second[:2]] == [
        task.parent for task in second[:2]
    ]
    assert [task.parent for task in second[2:]] == list(range(2, 10))
    assert {task.donor for task in second[2:]} == {None}
    for task in second[:2]:
        ratio = task.hyper["lr"] / pbt.path(task.parent)[0].hyper["lr"]
        assert ratio == pytest.approx(0.8) or ratio == pytest.approx(1.2)
    assert [kind for _, _, kind in pbt.lineage()].count("exploit") == 2
    assert len({task.seed for task in second}) == 10


@pytest.mark.parametrize(("inherit", "weights", "values"), [("weights", 1, 0), ("hyperparameters", 0, 1)])
def test_weights_or_hyperparameters_alone_are_copied(inherit, weights, values):
    pbt = PBT(SPACE, 2, fraction=0.5, explore=lambda hyper, rng: hyper, inherit=inherit, seed=1)
    before = [c.value.hyper for c in pbt.ask()]
    pbt.load_state_dict(pbt.state_dict())
    played(pbt, lambda task: float(task.member), 1)
    after = pbt.ask()[0].value
    assert after.parent == weights and after.hyper == before[values]


@pytest.mark.parametrize("exploit", ["truncation", "ttest", "tournament"])
@pytest.mark.parametrize("synchronous", [True, False])
def test_a_diverged_member_is_replaced_though_all_others_are_equal(exploit, synchronous):
    pbt = PBT(SPACE, 8, interval=100, exploit=exploit, synchronous=synchronous, seed=0)
    played(pbt, lambda task: math.nan if task.member == 5 and task.round == 2 else 1.0, 3)
    tasks = {c.value.member: c.value for c in pbt.ask()}
    assert tasks[5].donor not in (None, 5) and pbt.path(tasks[5].parent)[-1].member == tasks[5].donor
    assert all(tasks[i].donor is None for i in tasks if i != 5)


def test_a_member_that_failed_takes_weights_even_where_only_hyperparameters_are_copied():
    pbt = PBT(SPACE, 2, inherit="hyperparameters", fraction=0.5)
    played(pbt, lambda task: math.nan if task.member == 0 else 1.0, 1)
    assert pbt.ask()[0].value.parent == 1


@pytest.mark.parametrize("synchronous", [True, False])
def test_when_all_have_failed_it_says_so_and_can_begin_anew(synchronous):
    pbt = PBT(SPACE, 3, synchronous=synchronous)
    candidates = pbt.ask()
    with pytest.raises(EvaluationFailed, match="all 3 members"):
        pbt.tell(candidates, [math.nan, Failed("diverged"), math.inf])
    again = [c.value for c in pbt.ask()]
    assert [task.parent for task in again] == [None] * 3
    assert [task.hyper for task in again] != [c.value.hyper for c in candidates]


def test_a_failed_member_without_barrier_waits_until_somebody_can_be_copied():
    pbt = PBT(SPACE, 3, synchronous=False)
    first = pbt.ask()
    pbt.tell(first[:1], [math.nan])
    assert pbt.ask() == []
    pbt.tell(first[2:], [1.0])
    assert {c.value.member: c.value.parent for c in pbt.ask()} == {0: 2, 2: 2}


def test_random_search_copies_nobody_and_a_failed_member_retires():
    pbt = PBT(SPACE, 4, exploit="none")
    played(pbt, lambda task: math.nan if task.member == 1 else float(task.round), 5)
    assert pbt.generation == 5 and [c.value.member for c in pbt.ask()] == [0, 2, 3]
    assert all(kind == "train" for _, _, kind in pbt.lineage())
    assert all(len(pbt.schedule(i)) == 1 for i in (0, 2, 3))


def test_one_member_is_plain_training():
    pbt = played(PBT({"lr": LogUniform(1e-3, 1.0)}, 1), lambda task: float(task.round), 6)
    assert pbt.schedule() == [(0, pbt.path(0)[0].hyper)]


def test_explored_values_stay_in_range_and_a_rule_that_leaves_it_is_named():
    fields = {"lr": LogUniform(1e-2, 2e-2), "layers": Int(1, 3), "kind": Choice(["a", "b", "c"])}
    pbt = PBT(fields, 6, exploit="tournament", explore="resample", seed=2)
    played(pbt, lambda task: math.sin(task.seed), 40)
    assert sum(kind == "exploit" for _, _, kind in pbt.lineage()) > 40
    assert all(pbt.space.valid(task.hyper) for event in pbt.events for task in pbt.path(event[0])[-1:])
    wild = PBT(fields, 2, fraction=0.5, explore=lambda hyper, rng: {**hyper, "lr": 5.0})
    with pytest.raises(ValueError, match=r"the explore rule gave.*'lr'.*\[0.01, 0.02\]"):
        played(wild, lambda task: float(task.member), 1)


def test_perturbing_takes_each_factor_half_of_the_time():
    rng = np.random.default_rng(0)
    drawn = [Uniform(0.0, 10.0).perturb(1.0, rng, (0.8, 1.2)) for _ in range(10_000)]
    assert set(drawn) == {0.8, 1.2} and abs(drawn.count(1.2) / 10_000 - 0.5) < 0.02
    # The factors' geometric mean is sqrt(.96) = .98: values drift down by 2 % per copy.
    assert np.exp(np.mean(np.log(drawn))) == pytest.approx(0.98, abs=0.01)


def test_a_schedule_is_that_of_the_weights():
    pbt = played(PBT(SPACE, 5, seed=1), lambda task: task.hyper["lr"] + task.round, 12)
    best = pbt.best[0]
    rounds = pbt.path(best.id)
    assert [task.step for task in rounds] == list(range(12)) and len(pbt.schedule()) > 1
    for task in rounds:
        assert [hyper for since, hyper in pbt.schedule() if since <= task.step][-1] == task.hyper
    assert {(a, b) for a, b, _ in pbt.lineage()} >= {
        (task.parent, child) for task, child in zip(rounds[1:], [t.parent for t in rounds[2:]], strict=False)
    }


def test_members_copy_once_per_interval_at_most():
    pbt = played(PBT(SPACE, 4, interval=3, exploit="tournament"), lambda task: float(task.member), 12)
    copies = [task for i, _ in pbt.events for task in pbt.path(i)[-1:] if task.donor is not None]
    assert len(copies) > 3 and {task.round % 3 for task in copies} == {0}


def test_several_scores_of_a_round_feed_the_t_test():
    pbt = PBT(SPACE, 2, exploit="ttest", seed=0)
    pbt.tell(pbt.ask(), [[0.0, 0.1, -0.1, 0.05], [1.0, 1.1, 0.9, 1.05]])
    assert pbt.best[1] == pytest.approx(1.0125) and [c.value.donor for c in pbt.ask()] == [1, None]
    with pytest.raises(ValueError, match="at least one"):
        pbt.tell([], [[]])


def test_without_a_barrier_the_order_of_telling_decides_and_is_recorded():
    def run(order):
        pbt = PBT(SPACE, 4, synchronous=False, exploit="tournament", seed=5)
        out = {}
        for k in range(60):
            out |= {c.id: c for c in pbt.ask()}
            i = order[k] if isinstance(order, list) else sorted(out)[order(k) % len(out)]
            candidate = out.pop(i)
            pbt.tell([candidate], [math.sin(candidate.value.seed) + candidate.value.step])
        return pbt

    fifo, mixed = run(lambda k: 0), run(lambda k: 7 * k + k // 3)
    assert fifo.events != mixed.events
    again = run([i for i, _ in mixed.events])
    assert again.events == mixed.events and again.state_dict() == mixed.state_dict()


def test_the_state_is_json_and_what_is_needed_is_small():
    pbt = played(PBT(SPACE, 6), lambda task: math.nan if task.seed % 5 == 0 else float(task.seed % 7), 8)
    again = PBT(SPACE, 6)
    again.load_state_dict(json.loads(json.dumps(pbt.state_dict(), allow_nan=False)))
    assert [c.value for c in again.ask()] == [c.value for c in pbt.ask()] and again.best == pbt.best
    assert len(pbt.needed) <= 7 and pbt.best[0].id in pbt.needed
    other = PBT({"lr": LogUniform(1e-4, 0.5), "layers": Int(1, 8)}, 6)
    with pytest.raises(ValueError, match="space"):
        other.load_state_dict(pbt.state_dict())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"exploit": "lottery"}, "exploit"),
        ({"fraction": 0.6}, "fraction"),
        ({"population": 0}, "population"),
        ({"start": [{"lr": 3.0, "layers": 1}]}, "start gave"),
        ({"factors": (0.0, 1.2)}, "factors"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        PBT(SPACE, **settings)
