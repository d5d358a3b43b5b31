"""Births on real local Ray clusters."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from species import DiesUnless, Judge, Mutate, Norm, Raises, Train, Where
from test_executors import family, run_script

import heredity as hd
from heredity.errors import BirthFailed, LabError, MissingExtra, WorkerLost
from heredity.evaluation.outcome import Failed
from heredity.lab.executors import executor_for
from heredity.lab.ray_executor import Ray

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray")


@pytest.fixture(autouse=True)
def _one_at_a_time() -> Iterator[None]:
    # "auto" finds any cluster of this machine: no two processes of the suite may run these tests at once.
    with (Path(tempfile.gettempdir()) / f"heredity-ray-tests-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(autouse=True)
def _paths(monkeypatch: pytest.MonkeyPatch, _one_at_a_time: None) -> None:
    # Workers import `species` as they would a user's own package: from a folder that Python knows.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@pytest.fixture
def cluster() -> Iterator[object]:
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made
    ray.shutdown()
    made.shutdown()


def rays_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_") or name == "PYTHONBREAKPOINT"}


def test_a_local_cluster_gives_the_same_bits_and_leaves_nothing(tmp_path: Path) -> None:
    environment = rays_variables()
    with hd.Lab(tmp_path / "inline") as lab:
        expected = family(lab, "inline")
    with hd.Lab(tmp_path / "ray") as lab:
        executor = Ray(cpus=2)
        assert executor.slots == 2
        for _ in range(2):  # closed, and started again
            a = lab.derive_all([(Mutate(0.0), lab.derive(Train(8)))], executor=executor)[0]
        answers = dict(lab.as_completed([(Raises(), a), (Mutate(), a)], measure=Norm(), executor=executor))
        assert isinstance(answers[0], BirthFailed)
        assert answers[0].__notes__ == [f"parents: {a.id}; seed 0"]
        sick = tmp_path / "sick"
        sick.touch()
        probe = Judge("raise", str(tmp_path / "log"), str(sick))
        assert lab.measure_all(probe, [a], executor=executor) == [Failed("OSError: disk on fire")]
        doomed = DiesUnless(str(tmp_path / "never"), make=False)
        once = DiesUnless(str(tmp_path / "mark"), value=2.0)
        answers = dict(lab.as_completed([(doomed,), (once,)], executor=executor))
        assert isinstance(answers[0], WorkerLost)
        assert answers[1].weights()["w"].tolist() == [2.0] * 3  # type: ignore[union-attr]
        other = Ray()  # joins, and leaves the cluster to the one that started it
        assert other.slots == 2
        other.close()
        assert ray.is_initialized()
        executor.close()
        assert not ray.is_initialized()
    with hd.Lab(tmp_path / "family") as lab:
        assert family(lab, "ray") == expected
        assert ray.is_initialized()
    assert not ray.is_initialized()
    assert rays_variables() == environment


def test_a_scripts_own_classes_work_on_ray(tmp_path: Path) -> None:
    (tmp_path / "labs").mkdir()
    assert run_script(tmp_path, "inline", "ray").splitlines()[-1] == "True 2"


def test_a_node_that_dies_in_mid_run_costs_only_time(tmp_path: Path, cluster: object) -> None:
    def births(lab: hd.Lab, log: Path, pause: float, executor: str) -> list[str]:
        root = lab.derive(Train(32))
        requests = [hd.Request(Train(32, steps=2 + n), (root,), seed=n) for n in range(4)]
        requests += [hd.Request(Where(str(log), float(n), pause)) for n in range(6)]
        return [model.weights_sha256 for model in lab.derive_all(requests, measure=Norm(), executor=executor)]

    with hd.Lab(tmp_path / "whole") as lab:
        expected = births(lab, tmp_path / "first", 0.0, "inline")
    node = cluster.add_node(num_cpus=2)  # type: ignore[attr-defined]
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")  # type: ignore[attr-defined]
    log = tmp_path / "log"

    def kill() -> None:
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)  # type: ignore[attr-defined]
        machine: list[psutil.Process] = []
        while not log.exists() or not {f"{process.pid}" for process in machine} & set(log.read_text().split()):
            time.sleep(0.02)
            machine = [*raylet.children(recursive=True), raylet]
        for process in machine:  # as a machine that loses power
            process.kill()
        cluster.remove_node(node, allow_graceful=False)  # type: ignore[attr-defined]

    killer = threading.Thread(target=kill)
    killer.start()
    with hd.Lab(tmp_path / "lab", "ray") as lab:
        assert births(lab, log, 1.5, "ray") == expected
        killer.join()
        assert len(log.read_text().split()) > 6  # what ran on the lost node ran again
        assert lab.verify() == []
    assert ray.is_initialized()  # it was not ours


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hd.Lab(tmp_path / "lab") as lab:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "ray", None)
            with pytest.raises(MissingExtra, match=r"pip install 'heredity\[ray\]'"):
                executor_for("ray", lab.blobs)
        with pytest.raises(LabError, match="no Ray cluster answers at"):
            lab.derive_all([(Train(8),)], executor="ray:auto")
        assert not ray.is_initialized()
