"""Looking after a lab: dropping what can be rebuilt, and naming everything that is damaged."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from heredity.errors import HeredityError
from heredity.lab.blobs import LazyWeights, weights_digest
from heredity.lab.model import Model
from heredity.lab.rebuild import can_rebuild

if TYPE_CHECKING:
    from heredity.lab.lab import Lab

ORPHAN_AGE = 3600.0  # seconds after which a blob that no birth names is left-over of a killed run


@dataclass(frozen=True, slots=True)
class Problem:
    """One damaged thing.

    Args:
        kind: torn-line, damaged-line, damaged-blob, missing-blob, missing-parent, missing-file, missing-record,
            cycle or conflict.
        what: the birth, blob or journal concerned.
        detail: one sentence.
    """

    kind: str
    what: str
    detail: str


@dataclass(slots=True)
class GcReport:
    """What garbage collection did.

    Args:
        dropped: ids of births whose weights were dropped.
        freed: bytes.
        orphans: blobs that belonged to no birth.
        kept: why blobs were kept: reason → count.
    """

    dropped: list[str] = field(default_factory=list)
    freed: int = 0
    orphans: int = 0
    kept: dict[str, int] = field(default_factory=dict)


def collect(
    lab: Lab, *, keep: Sequence[Model] = (), only: Sequence[Model] | None = None, dry_run: bool = False
) -> GcReport:
    """Drop blobs that can be rebuilt; see `Lab.gc` and `Lab.drop`."""
    if not lab.writable and not dry_run:
        lab.append()
    lab.index.refresh()
    report = GcReport()
    wanted = {model.id for model in keep}
    if only is None:
        wanted |= {row[0] for row in lab.index.query("SELECT DISTINCT id FROM names")}
    running = lab.leases.needed()
    chosen = {model.id for model in only} if only is not None else None
    reasons: dict[str, str] = {}  # blob → why it must stay; one blob may belong to several births
    owners: dict[str, list[str]] = {}
    for model in lab.models():
        sha = model.weights_sha256
        owners.setdefault(sha, []).append(model.id)
        if model.id in running:
            reasons[sha] = "a running birth needs it"
        elif model.id in wanted:
            reasons[sha] = "named or asked to be kept"
        elif chosen is not None and model.id not in chosen:
            reasons.setdefault(sha, "not chosen")
        elif not can_rebuild(lab, model):
            reasons.setdefault(sha, "cannot be rebuilt")
    for sha, path in list(lab.blobs.shas()):
        if sha not in owners:
            if chosen is None and time.time() - path.stat().st_mtime > ORPHAN_AGE:
                report.orphans += 1
                report.freed += path.stat().st_size if dry_run else lab.blobs.drop(sha)
        elif sha in reasons:
            report.kept[reasons[sha]] = report.kept.get(reasons[sha], 0) + 1
        else:
            report.dropped += owners[sha]
            report.freed += path.stat().st_size if dry_run else lab.blobs.drop(sha)
    if report.dropped and not dry_run:
        lab.append({"t": "drop", "ids": report.dropped})
    return report


def find_problems(lab: Lab, *, contents: bool) -> list[Problem]:
    """Everything that is damaged; see `Lab.verify`. Problems of one thing do not hide those of another."""
    lab.index.refresh()
    return [*_line_problems(lab), *_graph_problems(lab), *_blob_problems(lab, contents), *_file_problems(lab)]


def _line_problems(lab: Lab) -> Iterator[Problem]:
    for journal, offset, reason in lab.index.query("SELECT journal, offset, reason FROM damages ORDER BY 1, 2"):
        yield Problem("damaged-line", journal, f"the line at byte {offset} is not readable: {reason}; it is skipped")
    for path in sorted(lab.index.journals.glob("*.jsonl")):
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 1))
            if size and file.read(1) != b"\n":
                yield Problem("torn-line", path.name, "the last line is torn (its writer was killed); it is ignored")
    rows = lab.index.query("SELECT DISTINCT id FROM events WHERE t = 'conflict' ORDER BY id")
    for (birth,) in rows:
        yield Problem(
            "conflict", birth, "two writers recorded this birth with different weights; the first one read counts"
        )


def _graph_problems(lab: Lab) -> Iterator[Problem]:
    rows = lab.index.query(
        "SELECT e.child, e.parent FROM edges e LEFT JOIN births b ON b.id = e.parent WHERE b.id IS NULL ORDER BY 1, 2"
    )
    for child, parent in rows:
        yield Problem("missing-parent", child, f"its parent {parent} is in no journal; was a journal not copied?")
    parents: dict[str, list[str]] = {}
    for child, parent in lab.index.query("SELECT child, parent FROM edges"):
        parents.setdefault(child, []).append(parent)
    for birth in sorted(_on_cycles(parents)):
        yield Problem("cycle", birth, "it is recorded as its own ancestor")
    for birth, spec in lab.index.query(
        "SELECT b.id, json_extract(b.line, '$.architecture') FROM births b "
        "LEFT JOIN specs s ON s.id = json_extract(b.line, '$.architecture') "
        "WHERE json_extract(b.line, '$.architecture') IS NOT NULL AND s.id IS NULL"
    ):
        yield Problem("missing-record", birth, f"its architecture {spec} is in no journal")


def _on_cycles(parents: dict[str, list[str]]) -> set[str]:
    """Births that cannot be put in an order where parents come first (those on cycles and below them)."""
    waiting = {child: len(set(edges)) for child, edges in parents.items()}
    children: dict[str, list[str]] = {}
    for child, edges in parents.items():
        for parent in set(edges):
            children.setdefault(parent, []).append(child)
    ready = [birth for birth in children if birth not in waiting]
    while ready:
        for child in children.get(ready.pop(), ()):
            waiting[child] -= 1
            if waiting[child] == 0:
                ready.append(child)
    return {birth for birth, count in waiting.items() if count > 0}


def _blob_problems(lab: Lab, contents: bool) -> Iterator[Problem]:
    dropped = {row[0] for row in lab.index.query("SELECT id FROM events WHERE t = 'drop'")}
    users: dict[str, list[str]] = {}
    for model in lab.models():
        sha = model.weights_sha256
        users.setdefault(sha, []).append(model.id)
        if not lab.blobs.has(sha) and model.record.get("kept", True) and model.id not in dropped:
            hope = "it can be rebuilt: load it" if can_rebuild(lab, model) else "it cannot be rebuilt: restore the blob"
            yield Problem("missing-blob", model.id, f"its weights {sha[:12]} are not stored; {hope}")
    if contents:
        for sha, path in lab.blobs.shas():
            damage = _damage(path, sha)
            if damage:
                affected = ", ".join(users.get(sha, ["no birth"]))
                yield Problem("damaged-blob", sha, f"{damage}; affects {affected}")
        for sha, path in lab.evidence.blobs.shas():
            damage = _damage(path, sha)
            if damage:
                yield Problem("damaged-blob", sha, f"the evidence {damage}")


def _damage(path: Path, sha: str) -> str | None:
    try:
        if weights_digest(LazyWeights(path)) != sha:
            return "its tensors do not match its name: bits have flipped"
    except HeredityError as error:
        return str(error)
    return None


def _file_problems(lab: Lab) -> Iterator[Problem]:
    for model in lab.models():
        for name, sha in model.record.get("files", {}).items():
            try:
                lab.blobs.load_file(sha)
            except HeredityError as error:
                yield Problem("missing-file", model.id, f"{name}: {error}")
