from __future__ import annotations

import pickle
import random
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
import torch
from species import Average, Everything, Judge, Logged, Mutate, Net, Norm, Raises, Returns, Scribble, Train

import heredity as hd
from heredity.errors import BirthFailed, LabError, NonFinite, ReadOnlyLab, UnknownModel
from heredity.evaluation.outcome import Failed, Ok


def start(lab: hd.Lab, value: float = 0.0, **options: object) -> hd.Model:
    return lab.add({"w": torch.full((4,), value), "b": torch.zeros(2, 2)}, **options)


def test_a_birth_runs_once_and_is_recalled(lab: hd.Lab, tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = lab.derive(Logged(str(log)), seed=3)
    assert lab.derive(Logged(str(log)), seed=3) == first
    assert lab.derive_all([(Logged(str(log), 2.0),), (Logged(str(log), 2.0),)])[0] != first
    assert log.read_text().split() == ["1.0", "2.0"]
    with hd.Lab(lab.path) as again:
        assert again.derive(Logged(str(log)), seed=3) == first
        assert len(again) == 2
    assert len(log.read_text().split()) == 2


def test_adding_the_same_weights_again_is_the_same_birth(lab: hd.Lab) -> None:
    assert start(lab, name="a", note="first") == start(lab)
    assert start(lab, 1.0) != start(lab)
    assert lab["a"].remarks == ["first"]
    assert len(lab) == 2


def test_what_is_recorded_of_a_birth(lab: hd.Lab) -> None:
    a, b = start(lab), start(lab, 1.0)
    child = lab.derive(Average(), a, b, seed=4, labels={"generation": 2}, base=a)
    assert [(role, parent.id) for role, parent in child.edges] == [("parent", a.id), ("mate", b.id), ("base", a.id)]
    assert (child.kind, child.seed, child.labels) == ("merge", 4, {"generation": 2})
    assert child.operator == {"type": "species:Average", "version": 1, "config": {}}
    environment = lab.spec(child.record["environment"])
    assert environment["versions"]["torch"] == torch.__version__.partition("+")[0] or environment["versions"]["torch"]
    assert set(environment) >= {"versions", "python", "system", "cpu", "host", "command", "git"}
    assert child.record["bytes"] == 4 * 8
    assert {"wall", "cpu", "peak_rss", "threads", "source"} <= set(child.record)
    assert torch.equal(child.weights()["w"], torch.full((4,), 0.5))


def test_requests_are_checked_before_anything_runs(lab: hd.Lab, tmp_path: Path) -> None:
    a = start(lab)
    log = tmp_path / "log"
    good = Logged(str(log))
    for wrong, match in [
        (hd.Request(good, (a,), seed=-1), "seed"),
        (hd.Request(good, (a,), seed=True), "seed"),
        (hd.Request(good, (a,), roles={"mate": a}), "another role"),
        (hd.Request(good, (a,), labels={"loss": float("nan")}), "labels"),
        (hd.Request(good, (a,), labels={"when": object()}), "labels"),
        (hd.Request(good, (a,), name="best"), "cannot be a name"),
    ]:
        with pytest.raises(LabError, match=match):
            lab.derive_all([hd.Request(good, (a,)), wrong])
    with pytest.raises(TypeError, match="Operator belongs"):
        lab.derive(a)
    assert not log.exists()


def test_a_parent_of_another_lab_is_refused(lab: hd.Lab, tmp_path: Path) -> None:
    with hd.Lab(tmp_path / "other") as other:
        stranger = start(other)
        with pytest.raises(UnknownModel, match="another lab"):
            lab.derive(Mutate(), stranger)
        with pytest.raises(UnknownModel, match="another lab"):
            lab.measure(Norm(), stranger)
    with hd.Lab(lab.path) as twin:  # another handle on the same folder
        assert lab.derive(Mutate(), start(twin)).parents == [start(lab)]


def test_one_failure_leaves_the_others_recorded(lab: hd.Lab) -> None:
    a = start(lab)
    with pytest.raises(BirthFailed, match=r"Raises failed on birth [0-9a-f]{16}: RuntimeError: out of luck") as caught:
        lab.derive_all([(Mutate(0.1), a), (Raises(), a), (Mutate(0.2), a)])
    assert caught.value.__notes__ == [f"parents: {a.id}; seed 0"]
    assert len(lab) == 3
    answers = dict(lab.as_completed([(Mutate(0.1), a), (Raises(), a), (Mutate(0.2), a)]))
    assert isinstance(answers[1], BirthFailed)
    assert isinstance(answers[0], hd.Model)
    assert isinstance(answers[2], hd.Model)


@pytest.mark.parametrize(
    ("what", "match"),
    [
        ("nothing", "returned NoneType"),
        ("text", "returned str"),
        ("empty", "no tensors"),
        ("numbers", "float under 'w'"),
        ("nan", "1 non-finite values .* in 'w'"),
        ("meta", "meta tensor under 'w'"),
        ("nan note", "notes"),
    ],
)
def test_rubbish_from_an_operator_is_named(lab: hd.Lab, what: str, match: str) -> None:
    with pytest.raises(BirthFailed, match=match):
        lab.derive(Returns(what))
    assert len(lab) == 0


def test_nan_in_a_parent_is_blamed_on_the_parent(lab: hd.Lab) -> None:
    with pytest.raises(NonFinite, match="'w'"):
        start(lab, float("nan"))
    a = start(lab, 3e38)
    with pytest.raises(BirthFailed, match="the child of Average has 4 non-finite"):
        lab.derive(Average(), a, a)
    sick = {"w": torch.tensor([float("inf")])}
    lab.blobs.save(sick, a.weights_sha256, replace=True)  # a blob that went bad on disk
    with pytest.raises(BirthFailed, match=f"parent {a.id} has 1 non-finite values .* in 'w'"):
        lab.derive(Mutate(), a)


@pytest.mark.parametrize("stored", [True, False])
def test_an_operator_that_writes_to_its_parent_is_stopped(lab: hd.Lab, stored: bool) -> None:
    a = lab.derive(Mutate(), start(lab), keep=stored)
    before = {name: tensor.clone() for name, tensor in a.weights().items()}
    with pytest.raises(BirthFailed, match=f"changed its parent {a.id} at '[bw]' in place"):
        lab.derive(Scribble(), a)
    assert all(torch.equal(a.weights()[name], before[name]) for name in before)


def test_what_a_caller_does_to_weights_reaches_nobody(lab: hd.Lab) -> None:
    a = lab.derive(Mutate(), start(lab), keep=False)
    for model in (start(lab), a):
        before = model.weights()["w"].clone()
        model.weights()["w"].zero_().sub_(1)
        assert torch.equal(model.weights()["w"], before)
    expected = {name: a.weights()[name].clone() for name in ("b", "w")}
    child = lab.derive(Mutate(0.0), a)
    assert all(torch.equal(child.weights()[name], expected[name]) for name in expected)


def test_global_state_is_neither_consulted_nor_changed(lab: hd.Lab) -> None:
    def draw() -> tuple[float, float, float]:
        return float(torch.rand(1)), random.random(), float(np.random.rand())  # noqa: NPY002

    def seed() -> None:
        torch.manual_seed(5), random.seed(5), np.random.seed(5)  # noqa: NPY002

    seed()
    expected = draw()
    seed()
    first = lab.derive(Train())
    lab.measure(Norm(), first)
    assert draw() == expected
    draw()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)
    try:
        with torch.no_grad(), torch.inference_mode():
            again = lab.derive(Train(), mate_of=first)  # another key, the same work but for its parents
        assert torch.get_default_dtype() == torch.float64
        assert torch.get_num_threads() == 2
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(1)
    assert again != first
    with hd.Lab(lab.path.parent / "second") as other:
        assert other.derive(Train()).weights_sha256 == first.weights_sha256


