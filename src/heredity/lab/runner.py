"""Running one birth or evaluation, wherever it happens: the same code inline, in a process, on a Ray worker.

A task is plain data and needs no index. The runner fixes the number of compute threads, forks the global random
generators and seeds them, checks the result and stores its blob; recording it is the lab's business.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heredity.errors import BirthFailed, EvaluationFailed, LabError, NonFinite
from heredity.evaluation.outcome import Failed, Ok, outcome_of
from heredity.lab.architecture import describe, module_state
from heredity.lab.blobs import (
    BlobGone,
    BlobStore,
    check_all_finite,
    check_tensors,
    drop_tied,
    nbytes,
    split_aliases,
    weights_digest,
)
from heredity.lab.canonical import Trust, dumps, source_hash
from heredity.lab.conditions import fixed_conditions
from heredity.lab.environment import machine
from heredity.lab.model import Model
from heredity.lab.operator import Child, Context, Operator, Parents, Probe

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class ModelSpec:
    """What a worker must know of a model: its record, its architecture, and its base where it is an adapter."""

    record: Mapping[str, Any]
    architecture: Mapping[str, Any] | None
    base: ModelSpec | None = None

    @property
    def is_adapter(self) -> bool:
        """Whether the weights make sense on the base alone."""
        return (self.architecture or {}).get("kind") == "peft"

    def handle(self, blobs: BlobStore, handed: list[tuple[Tensor, int, str]] | None = None) -> Model:
        """A handle without a lab; tensors that it gives out are noted in `handed`."""
        edges = [("base", self.base.handle(blobs, handed))] if self.base is not None else []
        model = Model(self.record, blobs, architecture=self.architecture, edges=edges)
        return model.watched(handed) if handed is not None else model


@dataclass(frozen=True)
class Evaluation:
    """One probe to run, with the key its outcome is recorded under."""

    key: str
    probe: Probe
    seed: int = 0


@dataclass(frozen=True)
class Task:
    """A birth with evaluations of the child, or (operator None) evaluations of an existing model.

    Args:
        root: the lab's folder.
        scratch: where checkpoints lie.
        trust: code that records may name.
        source: hash of the operator's source, known where it was written.
    """

    root: Path
    scratch: Path
    id: str
    key: str
    operator: Operator | None
    parents: tuple[ModelSpec, ...]
    roles: tuple[str, ...]
    seed: int
    threads: int
    trust: Trust
    source: str | None = None
    keep: bool = True
    evaluations: tuple[Evaluation, ...] = ()
    model: ModelSpec | None = None

    @property
    def lease(self) -> str:
        """The name of the lease it runs under."""
        return self.id if self.operator is not None else f"{self.id}-{self.evaluations[0].key[:16]}"


@dataclass(frozen=True)
class Measured:
    """How one evaluation ended; `crashed` when the probe raised, so that asking again tries again."""

    outcome: Ok | Failed
    crashed: bool
    wall: float


@dataclass(frozen=True)
class Result:
    """What a task found: the fields of a birth's record (None for evaluations only), the outcomes by key, and how many
    seconds of a worker it took."""

    birth: Mapping[str, Any] | None
    architecture: Mapping[str, Any] | None
    machine: Mapping[str, Any]
    measured: Mapping[str, Measured] = field(default_factory=dict)
    seconds: float = 0.0


_stores: dict[Path, BlobStore] = {}


def run_task(
    task: Task, blobs: BlobStore | None = None, report: Callable[[float, float], None] | None = None
) -> Result:
    """Run a task to its end.

    Raises:
        BirthFailed: the operator raised, returned something unusable, or the child's weights are not finite.
        BlobGone: a parent's weights were dropped since the task was made.
    """
    begun = time.perf_counter()
    try:
        return replace(_run(task, blobs, report), seconds=time.perf_counter() - begun)
    except Exception as error:
        vars(error)["seconds"] = time.perf_counter() - begun  # travels with it; see `seconds_of`
        raise


def seconds_of(result: Result | Exception) -> float:
    """Of a worker, that a task took; 0 where its worker was lost."""
    return float(result.seconds if isinstance(result, Result) else vars(result).get("seconds", 0.0))


def _run(task: Task, blobs: BlobStore | None, report: Callable[[float, float], None] | None) -> Result:
    if blobs is None:  # in a worker
        task.trust.take_over()
        blobs = _stores.setdefault(task.root, BlobStore(task.root))
    birth = architecture = None
    if task.operator is not None:
        birth, architecture = _run_birth(task, blobs, report)
        child = ModelSpec({**birth, "id": task.id, "key": task.key}, architecture, _base_of(task)).handle(blobs)
    else:
        assert task.model is not None
        child = task.model.handle(blobs)
    measured = {item.key: _evaluate(item, child, task, blobs, report) for item in task.evaluations}
    return Result(birth, architecture, machine(), measured)


def _base_of(task: Task) -> ModelSpec | None:
    """What an adapter child sits on: the parent with the role base, or what the primary parent sits on."""
    primary = task.parents[0] if task.parents else None
    base = next((spec for spec, role in zip(task.parents, task.roles, strict=True) if role == "base"), primary)
    while base is not None and base.is_adapter:
        base = base.base
    return base


def _run_birth(
    task: Task, blobs: BlobStore, report: Callable[[float, float], None] | None
) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
    assert task.operator is not None
    what = type(task.operator).__name__
    handed: list[tuple[Tensor, int, str]] = []
    parents = [spec.handle(blobs, handed) for spec in task.parents]
    context = Context(task.seed, task.scratch / task.id, blobs, report, source=task.source)
    wall, cpu = time.perf_counter(), time.process_time()
    with fixed_conditions(task.threads, task.seed):
        try:
            offspring = task.operator.apply(Parents(parents, task.roles), context)
        except BlobGone:
            raise
        except (Exception, SystemExit) as error:
            raise _failure(what, task, error) from error
        changed = written_to(handed, blobs, parents)
        if changed:
            raise BirthFailed(f"{what} changed its parent {changed} in place on birth {task.id}; clone tensors first")
        kept, architecture, notes = _unpack(offspring, task, what)
        try:
            check_all_finite(kept, f"the child of {what}")
        except NonFinite as error:
            raise _blame_parent(error, task, parents) from error
    sha = weights_digest(kept)
    if task.keep:
        blobs.save(kept, sha)
    else:
        blobs.remember({name: tensor.detach().clone() for name, tensor in kept.items()}, sha)
    record = {
        "weights": sha,
        "bytes": nbytes(kept),
        "wall": round(time.perf_counter() - wall, 6),
        "cpu": round(time.process_time() - cpu, 6),
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "threads": task.threads,
        "source": task.source,
        "deterministic": task.operator.deterministic,
        "kept": task.keep,
        "notes": notes,
    }
    return record, architecture


def written_to(handed: list[tuple[Tensor, int, str]], blobs: BlobStore, models: Sequence[Model]) -> str | None:
    """The first of the tensors handed out that was written to; then nothing cached of those models is trusted."""
    changed = next((where for tensor, version, where in handed if tensor._version != version), None)
    if changed is not None:
        for model in models:
            blobs.forget(model.weights_sha256)
    return changed


def _failure(what: str, task: Task, error: BaseException) -> BirthFailed:
    failure = BirthFailed(f"{what} failed on birth {task.id}: {type(error).__name__}: {error}")
    failure.add_note(f"parents: {', '.join(spec.record['id'] for spec in task.parents) or 'none'}; seed {task.seed}")
    return failure


def _blame_parent(error: NonFinite, task: Task, parents: Sequence[Model]) -> BirthFailed:
    """Say whether the NaN came in with a parent or was made here."""
    for parent in parents:
        try:
            check_all_finite(parent.weights(), f"parent {parent.id}")
        except NonFinite as inherited:
            return BirthFailed(f"{type(task.operator).__name__} failed on birth {task.id}: {inherited}")
    return BirthFailed(f"birth {task.id}: {error}")


def _unpack(
    offspring: Any, task: Task, what: str
) -> tuple[Mapping[str, Tensor], Mapping[str, Any] | None, dict[str, Any]]:
    """The tensors to keep, how to build the module, and the operator's notes."""
    import torch

    inherited = task.parents[0].architecture if task.parents else None
    owner = f"the child of {what}"
    if isinstance(offspring, torch.nn.Module):
        kept, spec = unpack_module(offspring, owner)
        return kept, spec or inherited, {}
    weights, notes = offspring, {}
    spec = inherited
    if isinstance(offspring, Child):
        weights, spec, notes = offspring.weights, offspring.architecture or inherited, dict(offspring.notes)
    if not isinstance(weights, Mapping):
        raise BirthFailed(
            f"{what} returned {type(offspring).__name__} on birth {task.id}; return a module, a state dict or a Child"
        )
    if not weights:
        raise BirthFailed(f"{what} returned no tensors on birth {task.id}")
    try:
        check_tensors(weights, owner)
        dumps([spec, notes])
    except (LabError, TypeError, ValueError) as error:
        raise BirthFailed(f"birth {task.id}: {error}; notes and architecture are JSON values without NaN") from error
    return drop_tied(weights, (spec or {}).get("tied", {})), spec, notes


