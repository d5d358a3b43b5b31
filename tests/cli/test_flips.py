"""Examples that one model gets right and the other wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import heredity as hd
from heredity.cli.flips import FIRST_FEW, Flips
from heredity.evaluation.outcome import Graded, Ok
from heredity.evaluation.probes import Accuracy
from heredity.lab.records import outcome_in

# Of 60 examples, the first model gets those divisible by 2 right and the second those divisible by 3.
# Both: 60 / 6 = 10; only the first: 30 - 10 = 20; only the second: 20 - 10 = 10; neither: 60 - 40 = 20.
COUNTS = {"both_right": 10, "only_first": 20, "only_second": 10, "both_wrong": 20}


@dataclass(frozen=True)
class Divisible(hd.Probe):
    """A model with divisor d gets the examples right whose number d divides."""

    examples: int = 60

    def measure(self, model: hd.Model, context: hd.Context) -> Graded:
        divisor = int(model.weights()["divisor"])
        right = [at % divisor == 0 for at in range(self.examples)]
        return Graded({"accuracy": sum(right) / self.examples}, right)


def _measurements(lab):
    return [json.loads(line) for (line,) in lab.index.query("SELECT line FROM measurements")]


@pytest.fixture
def two(family):
    models = [family.lab.add({"divisor": torch.tensor(float(d))}, name=f"by{d}") for d in (2, 3)]
    family.lab.measure_all(Divisible(), models)
    return models


def test_diff_counts_the_flips(run, two):
    (found,) = run("diff", "by2", "by3", "--json").json["flips"]
    assert {name: found[name] for name in COUNTS} == COUNTS
    assert found["examples_first"] == [2, 4, 8, 10, 14, 16, 20, 22][:FIRST_FEW]
    assert found["examples_second"] == [3, 9, 15, 21, 27, 33, 39, 45][:FIRST_FEW]
    assert found["probe"] == "Divisible (accuracy)"


def test_diff_prints_the_flips(run, two):
    lines = [line.split() for line in run("diff", "by2", "by3").out.splitlines()]
    assert ["Divisible", "(accuracy)", "10", "20", "10", "20"] in lines
    assert "counted from 0: 3, 9, 15, 21, 27, 33, 39, 45, …" in run("diff", "by2", "by3").out


def test_another_configuration_is_not_compared(run, family, two):
    # Its examples are others, though both are called Divisible.
    family.lab.measure(Divisible(40), two[0])
    family.lab.measure(Divisible(50), two[1])
    assert len(run("diff", "by2", "by3", "--json").json["flips"]) == 1


def test_what_was_right_is_recorded_and_recalled(family, two):
    (line,) = (line for line in _measurements(family.lab) if line["id"] == two[1].id)
    # Every third of 60: 1001 0010 0100, five times.
    assert line["right"] == "60:" + "924" * 5
    expected = "100" * 20
    with hd.Lab(family.lab.path, mode="r") as again:
        assert again.outcome(Divisible(), again["by3"]).right == expected
        assert again["by3"].measurements["Divisible"].right == expected


def test_a_worker_hands_over_what_was_right(family):
    model = family.lab.add({"divisor": torch.tensor(3.0)})
    (outcome,) = family.lab.measure_all(Divisible(), [model], executor="processes:1")
    assert outcome.right == "100" * 20


def test_a_line_without_marks_is_read_as_ever(family):
    line = next(line for line in _measurements(family.lab) if "score" in line.get("values", {}))
    assert "right" not in line and outcome_in(line) == Ok(line["values"])


def test_a_model_that_was_not_graded_has_no_flips(run, two):
    assert run("diff", "by2", "maths", "--json").json["flips"] == []
    assert "answered rightly" not in run("diff", "by2", "maths").out


def test_accuracy_records_which_inputs_were_right(family):
    # The identity answers with the largest input; the last of the six labels is wrong.
    architecture = hd.Architecture(torch.nn.Linear, {"in_features": 3, "out_features": 3, "bias": False})
    model = family.lab.add({"weight": torch.eye(3)}, architecture=architecture)
    probe = Accuracy(torch.eye(3).repeat(2, 1), torch.tensor([0, 1, 2, 0, 1, 0]), batch=4)
    assert family.lab.measure(probe, model).right == "111110"


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_every_example_is_counted_once(pairs):
    one, other = ("".join("01"[pair[side]] for pair in pairs) for side in (0, 1))
    flips = Flips.of("p", 0, one, other)
    assert flips.both + flips.neither + len(flips.one) + len(flips.other) == len(pairs)
    assert flips.both + len(flips.one) == one.count("1") and flips.both + len(flips.other) == other.count("1")
