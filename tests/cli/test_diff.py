"""heredity diff: common ancestor, ways, settings, values, weights."""

from __future__ import annotations

import math

import pytest
import torch

import heredity as hd


def test_two_branches_part_at_their_common_ancestor(run, family):
    found = run("diff", family.lost_too.id, family.third.id, "--json").json
    assert found["common_ancestor"] == family.merged.id and found["shared_steps"] == 3
    assert found["paths"] == [
        [family.lost.id, family.lost_too.id],
        [family.first.id, family.second.id, family.third.id],
    ]
    assert {"key": "amount", "before": -0.25, "after": 0.25} in found["configuration"]
    assert {"key": "seed", "before": 0, "after": 1} in found["configuration"]
    assert found["metrics"]["score"] == {"first": 3.75, "second": 10.5}
    assert found["same_weights"] is False and found["layers"] is None


def test_a_common_ancestor_is_found_through_second_parents(run, family):
    # maths is a primary ancestor of third, chat only through the merge.
    assert run("diff", "chat", "best:score", "--json").json["common_ancestor"] == family.chat.id
    assert run("diff", "chat", "maths", "--json").json["common_ancestor"] == family.ancestor.id
    assert "the first itself" in run("diff", "chat", "best:score").out


def test_weights_are_compared_tensor_by_tensor(run):
    layers = run("diff", "ancestor", "maths", "--weights", "--json").json["layers"]
    by_name = {layer["tensor"]: layer["change"] for layer in layers}
    # w = (1, 2) and every weight grows by 1: ‖(1, 1)‖ / ‖(1, 2)‖ = √2 / √5; b starts at zero.
    assert by_name["w"] == pytest.approx(math.sqrt(2 / 5)) and by_name["b"] is None
    out = run("diff", "ancestor", "maths", "--weights").out
    assert "63.246%" in out and "from zero" in out


def test_other_shapes_and_names_are_said(run, family):
    family.lab.add({"w": torch.zeros(3), "extra": torch.ones(1)}, name="stranger")
    found = run("diff", "ancestor", "stranger", "--weights", "--json").json
    assert found["common_ancestor"] is None
    layers = {layer["tensor"]: layer for layer in found["layers"]}
    assert (
        layers["w"]["shapes"] == [[2], [3]] and layers["extra"]["only"] == "second" and layers["b"]["only"] == "first"
    )
    out = run("diff", "ancestor", "stranger", "--weights").out
    assert "different roots" in out and "only in the second" in out


def test_a_model_and_itself(run, family):
    out = run("diff", "maths", "maths").out
    assert "equal" in out and "Configuration" not in out


def test_the_lab_agrees_on_common_ancestors(run, family):
    for one in family.models.values():
        for other in (family.chat, family.lost_too, family.third):
            expected: hd.Model | None = one.mrca(other)
            assert run("diff", one.id, other.id, "--json").json["common_ancestor"] == (expected and expected.id)
