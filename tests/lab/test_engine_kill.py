"""A search that is killed again and again ends as one that never was; an asynchronous one goes on from its order."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from driver import Driver, journal_bytes
from species import Drift, Norm, Raises

import heredity as hd
from heredity.lab.told import Entry, Told
from heredity.search.box import Box
from heredity.search.evolution import RegularizedEvolution
from heredity.search.snes import SNES

BOX = Box(-2.0, 3.0, dim=3)
EVALUATIONS = 60


def evolve(lab: hd.Lab, mode: Any, replay: bool | hd.Lab = False) -> hd.Evolved:
    """A small search with checkpointed births, and some that fail."""
    root = lab.add({"w": torch.zeros(3, dtype=torch.float64)}, name="root")

    def birth(candidate: Any) -> hd.Request:
        if candidate.id % 7 == 3:
            return hd.Request(Raises(), (root,), seed=candidate.id)
        # the candidate's vector decides the steps' noise by the seed, so that another candidate is another birth
        seed = int(abs(candidate.value).sum() * 2**40)
        return hd.Request(Drift(steps=1 + candidate.id % 2), (root,), seed=seed)

    searcher = SNES(BOX, population=6, seed=4) if mode == "generational" else RegularizedEvolution(BOX, 8, 3, seed=4)
    window = None if mode == "generational" else 5
    return hd.Evolution(
        lab,
        searcher,
        birth=birth,
        probe=Norm(),
        metric="norm",
        direction="maximize",
        mode=mode,
        in_flight=window,
        evaluations=EVALUATIONS,
        replay=replay,
    ).run()


@pytest.fixture
def driver() -> Iterator[Driver]:
    opened = Driver("test_engine_kill")
    yield opened
    opened.close()


def moment(lab: Path, rng: random.Random) -> Callable[[], bool]:
    """When to kill: after a random time, or after random growth of the journals, at any byte."""
    if rng.random() < 0.3:
        end = time.monotonic() + rng.uniform(0.0, 0.3)
        return lambda: time.monotonic() > end

    enough = journal_bytes(lab) + rng.randrange(1, 15_000)
    return lambda: journal_bytes(lab) > enough


def order(folder: Path) -> list[Entry]:
    with hd.Lab(folder, mode="r") as lab:
        rows = lab.index.query("SELECT DISTINCT id FROM events WHERE t = 'told'")
        assert len(rows) <= 1
        return Told(lab, rows[0][0]).entries if rows else []


def killed(driver: Driver, folder: Path, executor: str, mode: str, rng: random.Random) -> int:
    """Run until the end, killing at random; how often it was killed."""
    count = 0
    before: list[Entry] = []
    while driver.run(folder, executor, mode, ready=moment(folder, rng)):
        count += 1
        if (folder / "births").is_dir():
            now = order(folder)
            assert now[: len(before)] == before
            before = now
    return count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "executor", "least"),
    [
        ("generational", "inline", 12),
        ("steady", "inline", 12),
        ("asynchronous", "inline", 12),
        ("steady", "processes:2", 3),
        ("asynchronous", "processes:2", 3),
    ],
)
def test_a_killed_search_ends_as_one_that_never_was(
    tmp_path: Path, driver: Driver, mode: str, executor: str, least: int
) -> None:
    expected = None
    if mode != "asynchronous":
        with hd.Lab(tmp_path / "whole") as lab:
            expected = outcome(lab, evolve(lab, mode))
    rng = random.Random(11)
    kills = number = 0
    while kills < least:
        folder = tmp_path / str(number)
        kills += killed(driver, folder, executor, mode, rng)
        number += 1
        with hd.Lab(folder) as lab:
            assert {problem.kind for problem in lab.verify()} <= {"torn-line"}
            size = len(lab)
            found = outcome(lab, evolve(lab, mode))
            assert len(lab) == size  # the search had ended, and is recalled
            if mode == "asynchronous":
                with hd.Lab(tmp_path / f"replayed-{number}") as other:
                    expected = outcome(other, evolve(other, mode, replay=lab))
        assert found == expected


def outcome(lab: hd.Lab, result: hd.Evolved) -> tuple[Any, ...]:
    """Everything that must be the same: all births and their bits, and what the search says."""
    assert result.told == EVALUATIONS
    assert result.best is not None
    births = {model.id: model.weights_sha256 for model in lab.models()}
    return births, result.births, result.failures, result.best.id, result.value, result.history
