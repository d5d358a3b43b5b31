"""Telling MLflow: against a real server on this machine, a server that never answers, and none at all."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import heredity as hd
from heredity.lab.interchange import mlflow as telling
from heredity.lab.interchange.mlflow import Tracker, observe


def lines_of(lab: hd.Lab) -> list[bytes]:
    """The lab's journal, as the lab wrote it."""
    return [line for path in (lab.root / "births").iterdir() for line in path.read_bytes().splitlines(keepends=True)]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    """The URI of an MLflow server that is thrown away afterwards."""
    pytest.importorskip("mlflow.server", reason="MLflow with its server is not installed")
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    pytest.skip(f"the MLflow server did not start: {(folder / 'log').read_text()[-300:]}")
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
def test_births_are_runs_between_models(pedigree, server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "pedigree")
    root = pedigree.lab.root
    for line in lines_of(pedigree.lab):
        observe(root, [line])
    (tracker,) = (tracker for (_, folder, _), tracker in telling._trackers.items() if folder == root)
    assert tracker.flush(120) and tracker.dropped == 0

    from mlflow import MlflowClient

    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("pedigree").experiment_id
    runs = {run.data.tags["heredity.id"]: client.get_run(run.info.run_id) for run in client.search_runs([experiment])}
    assert set(runs) == {model.id for model in pedigree.all}
    made = {birth: run.outputs.model_outputs[0].model_id for birth, run in runs.items()}
    for model in pedigree.all:
        run = runs[model.id]
        assert run.info.status == "FINISHED" and run.info.end_time == round(model.record["time"] * 1000)
        parents = list(dict.fromkeys(parent.id for parent in model.parents))
        assert {given.model_id for given in run.inputs.model_inputs} == {made[parent] for parent in parents}
        assert run.data.tags["heredity.parents"] == ",".join(parent.id for parent in model.parents)
        assert run.data.tags["heredity.operator"] == model.operator["type"]
        assert client.get_logged_model(made[model.id]).tags["heredity.id"] == model.id
    assert runs[pedigree.one.id].data.params["config.sigma"] == "0.5"
    assert runs[pedigree.ancestor.id].data.metrics == {"norm": 25.0}
    assert runs[pedigree.ancestor.id].data.tags["heredity.name"] == "Darwin's ancestor"
    assert runs[pedigree.one.id].data.tags["heredity.failed.Judge"] == "no test images"
    (metric,) = client.get_logged_model(made[pedigree.ancestor.id]).metrics
    assert (metric.key, metric.value) == ("norm", 25.0)

    # a lab tells of new births by itself, as long as the variable is set
    from species import Mutate, Norm

    told = pedigree.lab.derive(Mutate(), pedigree.merged, seed=8)
    assert tracker.flush(120)
    (run,) = client.search_runs([experiment], f"tags.`heredity.id` = '{told.id}'")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")

    # a later process knows neither run nor model: it asks the server for them
    later = Tracker(server, root)
    before = len(lines_of(pedigree.lab))
    child = pedigree.lab.derive(Mutate(), pedigree.merged, seed=9)
    pedigree.lab.measure(Norm(), pedigree.two)
    later.offer(lines_of(pedigree.lab)[before:])
    assert later.flush(120) and later.dropped == 0
    (run,) = client.search_runs([experiment], f"tags.`heredity.id` = '{child.id}'")
    inputs = client.get_run(run.info.run_id).inputs.model_inputs
    assert [given.model_id for given in inputs] == [made[pedigree.merged.id]]
    assert client.get_run(runs[pedigree.two.id].info.run_id).data.metrics == {"norm": pedigree.two.value("norm")}


def test_nothing_happens_where_the_variable_is_not_set(pedigree, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    threads, known = threading.active_count(), dict(telling._trackers)
    observe(pedigree.lab.root, lines_of(pedigree.lab))
    assert threading.active_count() == threads and telling._trackers == known


def test_importing_it_imports_no_mlflow():
    code = "import sys, heredity.lab.interchange.mlflow; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=8) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_server_that_never_answers_costs_a_bounded_buffer(pedigree, silent, caplog):
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    tracker = Tracker(silent, pedigree.lab.root, capacity=10)
    birth = next(line for line in lines_of(pedigree.lab) if b'"t":"birth"' in line)
    started = time.perf_counter()
    with caplog.at_level(logging.WARNING, "heredity.mlflow"):
        for _ in range(1000):
            tracker.offer([birth])
        # 1000 lines: at most 10 in the queue and 200 in the thread's hands; none of them made anybody wait
        assert time.perf_counter() - started < 2
        assert tracker.dropped >= 1000 - 10 - 200
        assert not tracker.flush(0.1)
    assert len(caplog.records) == 1 and "misses records" in caplog.text


def test_a_server_that_is_not_there_is_said_once(pedigree, caplog, monkeypatch):
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    tracker = Tracker(f"http://127.0.0.1:{port}", pedigree.lab.root)
    with caplog.at_level(logging.WARNING, "heredity.mlflow"):
        tracker.offer(lines_of(pedigree.lab))
        assert tracker.flush(60)
        tracker.close()
    told = sum(any(mark in line for mark in telling._TOLD) for line in lines_of(pedigree.lab))
    assert tracker.dropped == told
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "misses records" in caplog.messages[0] and f"not told of {told} records" in caplog.messages[1]


def test_without_the_client_it_is_said_once_and_left(pedigree, caplog, tmp_path, monkeypatch):
    # a package of that name that cannot be imported stands for one that is not installed
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "mlflow.py").write_text("raise ImportError('no mlflow here')")
    monkeypatch.syspath_prepend(str(tmp_path / "absent"))
    for name in [name for name in sys.modules if name == "mlflow" or name.startswith("mlflow.")]:
        monkeypatch.delitem(sys.modules, name)
    tracker = Tracker("http://127.0.0.1:9", Path("lab"))
    with caplog.at_level(logging.WARNING, "heredity.mlflow"):
        for line in lines_of(pedigree.lab):
            tracker.offer([line])
        assert tracker.flush(30)
    assert len(caplog.records) == 1 and "heredity[mlflow]" in caplog.text
