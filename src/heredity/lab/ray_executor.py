"""Births on a Ray cluster: tasks carry ids and operators, weights travel through the lab's shared folder.

Every task takes one CPU. A worker or node that dies costs its task a try, up to the same bound as local processes. A
cluster that this executor did not start, or joined, is left as it was found.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import heredity
from heredity.errors import BirthFailed, LabError, MissingExtra
from heredity.lab.executors import RETRIES, Executor, Finished, worker_lost
from heredity.lab.runner import Result, Task, run_task

OBJECT_STORE = 256 << 20  # bytes; weights do not pass through it, evidence does
LOOK = 5.0  # seconds between looks at how many CPUs the cluster has


class Ray(Executor):
    """Workers of a Ray cluster; the lab's folder must be reachable under the same path on every node.

    Args:
        address: of a running cluster ("auto", "host:port", "ray://host:10001"); None starts one on this machine, unless
            Ray is already initialised in this process, whose cluster is then used.
        cpus: of a cluster started here; by default all that this process may use.

    Raises:
        MissingExtra: Ray is not installed.
    """

    def __init__(self, address: str | None = None, *, cpus: int | None = None) -> None:
        try:
            import ray
        except ImportError as error:
            raise MissingExtra("running births on Ray", "ray") from error
        self._ray: Any = ray
        self.address = address
        self.cpus = cpus
        self._run: Any = None
        self._running: dict[Any, tuple[Task, int]] = {}
        self._looked: tuple[float, int] = (float("-inf"), 1)

    @property
    def slots(self) -> int:
        self._start()
        now = time.monotonic()
        if now - self._looked[0] > LOOK:
            alive = [node for node in self._ray.nodes() if node["Alive"]]
            total = sum(node["Resources"].get("CPU", 0.0) for node in alive)
            self._looked = (now, max(1, int(total)))
        return self._looked[1]

    @property
    def ahead(self) -> int:
        return self.slots

    def _start(self) -> None:
        if self._run is not None and self._ray.is_initialized():
            return
        _clusters.join(self, self._initialise)
        # Tries are counted here, so that running out of memory counts like any other death.
        self._run = self._ray.remote(num_cpus=1, max_retries=0)(_run_there)

    def _initialise(self) -> bool:
        """Connect or start; whether there is something to shut down afterwards."""
        if self._ray.is_initialized():
            return False
        options: dict[str, Any] = {"address": self.address or "local", "log_to_driver": False}
        if self.address is None:
            options |= {
                "include_dashboard": False,
                "num_cpus": self.cpus or len(os.sched_getaffinity(0)),
                "object_store_memory": OBJECT_STORE,
            }
        try:
            with _variables(RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0"):
                self._ray.init(logging_level="ERROR", **options)
        except (ConnectionError, TimeoutError) as error:
            raise LabError(f"no Ray cluster answers at {self.address!r}: {error}") from error
        return True

    def submit(self, task: Task, attempt: int = 1) -> None:
        import cloudpickle

        self._start()
        package = cloudpickle.dumps(task)
        self._running[self._run.remote(package, str(task.root), heredity.__version__)] = (task, attempt)

    def wait(self, timeout: float | None = None) -> list[Finished]:
        if not self._running:
            return []
        ready, rest = self._ray.wait(list(self._running), num_returns=1, timeout=timeout)
        if ready and rest:
            ready += self._ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        finished: list[Finished] = []
        for reference in ready:
            task, attempt = self._running.pop(reference)
            try:
                finished.append((task, self._ray.get(reference)))
            except self._ray.exceptions.RayTaskError as error:  # the result itself could not travel
                finished.append((task, BirthFailed(f"birth {task.id} failed on Ray: {error}")))
            except self._ray.exceptions.RayError:
                if attempt < RETRIES:
                    self.submit(task, attempt + 1)
                else:
                    finished.append((task, worker_lost(task)))
        return finished

    def close(self, *, now: bool = False) -> None:
        if self._ray.is_initialized():
            for reference in self._running:
                with contextlib.suppress(Exception):  # it may have ended, or its node is gone
                    self._ray.cancel(reference, force=True)
        self._running.clear()
        self._run = None
        _clusters.leave(self, self._ray)


class _Clusters:
    """Who uses the cluster that this process started or joined, so that the last one to leave lets it go."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: set[int] = set()
        self._ours = False
        self._variables: set[str] = set()

    def join(self, user: Ray, initialise: Any) -> None:
        with self._lock:
            before = set(os.environ)
            if initialise():
                self._ours = True
                self._variables = set(os.environ) - before
            self._users.add(id(user))

    def leave(self, user: Ray, ray: Any) -> None:
        with self._lock:
            self._users.discard(id(user))
            if self._ours and not self._users:
                self._ours = False
                ray.shutdown()
                for name in self._variables:  # Ray sets some for its processes and leaves them behind
                    os.environ.pop(name, None)


_clusters = _Clusters()


@contextlib.contextmanager
def _variables(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: value for name, value in values.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def _run_there(package: bytes, root: str, version: str) -> Result | Exception:
    """The task on a worker; errors come back as values, since Ray would wrap them in classes of its own."""
    if heredity.__version__ != version:
        return LabError(f"{socket.gethostname()} has Heredity {heredity.__version__}, the driver {version}")
    if not (Path(root) / "births").is_dir():
        return LabError(f"{socket.gethostname()} does not see the lab at {root}; it must lie on a shared file system")
    import cloudpickle

    task: Task = cloudpickle.loads(package)
    try:
        return run_task(task)
    except Exception as error:
        return error
