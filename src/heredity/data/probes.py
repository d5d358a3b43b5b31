"""Recorded evaluations on the digits' worlds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from heredity.data.composed import Task, composed_task
from heredity.evaluation.outcome import Graded
from heredity.evaluation.stats import bootstrap
from heredity.lab import Context, Model, Probe


@lru_cache(maxsize=4)
def _world(seed: int) -> Task:
    return composed_task(seed)


@dataclass(frozen=True)
class TwoShifts(Probe):
    """Accuracy on digits under two shifts at once, which no founder has seen.

    Args:
        part: "fitness" images, which a search may look at, give `fitness`; "test" images give `accuracy` with the ends
            of its 95 % interval over images (an image under several pairs is one observation of several),
            and which were right.
        world: seed of the division of the digits.
    """

    part: Literal["fitness", "test"] = "fitness"
    world: int = 0

    @property
    def inputs(self) -> Tensor:
        """The images of the part."""
        task = _world(self.world)
        return task.fitness_x if self.part == "fitness" else task.test_x

    def measure(self, model: Model, context: Context) -> Mapping[str, float] | Graded:
        """Share of images whose largest logit is their label."""
        task = _world(self.world)
        if self.part == "fitness":
            return {"fitness": float(_right(model, task.fitness_x, task.fitness_y).mean())}
        right = _right(model, task.test_x, task.test_y)
        image = torch.arange(len(task.clean_y)).repeat(len(task.pairs))
        estimate = bootstrap(right.numpy(), cluster=image.numpy(), n=2000)
        values = {"accuracy": estimate.mean, "accuracy_low": estimate.low, "accuracy_high": estimate.high}
        return Graded(values, right.bool().tolist())


@dataclass(frozen=True)
class Upright(Probe):
    """Accuracy on the upright test images: `clean_accuracy`."""

    world: int = 0

    def measure(self, model: Model, context: Context) -> Mapping[str, float]:
        """Share of images whose largest logit is their label."""
        task = _world(self.world)
        return {"clean_accuracy": float(_right(model, task.clean_x, task.clean_y).mean())}


@torch.no_grad()
def _right(model: Model, x: Tensor, y: Tensor) -> Tensor:
    logits = model.load()(x)
    right: Tensor = (logits.argmax(1) == y) & torch.isfinite(logits).all(1)
    return right.double()
