"""Merge checkpoints on disk into a checkpoint on disk, tensor by tensor, in bounded memory.

A merge is a list of `TensorJob`s. Worker threads take them in the order of names, each reading its inputs, merging with
one torch thread and writing the result to its final place, so that reading, arithmetic and writing overlap, and the
bits of the result do not depend on the number of workers. A gate keeps the inputs and outputs in flight under
`memory` bytes, or 1.5 times what the largest tensor needs. Sums of float32 and bfloat16 tensors are made by numpy, with
the same bits as by torch, which then need not be loaded.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from heredity.errors import MergeError, NonFinite
from heredity.merging import array_sums, linear
from heredity.merging.base import check_finite
from heredity.merging.checkpoint import Checkpoint
from heredity.merging.checkpoint_writer import CheckpointWriter, fresh_folder
from heredity.merging.dtype_names import item_size, torch_dtype
from heredity.merging.methods import TensorMethod, TensorParams
from heredity.merging.parent_hashes import ParentHashes

if TYPE_CHECKING:
    from torch import Tensor

MEMORY = 300 << 20
_KEPT_BUFFER = 16 << 20  # larger read buffers are given back to the system after use
_BLOCK = 8 << 20  # bytes of output after which a tensor is divided, where the method works entry by entry
_ENTRY_BY_ENTRY = (linear.Linear, linear.Passthrough)
_LOADING = threading.Lock()


class Weights(Protocol):
    """Where a job's tensors are read from: a `Checkpoint`, or one seen through an adapter."""

    def read(self, name: str, *, raw: NDArray[np.uint8] | None = None) -> Tensor:
        """Read one tensor, into `raw` where possible."""


@dataclass(frozen=True, slots=True)
class Read:
    """One input of a job: a tensor of some weights, and what to call the model in messages."""

    weights: Weights
    name: str
    model: str


