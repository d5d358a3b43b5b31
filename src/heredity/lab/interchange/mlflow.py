"""Births and measurements told to MLflow, where MLFLOW_TRACKING_URI says where it is; nothing where it is not set.

One run for each birth, with its parents as the run's model inputs and the child as its model output, so that MLflow's
own graph is model → run → model. A run that trains or merges never waits: a thread tells the server, from a queue of
bounded length. What finds the queue full, or what a server refuses, is counted and said once; the lab itself misses
nothing. MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID choose the experiment; by default it is called like the lab.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import queue
import re
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from heredity.lab.journal import decode_line

CAPACITY = 10_000  # lines that may wait; about 15 MB
PATIENCE = 10.0  # seconds that the end of the process waits for a server that is still being told
_BATCH = 200  # lines that are told together: a birth and its measurements are one request then
_LONGEST = 500  # characters of a parameter's value; older servers take no more
_TOLD = (b'"t":"birth"', b'"t":"measurement"', b'"t":"name"')
_log = logging.getLogger("heredity.mlflow")
_trackers: dict[tuple[int, Path, str], Tracker] = {}
_lock = threading.Lock()


def observe(root: Path, lines: Sequence[bytes]) -> None:
    """Tell MLflow of journal lines that were just written, later and elsewhere; never raises, never waits.

    Args:
        root: the lab's folder.
        lines: as they are in the journal.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        key = (os.getpid(), root, uri)
        with _lock:
            tracker = _trackers.get(key)
            if tracker is None:
                # The client prints a line on standard output for every run that ends, unless it is told not to.
                os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
                tracker = _trackers[key] = Tracker(uri, root)
                atexit.register(tracker.close)
        tracker.offer(lines)


class Tracker:
    """A queue, and a thread that empties it into an MLflow server.

    Args:
        uri: the server.
        root: the lab's folder.
        capacity: lines that may wait.
    """

    def __init__(self, uri: str, root: Path, *, capacity: int = CAPACITY) -> None:
        self.uri, self.root = uri, root
        self.dropped = 0
        self._queue: queue.Queue[bytes] = queue.Queue(capacity)
        self._counting = threading.Lock()
        self._said = False
        self._off = False
        self._teller: _Teller | None = None
        threading.Thread(target=self._work, name="heredity-mlflow", daemon=True).start()

    def offer(self, lines: Iterable[bytes]) -> None:
        """Take lines where there is room for them."""
        if self._off:
            return
        for line in lines:
            if any(mark in line for mark in _TOLD):
                try:
                    self._queue.put_nowait(line)
                except queue.Full:
                    self._drop(1, "the server does not keep up")

    def flush(self, timeout: float) -> bool:
        """Wait until everything was told, or for `timeout` seconds; whether everything was."""
        end = time.monotonic() + timeout
        with self._queue.all_tasks_done:
            while self._queue.unfinished_tasks and (left := end - time.monotonic()) > 0:
                self._queue.all_tasks_done.wait(left)
            return not self._queue.unfinished_tasks

    def close(self) -> None:
        """At the end of the process: wait a little, and say what was not told."""
        self.flush(PATIENCE)
        untold = self._queue.unfinished_tasks + self.dropped
        if untold and not self._off:
            _log.warning("MLflow at %s was not told of %d records; they are in the lab", self.uri, untold)

    def _drop(self, count: int, reason: str) -> None:
        with self._counting:
            self.dropped += count
            said, self._said = self._said, True
        if not said:
            _log.warning(
                "MLflow at %s misses records of %s (%s); the lab has them, and goes on; how many is said at the end",
                self.uri,
                self.root,
                reason,
            )

    def _work(self) -> None:
        while True:
            lines = [self._queue.get()]
            try:
                while len(lines) < _BATCH:
                    lines.append(self._queue.get_nowait())
            except queue.Empty:
                pass
            try:
                if not self._off:
                    self._tell(lines)
            except Exception as error:  # whatever the client raises: the run goes on
                self._drop(len(lines), f"{type(error).__name__}: {error}")
            finally:
                for _ in lines:
                    self._queue.task_done()

    def _tell(self, lines: Sequence[bytes]) -> None:
        if self._teller is None:
            try:
                self._teller = _Teller(self.uri, self.root)
            except ImportError:
                self._off = True
                _log.warning("MLFLOW_TRACKING_URI is set, but MLflow is not: pip install 'heredity[mlflow]'")
                return
        records = [decode_line(line.rstrip(b"\n")) for line in lines]
        later: dict[str, list[dict[str, Any]]] = {}
        for record in records:
            if record["t"] != "birth":
                later.setdefault(record["id"], []).append(record)
        for record in records:
            if record["t"] == "birth":
                self._one(record, later.pop(record["id"], []))
        for birth, events in later.items():
            self._one(None, events, birth)

    def _one(self, record: dict[str, Any] | None, events: list[dict[str, Any]], birth: str = "") -> None:
        assert self._teller is not None
        try:
            if record is not None:
                self._teller.birth(record, events)
            elif not self._teller.later(birth, events):
                self._drop(len(events), f"{birth} was born before it was told of births")
        except Exception as error:
            self._drop(len(events) + (record is not None), f"{type(error).__name__}: {error}")


