"""The journal lines of a birth: one shape for every birth, whoever made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from heredity.lab.canonical import digest
from heredity.lab.environment import origin

if TYPE_CHECKING:
    from heredity.lab.lab import Lab
    from heredity.lab.model import Model


def architecture_id(spec: Mapping[str, Any] | None) -> str | None:
    """A short name for an architecture."""
    return digest(dict(spec))[:12] if spec is not None else None


def environment_lines(lab: Lab, machine: Mapping[str, Any]) -> tuple[str, list[Mapping[str, Any]]]:
    """The short name of an environment (a worker's machine, this process's command), and its line where it is new."""
    environment = {**machine, **origin()}
    name = digest(environment)[:12]
    known = lab.index.has_spec(name)
    return name, [] if known else [{"t": "environment", "id": name, **environment}]


def birth_lines(
    lab: Lab,
    *,
    key: str,
    kind: str,
    form: Mapping[str, Any],
    edges: Sequence[tuple[str, Model]],
    seed: int,
    labels: Mapping[str, Any],
    spec: Mapping[str, Any] | None,
    environment: str,
    facts: Mapping[str, Any],
) -> list[Mapping[str, Any]]:
    """The birth's line, behind its architecture's where that is new.

    Args:
        key: the identity; its first 16 digits are the id.
        form: operator type, version and configuration.
        facts: what lies outside the identity: weights hash, times, source hash, notes.
    """
    lines: list[Mapping[str, Any]] = []
    architecture = architecture_id(spec)
    if architecture is not None and not lab.index.has_spec(architecture):
        lines.append({"t": "architecture", "id": architecture, "spec": spec})
    birth = {
        "t": "birth",
        "id": key[:16],
        "key": key,
        "kind": kind,
        "operator": form,
        "parents": [{"role": role, "id": parent.id} for role, parent in edges],
        "seed": seed,
        "labels": dict(labels),
        "architecture": architecture,
        "environment": environment,
        **facts,
    }
    return [*lines, birth]