def test_nan_and_unusable_are_recorded_and_recalled(lab: hd.Lab, tmp_path: Path) -> None:
    models = [start(lab), start(lab, 1.0)]
    log = tmp_path / "log"
    for how, reason in [("nan", "fitness is nan"), ("unusable", "no test images")]:
        probe = Judge(how, str(log))
        assert lab.measure_all(probe, models) == [Failed(reason)] * 2
        assert lab.measure(probe, models[0]) == Failed(reason)
    assert len(log.read_text().split()) == 4
    assert models[0].value("fitness") is None
    assert models[0].measurements == {"Judge": Failed("no test images")}


def test_a_probe_that_raised_is_recorded_and_tried_again(lab: hd.Lab, tmp_path: Path) -> None:
    log, sick = tmp_path / "log", tmp_path / "sick"
    sick.touch()
    probe = Judge("raise", str(log), str(sick))
    a = start(lab)
    assert lab.measure(probe, a) == Failed("OSError: disk on fire")
    with hd.Lab(lab.path, mode="r") as reader:
        assert reader.measure(probe, a.id) == Failed("OSError: disk on fire")
    sick.unlink()
    assert lab.measure(probe, a) == Ok({"fitness": 0.5})
    assert lab.measure(probe, a) == Ok({"fitness": 0.5})
    assert len(log.read_text().split()) == 2
    assert a.value("fitness") == 0.5


