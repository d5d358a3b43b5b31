"""One job at the sandbox's server: hand it over, read what comes back in bounded time and memory, and judge it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heredity.errors import HeredityError

GRACE = 1.0  # seconds after a run's own time-out until its server is ended as well
REASONS = {
    "timeout": "timed out after {timeout_s:g} s",
    "disk": "wrote more than {disk_mb} MB of files",
    "hidden": "made folders too deep, or without the rights, for its files to be counted",
}


class SandboxUnavailable(HeredityError):
    """This machine cannot hold foreign code the way the sandbox promises; nothing was run."""


@dataclass(frozen=True, slots=True)
class SandboxResult:
    """How a run ended.

    Args:
        ok: the code ran to its end and its value could be taken.
        value: what the call returned, as it comes back from JSON; None without a call.
        stdout: what it printed, at most the limit.
        error: one sentence; empty when ok.
        seconds: wall time of the run, without the start of the server.
        stderr: as `stdout`; holds the traceback of an error.
        cpu: seconds of CPU time; 0 for a run that was killed.
        walls: which protections stood ("limits", "privileges", "files", "calls"; and "namespaces", "disk", "user").
    """

    ok: bool
    value: Any
    stdout: str
    error: str
    seconds: float
    stderr: str = ""
    cpu: float = 0.0
    walls: tuple[str, ...] = ()


class Exchange:
    """One job at a server: its pipes, its folder, and what came out of them.

    Args:
        channel: to the server.
        job: what `host` and `inside` read.
        end_server: ends the server and all that it runs.
    """

    def __init__(self, channel: socket.socket, job: dict[str, Any], end_server: Callable[[], None]) -> None:
        self.channel, self.job, self.end_server = channel, job, end_server
        self.texts: dict[str, bytes] = {"stdout": b"", "stderr": b"", "result": b"", "status": b""}
        self.stopped = ""  # why the caller ended it

    def result(self) -> SandboxResult:
        """Run it, and clear up."""
        folder = tempfile.mkdtemp(prefix="heredity-")
        self.token = secrets.token_hex(8)
        try:
            self._exchange({**self.job, "folder": folder, "token": self.token})
        finally:
            _remove(folder)
        if not self.texts["status"]:
            self.end_server()
            if self.stopped:  # the server did not answer either
                return self._judged({"reason": "stopped", "seconds": self.job["timeout_s"]})
            raise SandboxUnavailable("the sandbox's server ended unexpectedly")
        return self._judged(json.loads(self.texts["status"]))

    def _exchange(self, job: dict[str, Any]) -> None:
        """Hand the job over and read all pipes until it has ended, in bounded time and memory."""
        readers: dict[str, int] = {}
        handed: list[int] = []
        with tempfile.TemporaryFile() as written, selectors.DefaultSelector() as selector:
            written.write(json.dumps(job).encode())
            written.flush()
            for name in self.texts:
                readers[name], end = os.pipe()
                os.set_blocking(readers[name], False)
                handed.append(end)
            lifeline_end, lifeline = os.pipe()
            try:
                with contextlib.suppress(BrokenPipeError):  # the server is gone: its pipes end at once
                    socket.send_fds(self.channel, [b"j"], [written.fileno(), *handed, lifeline_end])
                for end in (*handed, lifeline_end):
                    os.close(end)
                for name, number in readers.items():
                    selector.register(number, selectors.EVENT_READ, name)
                lifeline = self._read(selector, lifeline)
            finally:
                for number in (*readers.values(), lifeline):
                    if number >= 0:
                        os.close(number)

    def _read(self, selector: selectors.DefaultSelector, lifeline: int) -> int:
        """Read until the status has come; the lifeline, or −1 once it is let go of."""
        last = time.monotonic() + self.job["timeout_s"] + GRACE
        while True:
            left = last - time.monotonic()
            if left <= 0:
                self.stopped = self.stopped or REASONS["timeout"].format(**self.job)
                self.end_server()  # with its keeper dies everything that it keeps
                return lifeline
            for key, _ in selector.select(left):
                part = os.read(key.fd, 65536)
                if not part:
                    selector.unregister(key.fd)
                    if key.data == "status":
                        self._drain(selector)
                        return lifeline
                self.texts[key.data] += part
            over = self._over()
            if over and lifeline >= 0:
                self.stopped = over
                os.close(lifeline)
                lifeline = -1

    def _over(self) -> str:
        """Which limit of output is exceeded, and cut off what is beyond."""
        output, result = self.job["output_bytes"], self.job["result_bytes"] + 1024
        found = ""
        if len(self.texts["stdout"]) + len(self.texts["stderr"]) > output:
            found = f"wrote more than {output} bytes of output"
        if len(self.texts["result"]) > result:
            found = found or f"wrote more than {result} bytes to the channel of results"
        for name, most in (("stdout", output), ("stderr", output), ("result", result)):
            self.texts[name] = self.texts[name][: most + 1]
        return found

    def _drain(self, selector: selectors.DefaultSelector) -> None:
        """What is left in the pipes of a run that has ended; nobody can write to them any more."""
        for key in list(selector.get_map().values()):
            with contextlib.suppress(BlockingIOError):
                while part := os.read(key.fd, 65536):
                    self.texts[key.data] += part
                    if self._over():
                        self.stopped = self.stopped or self._over() or "wrote too much"
                        break

    def _judged(self, status: Mapping[str, Any]) -> SandboxResult:
        if "unavailable" in status:
            raise SandboxUnavailable(f"foreign code was not run, for a wall is missing: {status['unavailable']}")
        value, error = None, self.stopped
        if not error and status["reason"]:
            error = REASONS.get(status["reason"], "was stopped").format(**self.job)
        ended = status.get("ended")
        if not error and ended != 0:
            error = _how_ended(ended)
        if not error:
            value, error = self._value()
        limit = self.job["output_bytes"]
        return SandboxResult(
            not error,
            value,
            self.texts["stdout"][:limit].decode(errors="replace"),
            error,
            float(status["seconds"]),
            self.texts["stderr"][:limit].decode(errors="replace"),
            float(status.get("cpu", 0.0)),
            tuple(status.get("walls", ())),
        )

    def _value(self) -> tuple[Any, str]:
        """The value and the error in what stands in the channel of results."""
        text, token = self.texts["result"], self.token.encode()
        try:
            outcome = json.loads(text.removeprefix(token), parse_constant=_refuse) if text.startswith(token) else None
        except (ValueError, RecursionError):
            outcome = None
        if not isinstance(outcome, dict) or len(outcome) != 1 or not outcome.keys() <= {"value", "error"}:
            if not text:
                return None, "ended without a result"
            return None, "wrote something else to the channel of results"
        if "error" in outcome:
            return None, str(outcome["error"]) or "failed without a reason"
        return outcome["value"], ""


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _how_ended(status: int | None) -> str:
    if status is None:
        return "ended without a result"
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = str(-status)
        return f"was ended by signal {name}"
    return f"ended without a result (exit status {status})"


def _remove(folder: str) -> None:
    """Remove a folder, whatever it holds: no rights, names of any length, any depth."""
    with contextlib.suppress(OSError):  # as a rule it is empty, for the run had a disk of its own
        Path(folder).rmdir()
    for command in (("rm", "-rf", "--"), ("chmod", "-R", "u+rwx"), ("rm", "-rf", "--")):
        if os.path.lexists(folder):
            subprocess.run([*command, folder], capture_output=True, check=False)
