"""The hashes by which a merged file names its parents, computed beside the merge. torch is not imported.

Source: the record's `weights_sha256`: names, dtypes, shapes and elements in the order of names.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from heredity.folders import cache_folder
from heredity.merging.safetensors_header import fill, open_entries, open_file

_BLOCK = 4 << 20
SETTLED = 2.0  # seconds after which a file's times are believed; file systems' clocks tick in up to that much


def weights_sha256(path: Path, stop: threading.Event | None = None) -> str:
    """SHA-256 of a model's weights, however they are spread over files; "" when `stop` was set.

    A lab records the same hash as a birth's `weights_sha256`, so that a merged file's parents can be found there.

    Raises:
        MergeError: nothing readable is there, or a file is damaged.
    """
    digest, block = hashlib.sha256(), memoryview(bytearray(_BLOCK))
    entries, _ = open_entries(path)
    descriptors: dict[Path, int] = {}
    try:
        for name in sorted(entries):
            entry = entries[name]
            if entry.file not in descriptors:
                descriptors[entry.file] = open_file(entry.file)
            digest.update(f"{name}\x00{entry.dtype_name}\x00{entry.shape}\x00".encode())
            for start in range(0, entry.nbytes, _BLOCK):
                if stop is not None and stop.is_set():
                    return ""
                part = block[: min(_BLOCK, entry.nbytes - start)]
                fill(descriptors[entry.file], entry, part, entry.offset + start)
                digest.update(part)
    finally:
        for descriptor in descriptors.values():
            os.close(descriptor)
    return digest.hexdigest()


def remembered_sha256(path: Path, stop: threading.Event | None = None) -> str:
    """`weights_sha256`, remembered in the user's cache for as long as no file of the model has changed.

    A file counts as unchanged while path, inode, size and the times of its last change of content and of state are the
    same; the last of these cannot be set back. A cache that cannot be read or written is done without.
    """
    stamp = _stamp(path)
    note = cache_folder() / "parents" / hashlib.sha256(stamp.encode()).hexdigest()
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if len(known := note.read_text()) == 64:
            return known
    digest = weights_sha256(path, stop)
    # A file that changed while it was read is not the one that was stamped; one that was written a moment ago may
    # change once more within the clock's tick.
    if digest and _stamp(path) == stamp and time.time() - _newest(path) > SETTLED:
        part = note.with_name(f".{note.name}.{os.getpid()}.{threading.get_ident()}")
        with contextlib.suppress(OSError):
            note.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(digest)
            part.replace(note)
    return digest


def _files(path: Path) -> list[Path]:
    entries, _ = open_entries(path)
    return sorted({entry.file for entry in entries.values()})


def _newest(path: Path) -> float:
    return max((file.stat().st_ctime for file in _files(path)), default=0.0)


def _stamp(path: Path) -> str:
    """What tells whether a model's files are the ones seen before."""
    rows = []
    for file in _files(path):
        stat = file.stat()
        rows.append((str(file.resolve()), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    return repr(rows)


class ParentHashes:
    """Hash parents in threads of their own, whose pages the merge's reads then find in memory.

    Digests are remembered: trying many merges of the same parents reads them for the merge alone.

    Args:
        parents: by what to call them, the folder or file of each parent's weights.
    """

    def __init__(self, parents: Mapping[str, Path]) -> None:
        self.parents = dict(parents)
        self._stop, self._digests = threading.Event(), dict.fromkeys(parents, "")
        self._error: BaseException | None = None
        self._threads = [threading.Thread(target=self._hash, args=item) for item in parents.items()]

    @property
    def placeholder(self) -> dict[str, str]:
        """Digests of the right length, to reserve room in a header."""
        return dict.fromkeys(self.parents, "0" * 64)

    def _hash(self, label: str, path: Path) -> None:
        try:
            self._digests[label] = remembered_sha256(path, self._stop)
        except BaseException as error:
            self._error = error

    def result(self) -> dict[str, str]:
        """Wait for the digests, by parent. Raises what a thread ran into."""
        for thread in self._threads:
            thread.join()
        if self._error:
            raise self._error
        return dict(self._digests)

    def __enter__(self) -> ParentHashes:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
