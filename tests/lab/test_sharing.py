from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import heredity as hd
from heredity.errors import EvaluationFailed, ReadOnlyLab
from heredity.evaluation.outcome import Failed
from heredity.lab import allow

allow("test_sharing")


@dataclass(frozen=True)
class Total(hd.Probe):
    """The sum of the first weights: a notion of behaviour that several state dicts share."""

    scale: float = 1.0

    def measure(self, model: hd.Model, context: hd.Context) -> Mapping[str, float]:
        total = float(model.weights()["w"].sum()) * self.scale
        if total < 0:
            raise EvaluationFailed("no behaviour")
        return {"total": total}


@dataclass(frozen=True)
class TotalAndLast(hd.Probe):
    """Two numbers, which must both agree."""

    def measure(self, model: hd.Model, context: hd.Context) -> Mapping[str, float]:
        w = model.weights()["w"]
        return {"total": float(w.sum()), "last": float(w[-1])}


@dataclass(frozen=True)
class Costly(hd.Probe):
    log: str

    def measure(self, model: hd.Model, context: hd.Context) -> Mapping[str, float]:
        with Path(self.log).open("a") as file:
            file.write(model.id + "\n")
        return {"score": float(model.weights()["w"][0])}


def add(lab: hd.Lab, *values: float) -> hd.Model:
    return lab.add({"w": torch.tensor(values)})


def test_models_of_equal_behaviour_share_one_measurement(lab: hd.Lab, tmp_path: Path) -> None:
    probe, by = Costly(str(tmp_path / "log")), Total()
    a, b, c = add(lab, 1.0, 2.0), add(lab, 2.0, 1.0), add(lab, 3.0, 1.0)
    first = lab.measure(probe, a, by=by)
    assert lab.measure(probe, b, by=by) == first == lab.measure(probe, a)
    assert lab.measure(probe, c, by=by)["score"] == 3.0
    assert (tmp_path / "log").read_text().split() == [a.id, c.id]
    assert "Costly" not in b.measurements  # nothing is recorded of what was not measured
    # Asked again, by another session that may only read, all is recalled.
    with hd.Lab(lab.path, mode="r") as again:
        assert again.measure(probe, b.id, by=by) == first
        with pytest.raises(ReadOnlyLab):
            again.measure(probe, b.id)


def test_without_by_each_model_is_measured_and_then_stands_for_itself(lab: hd.Lab, tmp_path: Path) -> None:
    probe = Costly(str(tmp_path / "log"))
    a, b = add(lab, 1.0, 2.0), add(lab, 2.0, 1.0)
    lab.measure(probe, a, by=Total())
    assert lab.measure(probe, b)["score"] == 2.0
    assert lab.measure(probe, b, by=Total())["score"] == 2.0


def test_other_evidence_probe_or_seed_is_not_shared(lab: hd.Lab, tmp_path: Path) -> None:
    probe = Costly(str(tmp_path / "log"))
    a, b = add(lab, 1.0, 2.0), add(lab, 2.0, 1.0)
    lab.measure(probe, a, by=Total())
    assert lab.measure(probe, b, by=Total(2.0))["score"] == 2.0  # a's behaviour was never seen on that evidence
    c = add(lab, 0.5, 2.5)
    assert lab.measure(probe, c, seed=1, by=Total())["score"] == 0.5
    assert lab.measure(Costly(str(tmp_path / "other")), c, by=Total())["score"] == 0.5


def test_all_values_of_the_behaviour_must_agree(lab: hd.Lab, tmp_path: Path) -> None:
    probe, by = Costly(str(tmp_path / "log")), TotalAndLast()
    a, b, c, d = add(lab, 1.0, 2.0), add(lab, 2.0, 1.0), add(lab, 0.5, 0.5, 2.0), add(lab, 5.0, 2.0)
    # b agrees with a in the total, d in the last weight, c in both
    assert [lab.measure(probe, m, by=by)["score"] for m in (a, b, c, d)] == [1.0, 2.0, 1.0, 5.0]


def test_a_model_without_behaviour_is_measured_itself(lab: hd.Lab, tmp_path: Path) -> None:
    probe = Costly(str(tmp_path / "log"))
    a, b = add(lab, -1.0, -2.0), add(lab, -2.0, -1.0)
    assert isinstance(lab.measure(Total(), a), Failed)
    assert [lab.measure(probe, m, by=Total())["score"] for m in (a, b)] == [-1.0, -2.0]
