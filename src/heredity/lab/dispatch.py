"""Births and evaluations on their way: what is asked as jobs, what is recorded recalled, the rest leased, given to an
executor and recorded as it ends. `heredity.lab.flow` drives them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from heredity.errors import LabError, UnknownModel
from heredity.evaluation.outcome import Ok, pack
from heredity.lab.architecture import base_of, is_adapter
from heredity.lab.births import birth_lines, environment_lines
from heredity.lab.canonical import digest, source_hash, trust_for
from heredity.lab.executors import Executor, Inline
from heredity.lab.flow import Flow
from heredity.lab.model import Model
from heredity.lab.operator import KINDS, Operator, Probe, Request
from heredity.lab.runner import Evaluation, ModelSpec, Result, Task

if TYPE_CHECKING:
    from heredity.lab.lab import Lab

Answer: TypeAlias = tuple[int, "Model | Exception"]  # the position of what was asked, and how it ended


@dataclass
class Job:
    """One distinct birth (or set of evaluations of a model) and the positions in the request list that want it.

    `seed` is that of the evaluations.
    """

    id: str
    key: str
    form: Mapping[str, Any]
    edges: list[tuple[str, Model]]
    request: Request | None
    model: Model | None = None
    positions: list[int] = field(default_factory=list)
    evaluations: tuple[Evaluation, ...] = ()
    attempts: int = 1
    seed: int = 0

    @property
    def token(self) -> str:
        """What has one result: the birth or model, evaluated with this seed."""
        return f"{self.id}@{self.seed}" if self.seed else self.id

    @property
    def lease(self) -> str:
        """What is leased: the birth, or for evaluations alone the first evaluation."""
        return self.id if self.model is None else f"{self.id}-{self.evaluations[0].key[:16]}"


class Dispatch:
    """One call of derive or measure.

    Args:
        lab: where to look and record.
        probes: evaluations wanted of each child or model.
        seed: the seed of the evaluations, where `births` or `evaluations` is given none.
    """

    def __init__(self, lab: Lab, probes: Sequence[Probe], seed: int = 0) -> None:
        self.lab = lab
        self.probes = list(probes)
        self.forms: dict[str, Mapping[str, Any]] = {}
        self.digests: dict[int, str] = {}
        for probe in self.probes:
            form = lab.form(probe)
            self.digests[id(probe)] = digest(form)
            self.forms[digest(form)] = form
        self.seed = seed

    def births(self, requests: Sequence[Request], first: int = 0, seed: int | None = None) -> list[Job]:
        """The distinct births behind the requests; their positions count from `first`.

        Raises:
            NotCanonical: an operator has a field without exact form.
            UnknownModel: a parent is not in the lab.
        """
        jobs: dict[str, Job] = {}
        forms: dict[int, Mapping[str, Any]] = {}
        for position, request in enumerate(requests, first):
            self._check(request, position)
            form = forms.get(id(request.operator))
            if form is None:
                form = forms[id(request.operator)] = self.lab.form(request.operator)
            places = ["parent", *["mate"] * len(request.parents)]
            edges = [(role, self._parent(parent)) for role, parent in zip(places, request.parents, strict=False)]
            edges += [(role, self._parent(parent)) for role, parent in sorted(request.roles.items())]
            key = self.lab.birth_key(form, edges, request.seed)
            job = jobs.setdefault(key, Job(key[:16], key, form, edges, request, seed=self._seed(seed)))
            job.positions.append(position)
        return list(jobs.values())

    def _check(self, request: Request, position: int) -> None:
        """Raise for what would fail only after the work was done."""
        if not isinstance(request.operator, Operator):
            raise TypeError(f"request {position} has {request.operator!r} where an Operator belongs")
        what = type(request.operator).__name__
        if request.operator.kind not in KINDS:
            raise LabError(f"{what}.kind is {request.operator.kind!r}; use one of {', '.join(KINDS)}")
        check_seed(request.seed, what)
        for role in request.roles:
            if role in ("parent", "mate"):
                raise LabError(f"{what}: the role {role!r} is for parents given by position; name another role")
        plain_labels(request.labels)
        if request.name is not None:
            self.lab.check_name(request.name)

    def _parent(self, reference: Model | str) -> Model:
        model = self.lab[reference]
        if model._lab is not self.lab:
            if model.id not in self.lab:
                raise UnknownModel(
                    f"model {model.id} was recorded in another lab; lab.add(model.load()) brings it here"
                )
            model = self.lab[model.id]
        return model

    def _seed(self, seed: int | None) -> int:
        seed = self.seed if seed is None else seed
        check_seed(seed, "measure")
        return seed

    def evaluations(self, models: Sequence[Model | str], first: int = 0, seed: int | None = None) -> list[Job]:
        """Evaluations of existing models; their positions count from `first`."""
        jobs: dict[str, Job] = {}
        for position, model in enumerate(map(self._parent, models), first):
            job = jobs.setdefault(model.id, Job(model.id, model.key, {}, [], None, model, seed=self._seed(seed)))
            job.positions.append(position)
        return list(jobs.values())

    def run(self, jobs: list[Job], choice: str | Executor | None) -> Iterator[Answer]:
        """Yield (position, model or error) as jobs end, recalled ones first."""
        with Flow(self, choice) as flow:
            for job in jobs:
                yield from flow.add(job)
            while flow.open:
                yield from flow.wait()

    def done(self, job: Job) -> bool:
        """Whether everything a job wants is recorded; sets the evaluations that are still to do."""
        record = job.model.record if job.model is not None else self.lab.index.birth(job.id)
        if record is not None and record["key"] != job.key:
            raise LabError(f"two births share the id {job.id}; their keys are {record['key']} and {job.key}")
        missing = []
        for probe in self.probes:
            key = self.lab.evaluation_key(self.digests[id(probe)], job.id, job.seed)
            known = self.lab.index.measurement(key)
            if known is None or (known.get("crashed") and self.lab.writable):
                missing.append(Evaluation(key, probe, job.seed))
        job.evaluations = tuple(missing)
        if record is not None and job.model is None:
            self._recalled(job, record)
        return record is not None and not missing

    def _recalled(self, job: Job, record: Mapping[str, Any]) -> None:
        assert job.request is not None
        job.model = Model(record, self.lab.blobs, self.lab)
        self.lab.warn_if_changed(job.request.operator, record)

    def start(self, job: Job, executor: Executor) -> bool:
        """Lease and submit a job that is not done; False when it is done already or somebody else holds it."""
        needs = [parent.id for _, parent in job.edges] + [base.id for base in self._bases(job)]
        lease = job.lease
        if not self.lab.leases.acquire(lease, needs):
            return False
        try:
            self.lab.index.refresh()
            if self.done(job):
                self.lab.leases.release(lease)
                return False
            if job.lease != lease:  # born meanwhile by somebody else, but not yet evaluated as we want
                self.lab.leases.release(lease)
                return self.start(job, executor)
            self.submit(job, executor)
        except BaseException:
            self.lab.leases.release(job.lease)
            raise
        return True

    def _bases(self, job: Job) -> Iterator[Model]:
        """Whole models that the adapters among a job's models sit on."""
        for model in [*(parent for _, parent in job.edges), *([job.model] if job.model is not None else [])]:
            base = base_of(model) if is_adapter(model) else None
            if base is not None:
                yield base

    def submit(self, job: Job, executor: Executor) -> None:
        """Provide what a job needs, and give it to an executor."""
        on_disk = not isinstance(executor, Inline)
        needed = [parent for _, parent in job.edges] + ([job.model] if job.model is not None else [])
        for model in {model.id: model for model in [*needed, *self._bases(job)]}.values():
            provide(self.lab, model, on_disk=on_disk)
        request = job.request if job.model is None else None
        trust = trust_for(*(model.architecture for model in needed))
        task = Task(
            root=self.lab.root,
            scratch=self.lab.root / "scratch",
            id=job.id,
            key=job.key,
            operator=request.operator if request else None,
            parents=tuple(spec_of(parent) for _, parent in job.edges) if request else (),
            roles=tuple(role for role, _ in job.edges) if request else (),
            seed=request.seed if request else job.seed,
            threads=self.lab.threads,
            trust=trust,
            source=source_hash(type(request.operator)) if request else None,
            keep=request.keep if request else True,
            evaluations=job.evaluations,
            model=spec_of(job.model) if job.model is not None else None,
        )
        executor.submit(task)

    def finish(self, job: Job, result: Result | Exception) -> list[Answer]:
        """Record what a task found, and give its lease back."""
        answer: Model | Exception
        try:
            if isinstance(result, Exception):
                answer = result
            else:
                self._record(job, result)
                answer = self.lab[job.id]
        finally:
            self.lab.leases.release(job.lease)
        if not isinstance(result, Exception):
            for name in [job.id, *(item.key[:16] for item in job.evaluations)]:
                remove_scratch(self.lab.root / "scratch" / name)
        return self.answers(job, answer)

    def _record(self, job: Job, result: Result) -> None:
        environment, records = environment_lines(self.lab, result.machine)
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
                labels=plain_labels(job.request.labels),
                spec=result.architecture,
                environment=environment,
                facts={**result.birth, **({"files": files} if files else {})},
            )
        for evaluation in job.evaluations:
            probe = self.digests[id(evaluation.probe)]
            form = self.forms[probe]
            # A probe may hold a whole task: its form is written once, measurements refer to it.
            if not self.lab.index.has_spec(probe) and not any(line.get("id") == probe for line in records):
                records.append({"t": "probe", "id": probe, "form": form})
            measured = result.measured[evaluation.key]
            outcome = measured.outcome
            ended = {"values": dict(outcome.values)} if isinstance(outcome, Ok) else {"failed": outcome.reason}
            records.append(
                {
                    "t": "measurement",
                    "key": evaluation.key,
                    "id": job.id,
                    "probe": {"type": form["type"], "version": form["version"], "id": probe},
                    "seed": evaluation.seed,
                    "wall": measured.wall,
                    "environment": environment,
                    **ended,
                    **({"right": pack(outcome.right)} if isinstance(outcome, Ok) and outcome.right else {}),
                    **({"crashed": True} if measured.crashed else {}),
                }
            )
        self.lab.append(*records)

    def answers(self, job: Job, answer: Model | Exception) -> list[Answer]:
        """The end of a job, for every position that wants it."""
        name = job.request.name if job.request is not None else None
        if isinstance(answer, Model) and name and self.lab.writable and name not in answer.names:
            self.lab.name(answer, name)
        return [(position, answer) for position in job.positions]


