"""Jobs on their way through an executor: started as there is room, recorded as they end; more may join meanwhile."""

from __future__ import annotations

import time
import weakref
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Self

from heredity.errors import ReadOnlyLab
from heredity.lab.blobs import BlobGone
from heredity.lab.executors import Executor, Finished
from heredity.lab.runner import seconds_of

if TYPE_CHECKING:
    from heredity.lab.dispatch import Answer, Dispatch, Job

ATTEMPTS = 3  # tries at a birth whose parents' blobs vanish under it
POLL = 0.05  # seconds between looks at a birth that somebody else runs
SHORT = 2.0  # seconds; a worker waits for its next task a few milliseconds, which only short tasks notice

# Tasks that ended while another flow of the same executor was waiting: a loop over births may ask for more of them.
_strays: weakref.WeakKeyDictionary[Executor, dict[str, Finished]] = weakref.WeakKeyDictionary()


class Flow:
    """Some jobs of one dispatch; a context that gives back leases, and workers where it is left early.

    Args:
        dispatch: how jobs are recalled, started and recorded.
        choice: the executor, by default the lab's.
    """

    def __init__(self, dispatch: Dispatch, choice: str | Executor | None) -> None:
        self.dispatch, self.lab = dispatch, dispatch.lab
        self._choice = choice
        self._executor: Executor | None = None
        self._waiting: deque[Job] = deque()
        self._running: dict[str, Job] = {}  # by lease
        self._open: dict[tuple[str, int], Job] = {}  # by key and seed of evaluations: waiting or running
        self._blocked = False  # whether some wait for what somebody else runs
        self._ended = 0
        self._busy = 0.0
        self._began: float | None = None
        self._latest = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._running and self._executor is not None:
            self._executor.close(now=True)
        for lease in self._running:
            self.lab.leases.release(lease)

    @property
    def executor(self) -> Executor:
        """Where the jobs run; made when it is first needed."""
        if self._executor is None:
            self._executor = self.lab.executor(self._choice)
        return self._executor

    @property
    def open(self) -> int:
        """How many jobs have not ended."""
        return len(self._open)

    @property
    def idle(self) -> float | None:
        """The share of the workers' time, from the first start to the last end, in which they had nothing to do."""
        if self._began is None or self._latest <= self._began:
            return None
        return max(0.0, 1.0 - self._busy / (self.executor.slots * (self._latest - self._began)))

    def add(self, job: Job) -> list[Answer]:
        """Let a job join; what is recorded already is answered at once."""
        if self.dispatch.done(job):
            assert job.model is not None
            return self.dispatch.answers(job, job.model)
        same = self._open.setdefault((job.key, job.seed), job)
        if same is job:
            self._waiting.append(job)
        else:
            same.positions += job.positions
        return []

    def wait(self) -> list[Answer]:
        """Start what there is room for, and wait a while for something to end: what has ended.

        Raises:
            ReadOnlyLab: there is something to run, and the lab cannot be written.
        """
        if self._waiting and not self.lab.writable:
            job = self._waiting[0]
            what = "birth" if job.model is None else "evaluation of"
            raise ReadOnlyLab(f"the lab at {self.lab.path} is read-only and {what} {job.id} is not recorded")
        answers = self._fill()
        if answers:
            return answers
        if not self._running:
            if self._waiting:
                time.sleep(POLL)
                self.lab.index.refresh()
            return []
        for task, result in self._collect():
            job = self._running[task.lease]
            self._busy += seconds_of(result)
            self._latest = time.perf_counter()
            if isinstance(result, BlobGone) and job.attempts < ATTEMPTS:
                # somebody's gc dropped a parent between our look and the worker's: provide it again
                job.attempts += 1
                self.dispatch.submit(job, self.executor)
                continue
            del self._running[job.lease], self._open[job.key, job.seed]
            self._ended += 1
            answers += self.dispatch.finish(job, result)
        return answers

    def _fill(self) -> list[Answer]:
        """Start jobs while there is room; answers to those that somebody else has recorded meanwhile."""
        answers: list[Answer] = []
        blocked: deque[Job] = deque()
        while self._waiting and len(self._running) < self._room():
            job = self._waiting.popleft()
            if self._began is None:
                self._began = time.perf_counter()
            if self.dispatch.start(job, self.executor):
                self._running[job.lease] = job
            elif self.dispatch.done(job):
                assert job.model is not None
                del self._open[job.key, job.seed]
                answers += self.dispatch.answers(job, job.model)
            else:
                blocked.append(job)
        self._blocked = bool(blocked)
        self._waiting.extend(blocked)
        return answers

    def _room(self) -> int:
        """How many jobs may be with the executor. Long ones are not taken before a worker is free: others might."""
        short = self._ended > 0 and self._busy < SHORT * self._ended
        return self.executor.slots + (self.executor.ahead if short else 0)

    def _collect(self) -> list[Finished]:
        strays = _strays.setdefault(self.executor, {})
        if not any(lease in strays for lease in self._running):
            for task, result in self.executor.wait(POLL if self._blocked else None):
                strays[task.lease] = (task, result)
        return [strays.pop(lease) for lease in list(self._running) if lease in strays]
