"""Safetensors checkpoints on disk, single-file or sharded, read by position into buffers.

Nothing is memory-mapped: mapped pages count as the process's memory, and a file that is cut short while mapped kills
the process.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from heredity.errors import MergeError
from heredity.merging.safetensors_header import Entry, fill, open_entries, open_file


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

    def read(self, name: str, *, rows: tuple[int, int] | None = None, raw: Tensor | None = None) -> Tensor:
        """Read one tensor, or a range of its first axis, into memory of its own.

        Args:
            name: the tensor's name.
            rows: half-open range of the first axis; default all.
            raw: uint8 buffer to read into, at least as long as what is read; default a new one.
        """
        entry = self.entry(name)
        shape, begin, count = entry.shape, entry.offset, entry.nbytes
        if rows is not None:
            stride = entry.nbytes // max(1, shape[0])
            shape = (rows[1] - rows[0], *shape[1:])
            begin, count = entry.offset + rows[0] * stride, shape[0] * stride
        buffer = torch.empty(count, dtype=torch.uint8) if raw is None or raw.numel() < count else raw[:count]
        array: Any = buffer.numpy()
        fill(self._descriptor(entry.file), entry, memoryview(array), begin)
        return buffer.view(entry.dtype).reshape(shape)

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
