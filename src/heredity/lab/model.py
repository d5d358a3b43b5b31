"""The handle on one birth: walk up and down the lineage, read measurements, get the weights."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from heredity.errors import LabError
from heredity.evaluation.outcome import Failed, Ok
from heredity.lab.operator import short_name

if TYPE_CHECKING:
    from torch import Tensor, nn

    from heredity.lab.blobs import BlobStore
    from heredity.lab.lab import Lab


class Model:
    """One recorded birth. Handles are light; weights are loaded when asked for.

    Inside a running birth (perhaps on another machine) a handle knows its own record, weights and base, not the lab.
    """

    def __init__(
        self,
        record: Mapping[str, Any],
        blobs: BlobStore,
        lab: Lab | None = None,
        *,
        architecture: Mapping[str, Any] | None = None,
        edges: list[tuple[str, Model]] | None = None,
    ) -> None:
        self.record = record
        self._blobs = blobs
        self._lab = lab
        self._architecture = architecture
        self._edges = edges

    def __repr__(self) -> str:
        return f"Model({self.id}, {self})"

    def __str__(self) -> str:
        names = self.names if self._lab is not None else []
        what = short_name(self.record["operator"]["type"])
        return f"{names[0]} ({what})" if names else what

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    # What is recorded

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the key."""
        return self.record["id"]

    @property
    def key(self) -> str:
        """SHA-256 of operator, version, parents, evidence and seed."""
        return self.record["key"]

    @property
    def kind(self) -> str:
        """The kind of birth: train, merge, mutate, …"""
        return self.record["kind"]

    @property
    def operator(self) -> Mapping[str, Any]:
        """The operator's import path ("type"), declared version and canonical configuration."""
        return self.record["operator"]

    @property
    def seed(self) -> int:
        """The seed the birth was asked with."""
        return self.record["seed"]

    @property
    def labels(self) -> Mapping[str, Any]:
        """Facts outside the identity, e.g. the generation."""
        return self.record.get("labels", {})

    @property
    def notes(self) -> Mapping[str, Any]:
        """What the operator said about this birth."""
        return self.record.get("notes", {})

    @property
    def weights_sha256(self) -> str:
        """Hash of the tensors."""
        return self.record["weights"]

    @property
    def architecture(self) -> Mapping[str, Any] | None:
        """How the module is built; None when only weights were recorded."""
        if self._architecture is None and self._lab is not None and self.record.get("architecture"):
            self._architecture = self._lab.spec(self.record["architecture"])["spec"]
        return self._architecture

    # Descent

    def _home(self, what: str) -> Lab:
        if self._lab is None:
            raise LabError(f"{what} of {self.id} are not known inside a birth; pass what the operator needs as a field")
        return self._lab

    @property
    def edges(self) -> list[tuple[str, Model]]:
        """(role, parent), the primary parent first."""
        if self._edges is None:
            lab = self._home("parents")
            self._edges = [(edge["role"], lab[edge["id"]]) for edge in self.record["parents"]]
        return self._edges

    @property
    def parents(self) -> list[Model]:
        """The parents, the primary one first."""
        return [parent for _, parent in self.edges]

    @property
    def children(self) -> list[Model]:
        """Births that this model is a parent of, in any role, in the order of their time."""
        return self._home("children").children(self)

    def ancestors(self) -> Iterator[Model]:
        """All ancestors, each once, nearest first."""
        seen = {self.id}
        queue = deque(self.parents)
        while queue:
            model = queue.popleft()
            if model.id not in seen:
                seen.add(model.id)
                yield model
                queue.extend(model.parents)

    def path(self) -> list[Model]:
        """From the root to this model along primary parents."""
        path: list[Model] = [self]
        while path[-1].parents:
            path.append(path[-1].parents[0])
        return path[::-1]

    def mrca(self, other: Model) -> Model | None:
        """The most recent common ancestor along any parents (a model counts as its own); None when there is none."""
        mine = {model.id: model for model in [self, *self.ancestors()]}
        common = [mine[model.id] for model in [other, *other.ancestors()] if model.id in mine]
        # Parents are recorded before their children, so the latest common ancestor is an ancestor of no other one.
        return max(common, key=lambda model: (model.record["time"], model.id), default=None)

    # Names and numbers

    @property
    def names(self) -> list[str]:
        """Names that point here now."""
        return self._home("names").names_of(self)

    @property
    def name(self) -> str | None:
        """The first of its names, or None."""
        return next(iter(self.names), None)

    @property
    def measurements(self) -> Mapping[str, Ok | Failed]:
        """The newest outcome of each probe, by the probe's short name."""
        return self._home("measurements").measurements_of(self)

    def value(self, metric: str) -> float | None:
        """The newest value of a metric, or None."""
        return self._home("measurements").value_of(self, metric)

    # Weights

    @property
    def has_weights(self) -> bool:
        """Whether the weights are stored now; dropped ones are rebuilt when asked for."""
        return self._blobs.has(self.weights_sha256)

    def weights(self) -> Mapping[str, Tensor]:
        """The state dict, memory-mapped tensor by tensor; rebuilt and checked when it was dropped.

        Raises:
            WeightsMissing: they are not stored and cannot be rebuilt.
            RebuildMismatch: rebuilding gave other weights; the message says what differs.
        """
        if self._blobs.at_hand(self.weights_sha256) or self._lab is None:
            return self._blobs.load(self.weights_sha256)
        return self._lab.rebuild(self)

    def load(self, into: nn.Module | None = None) -> nn.Module:
        """The module in evaluation mode, with its weights."""
        from heredity.lab.architecture import build

        return build(self, into)

    def files(self) -> Mapping[str, bytes]:
        """Small files that belong to the model (a tokenizer), by name."""
        return {name: self._blobs.load_file(sha) for name, sha in self.record.get("files", {}).items()}
