"""Looking after a lab: dropping what can be rebuilt, and naming everything that is damaged."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heredity.errors import HeredityError, UnknownModel
from heredity.lab.blobs import LazyWeights, weights_digest
from heredity.lab.model import Model
from heredity.lab.rebuild import needed_by, obstacle

if TYPE_CHECKING:
    from heredity.lab.lab import Lab

NEEDED = "a running birth needs it"
ORPHAN_AGE = 3600.0  # seconds after which a blob that no birth names is left-over of a killed run


@dataclass(frozen=True, slots=True)
class Problem:
    """One damaged thing.

    Args:
        kind: torn-line, damaged-line, damaged-blob, missing-blob, missing-evidence, missing-parent, missing-file,
            missing-record, cycle or conflict.
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
        lab.append()  # raises the lab's own sentence
    lab.index.refresh()
    report = GcReport()
    wanted = {model.id for model in keep}
    if only is None:
        wanted |= {row[0] for row in lab.index.query("SELECT DISTINCT id FROM names")}
    running = lab.leases.needed()
    chosen = {model.id for model in only} if only is not None else None
    verdicts = _Verdicts(lab)
    victims: dict[str, list[str]] = {}
    for sha, models in _owners(lab, only):
        if not lab.blobs.has(sha):
            continue
        reason = None
        for model in models:  # one blob may belong to several births
            if model.id in running:
                reason = NEEDED
            elif model.id in wanted:
                reason = "named or asked to be kept"
            elif chosen is not None and model.id not in chosen:
                reason = "another birth has the same weights"
            elif not verdicts.recoverable(model):
                reason = "cannot be rebuilt"
            if reason is not None:
                break
        if reason is not None:
            report.kept[reason] = report.kept.get(reason, 0) + 1
            continue
        victims[sha] = [model.id for model in models]
    if victims and not dry_run:
        # Said before it is done: a gc that is killed leaves blobs too many, never one that is missing without reason.
        lab.append({"t": "drop", "ids": [birth for births in victims.values() for birth in births]})
    for sha, births in victims.items():
        if not dry_run and not lab.leases.needed().isdisjoint(births):  # somebody began meanwhile
            report.kept[NEEDED] = report.kept.get(NEEDED, 0) + 1
            continue
        report.freed += lab.blobs.path(sha).stat().st_size if dry_run else lab.blobs.drop(sha)
        report.dropped += births
    if only is None:
        _sweep(lab, report, dry_run=dry_run)
    return report


def _names(folder: Path) -> list[str]:
    """What lies in a folder, which running births may remove at any moment."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []


class _Verdicts:
    """Whether weights could be had again, for many births: each is judged once, ancestors before descendants."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._rebuilds: dict[str, bool] = {}  # id → this birth could be run again, and so could what it needs

    def recoverable(self, model: Model) -> bool:
        """Whether the birth, and those ancestors whose blobs are gone, could be run again here."""
        stack = [model]
        while stack:
            current = stack[-1]
            if current.id in self._rebuilds:
                stack.pop()
                continue
            if obstacle(self._lab, current) is not None:
                self._rebuilds[current.id] = False
                continue
            try:
                needed = needed_by(current)
            except UnknownModel:  # a parent's journal is missing
                self._rebuilds[current.id] = False
                continue
            open_questions = [
                parent
                for parent in needed
                if parent.id not in self._rebuilds and not self._lab.blobs.has(parent.weights_sha256)
            ]
            if any(parent.id == question.id for parent in stack for question in open_questions):
                self._rebuilds[current.id] = False  # its own ancestor
                continue
            if open_questions:
                stack.extend(open_questions)
                continue
            self._rebuilds[current.id] = all(
                self._lab.blobs.has(parent.weights_sha256) or self._rebuilds[parent.id] for parent in needed
            )
        return self._rebuilds[model.id]


def _owners(lab: Lab, only: Sequence[Model] | None) -> Iterator[tuple[str, list[Model]]]:
    """Hashes of weights and the births that have them."""
    if only is not None:
        for sha in dict.fromkeys(model.weights_sha256 for model in only):
            rows = lab.index.query("SELECT id FROM births WHERE weights = ? ORDER BY time, id", (sha,))
            yield sha, [lab[row[0]] for row in rows]
        return
    owners: dict[str, list[str]] = {}
    for sha, birth in lab.index.query("SELECT weights, id FROM births ORDER BY time, id"):
        owners.setdefault(sha, []).append(birth)
    for sha, births in owners.items():
        yield sha, [lab[birth] for birth in births]


def _sweep(lab: Lab, report: GcReport, *, dry_run: bool) -> None:
    """Remove what killed runs left behind: blobs without a birth, temporary files, checkpoints of recorded births."""
    known = {row[0] for row in lab.index.query("SELECT DISTINCT weights FROM births")}
    old = time.time() - ORPHAN_AGE
    for sha, path in list(lab.blobs.shas()):
        if sha not in known and path.stat().st_mtime < old:
            report.orphans += 1
            report.freed += path.stat().st_size if dry_run else lab.blobs.drop(sha)
    scratch = lab.root / "scratch"
    folders = [scratch / name for name in _names(scratch)]
    half = [folder / name for folder in folders for name in _names(folder) if name.startswith(".")]
    for path in [*lab.blobs.temporaries(), *lab.evidence.blobs.temporaries(), *half]:
        with contextlib.suppress(FileNotFoundError):  # its writer was only slow
            if path.stat().st_mtime < old:
                report.freed += path.stat().st_size
                if not dry_run:
                    path.unlink()
    if dry_run:
        return
    running = lab.leases.needed()
    for folder in folders:
        if folder.name not in running and (folder.name in lab or not _names(folder)):
            shutil.rmtree(folder, ignore_errors=True)
    lab.leases.clean()


