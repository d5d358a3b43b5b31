"""heredity best and heredity children."""

from __future__ import annotations


def test_the_highest_first(run, family):
    found = run("best", "--metric", "score", "-n", "3", "--json").json
    assert [model["id"] for model in found["models"]] == [family.third.id, family.second.id, family.chat.id]
    assert [model["value"] for model in found["models"]] == [10.5, 9.75, 9.0] and found["direction"] == "max"


def test_equal_values_go_to_the_first_born(run, family):
    ranked = run("best", "-m", "score", "-n", "4", "--json").json["models"]
    assert [ranked[2]["id"], ranked[3]["id"]] == [family.chat.id, family.first.id]  # both 9


def test_min_turns_the_order_round(run, family):
    found = run("best", "--metric", "loss", "--min", "-n", "1", "--json").json
    assert found["models"][0]["id"] == family.third.id and found["models"][0]["value"] == -10.5
    assert run("best", "--metric", "loss", "--min", "-n", "1").out.splitlines()[1].split()[1] == "-10.50"


def test_without_a_metric_several_are_listed(run):
    ended = run("best")
    assert ended.code == 2 and "best:loss, best:score" in ended.err


def test_children_in_any_role(run, family):
    found = run("children", "ancestor", "--json").json
    roles = {child["id"]: child["role"] for child in found["children"]}
    assert roles == {family.maths.id: "parent", family.chat.id: "parent", family.merged.id: "base"}
    out = run("children", "chat").out
    assert "as mate" in out and "7.5000" in out
    assert run("children", "latest").out.endswith("has no children\n")
