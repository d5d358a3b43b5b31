"""The handle on one birth: walk up and down the lineage, read measurements, get the weights."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heredity.errors import LabError
from heredity.evaluation.outcome import Failed, Ok
from heredity.lab import records
from heredity.lab.blobs import BlobStore, Watched
from heredity.lab.operator import short_name

if TYPE_CHECKING:
    from torch import Tensor, nn

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
        handed: list[tuple[Tensor, int, str]] | None = None,
    ) -> None:
        self.record = record
        self._blobs = blobs
        self._lab = lab
        self._architecture = architecture
        self._edges = edges
        self._handed = handed

    def watched(self, handed: list[tuple[Tensor, int, str]]) -> Model:
        """This handle inside a birth: tensors that it gives out are noted in `handed`."""
        return Model(self.record, self._blobs, architecture=self.architecture, edges=self._edges, handed=handed)

    def __reduce__(self) -> tuple[Any, ...]:
        # A handle that travels is like one inside a birth: it knows its record, its weights and its base, not the lab.
        from heredity.lab.architecture import base_of

        known = self._edges if self._lab is None else None
        base = base_of(self) if self._lab is not None and (self.architecture or {}).get("kind") == "peft" else None
        edges = known if known is not None else ([("base", base)] if base is not None else [])
        return (_arrived, (dict(self.record), self._blobs.root, self.architecture, edges))

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
            self._edges = records.edges_of(self._home("parents"), self)
        return self._edges

    @property
    def parents(self) -> list[Model]:
        """The parents, the primary one first."""
        return [parent for _, parent in self.edges]

    @property
    def children(self) -> list[Model]:
        """Births that this model is a parent of, in any role, in the order of their time."""
        return records.children_of(self._home("children"), self)

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
        """From the root to this model along primary parents.

        Raises:
            UnknownModel: a parent is in no journal.
            DamagedRecord: a birth is recorded as its own ancestor.
        """
        return records.path_of(self._home("ancestors"), self)

    def mrca(self, other: Model) -> Model | None:
        """The most recent common ancestor along any parents (a model counts as its own); None when there is none.

        Of several that no other common ancestor descends from, the one born last.
        """
        mine = {model.id for model in [self, *self.ancestors()]}
        common = {model.id: model for model in [other, *other.ancestors()] if model.id in mine}
        inner = {parent.id for model in common.values() for parent in model.parents}
        youngest = [model for birth, model in common.items() if birth not in inner]
        return max(youngest, key=lambda model: (model.record["time"], model.id), default=None)

    # Names and numbers

    @property
    def names(self) -> list[str]:
        """Names that point here now."""
        return records.names_of(self._home("names"), self)

    @property
    def name(self) -> str | None:
        """The first of its names, or None."""
        return next(iter(self.names), None)

    @property
    def measurements(self) -> Mapping[str, Ok | Failed]:
        """The newest outcome of each probe, by the probe's short name."""
        return records.measurements_of(self._home("measurements"), self)

    def value(self, metric: str) -> float | None:
        """The newest value of a metric, or None."""
        return records.value_of(self._home("measurements"), self, metric)

    @property
    def tags(self) -> list[str]:
        """Tags attached to it, in the order of their first use."""
        return list(dict.fromkeys(tag for event in self._events("tag") for tag in event["tags"]))

    @property
    def remarks(self) -> list[str]:
        """Texts attached with `lab.note`, oldest first."""
        return [event["text"] for event in self._events("note")]

    def _events(self, kind: str) -> list[dict[str, Any]]:
        return records.events_of(self._home("later events"), self, kind)

    # Weights

    @property
    def has_weights(self) -> bool:
        """Whether the weights are stored now; dropped ones are rebuilt when asked for."""
        return self._blobs.has(self.weights_sha256)

    def weights(self) -> Mapping[str, Tensor]:
        """The state dict, memory-mapped tensor by tensor; rebuilt and checked when it was dropped.

        Inside a birth its tensors must not be written to: clone them first.

        Raises:
            WeightsMissing: they are not stored and cannot be rebuilt.
            RebuildMismatch: rebuilding gave other weights; the message says what differs.
        """
        if self._lab is not None:
            if not self._blobs.at_hand(self.weights_sha256):
                self._lab.rebuild(self)
            return self._blobs.load(self.weights_sha256, private=True)
        weights = self._blobs.load(self.weights_sha256, private=self._handed is None)
        return weights if self._handed is None else Watched(weights, self.id, self._handed)

    def load(self, into: nn.Module | None = None) -> nn.Module:
        """The module in evaluation mode, with its weights."""
        from heredity.lab.architecture import build

        return build(self, into)

    def files(self) -> Mapping[str, bytes]:
        """Small files that belong to the model (a tokenizer), by name."""
        return {name: self._blobs.load_file(sha) for name, sha in self.record.get("files", {}).items()}


def _arrived(
    record: Mapping[str, Any], root: Path, architecture: Mapping[str, Any] | None, edges: list[tuple[str, Model]]
) -> Model:
    return Model(record, BlobStore(root), architecture=architecture, edges=edges)
