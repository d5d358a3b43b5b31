"""Append-only journals: one file per writer, one JSON object per line, each line with its checksum.

A lab's truth is the union of its journals. A writer only ever appends whole lines to its own file; a torn last line
(a writer killed while writing) is ignored, a damaged line is reported and costs nothing but itself.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from heredity.errors import LabError, NewerFormat, ReadOnlyLab
from heredity.lab.canonical import dumps

FORMAT = 1
_CRC_LENGTH = len(',"crc":"00000000"}')
_CRC = re.compile(rb',"crc":"([0-9a-f]{8})"\}$')


@dataclass(frozen=True, slots=True)
class Damage:
    """A line that cannot be trusted."""

    journal: str
    offset: int
    reason: str


def encode_line(record: dict[str, Any]) -> bytes:
    """One journal line: canonical JSON whose last member is the CRC-32 of the rest."""
    body = dumps(record).encode()
    return body[:-1] + b',"crc":"%08x"}\n' % zlib.crc32(body)


def decode_line(line: bytes) -> dict[str, Any]:
    """The record in a line.

    Raises:
        ValueError: the line is no JSON object or its checksum does not match.
    """
    match = _CRC.search(line)
    if match is None:
        raise ValueError("the line has no checksum")
    body = line[: match.start()] + b"}"
    if b"%08x" % zlib.crc32(body) != match[1]:
        raise ValueError("the checksum does not match")
    record = json.loads(body)
    if not isinstance(record, dict):
        raise ValueError("the line is not an object")
    return record


def strip_crc(line: bytes) -> str:
    """The text of a whole line without its checksum: the JSON that an index keeps."""
    return line.rstrip(b"\n")[:-_CRC_LENGTH].decode() + "}"


def read_lines(path: Path, offset: int = 0) -> Iterator[tuple[int, dict[str, Any] | Damage, str]]:
    """Whole lines from `offset` on, each with the offset behind it and its JSON text.

    A torn last line is left for the next reading.

    Raises:
        NewerFormat: the journal was written by a newer version.
    """
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            start, offset = offset, offset + len(line)
            try:
                record = decode_line(line.rstrip(b"\n"))
            except ValueError as error:
                yield offset, Damage(path.name, start, str(error)), ""
                continue
            if record.get("t") == "journal" and record.get("format", 0) > FORMAT:
                raise NewerFormat(
                    f"{path} has journal format {record['format']}, this version reads up to {FORMAT}: "
                    "pip install --upgrade heredity"
                )
            yield offset, record, strip_crc(line)


class JournalWriter:
    """Appends records to this process's own journal; the file appears with the first record."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder
        self._file: FileIO | None = None
        self._owner = os.getpid()
        self._end = 0
        self._lock = threading.Lock()

    def append(self, *records: dict[str, Any]) -> tuple[int, list[bytes]]:
        """Write records durably: they are on disk, whole, when this returns.

        Returns:
            The journal's size before, and the lines written.

        Raises:
            ReadOnlyLab: the folder cannot be written.
            LabError: the disk is full or failed; nothing of the records is left behind.
        """
        lines = [encode_line(record) for record in records]
        with self._lock:
            if self._owner != os.getpid():  # a forked child writes a journal of its own
                self._file, self._owner = None, os.getpid()
            if self._file is None:
                self._open()
            start = self._end
            self._write(b"".join(lines))
        return start, lines

    def _open(self) -> None:
        host = re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname())[:32]
        self.path = self.folder / f"{host}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        try:
            self._file = FileIO(self.path, "xb")
        except OSError as error:
            raise ReadOnlyLab(f"cannot write to the lab at {self.folder.parent}: {error.strerror}") from error
        self._end = 0
        try:
            self._write(encode_line({"t": "journal", "format": FORMAT, "writer": self.path.stem, "time": time.time()}))
            sync_folder(self.folder)
        except LabError:
            self._file.close()
            self._file = None
            self.path.unlink(missing_ok=True)
            raise

    def _write(self, lines: bytes) -> None:
        assert self._file is not None
        try:
            written = self._file.write(lines)
            if written != len(lines):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(self._end)
            self._file.seek(self._end)
            raise LabError(f"cannot write to {self.path}: {error.strerror}; nothing was recorded") from error
        except BaseException:
            # Interrupted: the last line may be torn, so nothing may follow it; the next record opens a new journal.
            self._file.close()
            self._file = None
            raise
        self._end += len(lines)

    def close(self) -> None:
        """Close the file; a later record opens a new journal."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder survive a power failure, where the system knows how."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
