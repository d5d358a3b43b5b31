"""heredity path: steps, gains and cumulative time."""

from __future__ import annotations

import pytest

from heredity.cli.lineage import Facts
from heredity.cli.path import story


def test_steps_are_numbered_from_the_root_with_gains(run, family):
    told = run("path", "best", "--metric", "score", "--json").json
    names = ("ancestor", "maths", "merged", "first", "second", "third")
    assert [step["id"] for step in told["steps"]] == [family.models[name].id for name in names]
    assert [step["step"] for step in told["steps"]] == [0, 1, 2, 3, 4, 5]
    # 3 → 6 → mean of 6 and 9 → + 3 × 0.5 → + 3 × 0.25 twice
    assert [step["gain"] for step in told["steps"]] == [None, 3.0, 1.5, 1.5, 0.75, 0.75]
    walls = [step["wall"] for step in told["steps"]]
    assert told["steps"][-1]["total_wall"] == pytest.approx(sum(walls))


def test_the_story_says_what_changed(run, family):
    lines = run("path", "best", "--metric", "score").out.splitlines()
    assert lines[0].split() == ["id", "kind", "what", "changed", "score", "Δ", "time", "so", "far"]
    assert "Learn amount=1, data.split=maths" in lines[2] and "+3.0000" in lines[2]
    assert f"+ {family.chat.id[:6]}" in lines[3]
    assert "amount 0.5→0.25" in lines[5] and "seed 1" in lines[6]
    assert lines[-1].startswith("5 steps from ") and "score 3.0000 → 10.50" in lines[-1]


def test_generations_up(run, family):
    assert run("path", "latest~2", "--json").json["steps"][-1]["id"] == family.first.id


def test_unmeasured_steps_are_passed_over():
    facts = Facts(6, values={"a": {"m": 1.0}, "c": {"m": 4.0}}, records={name: {"wall": 2.0} for name in "abc"})
    steps = story(facts, ["a", "b", "c"], "m")
    assert [step.gain for step in steps] == [None, None, 3.0] and [step.total for step in steps] == [2.0, 4.0, 6.0]


def test_above_the_root_is_bad_input(run):
    ended = run("path", "ancestor~1")
    assert ended.code == 2 and "has no parents" in ended.err


def test_best_of_several_metrics_must_be_said(run):
    ended = run("path", "best")
    assert ended.code == 2 and "best:loss, best:score" in ended.err
