"""Running one birth or evaluation, wherever it happens: the same code inline, in a process, on a Ray worker.

A task is plain data and needs no index. The runner fixes the number of compute threads, forks the global random
generators and seeds them, checks the result and stores its blob; recording it is the lab's business.
"""

from __future__ import annotations

import contextlib
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heredity.errors import BirthFailed, EvaluationFailed, NonFinite
from heredity.evaluation.outcome import Failed, Ok, outcome_of
from heredity.lab.architecture import describe, module_state
from heredity.lab.blobs import BlobStore, check_all_finite, split_aliases, weights_digest
from heredity.lab.canonical import source_hash
from heredity.lab.environment import environment
from heredity.lab.model import Model
from heredity.lab.operator import Child, Context, Operator, Parents, Probe

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ModelSpec:
    """What a worker must know of a model: its record, its architecture, and its base where it is an adapter."""

    record: Mapping[str, Any]
    architecture: Mapping[str, Any] | None
    base: ModelSpec | None = None

    def handle(self, blobs: BlobStore) -> Model:
        """A handle without a lab."""
        edges = [("base", self.base.handle(blobs))] if self.base is not None else []
        return Model(self.record, blobs, architecture=self.architecture, edges=edges)


@dataclass(frozen=True)
class Evaluation:
    """One probe to run, with the key its outcome is recorded under."""

    key: str
    probe: Probe
    seed: int = 0


@dataclass(frozen=True)
class Task:
    """A birth with evaluations of the child, or (operator None) evaluations of an existing model."""

    root: Path
    id: str
    key: str
    operator: Operator | None
    parents: tuple[ModelSpec, ...]
    roles: tuple[str, ...]
    seed: int
    threads: int
    keep: bool = True
    evaluations: tuple[Evaluation, ...] = ()
    model: ModelSpec | None = None


@dataclass(frozen=True)
class Measured:
    """How one evaluation ended; `crashed` when the probe raised, so that asking again tries again."""

    outcome: Ok | Failed
    crashed: bool
    wall: float


@dataclass(frozen=True)
class Result:
    """What a task found: the fields of a birth's record (None for evaluations only) and the outcomes by key."""

    birth: Mapping[str, Any] | None
    architecture: Mapping[str, Any] | None
    environment: Mapping[str, Any]
    measured: Mapping[str, Measured] = field(default_factory=dict)


@contextlib.contextmanager
def fixed_conditions(threads: int, seed: int) -> Iterator[None]:
    """A fixed number of compute threads, and global generators seeded inside and untouched outside."""
    import numpy
    import torch

    before = torch.get_num_threads()
    state, numpy_state = random.getstate(), numpy.random.get_state()  # noqa: NPY002 - guarded, not used
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        random.seed(seed)
        numpy.random.seed(seed % 2**32)  # noqa: NPY002
        if before != threads:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            if before != threads:
                torch.set_num_threads(before)
            random.setstate(state)
            numpy.random.set_state(numpy_state)  # noqa: NPY002


_stores: dict[Path, BlobStore] = {}


def run_task(
    task: Task, blobs: BlobStore | None = None, report: Callable[[float, float], None] | None = None
) -> Result:
    """Run a task to its end.

    Raises:
        BirthFailed: the operator raised, returned something unusable, or the child's weights are not finite.
    """
    if blobs is None:
        blobs = _stores.setdefault(task.root, BlobStore(task.root))
    birth = architecture = None
    if task.operator is not None:
        birth, architecture = _run_birth(task, blobs, report)
        child = ModelSpec({**birth, "id": task.id, "key": task.key}, architecture, _base_of(task)).handle(blobs)
    else:
        assert task.model is not None
        child = task.model.handle(blobs)
    measured = {item.key: _evaluate(item, child, task, blobs, report) for item in task.evaluations}
    return Result(birth, architecture, environment(), measured)


