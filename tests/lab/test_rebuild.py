from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch
from species import Average, Checkpoints, Coin, Liar, Logged, Mutate, Net, Norm, Plant, Train

import heredity as hd
from heredity.errors import RebuildMismatch, WeightsMissing
from heredity.lab import rebuild as rebuilding


def blobs(lab: hd.Lab) -> set[str]:
    return {sha for sha, _ in lab.blobs.shas()}


def equal(one: hd.Model, other: dict[str, torch.Tensor]) -> bool:
    weights = one.weights()
    return weights.keys() == other.keys() and all(torch.equal(weights[name], other[name]) for name in other)


def copy(model: hd.Model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.weights().items()}


def test_dropped_weights_come_back_bit_for_bit(lab: hd.Lab) -> None:
    root = lab.add(Net(48), name="root")
    a = lab.derive(Train(48), root, seed=1)
    b = lab.derive(Mutate(0.1), a, seed=2)
    c = lab.derive(Average(), a, b)
    before = {model: copy(model) for model in (a, b, c)}
    assert lab.gc().dropped == [a.id, b.id, c.id]
    assert blobs(lab) == {root.weights_sha256}
    with hd.Lab(lab.path) as again:  # nothing in memory
        model = again[c.id]
        assert not model.has_weights
        assert equal(model, before[c])
        assert blobs(lab) == {root.weights_sha256, c.weights_sha256}  # the way there is given up
        assert equal(again[a.id], before[a])
        assert equal(again[b.id], before[b])
        assert again.verify() == []
    assert not list((lab.path / "scratch").glob("*"))


def test_a_read_only_lab_rebuilds_in_memory(lab: hd.Lab) -> None:
    root = lab.add({"w": torch.zeros(4)}, name="root")
    child = lab.derive(Checkpoints(), lab.derive(Mutate(), root))
    before = copy(child)
    lab.gc()
    with hd.Lab(lab.path, mode="r") as reader:
        assert equal(reader[child.id], before)
    assert blobs(lab) == {root.weights_sha256}
    assert not list((lab.path / "scratch").glob("*"))


def test_a_birth_that_is_not_kept_is_rebuilt_when_asked_for(lab: hd.Lab) -> None:
    root = lab.add({"w": torch.zeros(4)})
    child = lab.derive(Mutate(), root, keep=False)
    assert blobs(lab) == {root.weights_sha256}
    grandchild = lab.derive(Mutate(), child, keep=False)  # its parent is still at hand
    assert blobs(lab) == {root.weights_sha256}
    with hd.Lab(lab.path) as again:
        assert again.verify() == []
        assert equal(again[grandchild.id], copy(grandchild))


@pytest.mark.slow
def test_a_chain_of_two_thousand_births_is_rebuilt_without_its_links(lab: hd.Lab, monkeypatch: object) -> None:
    root = lab.add({"w": torch.zeros(2)}, name="root")
    model = root
    for seed in range(2000):
        model = lab.derive(Mutate(), model, seed=seed, keep=False)
    tip = copy(model)
    with hd.Lab(lab.path) as again:
        most = 0
        pin = again.blobs.pin

        def watch(sha: str, weights: object) -> None:
            nonlocal most
            pin(sha, weights)  # type: ignore[arg-type]
            most = max(most, len(again.blobs._pinned))

        again.blobs.pin = watch  # type: ignore[method-assign]
        assert equal(again[model.id], tip)
        assert most <= 2
        assert not again.blobs._pinned
    assert blobs(lab) == {root.weights_sha256, model.weights_sha256}


def test_large_weights_pass_over_the_disk(lab: hd.Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "IN_MEMORY", 0)
    root = lab.add({"w": torch.zeros(4)}, name="root")
    a = lab.derive(Mutate(), root)
    b = lab.derive(Mutate(), a)
    c = lab.derive(Average(), a, b)
    before = copy(c)
    lab.gc()
    with hd.Lab(lab.path) as again:
        assert equal(again[c.id], before)
    assert blobs(lab) == {root.weights_sha256, c.weights_sha256}


