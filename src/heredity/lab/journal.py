"""Append-only journals: one file per writer, one JSON object per line, each line with its checksum.

A lab's truth is the union of its journals. A writer only ever appends whole lines to its own file; a torn last line
(a writer killed while writing) is ignored, a damaged line is reported and costs nothing but itself.
"""

from __future__ import annotations

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
from pathlib import Path
from typing import Any

from heredity.errors import LabError, NewerFormat, ReadOnlyLab
from heredity.lab.canonical import dumps

FORMAT = 1
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


def read_lines(path: Path, offset: int = 0) -> Iterator[tuple[int, dict[str, Any] | Damage]]:
    """Whole lines from `offset` on, each with the offset behind it. A torn last line is left for the next reading.

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
                yield offset, Damage(path.name, start, str(error))
                continue
            if record.get("t") == "journal" and record.get("format", 0) > FORMAT:
                raise NewerFormat(
                    f"{path} has journal format {record['format']}, this version reads up to {FORMAT}: "
                    "pip install --upgrade heredity"
                )
            yield offset, record


class JournalWriter:
    """Appends records to this process's own journal; the file appears with the first record."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder
        self._descriptor: int | None = None
        self._lock = threading.Lock()

    def append(self, *records: dict[str, Any]) -> None:
        """Write records durably: they are on disk, whole, when this returns.

        Raises:
            ReadOnlyLab: the folder cannot be written.
            LabError: the disk is full or failed; nothing of the records is left behind.
        """
        with self._lock:
            if self._descriptor is None:
                self._open()
            self._write(b"".join(encode_line(record) for record in records))

    def _open(self) -> None:
        host = re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname())[:32]
        self.path = self.folder / f"{host}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL
            self._descriptor = os.open(self.path, flags, 0o644)
        except OSError as error:
            raise ReadOnlyLab(f"cannot write to the lab at {self.folder.parent}: {error.strerror}") from error
        self._write(encode_line({"t": "journal", "format": FORMAT, "writer": self.path.stem, "time": time.time()}))

    def _write(self, lines: bytes) -> None:
        assert self._descriptor is not None
        before = os.fstat(self._descriptor).st_size
        try:
            if os.write(self._descriptor, lines) != len(lines):
                raise OSError(28, "No space left on device")
            os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, before)
            raise LabError(f"cannot write to {self.path}: {error.strerror}; nothing was recorded") from error

    def close(self) -> None:
        """Close the file; a later record opens a new journal."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