def find_problems(lab: Lab, *, contents: bool) -> list[Problem]:
    """Everything that is damaged; see `Lab.verify`. Problems of one thing do not hide those of another."""
    if contents:
        lab.index.read_again()
    else:
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
        yield Problem("conflict", birth, "two writers recorded it with different weights; the earlier one counts")


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
    for part in ("architecture", "environment"):
        for birth, spec in lab.index.query(
            f"SELECT b.id, json_extract(b.line, '$.{part}') AS spec FROM births b "
            "LEFT JOIN specs s ON s.id = spec WHERE spec IS NOT NULL AND s.id IS NULL ORDER BY 1"
        ):
            yield Problem("missing-record", birth, f"its {part} {spec} is in no journal; was a journal not copied?")


def _on_cycles(parents: dict[str, list[str]]) -> set[str]:
    """Births that are their own ancestors."""
    children: dict[str, list[str]] = {}
    for child, edges in parents.items():
        for parent in edges:
            children.setdefault(parent, []).append(child)
    # What has no parents left, or no children left, lies on no cycle; little stays.
    suspects = _trim(_trim(set(parents) | set(children), parents), children)
    return {birth for birth in suspects if _reaches(birth, birth, parents, suspects)}


def _trim(births: set[str], neighbours: dict[str, list[str]]) -> set[str]:
    """Births that remain when those without neighbours among the rest are removed again and again."""
    waiting = {birth: {n for n in neighbours.get(birth, ()) if n in births} for birth in births}
    back: dict[str, list[str]] = {}
    for birth, others in waiting.items():
        for other in others:
            back.setdefault(other, []).append(birth)
    ready = [birth for birth, others in waiting.items() if not others]
    while ready:
        gone = ready.pop()
        for birth in back.get(gone, ()):
            waiting[birth].discard(gone)
            if not waiting[birth]:
                ready.append(birth)
    return {birth for birth, others in waiting.items() if others}


def _reaches(start: str, goal: str, parents: dict[str, list[str]], within: set[str]) -> bool:
    seen: set[str] = set()
    stack = [start]
    while stack:
        for parent in parents.get(stack.pop(), ()):
            if parent == goal:
                return True
            if parent in within and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return False


def _blob_problems(lab: Lab, contents: bool) -> Iterator[Problem]:
    dropped = {row[0] for row in lab.index.query("SELECT id FROM events WHERE t = 'drop'")}
    verdicts = _Verdicts(lab)
    users: dict[str, list[str]] = {}
    evidence: dict[str, str] = {}  # hash → a birth or probe that needs it
    for model in lab.models():
        sha = model.weights_sha256
        users.setdefault(sha, []).append(model.id)
        for item in evidence_in(model.operator["config"]):
            evidence.setdefault(item, model.id)
        if not lab.blobs.has(sha) and model.record.get("kept", True) and model.id not in dropped:
            again = verdicts.recoverable(model)
            hope = "it can be rebuilt: load it" if again else "it cannot be rebuilt here: restore the blob"
            yield Problem("missing-blob", model.id, f"its weights {sha[:12]} are not stored; {hope}")
    for item, birth in sorted(evidence.items()):
        if not lab.evidence.blobs.has(item):
            yield Problem(
                "missing-evidence", birth, f"the tensor {item[:12]} among its operator's fields is not stored"
            )
    for store, what in ((lab.blobs, ""), (lab.evidence.blobs, "the evidence: ")) if contents else ():
        for sha, path in store.shas():
            damage = _damage(path, sha)
            if damage:
                affected = ", ".join(users.get(sha) or [evidence.get(sha, "no birth")])
                yield Problem("damaged-blob", sha, f"{what}{damage}; affects {affected}")


def evidence_in(form: Any) -> Iterator[str]:
    """Hashes of the tensors in a canonical form."""
    if isinstance(form, list):
        for item in form:
            yield from evidence_in(item)
    elif isinstance(form, dict):
        for key, item in form.items():
            if key in ("$tensor", "$array"):
                yield item
            else:
                yield from evidence_in(item)


def _damage(path: Path, sha: str) -> str | None:
    try:
        if weights_digest(LazyWeights(path)) != sha:
            return "its tensors do not match its name: bits have flipped"
    except HeredityError as error:
        return str(error)
    return None


def _file_problems(lab: Lab) -> Iterator[Problem]:
    verdicts: dict[str, str | None] = {}  # a tokenizer is shared by a whole lineage
    for model in lab.models():
        for name, sha in model.record.get("files", {}).items():
            if sha not in verdicts:
                try:
                    lab.blobs.load_file(sha)
                    verdicts[sha] = None
                except HeredityError as error:
                    verdicts[sha] = str(error)
            if verdicts[sha] is not None:
                yield Problem("missing-file", model.id, f"{name}: {verdicts[sha]}")
