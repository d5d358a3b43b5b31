"""heredity best and heredity children."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

import heredity as hd


@dataclass(frozen=True)
class Tripled(hd.Operator):
    """Three times the weights."""

    def apply(self, parents: hd.Parents, context: hd.Context) -> Mapping[str, torch.Tensor]:
        return {name: 3 * tensor for name, tensor in parents[0].weights().items()}


@dataclass(frozen=True)
class Sum(hd.Probe):
    def measure(self, model: hd.Model, context: hd.Context) -> Mapping[str, float]:
        return {"score": sum(float(tensor.sum()) for tensor in model.weights().values())}


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


def test_what_searches_aimed_at_comes_first_unless_it_is_said_otherwise(run, family):
    aimed = family.lab.derive(Tripled(), family.merged, labels={"aim": "minimize score"})
    family.lab.measure(Sum(), aimed)
    found = run("best", "--metric", "score", "-n", "1", "--json").json
    assert (found["direction"], found["models"][0]["value"]) == ("min", 3.0)
    found = run("best", "--metric", "score", "-n", "1", "--max", "--json").json
    assert (found["direction"], found["models"][0]["id"]) == ("max", aimed.id)
    assert run("tree", "--metric", "score", "--json").json["best"] == family.ancestor.id