def provide(lab: Lab, model: Model, *, on_disk: bool) -> None:
    """Make sure that a worker will find a model's weights.

    Raises:
        WeightsMissing: they are not stored and cannot be rebuilt.
    """
    sha = model.weights_sha256
    if lab.blobs.has(sha) or (not on_disk and lab.blobs.at_hand(sha)):
        return
    if lab.blobs.at_hand(sha):
        lab.blobs.save(lab.blobs.load(sha), sha)
    else:
        lab.rebuild(model, store=on_disk)


def spec_of(model: Model) -> ModelSpec:
    """What a worker must know of a model."""
    base = base_of(model) if is_adapter(model) else None
    return ModelSpec(model.record, model.architecture, spec_of(base) if base is not None else None)


def check_seed(seed: Any, what: str) -> None:
    """Raise `LabError` unless a seed is a whole number from 0 to 2^63 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise LabError(f"{what}: the seed is {seed!r}; give a whole number from 0 to 2^63 - 1")


def plain_labels(labels: Mapping[str, Any]) -> dict[str, Any]:
    """Labels as JSON.

    Raises:
        LabError: one has no JSON form; the message names it.
    """
    plain = {}
    for name, value in labels.items():
        try:
            plain[name] = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise LabError(f"labels[{name!r}] is no plain JSON value: {error}") from error
    return plain


def remove_scratch(folder: Path) -> None:
    """Remove the checkpoints of work that is recorded."""
    # Most births have none: the look is cheap, and a worker of a killed driver may be removing or writing here too.
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
