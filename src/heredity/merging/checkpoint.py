"""Safetensors checkpoints on disk, single-file or sharded, read by position into buffers.

Nothing is memory-mapped: mapped pages count as the process's memory, and a file that is cut short while mapped kills
the process.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from heredity.errors import MergeError
from heredity.merging.safetensors_header import Entry, fill, open_entries, open_file

if TYPE_CHECKING:
    from torch import Tensor


class Checkpoint:
    """A model's weights on disk, opened for reading. Reads are positional, so that threads may share it.

    Args:
        path: a folder with `model.safetensors`, `model.safetensors.index.json`, `adapter_model.safetensors` or one
            other safetensors file; or such a file.

    Raises:
        MergeError: nothing readable is there, or a file is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.entries, self.metadata = open_entries(self.path)
        self._descriptors: dict[Path, int] = {}
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        """The folder that holds the weights and, usually, config.json."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(entry.nbytes for entry in self.entries.values())

    def json(self, name: str) -> dict[str, Any] | None:
        """A JSON object beside the weights, such as config.json; None when there is none."""
        file = self.folder / name
        if not file.is_file():
            return None
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise MergeError(f"{file} is not valid JSON: {error}") from None
        if not isinstance(value, dict):
            raise MergeError(f"{file} should hold a JSON object, it holds {type(value).__name__}")
        return value

    def entry(self, name: str) -> Entry:
        """The place of a tensor. Raises MergeError when the checkpoint has none of that name."""
        try:
            return self.entries[name]
        except KeyError:
            raise MergeError(f"{self.path} has no tensor {name!r}") from None

    def read(self, name: str, *, rows: tuple[int, int] | None = None, raw: NDArray[np.uint8] | None = None) -> Tensor:
        """Read one tensor, or a range of its first axis, into memory of its own; see `read_bytes`."""
        entry = self.entry(name)
        shape = entry.shape if rows is None else (rows[1] - rows[0], *entry.shape[1:])
        data = self.read_bytes(name, rows=rows, raw=raw)
        # torch sees no bytes of another type in an array without any
        return (
            torch.from_numpy(data).view(entry.dtype).reshape(shape)
            if len(data)
            else torch.empty(shape, dtype=entry.dtype)
        )

    def read_bytes(
        self, name: str, *, rows: tuple[int, int] | None = None, raw: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Read the bytes of one tensor, or of a range of its first axis; torch is not needed.

        Args:
            name: the tensor's name.
            rows: half-open range of the first axis; default all.
            raw: buffer to read into, at least as long as what is read; default a new one.
        """
        entry = self.entry(name)
        begin, count = entry.offset, entry.nbytes
        if rows is not None:
            stride = entry.nbytes // max(1, entry.shape[0])
            begin, count = entry.offset + rows[0] * stride, (rows[1] - rows[0]) * stride
        buffer = np.empty(count, np.uint8) if raw is None or len(raw) < count else raw[:count]
        fill(self._descriptor(entry.file), entry, buffer.data, begin)
        return buffer

    def _descriptor(self, file: Path) -> int:
        with self._lock:
            if file not in self._descriptors:
                self._descriptors[file] = open_file(file)
            return self._descriptors[file]

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            for descriptor in self._descriptors.values():
                os.close(descriptor)
            self._descriptors.clear()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
