"""Driving many births and evaluations: what is recorded is recalled, what somebody else runs is waited for, the rest is
leased, run by an executor, and recorded as it ends."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from heredity.errors import LabError, ReadOnlyLab, UnknownModel
from heredity.evaluation.outcome import Ok
from heredity.lab.births import birth_lines, environment_lines
from heredity.lab.executors import Executor, Inline
from heredity.lab.model import Model
from heredity.lab.operator import Operator, Probe, Request
from heredity.lab.runner import Evaluation, ModelSpec, Result, Task

if TYPE_CHECKING:
    from heredity.lab.lab import Lab

POLL = 0.05  # seconds between looks at a birth that somebody else runs


@dataclass
class Job:
    """One distinct birth (or set of evaluations of a model) and the positions in the request list that want it."""

    id: str
    key: str
    form: Mapping[str, Any]
    edges: list[tuple[str, Model]]
    request: Request | None
    model: Model | None = None
    positions: list[int] = field(default_factory=list)
    evaluations: tuple[Evaluation, ...] = ()

    @property
    def lease(self) -> str:
        """What is leased: the birth, or for evaluations alone the first evaluation."""
        return self.id if self.model is None else f"{self.id}-{self.evaluations[0].key[:16]}"


class Dispatch:
    """One call of derive or measure.

    Args:
        lab: where to look and record.
        probes: evaluations wanted of each child or model.
        seed: the seed of the evaluations.
    """

    def __init__(self, lab: Lab, probes: Sequence[Probe], seed: int = 0) -> None:
        self.lab = lab
        self.probes = [(probe, lab.form(probe)) for probe in probes]
        self.seed = seed

    def births(self, requests: Sequence[Request]) -> list[Job]:
        """The distinct births behind the requests.

        Raises:
            NotCanonical: an operator has a field without exact form.
            UnknownModel: a parent is not in the lab.
        """
        jobs: dict[str, Job] = {}
        forms: dict[int, Mapping[str, Any]] = {}
        for position, request in enumerate(requests):
            if not isinstance(request.operator, Operator):
                raise TypeError(f"request {position} has {request.operator!r} where an Operator belongs")
            form = forms.get(id(request.operator))
            if form is None:
                form = forms[id(request.operator)] = self.lab.form(request.operator)
            places = ["parent", *["mate"] * len(request.parents)]
            edges = [(role, self._parent(parent)) for role, parent in zip(places, request.parents, strict=False)]
            edges += [(role, self._parent(parent)) for role, parent in sorted(request.roles.items())]
            key = self.lab.birth_key(form, edges, request.seed)
            job = jobs.setdefault(key, Job(key[:16], key, form, edges, request))
            job.positions.append(position)
        return list(jobs.values())

    def _parent(self, reference: Model | str) -> Model:
        model = self.lab[reference]
        if model._lab is not self.lab and model.id not in self.lab:
            raise UnknownModel(f"parent {model.id} was recorded in another lab; lab.add(model.load()) brings it here")
        return model

    def evaluations(self, models: Sequence[Model]) -> list[Job]:
        """Evaluations of existing models."""
        jobs: dict[str, Job] = {}
        for position, model in enumerate(models):
            job = jobs.setdefault(model.id, Job(model.id, model.key, {}, [], None, model))
            job.positions.append(position)
        return list(jobs.values())

    def run(self, jobs: list[Job], choice: str | Executor | None) -> Iterator[tuple[int, Model | Exception]]:
        """Yield (position, model or error) as jobs end."""
        waiting: deque[Job] = deque()
        for job in jobs:
            if self._done(job):
                yield from self._answer(job, self.lab[job.id])
            else:
                waiting.append(job)
        if waiting:
            if not self.lab.writable:
                what = "birth" if waiting[0].model is None else "evaluation of"
                raise ReadOnlyLab(f"the lab at {self.lab.path} is read-only and {what} {waiting[0].id} is not recorded")
            yield from self._run_waiting(waiting, choice)

    def _run_waiting(
        self, waiting: deque[Job], choice: str | Executor | None
    ) -> Iterator[tuple[int, Model | Exception]]:
        executor, own = self.lab.executor(choice)
        running: dict[str, Job] = {}
        finished = False
        try:
            while waiting or running:
                blocked: deque[Job] = deque()
                while waiting and len(running) < executor.slots:
                    job = waiting.popleft()
                    if self._start(job, executor):
                        running[job.lease] = job
                    elif self._done(job):
                        yield from self._answer(job, self.lab[job.id])
                    else:
                        blocked.append(job)
                waiting.extend(blocked)
                if not running:
                    if waiting:
                        time.sleep(POLL)
                        self.lab.index.refresh()
                    continue
                for task, result in executor.wait(POLL if blocked else None):
                    job = running.pop(_lease(task))
                    yield from self._finish(job, result)
            finished = True
        finally:
            if own or not finished:
                executor.close(now=not finished)
            for job in running.values():
                self.lab.leases.release(job.lease)

    def _done(self, job: Job) -> bool:
        """Whether everything a job wants is recorded; sets the evaluations that are still to do."""
        record = job.model.record if job.model is not None else self.lab.index.birth(job.id)
        if record is not None and record["key"] != job.key:
            raise LabError(f"two births share the id {job.id}; their keys are {record['key']} and {job.key}")
        missing = []
        for probe, form in self.probes:
            key = self.lab.evaluation_key(form, job.id, self.seed)
            known = self.lab.index.measurement(key)
            if known is None or known.get("crashed"):
                missing.append(Evaluation(key, probe, self.seed))
        job.evaluations = tuple(missing)
        if record is not None and job.model is None:
            self._recalled(job, record)
        return record is not None and not missing

    def _recalled(self, job: Job, record: Mapping[str, Any]) -> None:
        assert job.request is not None
        job.model = Model(record, self.lab.blobs, self.lab)
        self.lab.warn_if_changed(job.request.operator, record)

    def _start(self, job: Job, executor: Executor) -> bool:
        """Lease and submit a job; False when it is done already or somebody else holds it."""
        needs = [parent.id for _, parent in job.edges] + ([job.id] if job.model is not None else [])
        lease = job.lease
        if not self.lab.leases.acquire(lease, needs):
            return False
        try:
            self.lab.index.refresh()
            if self._done(job):
                self.lab.leases.release(lease)
                return False
            if job.lease != lease:  # born meanwhile by somebody else, but not yet evaluated as we want
                self.lab.leases.release(lease)
                return self._start(job, executor)
            executor.submit(self._task(job, on_disk=not isinstance(executor, Inline)))
        except BaseException:
            self.lab.leases.release(job.lease)
            raise
        return True

    def _task(self, job: Job, *, on_disk: bool) -> Task:
        needed = [parent for _, parent in job.edges] + ([job.model] if job.model is not None else [])
        for model in needed:
            self._provide(model, on_disk=on_disk)
        request = job.request if job.model is None else None
        return Task(
            root=self.lab.path.resolve(),
            id=job.id,
            key=job.key,
            operator=request.operator if request else None,
            parents=tuple(self.spec(parent) for _, parent in job.edges),
            roles=tuple(role for role, _ in job.edges),
            seed=request.seed if request else self.seed,
            threads=self.lab.threads,
            keep=request.keep if request else True,
            evaluations=job.evaluations,
            model=self.spec(job.model) if job.model is not None else None,
        )

    def _provide(self, model: Model, *, on_disk: bool) -> None:
        """Make sure that a worker will find a model's weights, and those of the base it sits on."""
        sha = model.weights_sha256
        if not (self.lab.blobs.has(sha) if on_disk else self.lab.blobs.at_hand(sha)):
            self.lab.rebuild(model, store=on_disk)
        for role, parent in model.edges if _is_adapter(model) else ():
            if role == "base":
                self._provide(parent, on_disk=on_disk)

    def spec(self, model: Model) -> ModelSpec:
        """What a worker must know of a model."""
        base = None
        if _is_adapter(model):
            parent = next((parent for role, parent in model.edges if role == "base"), None)
            base = self.spec(parent) if parent is not None else None
        return ModelSpec(model.record, model.architecture, base)

    def _finish(self, job: Job, result: Result | Exception) -> Iterator[tuple[int, Model | Exception]]:
        try:
            if isinstance(result, Exception):
                answer: Model | Exception = result
            else:
                self._record(job, result)
                answer = self.lab[job.id]
        finally:
            self.lab.leases.release(job.lease)
            if not isinstance(result, Exception):
                for name in [job.id, *(item.key[:16] for item in job.evaluations)]:
                    _remove_scratch(self.lab, name)
        yield from self._answer(job, answer)

    def _record(self, job: Job, result: Result) -> None:
        environment, records = environment_lines(self.lab, result.environment)
        if result.birth is not None:
            assert job.request is not None
            files = job.edges[0][1].record.get("files") if job.edges else None
            records += birth_lines(
                self.lab,
                key=job.key,
                kind=job.request.operator.kind,
                form=job.form,
                edges=job.edges,
                seed=job.request.seed,
                labels=job.request.labels,
                spec=result.architecture,
                environment=environment,
                facts={**result.birth, **({"files": files} if files else {})},
            )
        forms = {id(probe): form for probe, form in self.probes}
        for evaluation in job.evaluations:
            measured = result.measured[evaluation.key]
            outcome = measured.outcome
            ended = {"values": dict(outcome.values)} if isinstance(outcome, Ok) else {"failed": outcome.reason}
            records.append(
                {
                    "t": "measurement",
                    "key": evaluation.key,
                    "id": job.id,
                    "probe": forms[id(evaluation.probe)],
                    "seed": evaluation.seed,
                    "wall": measured.wall,
                    "environment": environment,
                    **ended,
                    **({"crashed": True} if measured.crashed else {}),
                }
            )
        self.lab.append(*records)

    def _answer(self, job: Job, answer: Model | Exception) -> Iterator[tuple[int, Model | Exception]]:
        name = job.request.name if job.request is not None else None
        if isinstance(answer, Model) and name and self.lab.writable and name not in answer.names:
            self.lab.name(answer, name)
        for position in job.positions:
            yield position, answer


def _lease(task: Task) -> str:
    return task.id if task.operator is not None else f"{task.id}-{task.evaluations[0].key[:16]}"


def _is_adapter(model: Model) -> bool:
    return (model.architecture or {}).get("kind") == "peft"


def _remove_scratch(lab: Lab, name: str) -> None:
    folder = lab.path / "scratch" / name
    if folder.exists():
        shutil.rmtree(folder)
