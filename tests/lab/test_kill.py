"""A run that is killed again and again ends as one that never was."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from species import evolve

import heredity as hd

# Imports once, then forks a fresh driver for every run: starting one costs milliseconds.
SERVER = """
import os, sys
import heredity as hd
from species import evolve
for line in sys.stdin:
    lab, executor = line.split()
    child = os.fork()
    if child == 0:
        with hd.Lab(lab, executor) as opened:
            evolve(opened)
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Driver:
    """Runs the loop in processes of its own and kills them."""

    def __init__(self) -> None:
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
        )

    def line(self) -> int:
        assert self.server.stdout is not None
        return int(self.server.stdout.readline())

    def run(self, lab: Path, executor: str, ready: Callable[[int], bool]) -> bool:
        """Start a driver and kill it when `ready(pid)`; whether it was killed, rather than done."""
        assert self.server.stdin is not None
        self.server.stdin.write(f"{lab} {executor}\n")
        self.server.stdin.flush()
        pid = self.line()
        while running(pid):
            if ready(pid):
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


@pytest.fixture
def driver() -> Iterator[Driver]:
    opened = Driver()
    yield opened
    opened.close()


def moments(lab: Path, rng: random.Random) -> Iterator[Callable[[int], bool]]:
    """When to kill: after a random time, after random growth of the journals, or while a file is being written."""

    def found(pattern: str) -> list[Path]:
        try:
            return list(lab.glob(pattern))
        except FileNotFoundError:  # a folder was removed while we looked
            return []

    def journal_bytes() -> int:
        return sum(path.stat().st_size for path in found("births/*.jsonl"))

    def after_time() -> Callable[[int], bool]:
        end = time.monotonic() + rng.uniform(0.0, 0.4)
        return lambda pid: time.monotonic() > end

    def after_growth() -> Callable[[int], bool]:
        size = journal_bytes() + rng.randrange(1, 6000)
        return lambda pid: journal_bytes() > size

    def while_there(pattern: str, skip: int) -> Callable[[int], bool]:
        seen: set[Path] = set(found(pattern))
        left = skip

        def ready(pid: int) -> bool:
            nonlocal left
            new = [path for path in found(pattern) if path not in seen]
            seen.update(new)
            left -= len(new)
            return bool(new) and left <= 0

        return ready

    while True:
        yield after_time()
        yield while_there("weights/??/.*", rng.randrange(5))  # a blob half written
        yield after_growth()
        yield while_there("weights/??/*.safetensors", rng.randrange(5))  # a blob without its birth
        yield while_there("scratch/*/.*", rng.randrange(9))  # a checkpoint half written
        yield while_there("leases/[!.]*", rng.randrange(5))  # a lease just taken
        yield while_there("births/*.jsonl", 0)  # a journal just begun


@pytest.mark.slow
@pytest.mark.parametrize(("executor", "kills"), [("inline", 28), ("processes:2", 8)])
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_never_was(
    tmp_path: Path, driver: Driver, executor: str, kills: int
) -> None:
    with hd.Lab(tmp_path / "whole") as lab:
        expected = {model.id: model.weights_sha256 for model in evolve(lab)}
        winner = {name: tensor.clone() for name, tensor in lab["winner"].weights().items()}
    rng = random.Random(7)
    done = number = 0
    while done < kills or number == 0:
        folder = tmp_path / f"killed-{number}"
        for ready in moments(folder, rng):
            enough = done >= kills
            if not driver.run(folder, executor, (lambda pid: False) if enough else ready):
                break
            done += 1
        number += 1
        with hd.Lab(folder) as lab:
            assert {model.id: model.weights_sha256 for model in lab.models()} == expected
            problems = lab.verify()
            assert {problem.kind for problem in problems} <= {"torn-line"}, problems
            assert all((lab["winner"].weights()[name] == winner[name]).all() for name in winner)
            until_quiet(folder)
            for path in [*lab.path.glob("weights/??/.*"), *lab.path.glob("scratch/*/.*")]:
                os.utime(path, (time.time() - 7200,) * 2)
            lab.gc()
            assert not [*lab.path.glob("weights/??/.*"), *lab.path.glob("scratch/*"), *lab.path.glob("leases/[!.]*")]
            for model in lab.models():  # whatever was dropped can be had again
                assert model.weights().keys() == winner.keys()
    assert done >= kills


def until_quiet(folder: Path) -> None:
    """Until the last worker of a killed driver has left."""
    end = time.monotonic() + 10
    while any(str(folder) in " ".join(open_files(process)) for process in psutil.process_iter(["pid"])):
        assert time.monotonic() < end
        time.sleep(0.1)


def open_files(process: psutil.Process) -> list[str]:
    try:
        return [] if process.pid == os.getpid() else [file.path for file in process.open_files()]
    except psutil.Error:
        return []
