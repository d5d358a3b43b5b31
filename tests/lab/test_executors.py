from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from species import Checkpoints, DiesUnless, Everything, Judge, Logged, Mutate, Net, Norm, Raises, Train

import heredity as hd
from heredity.errors import BirthFailed, WorkerLost
from heredity.evaluation.outcome import Failed, Ok
from heredity.lab.executors import ONE_THREAD, RETRIES


def family(lab: hd.Lab, executor: str) -> list[tuple[str, str, float | None]]:
    """Two generations that use dropout, products where thread counts matter, and every random generator."""
    root = lab.derive_all([(Train(64),)], executor=executor)[0]
    requests = [hd.Request(Train(64), (root,), seed=seed) for seed in range(3)]
    requests += [hd.Request(Mutate(0.1), (root,), seed=9, keep=False)]
    second = lab.derive_all(requests, measure=Norm(), executor=executor)
    third = lab.derive_all([(Mutate(0.2), model) for model in second], measure=Norm(), executor=executor)
    return [(model.id, model.weights_sha256, model.value("norm")) for model in [root, *second, *third]]


@pytest.mark.slow
def test_the_same_requests_give_the_same_bits_everywhere(tmp_path: Path) -> None:
    with hd.Lab(tmp_path / "inline") as lab:
        inline = family(lab, "inline")
    torch.set_num_threads(2)  # the driver's own threads do not matter
    try:
        with hd.Lab(tmp_path / "threads") as lab:
            assert family(lab, "inline") == inline
    finally:
        torch.set_num_threads(1)
    with hd.Lab(tmp_path / "processes") as lab:
        assert family(lab, "processes:2") == inline
        assert {model.record["threads"] for model in lab.models()} == {1}
        first = lab["latest~2"]
        lab.gc()
        assert lab.rebuild(first.id)  # here, what was made there


@pytest.mark.slow
def test_one_thread_holds_in_workers(tmp_path: Path) -> None:
    script = (
        "import sys, heredity as hd\nfrom species import Threads\n"
        "with hd.Lab(sys.argv[1]) as lab:\n"
        "    for executor in ('inline', 'processes:1'):\n"
        "        print(sorted(lab.derive_all([(Threads(executor),)], executor=executor)[0].notes.items()))\n"
    )
    free = {name: value for name, value in os.environ.items() if name not in ONE_THREAD}
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "lab")],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
        env={**free, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"},
    )
    assert run.stdout.splitlines() == ["[('blas', [1]), ('torch', 1)]"] * 2, run.stderr


def test_failures_in_workers_come_back_as_they_are(lab: hd.Lab, tmp_path: Path) -> None:
    a = lab.add({"w": torch.zeros(4)})
    sick = tmp_path / "sick"
    sick.touch()
    probe = Judge("raise", str(tmp_path / "log"), str(sick))
    answers = dict(lab.as_completed([(Raises(), a), (Mutate(), a)], measure=probe, executor="processes:1"))
    assert isinstance(answers[0], BirthFailed)
    assert answers[0].__notes__ == [f"parents: {a.id}; seed 0"]
    assert answers[1].measurements == {"Judge": Failed("OSError: disk on fire")}  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_a_retry_and_nobody_else(lab: hd.Lab, tmp_path: Path) -> None:
    doomed = DiesUnless(str(tmp_path / "never"), make=False, value=1.0)
    requests = [(DiesUnless(str(tmp_path / "mark"), value=2.0),), (doomed,)]
    log = tmp_path / "log"
    requests += [(Logged(str(log), float(n), 0.1),) for n in range(8)]
    answers = dict(lab.as_completed(requests, executor="processes:2"))
    lost = answers.pop(1)
    assert isinstance(lost, WorkerLost)
    assert f"died {RETRIES} times" in str(lost)
    assert all(isinstance(answer, hd.Model) for answer in answers.values())
    assert sorted(log.read_text().split()) == sorted(f"{float(n)}" for n in range(8))  # none was run twice
    assert not list((lab.path / "leases").glob("[!.]*"))
    (tmp_path / "never").touch()
    assert lab.derive_all([(doomed,)], executor="processes:2")[0].weights()["w"].tolist() == [1.0] * 3


@pytest.mark.slow
def test_breaking_off_gives_everything_back(lab: hd.Lab, tmp_path: Path) -> None:
    log = tmp_path / "log"
    requests = [(Logged(str(log), float(n), 0.0 if n == 0 else 30.0),) for n in range(4)]
    for _, answer in lab.as_completed(requests, executor="processes:2"):
        assert isinstance(answer, hd.Model)
        break
    assert not list((lab.path / "leases").glob("[!.]*"))
    assert lab.derive_all([(Logged(str(log), 9.0),)], executor="processes:2")[0].weights()["w"][0] == 9.0


