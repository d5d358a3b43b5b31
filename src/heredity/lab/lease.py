"""Leases: of two callers who ask for the same birth at once, one runs it and the other waits.

A lease is a file created exclusively; its owner touches it while it works. A lease that was not touched for `expiry`
seconds, or whose owner's process on this host is gone, may be taken over. Births are deterministic and recording one
twice is harmless, so that a takeover that races costs time, never correctness.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from heredity.errors import ReadOnlyLab


class LeaseBook:
    """The leases that this process holds in one lab."""

    def __init__(self, folder: Path, expiry: float = 60.0) -> None:
        self.folder = folder
        self.expiry = expiry
        self._held: set[Path] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._beat: threading.Thread | None = None
        self._me = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": psutil.Process().create_time(),
        }

    def acquire(self, birth: str, needs: list[str]) -> bool:
        """Try to take the lease of a birth.

        Args:
            birth: its id.
            needs: ids of the parents whose blobs must stay while it runs.

        Returns:
            False when somebody else holds it.
        """
        path = self.folder / birth
        content = json.dumps({**self._me, "nonce": secrets.token_hex(8), "needs": needs}).encode()
        for _ in range(2):
            if self._create(path, content):
                with self._lock:
                    self._held.add(path)
                self._keep_beating()
                return True
            if not self._take_over_if_dead(path):
                return False
        return False

    def _create(self, path: Path, content: bytes) -> bool:
        # A link makes the lease appear with its content: nobody can read an empty one and take it for dead.
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            raise ReadOnlyLab(f"cannot write to the lab at {self.folder.parent}: {error.strerror}") from error
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _take_over_if_dead(self, path: Path) -> bool:
        """Remove a dead owner's lease; True when the place is free now."""
        try:
            content = path.read_bytes()
            age = time.time() - path.stat().st_mtime
        except FileNotFoundError:
            return True
        if age < self.expiry and self._alive(content):
            return False
        grave = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            path.rename(grave)
        except FileNotFoundError:
            return True
        if grave.read_bytes() != content:  # another caller was faster and owns it now: give it back
            with contextlib.suppress(FileExistsError):
                os.link(grave, path)
            grave.unlink()
            return False
        grave.unlink()
        return True

    def _alive(self, content: bytes) -> bool:
        owner: dict[str, Any] = json.loads(content)
        if owner["host"] != self._me["host"]:
            return True
        try:
            return abs(psutil.Process(owner["pid"]).create_time() - owner["started"]) < 1.0
        except psutil.NoSuchProcess:
            return False

    def release(self, birth: str) -> None:
        """Give a lease back."""
        path = self.folder / birth
        with self._lock:
            self._held.discard(path)
        path.unlink(missing_ok=True)

    def needed(self) -> set[str]:
        """Ids of births that running births, anybody's, need or are."""
        ids: set[str] = set()
        for path in self.folder.glob("[!.]*") if self.folder.exists() else ():
            try:
                content = path.read_bytes()
                fresh = time.time() - path.stat().st_mtime < self.expiry
            except FileNotFoundError:
                continue
            if fresh and self._alive(content):
                ids.update([path.name, *json.loads(content)["needs"]])
        return ids

    def _keep_beating(self) -> None:
        if self._beat is None or not self._beat.is_alive():
            self._stop.clear()
            self._beat = threading.Thread(target=self._run, name="heredity-lease", daemon=True)
            self._beat.start()

    def _run(self) -> None:
        while not self._stop.wait(self.expiry / 5):
            with self._lock:
                for path in self._held:
                    with contextlib.suppress(FileNotFoundError):
                        os.utime(path)

    def close(self) -> None:
        """Release everything held."""
        self._stop.set()
        with self._lock:
            held, self._held = self._held, set()
        for path in held:
            path.unlink(missing_ok=True)
