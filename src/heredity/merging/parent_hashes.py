"""The hashes by which a merged file names its parents, computed beside the merge.

Source: the record's `weights_sha256`: names, dtypes, shapes and elements in the order of names.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping

import torch

from heredity.merging.checkpoint import Checkpoint

_HASH_BLOCK = 4 << 20


def weights_sha256(checkpoint: Checkpoint, stop: threading.Event | None = None) -> str:
    """SHA-256 over names, dtypes, shapes and elements in the order of names, whatever the files.

    A lab records the same hash as a birth's `weights_sha256`, so that a merged file's parents can be found there.
    """
    digest = hashlib.sha256()
    buffer = torch.empty(_HASH_BLOCK, dtype=torch.uint8)
    for name in sorted(checkpoint.entries):
        entry = checkpoint.entries[name]
        digest.update(f"{name}\x00{str(entry.dtype).removeprefix('torch.')}\x00{entry.shape}\x00".encode())
        for start in range(0, entry.nbytes, _HASH_BLOCK):
            if stop is not None and stop.is_set():
                return ""
            digest.update(checkpoint.read_bytes(entry, start, buffer))
    return digest.hexdigest()


class ParentHashes:
    """Hash the parents in threads beside the merge, whose reads then find the pages in memory."""

    def __init__(self, parents: Mapping[str, Checkpoint]) -> None:
        self._stop, self._digests = threading.Event(), dict.fromkeys(parents, "0" * 64)
        self._error: BaseException | None = None
        self._threads = [threading.Thread(target=self._hash, args=item) for item in parents.items()]

    @property
    def placeholder(self) -> dict[str, str]:
        """Digests of the right length, to reserve room in a header."""
        return dict.fromkeys(self._digests, "0" * 64)

    def _hash(self, label: str, checkpoint: Checkpoint) -> None:
        try:
            self._digests[label] = weights_sha256(checkpoint, self._stop)
        except BaseException as error:
            self._error = error

    def result(self) -> dict[str, str]:
        """Wait for the digests, by parent."""
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
