"""Verdicts of synthetic results whose answer is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from heredity.papers.claim import AllOf, AnyOf, Arm, Claim, Difference, Level, Rule, Scale
from heredity.papers.verdict import CellResult, judge

SEEDS = range(10, 16)
# Six numbers of mean 0, so that an interval has a width: its half is 1.96·.1/√6 ≈ .08 at most.
NOISE = dict(zip(SEEDS, (-0.1, 0.1, -0.1, 0.1, -0.1, 0.1), strict=True))
BEATS_B = Difference("a beats b", "a", "b")
BEATS_C = Difference("a beats c", "a", "c")


def claim_of(rule: Rule, **changes: Any) -> Claim:
    fields: dict[str, Any] = {
        "says": "s",
        "setting": "s",
        "trial": "m:f",
        "arms": tuple(Arm(name, name) for name in "abc"),
        "metric": "m",
        "direction": "higher",
        "metrics": {"m": "m", "cost": "cost"},
        "rule": rule,
        "scales": (Scale("small", 6, "none"),),
        "resamples": 2000,
    }
    return Claim(**{**fields, **changes})


def cells_of(
    means: Mapping[str, float], *, noisy: str = "a", metric: str = "m", worlds: Sequence[str] = ("",)
) -> list[CellResult]:
    """One cell per arm, seed and world; only the noisy arm varies over seeds."""
    return [
        CellResult(arm, world, seed, {metric: mean + (NOISE[seed] if arm == noisy else 0.0)})
        for seed in SEEDS
        for world in worlds
        for arm, mean in means.items()
    ]


@pytest.mark.parametrize(
    ("a", "expected"), [(1.0, "confirmed"), (0.0, "inconclusive"), (-1.0, "not confirmed")], ids=["win", "tie", "loss"]
)
def test_win_tie_and_loss(a: float, expected: str) -> None:
    judged = judge(claim_of(BEATS_B), cells_of({"a": a, "b": 0.0}))
    assert judged.verdict == expected
    estimate = judged.subs[0].estimate
    assert estimate is not None and estimate.mean == pytest.approx(a) and estimate.n == 6


def test_lower_is_better_turns_the_difference_round() -> None:
    judged = judge(claim_of(BEATS_B, direction="lower"), cells_of({"a": -1.0, "b": 0.0}))
    assert judged.verdict == "confirmed"
    estimate = judged.subs[0].estimate
    assert estimate is not None and estimate.mean == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("b", "c", "every", "some"),
    [
        (0.0, 0.0, "confirmed", "confirmed"),
        (0.0, 1.0, "inconclusive", "confirmed"),  # a ties with c
        (0.0, 2.0, "not confirmed", "confirmed"),  # only one part of the rule is met
        (1.0, 2.0, "not confirmed", "inconclusive"),
        (2.0, 2.0, "not confirmed", "not confirmed"),
    ],
)
def test_all_and_any_join_parts(b: float, c: float, every: str, some: str) -> None:
    cells = cells_of({"a": 1.0, "b": b, "c": c})
    assert judge(claim_of(AllOf((BEATS_B, BEATS_C))), cells).verdict == every
    assert judge(claim_of(AnyOf((BEATS_B, BEATS_C))), cells).verdict == some


def test_each_part_keeps_its_own_verdict() -> None:
    judged = judge(claim_of(AllOf((BEATS_B, BEATS_C))), cells_of({"a": 1.0, "b": 0.0, "c": 2.0}))
    assert [sub.verdict for sub in judged.subs] == ["confirmed", "not confirmed"]
    assert "1 of 2" in judged.reason and "a beats c" in judged.reason


def test_beating_several_means_beating_the_hardest() -> None:
    rule = Difference("a beats both", "a", ("b", "c"))
    judged = judge(claim_of(rule), cells_of({"a": 1.0, "b": 0.0, "c": 0.5}))
    assert (judged.verdict, judged.subs[0].against) == ("confirmed", "c")
    judged = judge(claim_of(rule), cells_of({"a": 1.0, "b": 3.0, "c": 0.5}))
    assert (judged.verdict, judged.subs[0].against) == ("not confirmed", "b")


@pytest.mark.parametrize(("c", "expected"), [(0.0, "confirmed"), (1.0, "confirmed"), (2.0, "not confirmed")])
def test_a_veto_counts_only_when_it_is_a_clear_loss(c: float, expected: str) -> None:
    rule = AllOf((BEATS_B, dataclasses.replace(BEATS_C, weight="veto")))
    assert judge(claim_of(rule), cells_of({"a": 1.0, "b": 0.0, "c": c})).verdict == expected


def test_what_is_only_reported_never_counts() -> None:
    reported = dataclasses.replace(BEATS_C, weight="reported")
    for rule in (AllOf((BEATS_B, reported)), AnyOf((BEATS_B, reported))):
        assert judge(claim_of(rule), cells_of({"a": 1.0, "b": 0.0, "c": 5.0})).verdict == "confirmed"
        assert judge(claim_of(rule), cells_of({"a": 1.0, "b": 3.0, "c": 0.0})).verdict == "not confirmed"


def test_a_failed_precondition_leaves_the_parts_and_decides_nothing() -> None:
    level = Level("b is high", "b", "m", above=0.5)
    judged = judge(claim_of(BEATS_B, preconditions=(level,)), cells_of({"a": 1.0, "b": 0.0}))
    assert judged.verdict == "inconclusive" and "b is high" in judged.reason
    assert judged.subs[0].verdict == "confirmed"
    assert judge(claim_of(BEATS_B, preconditions=(level,)), cells_of({"a": 2.0, "b": 1.0})).verdict == "confirmed"


@pytest.mark.parametrize(("bound", "expected"), [(0.5, "confirmed"), (1.0, "inconclusive"), (1.5, "not confirmed")])
def test_a_level_is_compared_with_its_bound(bound: float, expected: str) -> None:
    cells = cells_of({"a": 1.0, "b": 0.0})
    assert judge(claim_of(Level("high", "a", "m", above=bound)), cells).verdict == expected
    reverse = {"confirmed": "not confirmed", "not confirmed": "confirmed"}.get(expected, expected)
    assert judge(claim_of(Level("low", "a", "m", below=bound)), cells).verdict == reverse


def test_a_margin_moves_the_bound() -> None:
    cells = cells_of({"a": 1.0, "b": 0.0})
    assert judge(claim_of(dataclasses.replace(BEATS_B, margin=2.0)), cells).verdict == "not confirmed"
    equal = cells_of({"a": 0.0, "b": 0.0})
    assert judge(claim_of(dataclasses.replace(BEATS_B, margin=-0.5)), equal).verdict == "confirmed"


def test_failed_and_missing_cells_and_few_seeds_decide_nothing() -> None:
    cells = cells_of({"a": 1.0, "b": 0.0})
    broken = [*cells[:-1], dataclasses.replace(cells[-1], values={}, failed="out of memory")]
    judged = judge(claim_of(BEATS_B), broken)
    assert judged.verdict == "inconclusive" and "1 of 6 cells of b failed" in judged.subs[0].note
    judged = judge(claim_of(BEATS_B), [cell for cell in cells if cell.arm == "a"])
    assert judged.verdict == "inconclusive" and judged.subs[0].note == "b was not run"
    judged = judge(claim_of(BEATS_B), [cell for cell in cells if cell.seed < 12])
    assert judged.verdict == "inconclusive" and "2 seeds" in judged.subs[0].note


def test_worlds_of_a_seed_are_one_observation() -> None:
    one = judge(claim_of(BEATS_B), cells_of({"a": 0.1, "b": 0.0}))
    claim = claim_of(BEATS_B, worlds=("n", "e", "s", "w"))
    four = judge(claim, cells_of({"a": 0.1, "b": 0.0}, worlds=claim.worlds))
    first, second = one.subs[0].estimate, four.subs[0].estimate
    assert first is not None and second is not None
    assert (second.low, second.high, second.n) == pytest.approx((first.low, first.high, 6))


def test_a_sub_claim_can_look_at_one_world_and_another_metric() -> None:
    claim = claim_of(dataclasses.replace(BEATS_B, world="n", metric="cost", direction="lower"), worlds=("n", "s"))
    cells = [
        CellResult(arm, world, seed, {"m": 0.0, "cost": cost + (NOISE[seed] if arm == "a" else 0)})
        for seed in SEEDS
        for arm, world, cost in (("a", "n", 1), ("b", "n", 2), ("a", "s", 9), ("b", "s", 2))
    ]
    assert judge(claim, cells).verdict == "confirmed"


def test_holm_takes_back_what_only_one_of_many_shows() -> None:
    # Five differences of 1 and one of −.6: a resampled mean is ≤ 0 when −.6 is drawn at least 4 times of 6, which has
    # probability (15·25 + 6·5 + 1)/6⁶ = .0087. So p is about .0174, and ten comparisons undo it.
    others = tuple(Arm(f"b{i}", "") for i in range(9))
    rule = AllOf((BEATS_B, *(Difference(f"over {arm.name}", "a", arm.name) for arm in others)))
    arms = (Arm("a", ""), Arm("b", ""), *others)
    many = claim_of(rule, arms=arms, correction="none", resamples=10_000)
    values = dict(zip(SEEDS, (1.0, 1.0, 1.0, 1.0, 1.0, -0.6), strict=True))
    cells = [CellResult("a", "", seed, {"m": values[seed]}) for seed in SEEDS]
    cells += [CellResult("b", "", seed, {"m": 0.0}) for seed in SEEDS]
    # Against the others a only ties.
    cells += [CellResult(arm.name, "", seed, {"m": values[seed] + NOISE[seed]}) for arm in others for seed in SEEDS]
    plain = judge(many, cells).subs[0]
    assert plain.verdict == "confirmed" and plain.p == pytest.approx(0.0174, abs=0.004)
    corrected = judge(dataclasses.replace(many, correction="holm"), cells).subs[0]
    assert corrected.verdict == "inconclusive" and corrected.p == pytest.approx(10 * plain.p)


def test_the_table_counts_failures() -> None:
    cells = cells_of({"a": 1.0, "b": 0.0})
    cells[0] = dataclasses.replace(cells[0], values={}, failed="x")
    table = {summary.arm: summary for summary in judge(claim_of(BEATS_B), cells).arms}
    assert (table["a"].cells, table["a"].failed) == (6, 1) and "c" not in table
    assert table["b"].estimate is not None and table["b"].estimate.mean == 0.0


def test_a_verdict_that_students_interval_does_not_share_says_so() -> None:
    # 1, 1, 1, 1, 1, −.6: mean .733, s = .653, t(5, .975) = 2.571: .733 ± .686 is above 0. 1, 1, 1, 1, .6, −.8: mean
    # .633, s = .720: ± .756 covers 0, while the percentiles (p about .03) do not.
    clear = dict(zip(SEEDS, (1.0, 1.0, 1.0, 1.0, 1.0, -0.6), strict=True))
    bare = dict(zip(SEEDS, (1.0, 1.0, 1.0, 1.0, 0.6, -0.8), strict=True))
    for values, doubted in ((clear, False), (bare, True)):
        cells = [CellResult("a", "", seed, {"m": value}) for seed, value in values.items()]
        cells += [CellResult("b", "", seed, {"m": 0.0}) for seed in SEEDS]
        sub = judge(claim_of(BEATS_B, correction="none", resamples=10_000), cells).subs[0]
        assert sub.verdict == "confirmed"
        assert bool(sub.doubt) == doubted and ("inconclusive" in sub.doubt) == doubted
