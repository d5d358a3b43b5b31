"""A run that is killed again and again ends as one that never was."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from driver import Driver, found, journal_bytes
from species import evolve

import heredity as hd


@pytest.fixture
def driver() -> Iterator[Driver]:
    opened = Driver("species")
    yield opened
    opened.close()


def moments(lab: Path, rng: random.Random) -> Iterator[Callable[[], bool]]:
    """When to kill: after a random time, after random growth of the journals, or while a file is being written."""

    def after_time() -> Callable[[], bool]:
        end = time.monotonic() + rng.uniform(0.0, 0.4)
        return lambda: time.monotonic() > end

    def after_growth() -> Callable[[], bool]:
        size = journal_bytes(lab) + rng.randrange(1, 6000)
        return lambda: journal_bytes(lab) > size

    def while_there(pattern: str, skip: int) -> Callable[[], bool]:
        seen: set[Path] = set(found(lab, pattern))
        left = skip

        def ready() -> bool:
            nonlocal left
            new = [path for path in found(lab, pattern) if path not in seen]
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
            if not driver.run(folder, executor, ready=(lambda: False) if enough else ready):
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