def test_gc_keeps_what_it_must(lab: hd.Lab) -> None:
    root = lab.add({"w": torch.zeros(4)})
    with lab.step("by hand", parents=[root]) as step:
        made = step.commit({"w": torch.ones(4)})
    coin = lab.derive(Coin())
    named = lab.derive(Mutate(0.1), root, name="named")
    asked = lab.derive(Mutate(0.2), root)
    free = lab.derive(Mutate(0.3), coin)
    trial = lab.gc(keep=[asked], dry_run=True)
    assert trial.dropped == [free.id]
    assert trial.freed > 0
    assert free.has_weights
    report = lab.gc(keep=[asked])
    assert (report.dropped, report.freed) == (trial.dropped, trial.freed)
    assert report.kept == {"cannot be rebuilt": 3, "named or asked to be kept": 2}
    assert all(model.has_weights for model in (root, made, coin, named, asked))
    assert lab.gc().dropped == [asked.id]
    assert lab.drop([named]) > 0  # asked for by hand, and it can be had again
    assert lab.drop([coin]) == 0


def test_gc_is_cautious_where_bits_may_differ(lab: hd.Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    root = lab.add({"w": torch.zeros(4)})
    child = lab.derive(Mutate(), root)
    now = rebuilding.machine()
    for change in (
        lambda patch: patch.setattr(Mutate, "version", 2),
        lambda patch: patch.setattr(rebuilding, "source_hash", lambda cls: "other"),
        lambda patch: patch.setattr(rebuilding, "machine", lambda: {**now, "cpu": {**now["cpu"], "model": "abacus"}}),
        lambda patch: patch.setattr(rebuilding, "machine", lambda: {**now, "versions": {"torch": "99"}}),
    ):
        with monkeypatch.context() as patch:
            change(patch)
            assert lab.gc().dropped == []
    assert lab.gc().dropped == [child.id]


def test_gc_keeps_the_child_of_a_parent_that_is_lost(lab: hd.Lab) -> None:
    root = lab.add({"w": torch.zeros(4)})
    child = lab.derive(Mutate(), root)
    grandchild = lab.derive(Mutate(), child)
    lab.blobs.drop(root.weights_sha256)
    assert lab.gc().dropped == [grandchild.id]  # the child's blob is all that is left to rebuild it from
    with pytest.raises(WeightsMissing, match="was added from outside"):
        root.weights()


def test_a_blob_of_several_births_stays_while_one_needs_it(lab: hd.Lab) -> None:
    root = lab.add({"w": torch.zeros(4)})
    one, other = lab.derive(Mutate(0.0), root, seed=1), lab.derive(Mutate(0.0), root, seed=2)
    assert one.weights_sha256 == other.weights_sha256 == root.weights_sha256
    assert lab.gc().dropped == []
    assert lab.drop([one]) == 0
    assert lab.verify() == []


def test_gc_drops_nothing_that_a_running_birth_needs(lab: hd.Lab, tmp_path: Path) -> None:
    root = lab.add({"w": torch.zeros(4)}, name="root")
    parent, free = lab.derive(Mutate(0.1), root), lab.derive(Mutate(0.2), root)
    log = tmp_path / "log"

    def run() -> None:
        with hd.Lab(lab.path) as mine:
            mine.derive(Logged(str(log), pause=1.0), parent.id)

    thread = threading.Thread(target=run)
    thread.start()
    while not log.exists():
        time.sleep(0.01)
    report = lab.gc()
    thread.join()
    assert report.dropped == [free.id]
    assert report.kept["a running birth needs it"] == 1
    assert len(lab) == 4
    assert lab.gc().dropped == [parent.id, lab["latest"].id]


def test_a_parent_that_vanishes_under_a_birth_is_provided_again(lab: hd.Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    root = lab.add({"w": torch.zeros(4)}, name="root")
    parent = lab.derive(Mutate(), root)
    from heredity.lab import executors

    run, calls = executors.run_task, []

    def vanish(task, blobs=None, report=None):  # type: ignore[no-untyped-def]
        calls.append(task.id)
        if len(calls) == 1:
            lab.blobs.drop(parent.weights_sha256)
        return run(task, blobs, report)

    monkeypatch.setattr(executors, "run_task", vanish)
    child = lab.derive(Average(), parent, root)
    assert calls == [child.id] * 2
    with hd.Lab(lab.path) as again:
        again.rebuild(child.id)  # to the recorded hash


def test_a_rebuild_that_differs_says_what_has_changed(lab: hd.Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    liar = lab.derive(Liar())
    lab.gc()
    with pytest.raises(RebuildMismatch, match=rf"rebuilding {liar.id} gave .* nothing recorded differs, .* not determ"):
        liar.weights()
    now = rebuilding.machine()
    cpu = {**now["cpu"], "model": "abacus"}
    monkeypatch.setattr(rebuilding, "machine", lambda: {**now, "python": "4.0", "cpu": cpu, "versions": {"torch": "9"}})
    monkeypatch.setattr(rebuilding, "source_hash", lambda cls: "other")
    monkeypatch.setattr(Liar, "version", 3)
    with pytest.raises(RebuildMismatch) as caught:
        liar.weights()
    for part in ("source of Liar", "version was 1, is 3", "torch was", "CPU model was", "is abacus", "Python was"):
        assert part in str(caught.value)


def test_evidence_is_needed_to_rebuild(lab: hd.Lab) -> None:
    child = lab.derive(Plant(torch.arange(3.0)))
    sha = next(sha for sha, _ in lab.evidence.blobs.shas())
    assert lab.gc().dropped == [child.id]
    with hd.Lab(lab.path) as again:
        assert torch.equal(again[child.id].weights()["w"], torch.arange(3.0))
        again.gc()
        lab.evidence.blobs.drop(sha)
        with pytest.raises(WeightsMissing, match=f"evidence is not stored .*{sha}"):
            again[child.id].weights()
        assert [problem.kind for problem in again.verify()] == ["missing-evidence"]
    kept = lab.derive(Plant(torch.arange(4.0)))
    for sha, _ in list(lab.evidence.blobs.shas()):
        lab.evidence.blobs.drop(sha)
    assert lab.gc().dropped == []
    assert kept.has_weights


def test_rebuilding_repairs_a_damaged_blob(lab: hd.Lab) -> None:
    root = lab.add({"w": torch.zeros(4)})
    child = lab.derive(Mutate(), root)
    before = copy(child)
    path = lab.blobs.path(child.weights_sha256)
    path.write_bytes(path.read_bytes()[:-3])
    with hd.Lab(lab.path) as again:
        assert [problem.kind for problem in again.verify()] == ["damaged-blob"]
        again.rebuild(child.id)
        assert again.verify() == []
        assert equal(again[child.id], before)


def test_operators_inside_functions_are_not_relied_upon(lab: hd.Lab) -> None:
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Local(Mutate):
        pass

    child = lab.derive(Local(), lab.add({"w": torch.zeros(4)}))
    assert lab.gc().dropped == []
    assert child.has_weights


def test_gc_sweeps_up_after_killed_writers(lab: hd.Lab) -> None:
    import os

    root = lab.add({"w": torch.zeros(4)}, name="root")
    folder = lab.blobs.path(root.weights_sha256).parent
    left = [folder / f".{root.weights_sha256}.safetensors.123.abcd", lab.path / "scratch" / "b1" / ".checkpoint.1.2"]
    orphan = {"w": torch.ones(4)}
    lab.blobs.save(orphan, "ab" * 32)
    left.append(lab.blobs.path("ab" * 32))
    done = lab.path / "scratch" / root.id / "checkpoint.safetensors"
    waiting = lab.path / "scratch" / "0123456789abcdef" / "checkpoint.safetensors"
    for path in [*left[:2], done, waiting]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 10)
    lab.gc()
    assert all(path.exists() for path in left)  # they may be somebody's work at this moment
    assert not done.exists()  # the birth is recorded
    for path in left:
        os.utime(path, (time.time() - 7200,) * 2)
    assert lab.gc().orphans == 1
    assert not any(path.exists() for path in left)
    assert waiting.exists()  # a run that was killed may go on
    assert lab.measure(Norm(), root).values["norm"] == 0.0  # type: ignore[union-attr]
