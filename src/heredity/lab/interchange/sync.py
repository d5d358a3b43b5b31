"""Copies of a lab elsewhere: `push` adds what is missing there, `pull` what is missing here; neither takes away.

Blobs are named by what they hold: one that is there in full is never copied again. A journal only grows, and only by
its own writer, so a copy is always a beginning of it and gets the rest; where two journals of one name do not begin
alike, nothing is written and both are named. Whatever was interrupted goes on from there when it is asked for again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from heredity.errors import HeredityError, LabError, NewerFormat
from heredity.lab.architecture import base_of
from heredity.lab.interchange.places import CHUNK, Folder, Place, is_whole, open_place, shown
from heredity.lab.journal import FORMAT, decode_line
from heredity.lab.lab import Lab

Weights: TypeAlias = Literal["none", "named", "all"]
Progress: TypeAlias = Callable[[int, int, str], None]
_COMPARED = 4096  # bytes before the end of the shorter journal that must be the same in the longer one


@dataclass
class Transfer:
    """What was copied.

    Args:
        url: the other end, without a password.
        blobs: weights, evidence and files copied.
        journals: journals that grew.
        bytes: of both.
        births: new here (pull only).
        damaged: blobs that are not copied because they are cut short or do not hold what they are named by.
        conflicts: journals that do not begin alike here and there.
    """

    url: str
    blobs: int = 0
    journals: int = 0
    bytes: int = 0
    births: int = 0
    damaged: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)


def push(
    lab: Lab | str | Path,
    url: str,
    *,
    weights: Weights = "all",
    progress: Progress | None = None,
    options: Mapping[str, Any] | None = None,
) -> Transfer:
    """Copy a lab to a folder or any fsspec URL.

    Args:
        lab: opened in any mode, or its folder.
        url: where to; it grows into a lab's layout.
        weights: of which models: all, named ones (with what an adapter among them sits on), or none. Evidence and
            small files always go along: births are rebuilt from them.
        progress: told (bytes done, bytes in all, what is copied).
        options: for the file system, as fsspec knows them.

    Raises:
        LabError: something could not be read or written; what was copied stays, and pushing again goes on.
    """
    with _opened(lab, "r") as source, _explained(url, "push"):
        transfer = Transfer(shown(url))
        here, there = Folder(source.root), open_place(url, options)
        # Sizes before blobs: whatever a line up to here needs is stored by now.
        lines = here.journals(whole=True)
        _copy_blobs(here, there, _wanted(source, weights), transfer, progress)
        _copy_journals(here, lines, there, transfer)
        return transfer


def pull(
    lab: Lab | str | Path,
    url: str,
    *,
    weights: Weights = "all",
    progress: Progress | None = None,
    options: Mapping[str, Any] | None = None,
) -> Transfer:
    """Copy into a lab what a folder or URL holds beyond it; the arguments are those of `push`.

    Raises:
        LabError: there is no lab, or something could not be read or written; pulling again goes on.
        NewerFormat: a journal there was written by a newer version; nothing of it is copied.
    """
    with _explained(url, "pull"):
        there = open_place(url, options)
        lines = there.journals(whole=True)
        if not lines:
            raise LabError(f"there is no lab at {shown(url)}")
        with _opened(lab, "a") as target:
            if not target.writable:
                raise LabError(f"the lab at {target.path} is open for reading only; open it with mode 'r+' to pull")
            transfer = Transfer(shown(url))
            here, known = Folder(target.root), len(target)
            _copy_journals(there, lines, here, transfer)
            target.index.refresh()
            transfer.births = len(target) - known
            _copy_blobs(there, here, _wanted(target, weights), transfer, progress)
            return transfer


@contextlib.contextmanager
def _opened(lab: Lab | str | Path, mode: str) -> Iterator[Lab]:
    if isinstance(lab, Lab):
        yield lab
        return
    with Lab(lab, mode=mode) as opened:
        yield opened


@contextlib.contextmanager
def _explained(url: str, verb: str) -> Iterator[None]:
    """File systems raise errors of their own libraries: all of them become one sentence."""
    try:
        yield
    except HeredityError:
        raise
    except Exception as error:
        reason = shown(str(error)) or type(error).__name__
        raise LabError(
            f"cannot {verb} {shown(url)}: {type(error).__name__}: {reason}; "
            f"what was copied stays, and {verb}ing again goes on from there"
        ) from error


def _wanted(lab: Lab, weights: Weights) -> set[str] | None:
    """Hashes of the weights to copy; None for all."""
    if weights == "all":
        return None
    if weights not in ("none", "named"):
        raise LabError(f"weights={weights!r}: use 'none', 'named' or 'all'")
    wanted = set()
    for (birth,) in lab.index.query("SELECT DISTINCT id FROM names") if weights == "named" else ():
        if birth in lab:
            model = lab[birth]
            base = base_of(model) if model.record["parents"] else None
            wanted |= {model.weights_sha256, *([base.weights_sha256] if base is not None else [])}
    return wanted


def _copy_journals(source: Place, lines: Mapping[str, int], target: Place, transfer: Transfer) -> None:
    held = target.journals(whole=False)
    for name, size in sorted(lines.items()):
        start = held.get(name, 0)
        if size <= start:
            continue  # the copy there knows as much or more
        if start == 0:
            _check_format(name, source.read_journal(name, 0, min(size, 1 << 16)))
        low = max(0, start - _COMPARED)
        if start and source.read_journal(name, low, start) != target.read_journal(name, low, start):
            transfer.conflicts.append(name)
            continue
        while start < size:
            data = source.read_journal(name, start, min(size, start + CHUNK))
            if not data:
                raise LabError(f"the journal {name} is shorter than it was")
            target.extend_journal(name, start, data)
            start += len(data)
            transfer.bytes += len(data)
        transfer.journals += 1


def _check_format(name: str, beginning: bytes) -> None:
    """Once it lay in the lab, a journal of a newer format would keep this version from opening it."""
    with contextlib.suppress(ValueError):  # a damaged line is copied, too: verify reports it
        record = decode_line(beginning.partition(b"\n")[0])
        if record.get("t") == "journal" and record.get("format", 0) > FORMAT:
            raise NewerFormat(
                f"the journal {name} has format {record['format']}, this version reads up to {FORMAT}: "
                "pip install --upgrade heredity"
            )


def _copy_blobs(
    source: Place, target: Place, wanted: set[str] | None, transfer: Transfer, progress: Progress | None
) -> None:
    sizes, held = source.blobs(), target.blobs()
    todo = []
    for path, size in sorted(sizes.items()):
        if path.startswith("weights/") and wanted is not None and Path(path).stem not in wanted:
            continue
        if held.get(path) == size:
            continue
        if path in held and _whole(target, path, held[path]):
            continue  # the same tensors, written by another version of the format
        todo.append(path)
    done, total = 0, sum(sizes[path] for path in todo)
    with ThreadPoolExecutor(max_workers=max(source.workers, target.workers)) as pool:
        running = {pool.submit(_copy_blob, source, target, path, sizes[path]): path for path in todo}
        try:
            for ended in as_completed(running):
                path = running[ended]
                if ended.result():
                    transfer.blobs += 1
                    transfer.bytes += sizes[path]
                else:
                    transfer.damaged.append(path)
                done += sizes[path]
                if progress is not None:
                    progress(done, total, path)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _copy_blob(source: Place, target: Place, path: str, size: int) -> bool:
    """Copy a blob; False when it is damaged."""
    if isinstance(source, Folder):
        if not _whole(source, path, size):
            return False
        target.put(path, source.root / path)
        return True
    assert isinstance(target, Folder)
    try:
        with target.receive(path) as temporary:
            try:
                source.get(path, temporary)
            except OSError as error:  # of the other end: not to be told as one of this disk
                raise _Unread from error
            size = temporary.stat().st_size
            if not is_whole(path, lambda start, end: _slice(temporary, start, end), size):
                raise _Damaged
    except _Damaged:
        return False
    except _Unread as failure:
        assert failure.__cause__ is not None
        raise failure.__cause__ from None
    return True


class _Damaged(Exception):
    pass


class _Unread(Exception):
    pass


def _whole(place: Place, path: str, size: int) -> bool:
    return is_whole(path, lambda start, end: place.read_blob(path, start, end), size)


def _slice(path: Path, start: int, end: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(end - start)
