"""The sandbox's server as the caller sees it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from heredity.search.sandbox.exchange import Exchange, SandboxResult, SandboxUnavailable

START = 120.0  # seconds that a server may take to import what is preloaded
QUIET = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "2", **QUIET}
SERVER = (
    "import sys, json, site; site.setquit(); number, preload, sys.path[:] = json.loads(sys.argv[1]); "
    "from heredity.search.sandbox.host import main; main(number, preload)"
)


class Worker:
    """A server that has imported what jobs need; each run is a fork of it, so that runs never see one another.

    A `Worker` runs one job at a time; several of them run side by side. It starts with the first job and again after a
    failure. Close it, or use it in `with`.

    Args:
        preload: modules that the server imports once, for instance "torch". They are trusted: they run unprotected.
        readable: more files and folders that jobs may read.
    """

    def __init__(self, preload: Iterable[str] = (), *, readable: Iterable[str | Path] = ()) -> None:
        self.preload = tuple(preload)
        self.readable = tuple(str(Path(path).resolve()) for path in readable)
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the server and whatever it runs."""
        if self._owner != os.getpid():  # a fork of the owner: the server is not ours
            self._process = self._channel = None
            return
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            if self._process.poll() is None:  # else its number may be somebody else's by now
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, 9)
                self._process.wait()
            self._process = None

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

    def start(self) -> None:
        """Start the server, if it is not running.

        Raises:
            SandboxUnavailable: this is not Linux, it does not start, or a module cannot be imported.
        """
        if self._owner == os.getpid() and self._process is not None and self._process.poll() is None:
            return
        if sys.platform != "linux":
            raise SandboxUnavailable(f"the sandbox is made of what Linux has; {sys.platform} has no such walls")
        self.close()
        mine, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile() as complaints:
            argument = json.dumps([theirs.fileno(), list(self.preload), sys.path])
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", "-c", SERVER, argument],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                env=ENVIRONMENT,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                cwd="/",
            )
            theirs.close()
            self._channel, self._owner = mine, os.getpid()
            mine.settimeout(START)
            said = b""
            with contextlib.suppress(OSError):
                while not said.endswith(b"\n") and (part := mine.recv(65536)):
                    said += part
            if not said.endswith(b"\n"):
                complaints.seek(0)
                tail = complaints.read()[-500:].decode(errors="replace").strip()
                self.close()
                raise SandboxUnavailable(f"the sandbox's server did not start: {tail or 'it took too long'}")
        error = json.loads(said).get("error")
        if error:
            self.close()
            raise SandboxUnavailable(f"the sandbox's server cannot import {', '.join(self.preload)}: {error}")

    def run(self, job: dict[str, Any]) -> SandboxResult:
        """One job; see `run_python`, which makes them."""
        with self._lock:
            self.start()
            assert self._channel is not None
            return Exchange(self._channel, job, self.close).result()
