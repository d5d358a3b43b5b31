"""Where a lab can be copied to or from: a folder, which is a lab itself, or a store behind any fsspec URL.

A folder's journals grow in place: equal bytes are written at equal offsets, so that two processes that copy the same
journal at once do no harm. In a store nothing is ever changed or deleted. There a journal is a set of segments, each
named by the bytes it holds:

    births/<writer>/000000000000000-000000004711.jsonl …        weights/ab/abcd….safetensors   evidence/…   files/…

A segment goes back over smaller ones that end where it begins, so that a journal pushed n times is read in about log n
pieces. Journals that lie in a store whole, because somebody copied a lab there by other means, are read, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from heredity.errors import LabError, MissingExtra
from heredity.lab.blobs import BlobStore
from heredity.lab.journal import sync_folder

CHUNK = 32 << 20  # bytes of a journal that are held in memory, and in one segment, at most
# Stores in which an object appears whole or not at all: a temporary name would cost a second copy.
_ATOMIC = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "cos", "tos", "hf"}
_BLOB = re.compile(r"(weights|evidence)/([0-9a-f]{2})/(\2[0-9a-f]{62})\.safetensors|files/([0-9a-f]{2})/\4[0-9a-f]{62}")
_JOURNAL = re.compile(r"births/([A-Za-z0-9][A-Za-z0-9._-]*\.jsonl)")
_SEGMENT = re.compile(r"births/([A-Za-z0-9][A-Za-z0-9._-]*)/(\d{12,})-(\d{12,})\.jsonl")


class Place(Protocol):
    """What copying asks of either end; `workers` threads may use it at once."""

    workers: int

    def blobs(self) -> Mapping[str, int]:
        """Relative path → bytes of weights, evidence and files."""

    def journals(self, *, whole: bool) -> dict[str, int]:
        """Name → bytes that are there; `whole` leaves out a last line that is not finished."""

    def read_journal(self, name: str, start: int, end: int) -> bytes:
        """These bytes of a journal; fewer where it is shorter."""

    def extend_journal(self, name: str, start: int, data: bytes) -> None:
        """Add bytes at the end, which is at `start`."""

    def read_blob(self, path: str, start: int, end: int) -> bytes:
        """These bytes of a blob; fewer where it is shorter."""

    def put(self, path: str, source: Path) -> None:
        """Copy a blob here; it appears whole or not at all."""

    def get(self, path: str, target: Path) -> None:
        """Copy a blob from here to a file."""


class Folder:
    """A lab's folder on this machine."""

    workers = 1

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = BlobStore(root)

    def blobs(self) -> Mapping[str, int]:
        """See `Place`."""
        found = {}
        for pattern in ("weights/??/*.safetensors", "evidence/??/*.safetensors", "files/??/*"):
            for file in self.root.glob(pattern):
                path = file.relative_to(self.root).as_posix()
                if _BLOB.fullmatch(path):
                    with contextlib.suppress(FileNotFoundError):  # a gc was faster
                        found[path] = file.stat().st_size
        return found

    def journals(self, *, whole: bool) -> dict[str, int]:
        """See `Place`."""
        sizes = {}
        for file in (self.root / "births").glob("*.jsonl"):
            if _JOURNAL.fullmatch(f"births/{file.name}") and file.is_file():
                sizes[file.name] = _whole_lines(file) if whole else file.stat().st_size
        return sizes

    def read_journal(self, name: str, start: int, end: int) -> bytes:
        """See `Place`."""
        return self._read(self.root / "births" / name, start, end)

    def extend_journal(self, name: str, start: int, data: bytes) -> None:
        """See `Place`."""
        path = self.root / "births" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            view = memoryview(data)
            while view:
                written = os.pwrite(descriptor, view, start)
                view, start = view[written:], start + written
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(path.parent)

    def read_blob(self, path: str, start: int, end: int) -> bytes:
        """See `Place`."""
        return self._read(self.root / path, start, end)

    def put(self, path: str, source: Path) -> None:
        """See `Place`."""
        with self.receive(path) as temporary:
            _copy(source, temporary)

    def get(self, path: str, target: Path) -> None:
        """See `Place`."""
        _copy(self.root / path, target)

    def receive(self, path: str) -> contextlib.AbstractContextManager[Path]:
        """A temporary file that takes its place on success."""
        return self._blobs.new_file(self.root / path)

    @staticmethod
    def _read(path: Path, start: int, end: int) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(end - start)