def unpack_module(module: nn.Module, owner: str) -> tuple[Mapping[str, Tensor], Mapping[str, Any] | None]:
    """The tensors to keep of a module, and how to build it.

    Raises:
        LabError: its state holds something else than dense tensors.
    """
    state, spec = module_state(module), describe(module)
    check_tensors(state, owner)
    if spec is None:
        return state, None  # nothing would say which names share a tensor: all are kept
    kept, aliases = split_aliases(state)
    return kept, {**spec, "tied": aliases} if aliases else spec


def _evaluate(
    evaluation: Evaluation, model: Model, task: Task, blobs: BlobStore, report: Callable[[float, float], None] | None
) -> Measured:
    context = Context(
        evaluation.seed,
        task.scratch / evaluation.key[:16],
        blobs,
        report,
        source=source_hash(type(evaluation.probe)),
    )
    handed: list[tuple[Tensor, int, str]] = []
    started = time.perf_counter()
    crashed = False
    outcome: Ok | Failed
    with fixed_conditions(task.threads, evaluation.seed):
        try:
            outcome = outcome_of(evaluation.probe.measure(model.watched(handed), context))
        except EvaluationFailed as error:
            outcome = Failed(str(error))
        except BlobGone:
            raise
        except (Exception, SystemExit) as error:
            # A candidate that cannot be evaluated is a result of a search, not its end.
            outcome, crashed = Failed(f"{type(error).__name__}: {error}"), True
    changed = written_to(handed, blobs, [model])
    if changed:
        outcome, crashed = Failed(f"the probe changed the model {changed} in place; clone tensors first"), True
    return Measured(outcome, crashed, round(time.perf_counter() - started, 6))