def _base_of(task: Task) -> ModelSpec | None:
    """The model that an adapter child sits on: the parent with the role base, or the primary parent's own base."""
    for spec, role in zip(task.parents, task.roles, strict=True):
        if role == "base":
            return spec
    return task.parents[0].base if task.parents else None


def _run_birth(
    task: Task, blobs: BlobStore, report: Callable[[float, float], None] | None
) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
    assert task.operator is not None
    what = type(task.operator).__name__
    parents = [spec.handle(blobs) for spec in task.parents]
    context = Context(task.seed, task.root / "scratch" / task.id, blobs, report)
    wall, cpu = time.perf_counter(), time.process_time()
    with fixed_conditions(task.threads, task.seed):
        try:
            offspring = task.operator.apply(Parents(parents, task.roles), context)
        except Exception as error:
            raise _failure(what, task, error) from error
        child, architecture, notes = _unpack(offspring, task, what)
        kept, aliases = split_aliases(child)
        try:
            check_all_finite(kept, f"the child of {what}")
        except NonFinite as error:
            raise _blame_parent(error, task, parents) from error
    if aliases and architecture is not None:
        architecture = {**architecture, "tied": aliases}
    sha = weights_digest(kept)
    if task.keep:
        blobs.save(kept, sha)
    else:
        blobs.remember({name: tensor.detach().clone() for name, tensor in kept.items()}, sha)
    record = {
        "weights": sha,
        "bytes": sum(tensor.numel() * tensor.element_size() for tensor in kept.values()),
        "wall": round(time.perf_counter() - wall, 6),
        "cpu": round(time.process_time() - cpu, 6),
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "threads": task.threads,
        "source": source_hash(type(task.operator)),
        "deterministic": task.operator.deterministic,
        "kept": task.keep,
        "notes": dict(notes),
    }
    return record, architecture


def _failure(what: str, task: Task, error: Exception) -> BirthFailed:
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
) -> tuple[Mapping[str, Tensor], Mapping[str, Any] | None, Mapping[str, Any]]:
    import torch

    inherited = task.parents[0].architecture if task.parents else None
    if isinstance(offspring, torch.nn.Module):
        return module_state(offspring), describe(offspring) or inherited, {}
    if isinstance(offspring, Child):
        return offspring.weights, offspring.architecture or inherited, offspring.notes
    if isinstance(offspring, Mapping) and all(isinstance(tensor, torch.Tensor) for tensor in offspring.values()):
        return offspring, inherited, {}
    raise BirthFailed(
        f"{what} returned {type(offspring).__name__} on birth {task.id}; return a module, a state dict or a Child"
    )


def _evaluate(
    evaluation: Evaluation, model: Model, task: Task, blobs: BlobStore, report: Callable[[float, float], None] | None
) -> Measured:
    context = Context(evaluation.seed, task.root / "scratch" / evaluation.key[:16], blobs, report)
    started = time.perf_counter()
    crashed = False
    outcome: Ok | Failed
    with fixed_conditions(task.threads, evaluation.seed):
        try:
            outcome = outcome_of(evaluation.probe.measure(model, context))
        except EvaluationFailed as error:
            outcome = Failed(str(error))
        except Exception as error:
            # A candidate that cannot be evaluated is a result of a search, not its end.
            outcome, crashed = Failed(f"{type(error).__name__}: {error}"), True
    return Measured(outcome, crashed, round(time.perf_counter() - started, 6))


def adopt(weights: Mapping[str, Tensor], blobs: BlobStore, owner: str) -> tuple[str, int, dict[str, str]]:
    """Check and store weights that come from outside; returns hash, size in bytes and aliases of shared tensors."""
    kept, aliases = split_aliases(weights)
    check_all_finite(kept, owner)
    sha = weights_digest(kept)
    blobs.save(kept, sha)
    return sha, sum(tensor.numel() * tensor.element_size() for tensor in kept.values()), aliases
