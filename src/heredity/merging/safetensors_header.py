"""The headers of safetensors checkpoints, single-file or sharded: which tensor lies where. torch is not imported.

Headers are checked in full, so that damage has a file and a tensor to name.
Source: the safetensors format (8-byte little-endian header length, JSON header, tensors back to back) and the
Hugging Face layout of sharded models (`model.safetensors.index.json`).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heredity.errors import MergeError
from heredity.merging.dtype_names import CODES, torch_dtype

if TYPE_CHECKING:
    import torch

MAX_TRANSFER = 1 << 30  # one system call moves at most 2^31 - 4096 bytes on Linux
_MAX_HEADER = 100_000_000  # the format's own limit


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one tensor lies: `nbytes` bytes from `offset` in `file`."""

    name: str
    code: str
    shape: tuple[int, ...]
    file: Path
    offset: int
    nbytes: int

    @property
    def dtype_name(self) -> str:
        """torch's name of its type, such as "bfloat16"."""
        return CODES[self.code][0]

    @property
    def dtype(self) -> torch.dtype:
        """Its type."""
        return torch_dtype(self.dtype_name)


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
    if code not in CODES:
        raise MergeError(f"{file} holds {name!r} as {code}, which cannot be read; known are {', '.join(CODES)}")
    if min(shape, default=0) < 0 or end - begin != prod(shape) * CODES[code][1]:
        raise MergeError(
            f"the header of {file} is damaged: {name!r} of shape {shape} and type {code} has {end - begin} bytes"
        )
    return Entry(name, code, shape, file, start + begin, end - begin)


def open_entries(path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """The tensors of a model, and its metadata.

    Args:
        path: a folder with `model.safetensors`, `model.safetensors.index.json`, `adapter_model.safetensors` or one
            other safetensors file; or such a file.

    Raises:
        MergeError: nothing readable is there, or a file is damaged.
    """
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


def open_file(file: Path) -> int:
    """A descriptor for reading; the caller closes it."""
    try:
        return os.open(file, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise MergeError(f"cannot read {file}: {error.strerror}") from None


def fill(descriptor: int, entry: Entry, view: memoryview, begin: int) -> None:
    """Read bytes of a tensor's file from `begin` until `view` is full.

    Raises:
        MergeError: the file ends early; it and the tensor are named.
    """
    done = 0
    while done < len(view):
        try:
            got = os.preadv(descriptor, [view[done : done + MAX_TRANSFER]], begin + done)
        except OSError as error:
            raise MergeError(f"cannot read {entry.name!r} from {entry.file}: {error.strerror}") from None
        if got == 0:
            raise MergeError(f"{entry.file} was cut short while {entry.name!r} was read")
        done += got