def test_a_probe_on_many_models_in_workers(lab: hd.Lab) -> None:
    models = [lab.add({"w": torch.full((2,), float(n))}) for n in range(4)]
    assert lab.measure_all(Norm(), models, executor="processes:1") == [Ok({"norm": 2.0 * n * n}) for n in range(4)]


SCRIPT = """
import sys, torch, heredity as hd
from dataclasses import dataclass
from typing import Any

@hd.architecture
class Own(torch.nn.Module):
    def __init__(self, width: int, data: Any) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(width, 1)

@dataclass(frozen=True)
class Data:
    rows: int = 2

@dataclass(frozen=True)
class Make(hd.Operator):
    data: Data = Data()
    def apply(self, parents, context):
        return Own(self.data.rows, self.data)

@dataclass(frozen=True)
class Double(hd.Operator):  # names none of the classes above: they must come with the parent
    def apply(self, parents, context):
        module = parents[0].load()
        with torch.no_grad():
            module.layer.weight.mul_(2)
        return module

if __name__ == "__main__":
    found = []
    for n, executor in enumerate(sys.argv[2:]):
        with hd.Lab(f"{sys.argv[1]}/{n}", executor) as lab:
            made = lab.derive(Make())
            child = lab.derive(Double(), made)
            lab.gc()
            assert lab[made.id].load().layer.weight.shape == (1, 2)
            found.append((made.id, child.id, child.weights_sha256, child.architecture, child.record["source"]))
    assert found[0][3]["path"] == "script:Own" and found[0][3]["config"]["data"]["$type"] == "script:Data"
    assert found[0][4]
    print(all(item == found[0] for item in found), len(found))
"""


def run_script(tmp_path: Path, *executors: str) -> str:
    (tmp_path / "script.py").write_text(SCRIPT)
    run = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "labs"), *executors],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    return run.stdout + run.stderr


@pytest.mark.slow
def test_a_scripts_own_classes_work_in_workers(tmp_path: Path) -> None:
    (tmp_path / "labs").mkdir()
    assert run_script(tmp_path, "inline", "processes:1") == "True 2\n"


LONG = """
import sys, heredity as hd
from species import Checkpoints
with hd.Lab(sys.argv[1], sys.argv[2]) as lab:
    requests = [hd.Request(Checkpoints(steps=40, pause=0.05), seed=seed) for seed in range(2)]
    print([model.weights_sha256 for model in lab.derive_all(requests)])
"""


def start_long(lab: Path, executor: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", LONG, str(lab), executor],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
        start_new_session=True,
    )


def group(leader: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.Error):
            continue
    return found


def until(condition: object, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "processes:2"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopping_leaves_a_lab_that_goes_on(tmp_path: Path, executor: str, how: signal.Signals) -> None:
    with hd.Lab(tmp_path / "whole") as lab:
        requests = [hd.Request(Checkpoints(steps=40), seed=seed) for seed in range(2)]
        # `pause` is part of the configuration, so that the uninterrupted run is compared by weights, not by id.
        expected = [model.weights_sha256 for model in lab.derive_all(requests)]
    process = start_long(tmp_path / "lab", executor)
    until(lambda: list((tmp_path / "lab" / "scratch").glob("*/checkpoint.safetensors")))
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as Ctrl-C does: the whole group
    else:
        os.kill(process.pid, how)  # the driver alone
    _, errors = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert "KeyboardInterrupt" in errors
        assert not list((tmp_path / "lab" / "leases").glob("*"))
    until(lambda: not group(process.pid), 10.0)  # no worker is left
    done = list((tmp_path / "lab" / "scratch").glob("*/checkpoint.safetensors"))
    assert done
    begun = time.monotonic()
    again = start_long(tmp_path / "lab", executor)
    output, errors = again.communicate(timeout=60)
    assert output.strip() == str(expected), errors
    assert time.monotonic() - begun < 60
    with hd.Lab(tmp_path / "lab") as lab:
        assert len(lab) == 2
        assert {problem.kind for problem in lab.verify()} <= {"torn-line"}
        assert not list((lab.path / "scratch").iterdir())


def test_a_checkpoint_of_other_source_is_no_use(lab: hd.Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from heredity.lab import dispatch
    from heredity.lab.operator import Context

    context = Context(0, lab.path / "scratch" / "x", lab.blobs, source="one")
    context.checkpoint({"w": torch.ones(2)}, step=3)
    saved = context.restore()
    assert saved is not None
    assert (saved[0]["w"].tolist(), saved[1]) == ([1.0, 1.0], {"step": 3})
    assert Context(0, lab.path / "scratch" / "x", lab.blobs, source="other").restore() is None
    file = lab.path / "scratch" / "x" / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert context.restore() is None
    assert Context(0, lab.path / "scratch" / "y", lab.blobs).restore() is None
    assert dispatch.source_hash(Checkpoints) != dispatch.source_hash(Everything)
    assert Net  # imported for the workers
