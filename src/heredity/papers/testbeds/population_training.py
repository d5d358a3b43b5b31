"""A population of character models under population based training, and one that follows its schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from heredity.errors import EvaluationFailed
from heredity.evaluation.ranking import spearman
from heredity.lab import Child, Context, Operator, Parents, Request
from heredity.papers.claim import Cell, Steps, Trial
from heredity.papers.testbeds.character_gru import (
    Stack,
    Text,
    bits,
    chosen,
    initial,
    python_text,
    train,
    weights_of,
)
from heredity.papers.testbeds.pbt_toy import toy
from heredity.search.fields import LogUniform, Uniform
from heredity.search.pbt import PBT
from heredity.search.pbt_rounds import Hyper, Schedule

SPACE = {
    "lr": LogUniform(1e-4, 3e-2),
    "weight_decay": LogUniform(1e-6, 1.0),
    "dropout": Uniform(0.0, 0.5),
    "clip": LogUniform(0.1, 10.0),
}
NOTES = ("bits", "valid", "trend", "copies", "failures")


@dataclass(frozen=True)
class Lessons:
    """What every network of an arm trains on, and for how long.

    Args:
        text: seed of the modules that are used.
        rounds, steps: rounds of so many updates.
        batch, context: rows of so many characters in a batch.
        width: of the GRU.
        characters: of training, validation and test text.
    """

    text: int
    rounds: int = 10
    steps: int = 30
    batch: int = 16
    context: int = 32
    width: int = 64
    characters: tuple[int, int, int] = (1_000_000, 8_000, 40_000)

    def read(self) -> Text:
        """The text."""
        return python_text(self.text, *self.characters)

    def teach(self, stack: Stack, text: Text, hypers: Sequence[Hyper], seeds: Sequence[int], factors: Tensor) -> Tensor:
        """One round of all networks, in place; validation bits per character [M].

        Args:
            factors: of the learning rate [steps].
        """
        columns = {name: torch.tensor([float(hyper[name]) for hyper in hypers]) for name in SPACE}
        rates = factors[:, None] * columns.pop("lr")
        train(stack, text.train, rates, columns, seeds, batch=self.batch, context=self.context)
        return bits(stack, text.valid, context=self.context)

    def judge(self, stack: Stack, text: Text) -> float:
        """Bits per character of a single network on the test modules."""
        return float(bits(stack, text.test, context=self.context)[0])


@dataclass(frozen=True)
class TrainPopulation(Operator):
    """The best network by validation, at any time, of a population that trains at once.

    Args:
        lessons: on what.
        members, interval, fraction, exploit, inherit: as of `heredity.search.pbt.PBT`; "none" is random search.
        cosine: let every learning rate fall to 0 along half a cosine.

    The birth's seed draws the networks, their hyperparameters and everything after. The notes also hold what the same
    seed gives on the paper's toy, with copying or without.
    """

    lessons: Lessons
    members: int = 8
    interval: int = 1
    fraction: float = 0.25
    exploit: Literal["truncation", "none"] = "truncation"
    inherit: Literal["both", "weights", "hyperparameters"] = "both"
    cosine: bool = False
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Train."""
        pbt = PBT(
            SPACE,
            self.members,
            self.interval,
            exploit=self.exploit,
            fraction=self.fraction,
            inherit=self.inherit,
            seed=context.seed,
        )
        lessons, text = self.lessons, self.lessons.read()
        stack: Stack = {}
        winner: tuple[int, Stack] | None = None
        places: dict[int, int] = {}
        for round_ in range(lessons.rounds):
            asked = pbt.ask()
            tasks = [candidate.value for candidate in asked]
            if round_ == 0:
                stack = initial([task.seed for task in tasks], lessons.width)
            else:
                stack = chosen(stack, [places[task.parent] for task in tasks if task.parent is not None])
            factors = self._factors(round_)
            hypers, seeds = [task.hyper for task in tasks], [task.seed for task in tasks]
            scores = -lessons.teach(stack, text, hypers, seeds, factors)
            places = {candidate.id: place for place, candidate in enumerate(asked)}
            pbt.tell(asked, scores.tolist())
            if pbt.best is not None and pbt.best[0].id in places:
                winner = pbt.best[0].id, chosen(stack, [places[pbt.best[0].id]])
            context.progress(round_ + 1, lessons.rounds)
        if winner is None or pbt.best is None:
            raise EvaluationFailed("no network has a finite validation loss")
        rates = [task.hyper["lr"] for task in pbt.path(winner[0])]
        notes = {
            "bits": lessons.judge(winner[1], text),
            "valid": -pbt.best[1],
            "trend": spearman(range(len(rates)), rates, constant=0.0) if len(rates) > 1 else 0.0,
            "copies": float(sum(kind == "exploit" for _, _, kind in pbt.lineage())),
            "failures": float(sum(score is None for _, score in pbt.events)),
            "toy": toy(context.seed, exploit=self.exploit != "none"),
            "schedule": [[step, hyper] for step, hyper in pbt.schedule()],
        }
        return Child(weights_of(winner[1]), None, notes)

    def _factors(self, round_: int) -> Tensor:
        steps = self.lessons.steps
        if not self.cosine:
            return torch.ones(steps)
        done = torch.arange(round_ * steps, (round_ + 1) * steps) / (steps * self.lessons.rounds)
        return (1 + torch.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class FollowSchedule(Operator):
    """One new network that trains by the schedule of the parent, a population's winner; the best by validation."""

    lessons: Lessons
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Train."""
        schedule: Schedule = [(int(step), dict(hyper)) for step, hyper in parents[0].notes["schedule"]]
        lessons, text = self.lessons, self.lessons.read()
        seeds = np.random.SeedSequence([context.seed, 2]).generate_state(lessons.rounds + 1)
        stack = initial([int(seeds[-1])], lessons.width)
        found: tuple[float, Stack] | None = None
        rates = []
        for round_ in range(lessons.rounds):
            hyper = [values for since, values in schedule if since <= round_][-1]
            rates.append(hyper["lr"])
            valid = float(lessons.teach(stack, text, [hyper], [int(seeds[round_])], torch.ones(lessons.steps))[0])
            if math.isfinite(valid) and (found is None or valid < found[0]):
                found = valid, chosen(stack, [0])
        if found is None:
            raise EvaluationFailed("the network has no finite validation loss")
        notes = {
            "bits": lessons.judge(found[1], text),
            "valid": found[0],
            "trend": spearman(range(len(rates)), rates, constant=0.0),
            "copies": 0.0,
            "failures": 0.0,
        }
        return Child(weights_of(found[1]), None, notes)


def trial(cell: Cell) -> Steps:
    """One arm: a population, or the replay of what the population of the same seed has found."""
    settings: Mapping[str, Any] = cell.settings
    names = {item.name for item in fields(Lessons)}
    lessons = Lessons(cell.seed, **{name: value for name, value in settings.items() if name in names})
    own = {name: value for name, value in settings.items() if name not in names and name != "replay"}
    population = Request(TrainPopulation(lessons, **own), seed=cell.seed)
    if "replay" not in settings:
        return Trial(population, notes=(*NOTES, "toy"))
    (winner,) = yield [population]
    return Trial(Request(FollowSchedule(lessons), (winner,), seed=cell.seed), notes=NOTES)
