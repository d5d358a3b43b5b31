"""Everything a lab knows of one birth, gathered for `heredity show`."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heredity.cli.changes import settings
from heredity.cli.lineage import Facts, children_of
from heredity.lab.operator import short_name

if TYPE_CHECKING:
    from heredity.lab import Lab


@dataclass
class Dossier:
    """One birth, its parents and children, and all that was recorded about it later.

    Args:
        birth: the id.
        record: its line.
        facts: of the birth, its parents and the first children.
        children: (id, role), oldest first.
        measurements: lines of the newest outcome of each evaluation.
        events: lines of notes, tags and drops.
        death: (time, reason), or None.
        environment: what it was made with; None where that record is missing.
        architecture: how its module is built; None when only weights were recorded.
    """

    birth: str
    record: dict[str, Any]
    facts: Facts
    children: list[tuple[str, str]]
    measurements: list[dict[str, Any]]
    events: list[dict[str, Any]]
    death: tuple[float, str] | None
    environment: dict[str, Any] | None
    architecture: dict[str, Any] | None

    @property
    def tags(self) -> list[str]:
        """All tags, each once."""
        return list(dict.fromkeys(tag for event in self.events if event["t"] == "tag" for tag in event["tags"]))

    @property
    def notes(self) -> list[str]:
        """Notes that people attached."""
        return [event["text"] for event in self.events if event["t"] == "note"]

    def parent_value(self, metric: str) -> float | None:
        """The primary parent's value of a metric."""
        parents = self.record["parents"]
        return self.facts.values.get(parents[0]["id"], {}).get(metric) if parents else None


def gather(lab: Lab, birth: str) -> Dossier:
    """Read everything about a birth."""
    record = dict(lab[birth].record)
    children = children_of(lab, birth)
    related = {birth, *(edge["id"] for edge in record["parents"]), *(child for child, _ in children)}
    deaths = lab.index.query("SELECT time, reason FROM deaths WHERE id = ?", (birth,))
    spec = lab.index.spec(record["architecture"]) if record.get("architecture") else None
    return Dossier(
        birth,
        record,
        Facts.of(lab, related),
        children,
        _lines(lab, "SELECT line FROM measurements WHERE id = ? ORDER BY time", birth),
        _lines(lab, "SELECT line FROM events WHERE id = ? ORDER BY time", birth),
        deaths[0] if deaths else None,
        lab.index.spec(record["environment"]),
        spec["spec"] if spec else None,
    )


def _lines(lab: Lab, sql: str, birth: str) -> list[dict[str, Any]]:
    return [json.loads(row[0]) for row in lab.index.query(sql, (birth,))]


def architecture_line(spec: dict[str, Any] | None) -> str:
    """An architecture in a few words."""
    if spec is None:
        return "unknown: only weights were recorded; load(into=module) fills a module"
    config = spec.get("config", {})
    if spec["kind"] == "class":
        inside = ", ".join(f"{key}={value}" for key, value in config.items())
        return f"{short_name(spec['path'])}({inside})"
    if spec["kind"] == "peft":
        return f"peft {config.get('peft_type', 'adapter')}, rank {config.get('r', '?')}"
    layers = config.get("num_hidden_layers")
    return str(spec.get("class", spec["kind"])) + (f", {layers} layers" if layers else "")


def commands(lab: Lab, short: str) -> dict[str, str]:
    """Commands to copy, by what they do."""
    folder = str(lab.path)
    where = "" if folder == "lab" else f" --lab {shlex.quote(folder)}"
    return {
        "load": f"import heredity as hd; model = hd.Lab({folder!r}, mode='r')[{short!r}].load()",
        "rebuild": f"import heredity as hd; hd.Lab({folder!r}, mode='r+').rebuild({short!r})",
        "path": f"heredity path {short}{where}",
        "export": f"heredity export {short} ./{short}{where}",
    }


def dossier_json(lab: Lab, dossier: Dossier) -> dict[str, Any]:
    """The stable JSON shape of `heredity show`."""
    record, facts = dossier.record, dossier.facts
    sha = record["weights"]
    stored = lab.blobs.has(sha)
    return {
        **facts.as_json(dossier.birth),
        "key": record["key"],
        "version": record["operator"]["version"],
        "config": record["operator"]["config"],
        "settings": settings(record),
        "children": [
            {"id": child, "role": role, "kind": facts.records[child]["kind"]} for child, role in dossier.children
        ],
        "measurements": [
            {
                "probe": short_name(line["probe"]["type"]),
                "type": line["probe"]["type"],
                "values": line.get("values"),
                "failed": line.get("failed"),
                "time": line["time"],
            }
            for line in dossier.measurements
        ],
        "tags": dossier.tags,
        "notes": dossier.notes,
        "operator_notes": record.get("notes", {}),
        "death": {"time": dossier.death[0], "reason": dossier.death[1]} if dossier.death else None,
        "weights": {
            "sha256": sha,
            "bytes": record["bytes"],
            "stored": stored,
            "path": str(lab.blobs.path(sha)) if stored else None,
        },
        "architecture": dossier.architecture,
        "environment": dossier.environment,
        "cost": {key: record.get(key) for key in ("wall", "cpu", "peak_rss", "threads")},
        "commands": commands(lab, facts.short(dossier.birth)),
    }
