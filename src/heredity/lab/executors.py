"""Executors: where tasks run. One interface, the same results: inline, local processes, Ray.

An executor takes tasks as slots are free and hands back results as they end, in any order. A task whose worker died is
run again, a few times, on a fresh one.
"""

from __future__ import annotations

import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
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

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Start a task; at most `slots` are in flight."""

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


def _start_worker() -> None:
    # Ctrl-C reaches the whole process group; the lab's process decides what happens, its workers wait for that.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(1)


class Processes(Executor):
    """Local worker processes (loky: they start without importing the caller's script, and their death is noticed).

    Args:
        workers: how many; by default one per core that this process may use.
    """

    def __init__(self, workers: int | None = None) -> None:
        import loky

        if workers is not None and workers < 1:
            raise LabError(f"executor: {workers} processes asked; give at least 1")
        self.workers = workers or loky.cpu_count()
        self._pool: Any = None
        self._running: dict[Future[Result], tuple[Task, int]] = {}

    @property
    def slots(self) -> int:
        return self.workers + 1  # one ready to start as soon as a worker is free

    def submit(self, task: Task, attempt: int = 1) -> None:
        import loky

        if self._pool is None:
            self._pool = loky.ProcessPoolExecutor(self.workers, initializer=_start_worker)
        self._running[self._pool.submit(run_task, task)] = (task, attempt)

    def wait(self, timeout: float | None = None) -> list[Finished]:
        done, _ = wait(list(self._running), timeout=timeout, return_when=FIRST_COMPLETED)
        finished: list[Finished] = []
        lost: list[tuple[Task, int]] = []
        for future in done:
            task, attempt = self._running.pop(future)
            error = future.exception()
            if error is None:
                finished.append((task, future.result()))
            elif _is_worker_death(error):
                lost.append((task, attempt))
            elif isinstance(error, Exception):
                finished.append((task, error))
            else:
                raise error
        if lost:
            lost.extend(self._running.values())
            self._abandon()
            for task, attempt in lost:
                if attempt < RETRIES:
                    self.submit(task, attempt + 1)
                else:
                    finished.append((task, WorkerLost(f"the worker died {RETRIES} times during birth {task.id}")))
        return finished

    def _abandon(self) -> None:
        self._running.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=False, kill_workers=True)
            self._pool = None

    def close(self, *, now: bool = False) -> None:
        if now:
            self._abandon()
        elif self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None


def _is_worker_death(error: BaseException) -> bool:
    from concurrent.futures.process import BrokenProcessPool

    return isinstance(error, BrokenProcessPool)


def executor_for(choice: str | Executor, blobs: BlobStore) -> Executor:
    """The executor that a name stands for: "inline", "processes", "processes:4", "ray", "ray:auto", "ray://host:10001".

    Raises:
        LabError: the name is unknown.
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
