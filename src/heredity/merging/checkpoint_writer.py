"""Write a safetensors checkpoint in any order and from any thread, and let its folder appear only when it is whole.

Source: the safetensors format and the Hugging Face layout of sharded models (`model.safetensors.index.json`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from heredity.errors import MergeError
from heredity.merging.dtype_names import CODE_OF, item_size, name_of
from heredity.merging.safetensors_header import MAX_TRANSFER

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class _Shard:
    file: Path
    names: list[str]
    payload: int
    start: int = 0
    descriptor: int = -1


class CheckpointWriter:
    """Write tensors of known names, types and shapes to their final place, in any order and from any thread.

    Args:
        folder: an existing folder.
        tensors: name, dtype (torch's name of it) and shape of every tensor, in the order that decides which shard
            holds it.
        max_shard_size: bytes of tensors per file; a larger tensor has a file alone.
        metadata: string pairs for every file; `finish` may replace values, but not by longer ones.

    Raises:
        MergeError: the disk cannot hold it, or a dtype has no safetensors code.
    """

    def __init__(
        self,
        folder: Path,
        tensors: Sequence[tuple[str, str, tuple[int, ...]]],
        *,
        max_shard_size: int,
        metadata: Mapping[str, str],
    ) -> None:
        self.folder = folder
        self._specs = {name: (dtype, shape) for name, dtype, shape in tensors}
        for name, (dtype, _) in self._specs.items():
            if dtype not in CODE_OF:
                raise MergeError(f"{name!r} has type {dtype}, which safetensors cannot hold")
        self._offsets: dict[str, tuple[int, int]] = {}  # descriptor, absolute offset
        self._shards = self._split(max_shard_size)
        self.nbytes = sum(shard.payload for shard in self._shards)
        self._written: SimpleQueue[tuple[int, int, int] | None] = SimpleQueue()
        self._behind = threading.Thread(target=self._write_back, name="write-back")
        with name_disk_errors(self.folder, self.nbytes):
            if os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize < self.nbytes:
                raise OSError(errno.ENOSPC, "no space left")
            for shard in self._shards:
                # The header is written last, when the metadata is known; its length is settled now.
                shard.start = len(self._header(shard, metadata))
                shard.descriptor = os.open(shard.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
                position = shard.start
                for name in shard.names:
                    self._offsets[name] = (shard.descriptor, position)
                    position += self._size(name)
        self._behind.start()

    def _write_back(self) -> None:
        """Have written bytes sent to the disk at once, so that the final fsync has little left to wait for."""
        while (span := self._written.get()) is not None:
            if hasattr(os, "posix_fadvise"):
                with contextlib.suppress(OSError):  # only advice: fsync reports what goes wrong
                    os.posix_fadvise(*span, os.POSIX_FADV_DONTNEED)

    def _size(self, name: str) -> int:
        dtype, shape = self._specs[name]
        return prod(shape) * item_size(dtype)

    def _split(self, limit: int) -> list[_Shard]:
        groups: list[_Shard] = []
        for name in self._specs:
            size = self._size(name)
            if not groups or (groups[-1].names and groups[-1].payload + size > limit):
                groups.append(_Shard(Path(), [], 0))
            groups[-1].names.append(name)
            groups[-1].payload += size
        for number, shard in enumerate(groups, 1):
            name = "model.safetensors" if len(groups) == 1 else f"model-{number:05d}-of-{len(groups):05d}.safetensors"
            shard.file = self.folder / name
            # Wide types first keeps every tensor aligned, as readers that map the file expect.
            shard.names.sort(key=lambda key: -item_size(self._specs[key][0]))
        return groups

    def _header(self, shard: _Shard, metadata: Mapping[str, str]) -> bytes:
        header: dict[str, Any] = {"__metadata__": dict(metadata)}
        position = 0
        for name in shard.names:
            dtype, shape = self._specs[name]
            end = position + self._size(name)
            header[name] = {"dtype": CODE_OF[dtype], "shape": list(shape), "data_offsets": [position, end]}
            position = end
        text = json.dumps(header, separators=(",", ":")).encode()
        length = max(len(text) + -len(text) % 8, shard.start - 8)
        return length.to_bytes(8, "little") + text.ljust(length)

    def write(self, name: str, tensor: Tensor, *, row: int = 0) -> None:
        """Write a tensor, or the rows of it that begin at `row`, to its place.

        Raises:
            MergeError: the type or shape is not the announced one, or the disk is full.
        """
        import torch

        dtype, shape = self._specs[name]
        came = name_of(tensor.dtype)
        if came != dtype or (tensor.shape[1:] if shape else tensor.shape) != shape[1:]:
            raise MergeError(f"{name!r} was announced as {dtype} {shape} and came as {came} {tuple(tensor.shape)}")
        array: Any = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
        self.write_bytes(name, memoryview(array), row=row)

    def write_bytes(self, name: str, data: memoryview, *, row: int = 0) -> None:
        """Write the bytes of a tensor of the announced type, or of the rows of it that begin at `row`."""
        descriptor, position = self._offsets[name]
        if row:
            position += row * (self._size(name) // self._specs[name][1][0])
        with name_disk_errors(self.folder, self.nbytes):
            done = 0
            while done < len(data):
                done += os.pwrite(descriptor, data[done : done + MAX_TRANSFER], position + done)
            self._written.put((descriptor, position, len(data)))

    def finish(self, metadata: Mapping[str, str]) -> list[Path]:
        """Write headers and the index, sync everything to disk, and return the files written."""
        files = [shard.file for shard in self._shards]
        self._stop_write_back()
        with name_disk_errors(self.folder, self.nbytes):
            for shard in self._shards:
                header = self._header(shard, metadata)
                if len(header) != shard.start:
                    raise MergeError("the metadata grew after the writer was made")
                os.pwrite(shard.descriptor, header, 0)
                os.fsync(shard.descriptor)
            self.close()
            if len(files) > 1:
                index = self.folder / "model.safetensors.index.json"
                where = {name: shard.file.name for shard in self._shards for name in sorted(shard.names)}
                value = {"metadata": {"total_size": self.nbytes}, "weight_map": where}
                index.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
                files.append(index)
        return files

    def _stop_write_back(self) -> None:
        if self._behind.is_alive():
            self._written.put(None)
            self._behind.join()

    def close(self) -> None:
        """Close the files, finished or not."""
        self._stop_write_back()
        for shard in self._shards:
            if shard.descriptor >= 0:
                os.close(shard.descriptor)
                shard.descriptor = -1


@contextlib.contextmanager
def name_disk_errors(folder: Path, needed: int) -> Iterator[None]:
    """Turn errors of writing into `MergeError`, one sentence each.

    Args:
        folder: where is written, a hidden folder beside the real one.
        needed: bytes of weights, for the message.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            reason = "a file may not grow that large" if error.errno == errno.EFBIG else "the disk is full"
            raise MergeError(f"cannot write {needed:,} bytes of weights to {folder.parent}: {reason}") from None
        raise MergeError(f"cannot write to {folder}: {error.strerror}") from None


@contextlib.contextmanager
def fresh_folder(out: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A hidden folder beside `out` that takes its name when the block ends well, and vanishes otherwise.

    Raises:
        MergeError: `out` holds files and `overwrite` is not set, or it is not a folder.
    """
    if out.exists() and not out.is_dir():
        raise MergeError(f"{out} is a file; name a folder")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise MergeError(f"{out} already holds files; choose another folder or pass overwrite (--overwrite)")
    mark = secrets.token_hex(4)
    part, old = (out.parent / f".{out.name}.{mark}.{end}" for end in ("part", "old"))
    try:
        part.mkdir(parents=True)
        try:
            yield part
            if out.exists():
                out.rename(old)
            part.rename(out)
        except BaseException:
            if old.exists() and not out.exists():
                old.rename(out)
            raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        descriptor = os.open(out.parent, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    except OSError as error:
        raise MergeError(f"cannot write {out}: {error.strerror or error}") from None