class _Teller:
    """The client's calls; MLflow is imported when one is made."""

    def __init__(self, uri: str, root: Path) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(tracking_uri=uri)
        self.root = root
        self.models = hasattr(self.client, "create_logged_model")  # from MLflow 3 on
        self.known: dict[str, tuple[str, str | None]] = {}  # id → (run, model)
        self._experiment: str | None = None

    def experiment(self) -> str:
        """The experiment's id; made where there is none of the name."""
        if self._experiment is None:
            self._experiment = os.environ.get("MLFLOW_EXPERIMENT_ID") or self._by_name()
        return self._experiment

    def _by_name(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or f"heredity/{self.root.name}"
        found = self.client.get_experiment_by_name(name)
        if found is None:
            try:
                return self.client.create_experiment(name)
            except Exception:  # another process was faster
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise
        return found.experiment_id

    def birth(self, record: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> None:
        """A run with its inputs, its output, and what is known of the child already."""
        operator = record["operator"]
        short = operator["type"].rpartition(":")[2]
        ended = round(record["time"] * 1000)
        tags = {
            "heredity.id": record["id"],
            "heredity.key": record["key"],
            "heredity.kind": record["kind"],
            "heredity.operator": operator["type"],
            "heredity.parents": ",".join(edge["id"] for edge in record["parents"]),
            "heredity.roles": ",".join(edge["role"] for edge in record["parents"]),
            "heredity.weights": record["weights"],
            "heredity.lab": str(self.root),
        }
        run = self.client.create_run(
            self.experiment(),
            start_time=ended - round((record.get("wall") or 0.0) * 1000),
            tags=tags,
            run_name=f"{short} {record['id'][:8]}",
        ).info.run_id
        model = self._link(run, record, short, tags) if self.models else None
        self.known[record["id"]] = (run, model)
        self._log(run, model, events, self._params(record))
        self.client.set_terminated(run, end_time=ended)

    def later(self, birth: str, events: Sequence[Mapping[str, Any]]) -> bool:
        """What was recorded about an earlier birth; False when the server was never told of that."""
        found = self._find(birth)
        if found is not None:
            self._log(*found, events, {})
        return found is not None

    def _link(self, run: str, record: Mapping[str, Any], short: str, tags: Mapping[str, str]) -> str | None:
        """The child as a model of MLflow's, between its parents' and the run."""
        from mlflow.entities import LoggedModelInput, LoggedModelOutput
        from mlflow.exceptions import MlflowException

        try:
            model = self.client.create_logged_model(
                self.experiment(),
                name=f"{short}-{record['id'][:8]}",
                source_run_id=run,
                tags=dict(tags),
                model_type=record["kind"],
            ).model_id
        except MlflowException as error:
            if error.error_code not in ("ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED"):
                raise
            self.models = False  # a server before MLflow 3: runs and their tags are all it can hold
            return None
        parents = dict.fromkeys(edge["id"] for edge in record["parents"])
        inputs = [found[1] for parent in parents if (found := self._find(parent)) is not None and found[1]]
        if inputs:
            self.client.log_inputs(run, models=[LoggedModelInput(parent) for parent in inputs])
        self.client.log_outputs(run, [LoggedModelOutput(model, step=0)])
        self.client.finalize_logged_model(model, "READY")
        return model

    def _find(self, birth: str) -> tuple[str, str | None] | None:
        """Run and model of a birth told by this process or an earlier one."""
        if birth not in self.known:
            runs = self.client.search_runs([self.experiment()], f"tags.`heredity.id` = '{birth}'", max_results=1)
            if not runs:
                return None
            outputs = getattr(runs[0].outputs, "model_outputs", None) or []
            self.known[birth] = (runs[0].info.run_id, outputs[0].model_id if outputs else None)
        return self.known[birth]

    def _params(self, record: Mapping[str, Any]) -> dict[str, str]:
        config = record["operator"].get("config") or {}
        params = {"seed": str(record["seed"]), "operator.version": str(record["operator"]["version"])}
        for name, value in list(config.items())[:90]:  # a request takes a hundred
            text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            params[_key(f"config.{name}")] = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
        return params

    def _log(self, run: str, model: str | None, events: Sequence[Mapping[str, Any]], params: Mapping[str, str]) -> None:
        """Everything in as few requests as the server takes: a thousand metrics each."""
        from mlflow.entities import Metric, Param, RunTag

        metrics, tags = [], {}
        for event in events:
            if event["t"] == "name":
                tags["heredity.name"] = event["name"]
            elif "values" not in event:
                tags[_key(f"heredity.failed.{event['probe']['type'].rpartition(':')[2]}")] = event["failed"]
            linked = {"model_id": model} if model is not None else {}
            for name, value in event.get("values", {}).items():
                metrics.append(Metric(_key(name), value, round(event["time"] * 1000), 0, **linked))
        listed = [RunTag(name, value[:_LONGEST]) for name, value in tags.items()][:100]
        rest = [Param(name, value) for name, value in params.items()]
        while metrics or listed or rest:
            now, metrics = metrics[:800], metrics[800:]
            self.client.log_batch(run, metrics=now, params=rest, tags=listed)
            listed, rest = [], []


def _key(name: str) -> str:
    """A name with the characters that MLflow takes in one.

    >>> _key("top-5 (%)")
    'top-5 ___'
    """
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)[:250] or "_"
