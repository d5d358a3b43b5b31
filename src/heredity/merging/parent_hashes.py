"""The hashes by which a merged file names its parents, computed beside the merge. torch is not imported.

Source: the record's `weights_sha256`: names, dtypes, shapes and elements in the order of names.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from heredity.merging.safetensors_header import fill, open_entries, open_file

_BLOCK = 4 << 20


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


class ParentHashes:
    """Hash parents in threads of their own, whose pages the merge's reads then find in memory.

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
            self._digests[label] = weights_sha256(path, self._stop)
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
