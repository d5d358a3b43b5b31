"""The accuracy of any classifier, recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from heredity.evaluation.outcome import Failed
from heredity.evaluation.probes import Accuracy
from heredity.evaluation.stats import wilson
from heredity.lab import Architecture, Lab, Model


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "lab")


def linear(lab: Lab, weight: torch.Tensor) -> Model:
    return lab.add(
        {"weight": weight},
        architecture=Architecture(torch.nn.Linear, {"in_features": 3, "out_features": 3, "bias": False}),
    )


def test_it_counts_what_is_right_with_its_interval(lab: Lab) -> None:
    # The identity answers with the largest input: rows of the identity are classes 0, 1, 2, and one label is wrong.
    model = linear(lab, torch.eye(3))
    outcome = lab.measure(Accuracy(torch.eye(3).repeat(2, 1), torch.tensor([0, 1, 2, 0, 1, 0])), model)
    expected = wilson(5, 6)
    assert outcome["accuracy"] == 5 / 6
    assert (outcome["accuracy_low"], outcome["accuracy_high"]) == (expected.low, expected.high)


def test_the_batch_changes_neither_result_nor_identity(lab: Lab) -> None:
    model = linear(lab, torch.eye(3))
    x, y = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 3
    first = lab.measure(Accuracy(x, y), model)
    lines = sum(path.read_bytes().count(b'"t":"measurement"') for path in (lab.path / "births").iterdir())
    assert lab.measure(Accuracy(x, y, batch=7), model) == first
    assert sum(path.read_bytes().count(b'"t":"measurement"') for path in (lab.path / "births").iterdir()) == lines
    with Lab(lab.path.parent / "other") as other:
        assert other.measure(Accuracy(x, y, batch=7), linear(other, torch.eye(3))) == first


def test_logits_that_are_not_finite_are_a_failure_with_a_name(lab: Lab) -> None:
    model = linear(lab, torch.full((3, 3), 3e38))
    outcome = lab.measure(Accuracy(torch.full((1, 3), 10.0), torch.tensor([0])), model)
    assert outcome == Failed("the model's logits are not finite")


def test_inputs_and_labels_must_match() -> None:
    with pytest.raises(ValueError, match="got 2 and 1"):
        Accuracy(torch.zeros(2, 3), torch.zeros(1))
