"""Operators, probes, and what they are handed: the interfaces an author of a method implements.

An operator turns parents, evidence and a seed into a child. A probe turns a model into named numbers. Both are frozen
dataclasses whose fields are their whole configuration; neither records anything: the lab does.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, overload

from heredity.evaluation.outcome import Graded
from heredity.lab.canonical import register

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from heredity.lab.blobs import BlobStore
    from heredity.lab.model import Model

# Kinds of edges; the page colours by them and model cards derive their relation from them.
KINDS = tuple(
    "init import train mutate crossover merge exploit explore adapt distill prune grow step".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Child:
    """What an operator returns when weights alone do not say it all.

    Args:
        weights: the child's state dict.
        architecture: how to build the module; None inherits the primary parent's.
        notes: small JSON facts about the birth (a final loss, chosen coefficients), recorded beside it.
    """

    weights: Mapping[str, Tensor]
    architecture: Mapping[str, Any] | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


CHECKPOINT = "checkpoint.safetensors"
Offspring: TypeAlias = "nn.Module | Mapping[str, Tensor] | Child"


class _Recorded(ABC):  # noqa: B024 - the two interfaces below are abstract
    """What operators and probes share: a declared version, and being known to records of this process."""

    version: ClassVar[int] = 1

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        register(cls)


class Operator(_Recorded):
    """Parents → child. Subclass as a frozen dataclass.

    Class attributes:
        version: bump it when the same fields make another child than before.
        kind: what sort of edge the birth is, one of `KINDS`.
        deterministic: False when running again may give other weights; such births are never dropped to be rebuilt.
    """

    kind: ClassVar[str] = "train"
    deterministic: ClassVar[bool] = True

    @abstractmethod
    def apply(self, parents: Parents, context: Context) -> Offspring:
        """Make the child.

        Args:
            parents: the primary parent first; those given by keyword through `parents.role(name)`.
            context: seed, generator, checkpoints, progress.

        Returns:
            A module, a state dict (the primary parent's architecture is inherited) or a `Child`.
        """


class Probe(_Recorded):
    """Model → named numbers. Subclass as a frozen dataclass.

    One that has `inputs`, a field or property with the batch [N, …] that it shows to models, can be measured once for
    all models with equal outputs on it: `lab.measure(probe, model, by="behaviour")`.
    """

    @abstractmethod
    def measure(self, model: Model, context: Context) -> Mapping[str, float] | Graded:
        """Measure a model; higher is better wherever a number is used as fitness.

        `Graded` also says which examples were right, so that two models can be compared by their flips.

        Raises:
            EvaluationFailed: there is no usable value; the reason is recorded. NaN becomes a failure by itself.
        """


class Parents(Sequence["Model"]):
    """The parents of a birth, in order, with their roles."""

    def __init__(self, models: Sequence[Model], roles: Sequence[str]) -> None:
        self._models, self._roles = tuple(models), tuple(roles)

    @overload
    def __getitem__(self, index: int) -> Model: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Model]: ...
    def __getitem__(self, index: int | slice) -> Model | Sequence[Model]:
        return self.positional[index]

    def __len__(self) -> int:
        return len(self.positional)

    def __iter__(self) -> Iterator[Model]:
        return iter(self.positional)

    @property
    def positional(self) -> tuple[Model, ...]:
        """Those given by position: the primary parent and its mates."""
        return tuple(m for m, r in zip(self._models, self._roles, strict=True) if r in ("parent", "mate"))

    def role(self, name: str) -> Model | None:
        """The parent given by this keyword, or None."""
        for model, role in zip(self._models, self._roles, strict=True):
            if role == name:
                return model
        return None


@dataclass(frozen=True, slots=True)
class Request:
    """One birth asked of a lab.

    Args:
        operator: what makes the child.
        parents: in order, the primary one first; models or references to them.
        roles: further parents by role, e.g. {"base": ancestor}.
        seed: part of the birth's identity; a non-negative integer.
        labels: small JSON facts outside the identity, e.g. {"generation": 3}.
        keep: False records the birth and its hash, but does not store the weights; they are rebuilt when asked for.
        name: a name for the child.
    """

    operator: Operator
    parents: Sequence[Model | str] = ()
    roles: Mapping[str, Model | str] = field(default_factory=dict)
    seed: int = 0
    labels: Mapping[str, Any] = field(default_factory=dict)
    keep: bool = True
    name: str | None = None


class Context:
    """What the runner hands an operator or probe: seed, generator, checkpoints, progress."""

    def __init__(
        self,
        seed: int,
        scratch: Path,
        blobs: BlobStore,
        report: Callable[[float, float], None] | None = None,
        *,
        source: str | None = None,
    ) -> None:
        self.seed = seed
        self._source = source  # a checkpoint of other code is no use
        self._scratch = scratch
        self._blobs = blobs
        self._report = report
        self._generator: torch.Generator | None = None

    @property
    def generator(self) -> torch.Generator:
        """A CPU generator seeded with the birth's seed."""
        if self._generator is None:
            import torch

            self._generator = torch.Generator().manual_seed(self.seed)
        return self._generator

    def progress(self, done: float, total: float) -> None:
        """Say how far the work is."""
        if self._report is not None:
            self._report(done, total)

    def checkpoint(self, tensors: Mapping[str, Tensor], **meta: Any) -> None:
        """Save the state of long work; a run that was killed gets the last whole one back from `restore`.

        Args:
            tensors: whatever must go on exactly (weights, optimiser state, generator states).
            meta: JSON values (the epoch, a loss).
        """
        from safetensors.torch import save

        content = save(
            {name: tensor.detach().to("cpu").contiguous().clone() for name, tensor in tensors.items()},
            metadata={"meta": json.dumps(meta, allow_nan=False), "source": self._source or ""},
        )
        with self._blobs.new_file(self._scratch / CHECKPOINT) as temporary:
            temporary.write_bytes(content)

    def restore(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The last checkpoint's tensors and meta; None when there is none of this operator's present source."""
        path = self._scratch / CHECKPOINT
        if not path.exists():
            return None
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                if metadata["source"] != (self._source or ""):
                    return None
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a dict
                return tensors, json.loads(metadata["meta"])
        except (SafetensorError, OSError, KeyError, ValueError):
            return None  # damaged: the birth begins anew, with the same result


def short_name(type_path: str) -> str:
    """`heredity.merging.operators:Merge` → `Merge`, for people."""
    return re.split(r"[:.]", type_path)[-1]