@dataclass(frozen=True, slots=True)
class TensorJob:
    """How one tensor of the output is made.

    Attributes:
        name: its name in the output.
        shape: its shape in the output.
        inputs: one per model.
        method: how to merge them; None copies the only input.
        params: resolved numbers of the method.
        base: the tensor of the common ancestor.
        dtype: floating inputs are converted to it (torch's name of a type) before they are merged.
        out_dtype: a floating result is converted to it.
        prepare: changes the inputs (base last) before they are merged, such as to another vocabulary.
        input_bytes: bytes that the inputs take as they are merged.
        rows: the half-open range of the first axis that this job makes; None for all.
    """

    name: str
    shape: tuple[int, ...]
    inputs: tuple[Read, ...]
    method: TensorMethod | None
    dtype: str
    out_dtype: str
    input_bytes: int
    params: TensorParams = field(default_factory=TensorParams)
    base: Read | None = None
    prepare: Callable[[list[Tensor]], list[Tensor]] | None = None
    rows: tuple[int, int] | None = None

    @property
    def reads(self) -> tuple[Read, ...]:
        """All inputs, base last."""
        return (*self.inputs, self.base) if self.base else self.inputs

    @property
    def out_bytes(self) -> int:
        """Bytes of the result."""
        size = prod(self.shape) * item_size(self.out_dtype)
        return size if self.rows is None else size // self.shape[0] * (self.rows[1] - self.rows[0])

    def parts(self) -> list[TensorJob]:
        """The job itself, or jobs for successive rows of a large tensor whose entries do not depend on one another."""
        apart = self.method is None or isinstance(self.method, _ENTRY_BY_ENTRY)
        plain = all(isinstance(read.weights, Checkpoint) for read in self.reads)
        if self.out_bytes <= _BLOCK or not apart or not plain or self.prepare or not self.shape:
            return [self]
        count = self.shape[0]
        step = max(1, _BLOCK * count // self.out_bytes)
        spans = [(start, min(start + step, count)) for start in range(0, count, step)]
        return [replace(self, rows=span, input_bytes=self.input_bytes // count * (span[1] - span[0])) for span in spans]

    @property
    def sums(self) -> bool:
        """Whether the job is a sum that numpy makes."""
        plain = self.method is None or isinstance(self.method, _ENTRY_BY_ENTRY)
        if not plain or self.prepare or self.base or not self.dtype == self.out_dtype in array_sums.DTYPES:
            return False
        return all(
            isinstance(read.weights, Checkpoint) and read.weights.entries[read.name].dtype_name == self.dtype
            for read in self.inputs
        )

    def run_into(self, writer: CheckpointWriter, seed: int, buffers: dict[int, NDArray[np.uint8]]) -> None:
        """Read, merge, convert and write. `buffers` are this thread's own read buffers, by input."""
        row = self.rows[0] if self.rows else 0
        if self.sums and (done := self._sum(buffers)) is not None:
            writer.write_bytes(self.name, done.data, row=row)
            return
        with _LOADING:  # where torch is still to be loaded, only one thread may begin to
            torch.get_num_threads()
        writer.write(self.name, self.run(seed, buffers), row=row)

    def _sum(self, buffers: dict[int, NDArray[np.uint8]]) -> NDArray[np.uint8] | None:
        """The bytes of the result, by numpy; None where something is not finite, which torch will then name."""
        inputs = []
        for i, read in enumerate(self.inputs):
            assert isinstance(read.weights, Checkpoint)
            inputs.append(read.weights.read_bytes(read.name, rows=self.rows, raw=buffers.get(i)))
        method, first = self.method, inputs[0]
        if isinstance(method, _ENTRY_BY_ENTRY):
            method.check(self.name, self.params, len(inputs), has_base=False)
            if not (method.keeps_equal(self.params, len(inputs)) and array_sums.equal(inputs, self.dtype)):
                weights, whole = method.terms(self.name, self.params, len(inputs))
                out = np.empty(len(first), np.uint8)
                return out if array_sums.weighted_sum(inputs, self.dtype, weights, whole, out) else None
        return first if array_sums.all_finite(first, self.dtype) else None

    def run(self, seed: int, buffers: dict[int, NDArray[np.uint8]]) -> Tensor:
        """Read, merge and convert with torch."""
        dtype, out_dtype = torch_dtype(self.dtype), torch_dtype(self.out_dtype)
        tensors = []
        for i, read in enumerate(self.reads):
            weights, raw = read.weights, buffers.get(i)
            if self.rows is not None and isinstance(weights, Checkpoint):
                tensors.append(weights.read(read.name, rows=self.rows, raw=raw))
            else:
                tensors.append(weights.read(read.name, raw=raw))
        stored = {tensor.dtype for tensor in tensors if tensor.is_floating_point()}
        tensors = [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
        if self.prepare:
            tensors = self.prepare(tensors)
        base = tensors.pop() if self.base else None
        try:
            merged = self._merge(tensors, base, seed)
        except NonFinite as error:
            if stored <= {dtype}:
                raise
            raise NonFinite(f"{error}, read as {self.dtype}") from None
        if merged.dtype == out_dtype or not merged.is_floating_point():
            return merged
        converted = merged.to(out_dtype)
        check_finite(converted, self.name, f"the result as {self.out_dtype}")
        return converted

    def _merge(self, tensors: list[Tensor], base: Tensor | None, seed: int) -> Tensor:
        models = [read.model for read in self.inputs]
        if self.method is None:
            check_finite(tensors[0], self.name, models[0])
            return tensors[0]
        try:
            return self.method.merge_tensor(self.name, tensors, self.params, base=base, seed=seed, models=models)
        except NonFinite:
            if self.base is not None and base is not None:
                check_finite(base, self.name, self.base.model)
            raise


class _Gate:
    """Hands out jobs in order, the first that fits beside those in flight."""

    def __init__(self, jobs: Sequence[TensorJob], memory: int) -> None:
        self.waiting = list(jobs)
        largest = max((self.cost(job) for job in jobs), default=0)
        self.limit, self.used = max(memory, largest * 3 // 2), 0
        self.error: BaseException | None = None
        self.changed = threading.Condition()

    @staticmethod
    def cost(job: TensorJob) -> int:
        converted = job.out_bytes if job.method is not None and job.out_dtype != job.dtype else 0
        return job.input_bytes + job.out_bytes + converted

    def take(self) -> TensorJob | None:
        with self.changed:
            while self.waiting and self.error is None:
                for place, job in enumerate(self.waiting):
                    if self.used + self.cost(job) <= self.limit:
                        self.used += self.cost(job)
                        return self.waiting.pop(place)
                self.changed.wait()
            return None

    def give_back(self, job: TensorJob) -> None:
        with self.changed:
            self.used -= self.cost(job)
            self.changed.notify_all()

    def fail(self, error: BaseException) -> None:
        with self.changed:
            self.error = self.error or error
            self.changed.notify_all()


def run_jobs(
    jobs: Sequence[TensorJob],
    writer: CheckpointWriter,
    *,
    seed: int = 0,
    threads: int | None = None,
    memory: int = MEMORY,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Run the jobs and write their results; the first error stops the others and is raised.

    Args:
        jobs: one per tensor of the writer.
        writer: made for the jobs' names, output types and shapes.
        seed: seeds random masks.
        threads: worker threads, default one per core that the process may use.
        memory: bytes of inputs and outputs in flight.
        progress: called with the bytes of each result written; from worker threads, one at a time.
    """
    parts = [part for job in sorted(jobs, key=lambda job: job.name) for part in job.parts()]
    gate, lock = _Gate(parts, memory), threading.Lock()

    def work() -> None:
        buffers: dict[int, NDArray[np.uint8]] = {}
        try:
            while (job := gate.take()) is not None:
                each = job.input_bytes // max(1, len(job.reads))
                for i in range(len(job.reads)):
                    if _KEPT_BUFFER >= each > (len(buffers[i]) if i in buffers else 0):
                        buffers[i] = np.empty(each, np.uint8)
                job.run_into(writer, seed, buffers)
                gate.give_back(job)
                if progress:
                    with lock:
                        progress(job.out_bytes)
        except BaseException as error:
            gate.fail(error)

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = max(1, min(threads or cores, len(parts)))
    workers = [threading.Thread(target=work, name=f"merge-{i}") for i in range(count)]
    with contextlib.nullcontext() if all(part.sums for part in parts) else _one_torch_thread():
        try:
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        except BaseException as error:  # an interrupt: let the workers end their tensor
            gate.fail(error)
            for worker in workers:
                worker.join()
    if gate.error is not None:
        raise gate.error


@contextlib.contextmanager
def _one_torch_thread() -> Iterator[None]:
    """New threads take over this number; more would also change the order of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def merge_checkpoints(
    method: TensorMethod,
    models: Sequence[str | Path],
    out: str | Path,
    *,
    base: str | Path | None = None,
    params: Callable[[str], TensorParams] | None = None,
    seed: int = 0,
    threads: int | None = None,
    max_shard_size: int = 5_000_000_000,
    overwrite: bool = False,
) -> list[Path]:
    """Merge checkpoints of equal names and shapes into the folder `out`; only weights are written.

    Args:
        method: how to merge each tensor.
        models: folders or safetensors files, in order.
        out: the folder to make.
        base: the common ancestor, where the method works on differences from it.
        params: resolved numbers for a tensor's name; default the method's own.
        seed: seeds random masks.
        threads: worker threads, default one per core.
        max_shard_size: bytes of tensors per file.
        overwrite: replace a folder that holds files.

    Returns:
        The files written. The result does not depend on `threads` nor on how inputs or output are sharded.

    Raises:
        MergeError: names or shapes differ, a file is damaged, or the disk is full.
        NonFinite: a model or the result holds NaN or infinity.
    """
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(Checkpoint(path)) for path in models]
        ancestor = stack.enter_context(Checkpoint(base)) if base is not None else None
        method.check_count(len(opened), ancestor is not None)
        if not opened:
            raise MergeError("nothing to merge: the list of models is empty")
        everyone = [*opened, *([ancestor] if ancestor else [])]
        for other in everyone[1:]:
            if missing := sorted(opened[0].entries.keys() ^ other.entries.keys()):
                raise MergeError(f"keys differ: only one of {opened[0].path} and {other.path} has {missing[0]!r}")
        jobs = []
        for name, entry in opened[0].entries.items():
            for other in everyone[1:]:
                if other.entries[name].shape != entry.shape:
                    raise MergeError(
                        f"shapes differ at {name!r}: {opened[0].path} has {entry.shape}, "
                        f"{other.path} has {other.entries[name].shape}"
                    )
            reads = tuple(Read(item, name, str(item.entries[name].file)) for item in opened)
            jobs.append(
                TensorJob(
                    name,
                    entry.shape,
                    reads,
                    method,
                    entry.dtype_name,
                    entry.dtype_name,
                    entry.nbytes * len(everyone),
                    params(name) if params else TensorParams(),
                    Read(ancestor, name, str(ancestor.entries[name].file)) if ancestor else None,
                )
            )
        hashes = stack.enter_context(ParentHashes({str(item.path): item.path for item in everyone}))
        folder = stack.enter_context(fresh_folder(Path(out), overwrite=overwrite))
        files = write_jobs(
            jobs, folder, hashes, {"method": repr(method)}, seed=seed, threads=threads, max_shard_size=max_shard_size
        )
        return [Path(out) / file.name for file in files]


def write_jobs(
    jobs: Sequence[TensorJob],
    folder: Path,
    hashes: ParentHashes,
    lineage: Mapping[str, Any],
    *,
    max_shard_size: int,
    seed: int = 0,
    threads: int | None = None,
    memory: int = MEMORY,
    progress: Callable[[int], object] | None = None,
) -> list[Path]:
    """Run the jobs into safetensors files whose metadata names the parents and their hashes; return the files."""

    def metadata(digests: Mapping[str, str]) -> dict[str, str]:
        parents = [{"model": label, "weights_sha256": digest} for label, digest in digests.items()]
        return {"format": "pt", "lineage": json.dumps({**lineage, "seed": seed, "parents": parents})}

    writer = CheckpointWriter(
        folder,
        [(job.name, job.out_dtype, job.shape) for job in sorted(jobs, key=lambda job: job.name)],
        max_shard_size=max_shard_size,
        metadata=metadata(hashes.placeholder),
    )
    try:
        run_jobs(jobs, writer, seed=seed, threads=threads, memory=memory, progress=progress)
        return writer.finish(metadata(hashes.result()))
    finally:
        writer.close()
