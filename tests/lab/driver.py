"""A process that runs some work again and again in children of its own, so that a test can kill them at any instant."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

# Imports once, then forks a fresh child for every run: starting one costs milliseconds.
SERVER = """
import os, sys
import heredity as hd
from {module} import evolve
for line in sys.stdin:
    lab, executor, *rest = line.split()
    child = os.fork()
    if child == 0:
        os.dup2(2, 1)  # a worker whose parent dies while starting it prints its traceback to stdout
        with hd.Lab(lab, executor) as opened:
            evolve(opened, *rest)
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Driver:
    """Runs `evolve(lab, *arguments)` of a module beside the tests in processes of their own, and kills them."""

    def __init__(self, module: str) -> None:
        command = [sys.executable, "-c", SERVER.format(module=module)]
        pipe = subprocess.PIPE
        self.server = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=Path(__file__).parent)

    def line(self) -> int:
        assert self.server.stdout is not None
        return int(self.server.stdout.readline())

    def run(self, lab: Path, executor: str, *arguments: str, ready: Callable[[], bool]) -> bool:
        """Start a run and kill it when `ready()`; whether it was killed, rather than done."""
        assert self.server.stdin is not None
        self.server.stdin.write(" ".join([str(lab), executor, *arguments]) + "\n")
        self.server.stdin.flush()
        pid = self.line()
        while running(pid):
            if ready():
                os.kill(pid, signal.SIGKILL)
                break
        status = self.line()
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return True
        assert os.WEXITSTATUS(status) == 0
        return False

    def close(self) -> None:
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait(timeout=60)


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def found(lab: Path, pattern: str) -> list[Path]:
    """The files of a lab that match, while another process writes and removes there."""
    try:
        return list(lab.glob(pattern))
    except FileNotFoundError:  # a folder was removed while we looked
        return []


def journal_bytes(lab: Path) -> int:
    return sum(path.stat().st_size for path in found(lab, "births/*.jsonl"))
