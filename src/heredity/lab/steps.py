"""Births that do not come from an operator: models from outside, and what a plain script does."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from heredity.errors import LabError
from heredity.lab.births import architecture_id, birth_lines, environment_lines
from heredity.lab.blobs import check_all_finite, check_tensors, drop_tied, nbytes, split_aliases, weights_digest
from heredity.lab.canonical import canonical
from heredity.lab.dispatch import check_seed, plain_labels
from heredity.lab.environment import machine
from heredity.lab.model import Model
from heredity.lab.operator import KINDS
from heredity.lab.runner import unpack_module

if TYPE_CHECKING:
    from torch import Tensor, nn

    from heredity.lab.architecture import Architecture
    from heredity.lab.lab import Lab

IMPORT, STEP = "heredity.lab.steps:Import", "heredity.lab.steps:Step"


def add_model(
    lab: Lab,
    model: nn.Module | Mapping[str, Tensor] | str | Path,
    *,
    name: str | None,
    architecture: Architecture | None,
    labels: Mapping[str, Any],
    note: str,
    roles: Mapping[str, Model | str],
) -> Model:
    """Record a model from outside; see `Lab.add`."""
    import torch

    files: dict[str, bytes] = {}
    source = None
    spec: Mapping[str, Any] | None
    if name is not None:
        lab.check_name(name)
    if isinstance(model, (str, Path)):
        from heredity.lab.huggingface import read_model

        found = read_model(Path(model))
        weights, spec, files, source = found.weights, found.architecture, found.files, str(model)
        owner = str(model)
        labels = {**found.labels, **labels, "source": source}
    else:
        owner = name or type(model).__name__
        weights, spec = _weights_and_spec(model, owner)
    if architecture is not None:
        spec = architecture.spec()
        if isinstance(model, torch.nn.Module):
            weights, aliases = split_aliases(weights)
            spec = {**spec, "tied": aliases} if aliases else spec
    edges = [(role, lab[parent]) for role, parent in sorted(roles.items())]
    born = _record(
        lab,
        weights,
        spec,
        owner=owner,
        kind="import" if source else "init",
        type_path=IMPORT,
        config={},
        edges=edges,
        seed=0,
        labels=labels,
        files=files,
        started=time.perf_counter(),
    )
    if name is not None and name not in born.names:
        lab.name(born, name)
    if note and note not in born.remarks:
        lab.note(born, note)
    return born


def _weights_and_spec(
    model: nn.Module | Mapping[str, Tensor], owner: str
) -> tuple[Mapping[str, Tensor], Mapping[str, Any] | None]:
    import torch

    if isinstance(model, torch.nn.Module):
        return unpack_module(model, owner)
    if isinstance(model, Mapping):
        check_tensors(model, owner)
        return model, None
    raise LabError(f"cannot add {type(model).__name__}; give a module, a state dict, or the path of a model folder")


class Step:
    """What a script does between two models, recorded when it commits its result.

    The code inside is not known to the lab: the birth is recorded with its weights, but cannot be run again, and its
    weights are never dropped. Committing the same weights with the same parents and configuration is the same birth.
    """

    def __init__(
        self, lab: Lab, name: str, parents: Sequence[Model], *, config: Mapping[str, Any], kind: str, seed: int
    ) -> None:
        if kind not in KINDS:
            raise LabError(f"step kind {kind!r}; use one of {', '.join(KINDS)}")
        check_seed(seed, f"step {name!r}")
        if not re.search(r"\S", name):
            raise LabError("a step needs a name that says what it does")
        self.lab = lab
        self.config = {"name": name, "config": canonical(dict(config), f"the configuration of step {name!r}")}
        self.parents = list(parents)
        self.kind, self.seed = kind, seed
        self.children: list[Model] = []
        self._started = time.perf_counter()

    def __enter__(self) -> Self:
        self._started = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def commit(
        self,
        model: nn.Module | Mapping[str, Tensor],
        *,
        name: str | None = None,
        labels: Mapping[str, Any] | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> Model:
        """Record the result; a state dict inherits the first parent's architecture.

        Raises:
            NonFinite: the weights hold NaN or infinity.
        """
        if name is not None:
            self.lab.check_name(name)
        owner = f"the result of step {self.config['name']!r}"
        weights, spec = _weights_and_spec(model, owner)
        if spec is None and self.parents:
            spec = self.parents[0].architecture
            weights = drop_tied(weights, (spec or {}).get("tied", {}))
        child = _record(
            self.lab,
            weights,
            spec,
            owner=owner,
            kind=self.kind,
            type_path=STEP,
            config=self.config,
            edges=[("parent" if place == 0 else "mate", parent) for place, parent in enumerate(self.parents)],
            seed=self.seed,
            labels=labels or {},
            files=dict(self.parents[0].files()) if self.parents else {},
            started=self._started,
            notes=notes or {},
        )
        if name is not None and name not in child.names:
            self.lab.name(child, name)
        self.children.append(child)
        return child


def _record(
    lab: Lab,
    weights: Mapping[str, Tensor],
    spec: Mapping[str, Any] | None,
    *,
    owner: str,
    kind: str,
    type_path: str,
    config: Mapping[str, Any],
    edges: Sequence[tuple[str, Model]],
    seed: int,
    labels: Mapping[str, Any],
    files: Mapping[str, bytes],
    started: float,
    notes: Mapping[str, Any] | None = None,
) -> Model:
    if not lab.writable:
        lab.append()  # raises the lab's own sentence
    if not weights:
        raise LabError(f"{owner} holds no tensors")
    labels, notes = plain_labels(labels), plain_labels(notes or {})
    check_all_finite(weights, owner)
    sha = weights_digest(weights)
    lab.blobs.save(weights, sha)
    hashes = {name: lab.blobs.save_file(content) for name, content in sorted(files.items())}
    form = {
        "type": type_path,
        "version": 1,
        "config": {**config, "weights": sha, "architecture": architecture_id(spec), "files": hashes},
    }
    key = lab.birth_key(form, edges, seed)
    birth = key[:16]
    lab.index.refresh()
    if birth in lab:
        return lab[birth]
    here, records = environment_lines(lab, machine())
    records += birth_lines(
        lab,
        key=key,
        kind=kind,
        form=form,
        edges=edges,
        seed=seed,
        labels=labels,
        spec=spec,
        environment=here,
        facts={
            "weights": sha,
            "bytes": nbytes(weights),
            "files": hashes,
            "notes": notes,
            "wall": round(time.perf_counter() - started, 6),
            "threads": lab.threads,
            "kept": True,
            "deterministic": False,
        },
    )
    lab.append(*records)
    return lab[birth]
