"""Leases: of two callers who ask for the same birth at once, one runs it and the other waits.

A process writes one small file that says who it is; a lease is a hard link to that file, so that it appears whole, and
one touch keeps all leases of the process alive. A lease whose owner is gone from this host may be taken over at once;
one from elsewhere when its file was not touched for `expiry` seconds of watching. Births are deterministic and
recording one twice is harmless, so that a takeover that races costs time, never correctness.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from functools import cache
from io import FileIO
from pathlib import Path
from typing import Any

import psutil

from heredity.errors import ReadOnlyLab

ROTATE = 1 << 16  # bytes after which an owner without leases begins a new file
FOREIGN = 3600.0  # seconds for which the lease of another host protects blobs from gc, however its clock goes


@cache
def host_identity() -> str:
    """This machine, this boot, this process-id space: where a process id means what it means here."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return " ".join(parts)


def start_mark(pid: int) -> str | None:
    """What tells a process from a later one of the same id; None when there is no such process, or it is dead."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if after_name[0] in "ZX" else after_name[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.0f}"
    except psutil.Error:
        return None


class LeaseBook:
    """The leases that this process holds in one lab."""

    def __init__(self, folder: Path, expiry: float = 60.0) -> None:
        self.folder = folder
        self.expiry = expiry
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self._beat: threading.Thread | None = None
        self._seen: dict[str, tuple[int, float]] = {}  # others' leases: when touched, and since when we know that
        self._owner = 0  # the process that this book belongs to; a forked child begins its own
        self._identity = folder
        self._file: FileIO | None = None
        self._inode = 0

    # Taking and giving back

    def acquire(self, birth: str, needs: list[str]) -> bool:
        """Try to take the lease of a birth.

        Args:
            birth: its name.
            needs: ids of the models whose blobs must stay while it runs.

        Returns:
            False when somebody else holds it.

        Raises:
            ReadOnlyLab: the folder cannot be written.
        """
        try:
            with self._lock:
                self._introduce()
                assert self._file is not None
                for _ in range(2):
                    if os.path.lexists(self.folder / birth) and not self._take_over_if_dead(birth):
                        return False
                    self._file.write((" ".join([birth, *needs]) + "\n").encode())
                    with contextlib.suppress(FileExistsError):
                        os.link(self._identity, self.folder / birth)
                        self._held.add(birth)
                        self._seen.pop(birth, None)
                        self._keep_beating()
                        return True
        except OSError as error:
            raise ReadOnlyLab(f"cannot write to the lab at {self.folder.parent}: {error.strerror}") from error
        return False

    def _introduce(self) -> None:
        """Have a file that says who we are."""
        if self._owner != os.getpid():
            self._held, self._file, self._beat, self._owner = set(), None, None, os.getpid()
        if self._file is not None:
            if self._held or self._file.tell() < ROTATE:
                return
            self._forget_file()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._identity = self.folder / f".{os.getpid()}-{secrets.token_hex(6)}"
        self._file = FileIO(self._identity, "xb")
        weakref.finalize(self, _forget, self._identity, os.getpid())  # also when the process ends without close()
        me = {"host": host_identity(), "pid": os.getpid(), "started": start_mark(os.getpid())}
        self._file.write(json.dumps(me).encode() + b"\n")
        self._inode = os.fstat(self._file.fileno()).st_ino

    def _forget_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._identity.unlink(missing_ok=True)

    def _take_over_if_dead(self, birth: str) -> bool:
        """Remove a dead owner's lease; True when the place is free now."""
        path = self.folder / birth
        found = _read(path)
        if found is None:
            return True
        owner, stat = found
        if not self._expired(birth, stat) and _alive(owner) is not False:
            return False
        grave = path.with_name(f".{birth}.{secrets.token_hex(6)}")
        try:
            path.rename(grave)
        except FileNotFoundError:
            return True
        ours = grave.stat().st_ino == stat.st_ino
        if not ours:  # another caller was faster and owns it now: give it back
            with contextlib.suppress(FileExistsError):
                os.link(grave, path)
        grave.unlink(missing_ok=True)
        return ours

    def _expired(self, birth: str, stat: os.stat_result) -> bool:
        """Whether we have watched a lease for long without seeing a touch; clocks of two machines are not compared."""
        now = time.monotonic()
        touched, since = self._seen.setdefault(birth, (stat.st_mtime_ns, now))
        if touched != stat.st_mtime_ns:
            self._seen[birth] = (stat.st_mtime_ns, now)
            return False
        return now - since > self.expiry

    def release(self, birth: str) -> None:
        """Give a lease back, if it is still ours."""
        with self._lock:
            if birth in self._held and self._owner == os.getpid():
                self._held.discard(birth)
                path = self.folder / birth
                with contextlib.suppress(FileNotFoundError):
                    if os.stat(path).st_ino == self._inode:  # noqa: PTH116 - asked for every birth
                        path.unlink()

    def close(self) -> None:
        """Release everything held."""
        if self._owner != os.getpid():
            return
        for birth in list(self._held):
            self.release(birth)
        with self._lock:
            self._forget_file()

    # Looking around

    def needed(self) -> set[str]:
        """Names of births that are running, anybody's, and ids of the models that they need."""
        ids: set[str] = set()
        for path, (owner, stat) in self._others():
            alive = _alive(owner)
            if alive or (alive is None and time.time() - stat.st_mtime < max(FOREIGN, self.expiry)):
                for line in owner["needs"]:
                    birth, *needs = line.split()
                    if birth == path.name:
                        ids.update([birth.partition("-")[0], *needs])
        return ids

    def clean(self) -> None:
        """Remove what dead owners left behind."""
        for path, (owner, stat) in self._others(hidden=True):
            old = time.time() - stat.st_mtime > 24 * FOREIGN
            if _alive(owner) is False or old:
                path.unlink(missing_ok=True)

    def _others(self, *, hidden: bool = False) -> Iterator[tuple[Path, tuple[dict[str, Any], os.stat_result]]]:
        for path in sorted(self.folder.iterdir()) if self.folder.exists() else ():
            if hidden or not path.name.startswith("."):
                found = _read(path)
                if found is not None:
                    yield path, found

    # Signs of life

    def _keep_beating(self) -> None:
        if self._beat is None:
            self._beat = threading.Thread(target=_beat, args=(weakref.ref(self),), name="heredity-lease", daemon=True)
            self._beat.start()

    def _touch(self) -> bool:
        """Touch what we hold; False when there is nothing to touch any more, and the thread may end."""
        with self._lock:
            if not self._held or self._owner != os.getpid():
                self._beat = None
                return False
            with contextlib.suppress(OSError):
                os.utime(self._identity)  # every lease is the same file
            return True


def _beat(reference: weakref.ref[LeaseBook]) -> None:
    while (book := reference()) is not None:
        pause = book.expiry / 5
        if not book._touch():
            return
        del book
        time.sleep(pause)


def _forget(identity: Path, owner: int) -> None:
    if owner == os.getpid():
        with contextlib.suppress(OSError):
            identity.unlink(missing_ok=True)


def _read(path: Path) -> tuple[dict[str, Any], os.stat_result] | None:
    """Who owns a lease, with the births that they began ("needs"); None when it is gone."""
    try:
        first, *rest = path.read_bytes().decode(errors="replace").split("\n")
        stat = path.stat()
    except OSError:
        return None
    try:
        owner = json.loads(first)
        return {"host": owner["host"], "pid": int(owner["pid"]), "started": owner["started"], "needs": rest[:-1]}, stat
    except (ValueError, KeyError, TypeError):
        return {"host": None, "pid": 0, "started": None, "needs": []}, stat


def _alive(owner: dict[str, Any]) -> bool | None:
    """Whether an owner's process runs; None where that cannot be seen from here."""
    if owner["host"] != host_identity():
        return None
    return start_mark(owner["pid"]) == owner["started"]
