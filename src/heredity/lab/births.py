"""The journal lines of a birth: one shape for every birth, whoever made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from heredity.lab.canonical import digest

if TYPE_CHECKING:
    from heredity.lab.lab import Lab
    from heredity.lab.model import Model


def architecture_id(spec: Mapping[str, Any] | None) -> str | None:
    """A short name for an architecture."""
    return digest(dict(spec))[:12] if spec is not None else None


def environment_lines(lab: Lab, environment: Mapping[str, Any]) -> tuple[str, list[Mapping[str, Any]]]:
    """The environment's short name, and its line where the lab does not have it yet."""
    name = digest(dict(environment))[:12]
    known = lab.index.spec(name) is not None
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
    if architecture is not None and lab.index.spec(architecture) is None:
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