def test_measuring_with_the_birth(lab: hd.Lab) -> None:
    a = start(lab, 2.0)
    child = lab.derive_all([(Mutate(0.0), a)], measure=Norm())[0]
    assert child.value("norm") == 16.0  # 4 elements of 2²
    assert lab.outcome(Norm(), child) == Ok({"norm": 16.0})
    with pytest.raises(LabError, match="was not measured"):
        lab.outcome(Norm(), a)
    with pytest.raises(LabError, match="seed"):
        lab.measure(Norm(), a, seed=-1)


def test_models_of_different_architectures_live_side_by_side(lab: hd.Lab) -> None:
    small, large = lab.add(Net(4)), lab.add(Net(6))
    with pytest.raises(BirthFailed, match="size of tensor"):
        lab.derive(Average(), small, large)
    child = lab.derive(Mutate(), large, small)
    assert child.load().inner.weight.shape == (6, 6)
    assert child.architecture == large.architecture != small.architecture


def test_a_read_only_lab_recalls_and_refuses(lab: hd.Lab) -> None:
    a = start(lab)
    child = lab.derive(Mutate(), a)
    with hd.Lab(lab.path, mode="r") as reader:
        assert reader.derive(Mutate(), a.id) == child
        for refused in (
            lambda: reader.derive(Mutate(0.5), a.id),
            lambda: reader.measure(Norm(), a.id),
            lambda: start(reader, 9.0),
            lambda: reader.name(a.id, "x"),
            reader.gc,
        ):
            with pytest.raises(ReadOnlyLab):
                refused()
    assert len(list((lab.path / "births").iterdir())) == 1


def test_opening_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="there is no lab at"):
        hd.Lab(tmp_path / "none", mode="r")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(LabError, match="is no lab"):
        hd.Lab(tmp_path)
    with pytest.raises(LabError, match="mode 'w'"):
        hd.Lab(tmp_path / "none", mode="w")
    with pytest.raises(LabError, match="unknown executor 'cloud'"), hd.Lab(tmp_path / "lab") as lab:
        lab.derive(Everything(), seed=1) and lab.derive_all([(Everything(2.0),)], executor="cloud")


def test_a_step_records_what_a_script_did(lab: hd.Lab) -> None:
    a = lab.add(Net())
    with lab.step("freeze", parents=[a], config={"layers": ["inner"]}, seed=2) as step:
        state = {name: tensor + 1 for name, tensor in a.weights().items()}
        child = step.commit(state, name="frozen", labels={"generation": 1}, notes={"loss": 0.5})
        assert step.commit(state) == child
    assert lab["frozen"] == child
    assert child.parents == [a]
    assert (child.labels, child.notes) == ({"generation": 1}, {"loss": 0.5})
    assert child.operator["config"]["config"] == {"layers": ["inner"]}
    assert child.load().inner.weight.shape == (8, 8)
    with lab.step("freeze", parents=[a], config={"layers": ["outer"]}) as step:
        assert step.commit(state) != child


def test_a_handle_travels_without_its_lab(lab: hd.Lab) -> None:
    a = lab.add(Net(4), name="a")
    for travelled in (pickle.loads(pickle.dumps(a)), cloudpickle.loads(cloudpickle.dumps(a))):
        assert travelled == a
        assert torch.equal(travelled.load().inner.weight, a.load().inner.weight)
        with pytest.raises(LabError, match="not known inside a birth"):
            _ = travelled.children


def test_a_closed_lab_says_so(tmp_path: Path) -> None:
    lab = hd.Lab(tmp_path / "lab")
    lab.close()
    with pytest.raises(LabError, match="was closed"):
        len(lab)
