"""Safetensors checkpoints on disk, single-file or sharded, read by position into buffers.

Nothing is memory-mapped: mapped pages count as the process's memory, and a file that is cut short while mapped kills
the process. Headers are checked in full when a checkpoint is opened, so that damage has a file and a tensor to name.
Source: the safetensors format (8-byte little-endian header length, JSON header, tensors back to back) and the
Hugging Face layout of sharded models (`model.safetensors.index.json`).
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from heredity.errors import MergeError

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}
_MAX_HEADER = 100_000_000  # the format's own limit
MAX_TRANSFER = 1 << 30  # one system call moves at most 2^31 - 4096 bytes on Linux


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one tensor lies: `nbytes` bytes from `offset` in `file`."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    file: Path
    offset: int
    nbytes: int


def _bytes(raw: Tensor) -> memoryview:
    array: Any = raw.numpy()
    return memoryview(array)


def read_header(file: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """Read and check the header of a safetensors file: entries in file order, and its metadata.

    Raises:
        MergeError: the file is missing, cut short, or its header is not valid; the file and the tensor are named.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(_MAX_HEADER, size - 8):
                why = f"it announces a header of {length} bytes in a file of {size}" if size >= 8 else f"{size} bytes"
                raise MergeError(f"{file} is cut short or not a safetensors file: {why}")
            header: Any = json.loads(stream.read(length))
    except OSError as error:
        raise MergeError(f"cannot read {file}: {error.strerror}") from None
    except ValueError as error:  # JSON and Unicode errors
        if isinstance(error, MergeError):
            raise
        raise MergeError(f"the header of {file} is damaged: {error}") from None
    if not isinstance(header, dict):
        raise MergeError(f"the header of {file} is damaged: it is not a JSON object")
    metadata = header.pop("__metadata__", None) or {}
    start = 8 + length
    entries = [_entry(file, name, value, start) for name, value in header.items()]
    entries.sort(key=lambda entry: (entry.offset, entry.nbytes))
    end = start
    for entry in entries:
        if entry.offset != end:
            raise MergeError(
                f"the header of {file} is damaged: {entry.name!r} begins at byte {entry.offset}, expected {end}"
            )
        end += entry.nbytes
        if end > size:
            raise MergeError(f"{file} is cut short: {entry.name!r} ends at byte {end}, the file has {size}")
    if end != size:
        raise MergeError(f"{file} holds {size - end} bytes beyond its last tensor; it is damaged")
    return {entry.name: entry for entry in entries}, {str(key): str(value) for key, value in metadata.items()}


def _entry(file: Path, name: str, value: Any, start: int) -> Entry:
    try:
        code, shape = value["dtype"], tuple(int(n) for n in value["shape"])
        begin, end = (int(offset) for offset in value["data_offsets"])
    except (TypeError, KeyError, ValueError):
        raise MergeError(f"the header of {file} is damaged at {name!r}") from None
    if code not in DTYPES:
        raise MergeError(f"{file} holds {name!r} as {code}, which cannot be read; known are {', '.join(DTYPES)}")
    dtype = DTYPES[code]
    if min(shape, default=0) < 0 or end - begin != prod(shape) * dtype.itemsize:
        raise MergeError(
            f"the header of {file} is damaged: {name!r} of shape {shape} and type {code} has {end - begin} bytes"
        )
    return Entry(name, dtype, shape, file, start + begin, end - begin)


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
        self.entries, self.metadata = _open_entries(self.path)
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
        self._fill(entry, _bytes(buffer), begin)
        return buffer.view(entry.dtype).reshape(shape)

    def read_bytes(self, entry: Entry, start: int, raw: Tensor) -> memoryview:
        """Read bytes of a tensor from its byte `start` into `raw` (uint8); return those that were left to read."""
        view = _bytes(raw)[: min(raw.numel(), entry.nbytes - start)]
        self._fill(entry, view, entry.offset + start)
        return view

    def _fill(self, entry: Entry, view: memoryview, begin: int) -> None:
        descriptor, done = self._descriptor(entry.file), 0
        while done < len(view):
            try:
                got = os.preadv(descriptor, [view[done : done + MAX_TRANSFER]], begin + done)
            except OSError as error:
                raise MergeError(f"cannot read {entry.name!r} from {entry.file}: {error.strerror}") from None
            if got == 0:
                raise MergeError(f"{entry.file} was cut short while {entry.name!r} was read")
            done += got

    def _descriptor(self, file: Path) -> int:
        with self._lock:
            if file not in self._descriptors:
                try:
                    self._descriptors[file] = os.open(file, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
                except OSError as error:
                    raise MergeError(f"cannot read {file}: {error.strerror}") from None
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


def _open_entries(path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    if path.is_file():
        return read_header(path)
    if not path.is_dir():
        raise MergeError(f"{path} does not exist; a model is a folder with safetensors weights or such a file")
    index = path / "model.safetensors.index.json"
    if index.is_file():
        return _open_sharded(index)
    for name in ("model.safetensors", "adapter_model.safetensors"):
        if (path / name).is_file():
            return read_header(path / name)
    files = sorted(path.glob("*.safetensors"))
    if len(files) == 1:
        return read_header(files[0])
    if files:
        raise MergeError(f"{path} holds {len(files)} safetensors files and no model.safetensors.index.json")
    if any(path.glob("*.bin")) or any(path.glob("*.pt")) or any(path.glob("*.pth")):
        raise MergeError(f"{path} holds pickled weights only, which are not read; convert them to safetensors first")
    raise MergeError(f"{path} holds no safetensors weights")


def _open_sharded(index: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    try:
        where = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = dict.fromkeys(str(file) for file in where.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise MergeError(f"{index} is damaged: it has no usable weight_map") from None
    entries: dict[str, Entry] = {}
    metadata: dict[str, str] = {}
    for name in files:
        if Path(name).name != name:
            raise MergeError(f"{index} names a shard outside its folder: {name!r}")
        if not (index.parent / name).is_file():
            raise MergeError(f"{index} names the shard {name!r}, which is missing")
        shard, metadata = read_header(index.parent / name)
        entries |= {key: entry for key, entry in shard.items() if where.get(key) == name}
    for key, name in where.items():
        if key not in entries:
            raise MergeError(f"{index} places {key!r} in {name!r}, which does not hold it")
    return entries, metadata
