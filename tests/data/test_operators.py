"""Recorded training of the small experts: it goes on where it was killed, bit for bit."""

from __future__ import annotations

from pathlib import Path

import torch

from heredity.data.composed import EIGHT_FOUNDERS, composed_task
from heredity.data.experts import MLP, ancestor, founders
from heredity.data.operators import LearnShift, TrainAncestor
from heredity.data.probes import TwoShifts, Upright
from heredity.evaluation.outcome import Ok
from heredity.lab import Lab

WIDTHS = (64, 32, 10)


def test_a_recorded_ancestor_and_founder_are_the_parts_own(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab")
    root = lab.derive(TrainAncestor(WIDTHS, epochs=2), seed=4)
    task = composed_task(0)
    torch.set_num_threads(1)
    plain = ancestor(task.train_x, task.train_y, seed=4, epochs=2, widths=WIDTHS)
    assert all(torch.equal(root.weights()[name], tensor) for name, tensor in plain.state_dict().items())
    spec = EIGHT_FOUNDERS[3]  # noise: it draws random numbers
    child = lab.derive(LearnShift(spec, epochs=2), root, seed=7000)
    [expected] = founders(plain, [spec], task.train_x, task.train_y, seed=7, epochs=2)
    assert all(torch.equal(child.weights()[name], tensor) for name, tensor in expected.items())
    assert isinstance(child.load(), MLP)


def test_training_goes_on_after_an_interruption_bit_for_bit(tmp_path: Path) -> None:
    from heredity.lab import Context
    from heredity.lab.blobs import BlobStore

    lab = Lab(tmp_path / "whole")
    whole = lab.derive(TrainAncestor(WIDTHS, epochs=4), seed=1)

    class Interrupted(Exception):
        """Raised in the middle of the second epoch's report."""

    def stop(done: float, total: float) -> None:
        if done == 2:
            raise Interrupted

    folder = tmp_path / "scratch"
    blobs = BlobStore(tmp_path)
    operator = TrainAncestor(WIDTHS, epochs=4)
    from heredity.lab import Parents

    nothing = Parents([], [])
    try:
        operator.apply(nothing, Context(1, folder, blobs, stop))
        raise AssertionError("the interruption did not happen")
    except Interrupted:
        pass
    saved = Context(1, folder, blobs).restore()
    assert saved is not None
    assert saved[1]["epoch"] == 2
    child = operator.apply(nothing, Context(1, folder, blobs))
    assert all(torch.equal(whole.weights()[name], tensor) for name, tensor in child.weights.items())


def test_probes_measure_what_they_say(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab")
    root = lab.derive(TrainAncestor(WIDTHS, epochs=3))
    task = composed_task(0)
    logits = root.load()(task.test_x)
    accuracy = float((logits.argmax(1) == task.test_y).double().mean())
    outcome = lab.measure(TwoShifts("test"), root)
    assert isinstance(outcome, Ok)
    assert outcome.right == "".join("01"[right] for right in (logits.argmax(1) == task.test_y).tolist())
    assert outcome["accuracy"] == accuracy
    assert outcome["accuracy_low"] < accuracy < outcome["accuracy_high"]
    assert 0 < lab.measure(TwoShifts(), root)["fitness"] < 1
    assert lab.measure(Upright(), root)["clean_accuracy"] > accuracy