class Store:
    """A folder behind an fsspec file system.

    Args:
        fs: the file system.
        root: the folder's path in it.
    """

    def __init__(self, fs: Any, root: str) -> None:
        self.fs, self.root = fs, root.rstrip("/")
        protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
        self.atomic = bool(protocols & _ATOMIC)
        self.workers = 8 if fs.async_impl else 1  # others may not be used by several threads at once
        self._files: dict[str, int] | None = None
        self._chains: dict[str, list[tuple[int, int, str]]] = {}

    def _listing(self) -> dict[str, int]:
        """Relative path → size of everything that is there, as it was when first asked."""
        if self._files is None:
            self.fs.invalidate_cache()
            try:
                found = self.fs.find(self.root, detail=True)
            except FileNotFoundError:
                found = {}
            start = self.fs._strip_protocol(self.root).rstrip("/") + "/"
            self._files = {
                path.removeprefix(start): int(facts.get("size") or 0)
                for path, facts in found.items()
                if path.startswith(start)
            }
            self._chains = _chains(self._files)
        return self._files

    def blobs(self) -> Mapping[str, int]:
        """See `Place`."""
        return {path: size for path, size in self._listing().items() if _BLOB.fullmatch(path)}

    def journals(self, *, whole: bool) -> dict[str, int]:
        """See `Place`; only whole lines are ever put into segments, so that `whole` makes no difference."""
        self._listing()
        return {name: chain[-1][1] for name, chain in self._chains.items()}

    def read_journal(self, name: str, start: int, end: int) -> bytes:
        """See `Place`."""
        pieces = []
        for first, last, path in self._chains.get(name, ()):
            if first <= start < min(last, end):
                stop = min(last, end)
                piece = self.read_blob(path, start - first, stop - first)
                if len(piece) != stop - start:
                    raise LabError(f"{self.root}/{path} is shorter than it was; copy again")
                pieces.append(piece)
                start = stop
        return b"".join(pieces)

    def extend_journal(self, name: str, start: int, data: bytes) -> None:
        """See `Place`."""
        chain = self._chains.setdefault(name, [])
        while chain and chain[-1][1] == start:
            first, last, _ = chain[-1]
            if last - first > len(data) or last - first + len(data) > CHUNK:
                break
            data = self.read_journal(name, first, last) + data
            start = first
            chain.pop()
        end = start + len(data)
        path = f"births/{name.removesuffix('.jsonl')}/{start:015d}-{end:015d}.jsonl"
        self._write(path, lambda target: self.fs.pipe_file(target, data))
        chain.append((start, end, path))

    def read_blob(self, path: str, start: int, end: int) -> bytes:
        """See `Place`."""
        return self.fs.cat_file(f"{self.root}/{path}", start=start, end=end)

    def put(self, path: str, source: Path) -> None:
        """See `Place`."""
        self._write(path, lambda target: self.fs.put_file(str(source), target))

    def get(self, path: str, target: Path) -> None:
        """See `Place`."""
        self.fs.get_file(f"{self.root}/{path}", str(target))

    def _write(self, path: str, write: Callable[[str], Any]) -> None:
        target = f"{self.root}/{path}"
        if self.atomic:
            write(target)
            return
        folder, _, name = target.rpartition("/")
        temporary = f"{folder}/.{name}.{secrets.token_hex(4)}"
        self.fs.makedirs(folder, exist_ok=True)
        try:
            write(temporary)
            self.fs.mv(temporary, target)
        except BaseException:
            with contextlib.suppress(Exception):
                self.fs.rm_file(temporary)
            raise


