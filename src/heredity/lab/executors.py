"""Executors: where tasks run. One interface, the same results: inline, local processes, Ray.

An executor takes tasks as slots are free and hands back results as they end, in any order. A task whose worker died is
run again, a few times, on a fresh one. An executor that was closed starts anew when it is given a task.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

from heredity.errors import LabError, WorkerLost
from heredity.lab.blobs import BlobStore
from heredity.lab.runner import Result, Task, run_task

Finished: TypeAlias = tuple[Task, "Result | Exception"]
RETRIES = 3


class Executor(ABC):
    """Runs tasks. Used by one lab, from one thread."""

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many tasks may be in flight."""

    @property
    def ahead(self) -> int:
        """How many more tasks it takes, to give each worker its next one without asking anybody."""
        return 0

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Take a task; at most `slots` + `ahead` are in flight."""

    @abstractmethod
    def wait(self, timeout: float | None = None) -> list[Finished]:
        """Tasks that ended since the last call; waits for at least one when `timeout` is None."""

    @abstractmethod
    def close(self, *, now: bool = False) -> None:
        """Give workers back; `now` abandons what is in flight."""


class Inline(Executor):
    """In this process, one after another."""

    def __init__(self, blobs: BlobStore | None = None, report: Callable[[float, float], None] | None = None) -> None:
        self._blobs = blobs
        self._report = report
        self._finished: list[Finished] = []

    @property
    def slots(self) -> int:
        return 1

    def submit(self, task: Task) -> None:
        try:
            self._finished.append((task, run_task(task, self._blobs, self._report)))
        except Exception as error:
            self._finished.append((task, error))

    def wait(self, timeout: float | None = None) -> list[Finished]:
        finished, self._finished = self._finished, []
        return finished

    def close(self, *, now: bool = False) -> None:
        self._finished.clear()


def start_worker(driver: int | None) -> None:
    """Prepare a worker process: one compute thread, deaf to Ctrl-C, gone when its driver is gone.

    Args:
        driver: the process that started it; None where something else (Ray) looks after workers.
    """
    # Ctrl-C reaches the whole process group; the lab's process decides what happens, its workers wait for that.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if driver is not None:
        threading.Thread(target=_leave_with, args=(driver,), name="heredity-driver", daemon=True).start()
    import torch

    torch.set_num_threads(1)


def _leave_with(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(0.25)
    os._exit(1)  # killed drivers close nothing; nobody waits for what this worker does


# What a worker's numerical libraries read when they are loaded.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")


class Processes(Executor):
    """Local worker processes (loky: they start without importing the caller's script, and their death is noticed).

    Every worker is a pool of its own, so that a death concerns one task, the one that runs there. A worker that is free
    takes the next task of the backlog at once, whatever the lab's process is doing.

    Args:
        workers: how many; by default one per core that this process may use.
    """

    def __init__(self, workers: int | None = None) -> None:
        import loky

        if workers is not None and workers < 1:
            raise LabError(f"executor: {workers} processes asked; give at least 1")
        self.workers = workers or loky.cpu_count()
        self._idle: list[Any] = []
        self._backlog: deque[tuple[Task, int]] = deque()
        self._running: dict[Future[Result], tuple[Task, int, Any]] = {}
        self._ended: SimpleQueue[Future[Result]] = SimpleQueue()
        self._lock = threading.RLock()  # pools call back from threads of their own

    @property
    def slots(self) -> int:
        return self.workers

    @property
    def ahead(self) -> int:
        return self.workers

    def submit(self, task: Task, attempt: int = 1) -> None:
        with self._lock:
            self._backlog.append((task, attempt))
            self._start()

    def _start(self) -> None:
        """Give tasks to workers that have none, starting those that are missing."""
        import loky

        while self._backlog and (self._idle or self._busy < self.workers):
            pool = self._idle.pop() if self._idle else None
            if pool is None:
                pool = loky.ProcessPoolExecutor(1, initializer=start_worker, initargs=(os.getpid(),), env=ONE_THREAD)
            task, attempt = self._backlog.popleft()
            future = pool.submit(run_task, task)
            self._running[future] = (task, attempt, pool)
            future.add_done_callback(self._done)

    @property
    def _busy(self) -> int:
        return sum(not future.done() for future in self._running)

    def _done(self, future: Future[Result]) -> None:
        with self._lock:
            if future not in self._running:  # closed meanwhile
                return
            error = future.exception()
            if error is None or not _is_worker_death(error):
                self._idle.append(self._running[future][2])
                self._start()
        self._ended.put(future)

    def wait(self, timeout: float | None = None) -> list[Finished]:
        if not self._running:
            return []
        finished: list[Finished] = []
        try:
            future = self._ended.get(timeout=timeout)
            while True:
                finished += self._outcome(future)
                future = self._ended.get_nowait()
        except Empty:
            return finished

    def _outcome(self, future: Future[Result]) -> list[Finished]:
        """How a task ended; nothing when it is run again, or was given up."""
        with self._lock:
            if future not in self._running:
                return []
            task, attempt, pool = self._running.pop(future)
        error = future.exception()
        if error is not None and _is_worker_death(error):
            pool.shutdown(wait=False, kill_workers=True)
            if attempt < RETRIES:
                self.submit(task, attempt + 1)
                return []
            with self._lock:
                self._start()  # the place of the lost worker is free
            return [(task, worker_lost(task))]
        if error is None:
            return [(task, future.result())]
        if not isinstance(error, Exception):
            raise error
        return [(task, error)]

    def close(self, *, now: bool = False) -> None:
        with self._lock:
            pools = {
                id(pool): pool for pool in [*self._idle, *(running[2] for running in self._running.values())]
            }.values()
            self._idle.clear()
            self._backlog.clear()
            self._running.clear()
        for pool in pools:
            pool.shutdown(wait=False, kill_workers=True)
        for pool in [] if now else pools:
            pool.shutdown(wait=True)


def worker_lost(task: Task) -> WorkerLost:
    """The end of a task that loses every worker it is given."""
    return WorkerLost(f"the worker died {RETRIES} times during birth {task.id}; is there enough memory?")


def _is_worker_death(error: BaseException) -> bool:
    from concurrent.futures.process import BrokenProcessPool

    return isinstance(error, BrokenProcessPool)


def executor_for(choice: str | Executor, blobs: BlobStore) -> Executor:
    """The executor that a name stands for: "inline", "processes", "processes:4", "ray", "ray:auto", "ray://host:10001".

    Raises:
        LabError: the name is unknown.
        MissingExtra: Ray is not installed.
    """
    if isinstance(choice, Executor):
        return choice
    name, _, argument = choice.partition(":")
    if name == "inline" and not argument:
        return Inline(blobs)
    if name == "processes" and (not argument or argument.isdecimal()):
        return Processes(int(argument) if argument else None)
    if name == "ray":
        from heredity.lab.ray_executor import Ray

        return Ray(choice if argument.startswith("//") else argument or None)
    raise LabError(f"unknown executor {choice!r}; use inline, processes, processes:N, ray or ray:ADDRESS")
