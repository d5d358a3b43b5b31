"""The sandbox's server: a process without secrets that forks, for each job, processes to run and to watch over it.

    caller ── host ── keeper ── init ── the code
              imports   ends all   PID 1 of its   walled in
              preloads  in time    namespace

The host imports what jobs need beforehand and never runs foreign code itself. The keeper waits for the end, for the
deadline, or for the caller to let go of the lifeline (it does when it dies), then kills everything below: a PID
namespace ends with its first process; without one the code cannot leave its process group, and what was orphaned is
adopted by the keeper and killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from heredity.search.sandbox import inside, walls

HANDED = ("job", "stdout", "stderr", "result", "status", "lifeline")  # file descriptors of a job, in this order
DEEPEST = 50  # folders in folders
LOOK = 0.05  # seconds between looks at the folder, which need not be a file system of its own


def main(control: int, preload: list[str]) -> None:
    """Serve until the other end of the socket is closed."""
    channel = socket.socket(fileno=control)
    try:
        for module in preload:
            importlib.import_module(module)
    except BaseException as error:  # also what is no Exception must reach the caller
        channel.sendall(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode() + b"\n")
        return
    gc.collect()
    gc.freeze()  # forks share what is here as long as nobody writes to it
    channel.sendall(b"{}\n")
    me = os.getpid()
    while True:
        data, handed, _, _ = socket.recv_fds(channel, 1, len(HANDED))
        if not data:
            return
        ends = dict(zip(HANDED, handed, strict=True))
        sys.stdout.flush()
        sys.stderr.flush()
        keeper = os.fork()
        if keeper == 0:
            status = 1
            try:
                channel.close()
                keep(ends, me)
                status = 0
            finally:
                os._exit(status)
        for end in handed:
            os.close(end)
        os.waitpid(keeper, 0)


def keep(ends: dict[str, int], host: int) -> None:
    """Start a job, wait for its end, leave nobody behind, and write to `status` how it went."""
    walls.die_with_parent(host)
    walls.adopt_orphans()
    with os.fdopen(ends["job"], "rb") as stream:
        stream.seek(0)
        job: dict[str, Any] = json.load(stream)
    job["user"] = walls.FIRST_USER + os.getpid()
    before = walls.threads_of(os.geteuid()) if os.geteuid() else 0
    namespaces = walls.own_namespaces() if job["namespaces"] else ""
    walls.die_with_parent(host)  # a user namespace brings new rights, and with new rights the kernel forgets it
    me = os.getpid()
    report, told = os.pipe()
    started = time.monotonic()
    init = os.fork()
    if init == 0:
        status = 1
        try:
            os.close(report)
            for name in ("status", "lifeline"):
                os.close(ends[name])
            first(job, ends, told, place=(namespaces, 0 if namespaces else me, before))
            status = 0
        finally:
            os._exit(status)
    os.close(told)
    for name in ("stdout", "stderr", "result"):
        os.close(ends[name])
    said, reason = _wait(report, ends["lifeline"], started + job["timeout_s"], job)
    seconds = time.monotonic() - started
    for kill, number in ((os.killpg, init), (os.kill, init)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(number, signal.SIGKILL)
    os.waitpid(init, 0)
    _end_orphans()
    if reason == "stopped":  # perhaps the caller is dead, and nobody else clears up
        walls.drop_disk(job["folder"])
        shutil.rmtree(job["folder"], ignore_errors=True)
    lines = [json.loads(line) for line in said.splitlines() if line.strip()]
    told_all: dict[str, Any] = {}
    for line in lines:
        told_all |= line
    text = json.dumps({**told_all, "reason": reason, "seconds": seconds}).encode()
    os.write(ends["status"], text)


def first(job: dict[str, Any], ends: dict[str, int], told: int, *, place: tuple[str, int, int]) -> None:
    """The first process of the namespace: prepare it, start the code, and say how it ended.

    Args:
        place: which namespaces there are, the keeper as it is seen from here, and the user's threads before.
    """
    namespaces, keeper, before = place
    walls.die_with_parent(keeper)
    os.setsid()
    me = os.getpid()
    user, group = (
        (job["user"], job["user"]) if os.geteuid() == 0 and namespaces != "user" else (os.geteuid(), os.getegid())
    )
    disk = bool(namespaces) and walls.private_disk(job["folder"], job["disk_mb"] << 20, user, group)
    if not disk and user != os.geteuid():
        with contextlib.suppress(OSError):
            os.chown(job["folder"], user, group)
    code = os.fork()
    if code == 0:
        try:
            walls.die_with_parent(me)
            _become_the_code(job, ends, told, place=(namespaces, disk, before))
        finally:
            os._exit(1)
    for name in ("stdout", "stderr", "result"):
        os.close(ends[name])
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == code:
            break
    _tell(told, {"ended": os.waitstatus_to_exitcode(status), "cpu": inside.usage()})


def _become_the_code(job: dict[str, Any], ends: dict[str, int], told: int, *, place: tuple[str, bool, int]) -> None:
    """Keep only what the code needs, build the walls, and run it."""
    os.chdir(job["folder"])
    os.umask(0o077)
    os.environ.clear()
    os.environ.update(HOME=job["folder"], TMPDIR=job["folder"], LANG="C.UTF-8", OMP_NUM_THREADS="1")
    nothing = os.open("/dev/null", os.O_RDONLY)
    # Everything moves above the numbers that it is to have, and then down.
    moved = [os.dup(number) for number in (nothing, ends["stdout"], ends["stderr"], ends["result"], told)]
    high = [_raised(number) for number in moved]
    for wanted, number in enumerate(high):
        os.dup2(number, wanted, inheritable=False)
    os.closerange(5, 65536)
    result, told = 3, 4
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    try:
        standing = inside.wall_in(job, *place)
    except Exception as error:
        _tell(told, {"unavailable": str(error) or type(error).__name__})
        os._exit(1)
    _tell(told, {"walls": standing})
    os.close(told)
    inside.run(job, result)


def _raised(number: int) -> int:
    """A copy of a file descriptor above 9."""
    return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 10)


def _tell(told: int, facts: dict[str, Any]) -> None:
    os.write(told, json.dumps(facts).encode() + b"\n")


def _wait(report: int, lifeline: int, deadline: float, job: dict[str, Any]) -> tuple[bytes, str]:
    """What init said until it ended, and why waiting ended: "", "timeout", "stopped", "disk" or "hidden"."""
    said = b""
    poll = select.poll()
    poll.register(report, select.POLLIN)
    poll.register(lifeline, select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return said, "timeout"
        for number, _event in poll.poll(min(left, LOOK) * 1000 + 1):
            if number == lifeline:
                return said, "stopped"
            part = os.read(report, 65536)
            if not part:
                return said, ""
            said += part
        size = _size(job["folder"], job["disk_mb"] << 20)
        if size is None or size > job["disk_mb"] << 20:
            return said, "disk" if size is not None else "hidden"


def _size(folder: str, enough: int) -> int | None:
    """Bytes below a folder, with a page for every entry.

    None when a part cannot be looked at, because of its rights or how deep it lies. It counts until `enough`.
    """
    total, waiting = 0, [(folder, 0)]
    while waiting and total <= enough:
        path, depth = waiting.pop()
        if depth > DEEPEST:
            return None
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    total += 4096 + (entry.stat(follow_symlinks=False).st_blocks * 512)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((entry.path, depth + 1))
        except PermissionError:
            return None
        except OSError:
            continue  # it went away while we looked
    return total


def _end_orphans() -> None:
    """Kill and reap whatever still descends from this process; there is nothing when the walls stand."""
    me = os.getpid()
    for _ in range(1000):
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, IndexError, ValueError):
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    if parent == me:
                        os.kill(int(entry.name), signal.SIGKILL)
        time.sleep(0.001)