def open_place(url: str, options: Mapping[str, Any] | None = None) -> Folder | Store:
    """The place behind a path or URL.

    Raises:
        MissingExtra: fsspec, or what it needs for this kind of URL, is not installed.
        LabError: the URL is not understood.
    """
    if "://" not in url and "::" not in url:
        return _local(Path(url))
    try:
        import fsspec
        from fsspec.implementations.local import LocalFileSystem
    except ImportError as error:
        raise MissingExtra(f"copying to {shown(url)}", "sync") from error
    try:
        fs, root = fsspec.core.url_to_fs(url, **(options or {}))
    except ImportError as error:
        raise MissingExtra(f"copying to {shown(url)} ({error})", "sync") from error
    except (ValueError, TypeError) as error:
        raise LabError(f"{shown(url)} is no URL that fsspec understands: {error}") from error
    return _local(Path(root)) if type(fs) is LocalFileSystem else Store(fs, root)


def _local(path: Path) -> Folder | Store:
    if any((path / "births").glob("*/*.jsonl")):  # a store that was brought here by other means
        try:
            from fsspec.implementations.local import LocalFileSystem
        except ImportError as error:
            raise MissingExtra(f"reading {path}", "sync") from error
        return Store(LocalFileSystem(), str(path.resolve()))
    return Folder(path)


def shown(url: str) -> str:
    """A URL without the password that may stand in it.

    >>> shown("ftp://me:secret@host/lab")
    'ftp://…@host/lab'
    """
    return re.sub(r"//[^/@]*@", "//…@", url)


def is_whole(path: str, read: Callable[[int, int], bytes], size: int) -> bool:
    """Whether a blob has the size that its own header promises; a small file, whether it has the hash it is named by.

    Args:
        path: relative, as in a lab.
        read: bytes of the blob from and to an offset.
        size: its bytes.
    """
    if path.startswith("files/"):
        return hashlib.sha256(read(0, size)).hexdigest() == path.rpartition("/")[2]
    try:
        length = int.from_bytes(read(0, 8), "little")
        if not 2 <= length <= size - 8:
            return False
        header = json.loads(read(8, 8 + length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return 8 + length + max(ends, default=0) == size
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return False


def _chains(files: Mapping[str, int]) -> dict[str, list[tuple[int, int, str]]]:
    """For each journal the fewest pieces (start, end, path) that give its bytes from the first on."""
    pieces: dict[str, list[tuple[int, int, str]]] = {}
    for path, size in files.items():
        if plain := _JOURNAL.fullmatch(path):
            pieces.setdefault(plain[1], []).append((0, size, path))
        elif (segment := _SEGMENT.fullmatch(path)) and int(segment[3]) - int(segment[2]) == size:
            pieces.setdefault(f"{segment[1]}.jsonl", []).append((int(segment[2]), int(segment[3]), path))
    return {name: chain for name, found in pieces.items() if (chain := list(_chain(found)))}


def _chain(pieces: list[tuple[int, int, str]]) -> Iterator[tuple[int, int, str]]:
    reached = 0
    best: tuple[int, int, str] | None = None
    for piece in sorted(pieces):
        while best is not None and piece[0] > reached and best[1] > reached:
            yield best
            reached = best[1]
        if piece[0] > reached:
            return  # a gap
        if piece[1] > reached and (best is None or piece[1] > best[1]):
            best = piece
    if best is not None and best[1] > reached:
        yield best


def _whole_lines(path: Path) -> int:
    """Bytes up to and with the last newline."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - (1 << 16))
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0


def _copy(source: Path, target: Path) -> None:
    import shutil

    shutil.copyfile(source, target)
