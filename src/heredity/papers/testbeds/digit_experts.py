"""Experts of one ancestor on digits, a task that none of them saw, and what is measured of a child.

One division of the digits per seed: 1,000 images train ancestor and experts, 200 images under the task's shifts are
what a search may look at, the other 597 under the same shifts are reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from heredity.data.composed import Task, composed_task
from heredity.data.experts import MLP
from heredity.data.shifts import Shift
from heredity.lab import Context, Model, Probe
from heredity.merging.base import Weights

Shifts = tuple[Shift, ...]


@lru_cache(maxsize=8)
def _task(world: int, shifts: Shifts) -> Task:
    return composed_task(world, pairs=(shifts,))


@dataclass(frozen=True)
class DigitTask:
    """Digits under some shifts.

    Args:
        shifts: applied in order to every image of the task.
        world: seed of the division of the digits.
    """

    shifts: Shifts
    world: int

    def fitness_images(self) -> tuple[Tensor, Tensor]:
        """The 200 images and labels that a search may look at."""
        task = _task(self.world, self.shifts)
        return task.fitness_x, task.fitness_y

    def test_images(self) -> tuple[Tensor, Tensor]:
        """The images and labels that are only reported."""
        task = _task(self.world, self.shifts)
        return task.test_x, task.test_y

    def upright(self) -> tuple[Tensor, Tensor]:
        """The test images without shifts."""
        task = _task(self.world, self.shifts)
        return task.clean_x, task.clean_y


def network(weights: Weights) -> MLP:
    """The multi-layer perceptron that these weights are of."""
    layers = sum(name.endswith(".weight") for name in weights)
    matrices = [weights[f"layers.{number}.weight"] for number in range(layers)]
    module = MLP([matrices[0].shape[1], *(matrix.shape[0] for matrix in matrices)])
    module.load_state_dict(dict(weights))
    return module.eval()


@torch.no_grad()
def right(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """[N] 1 where the largest logit is the label, else 0; logits that are not finite are wrong."""
    logits = module(x)
    hits: Tensor = ((logits.argmax(1) == y) & torch.isfinite(logits).all(1)).double()
    return hits


@dataclass(frozen=True)
class TaskAccuracy(Probe):
    """A child on its task's test images.

    `accuracy`; `fitness` on the images of the search; `gap`, fitness less accuracy; `upright`, accuracy without
    shifts; with `classes`, accuracy among these (`new_classes`) and the other classes (`old_classes`); with `others`,
    mean accuracy on the test images of other tasks (`transfer`).

    Args:
        task: the child's.
        others: shifts of other tasks.
        classes: labels to report on their own.
    """

    task: DigitTask
    others: tuple[Shifts, ...] = ()
    classes: tuple[int, ...] = ()

    def measure(self, model: Model, context: Context) -> Mapping[str, float]:
        """Share of images whose largest logit is their label."""
        module = model.load()
        x, y = self.task.test_images()
        hits = right(module, x, y)
        fitness = float(right(module, *self.task.fitness_images()).mean())
        accuracy = float(hits.mean())
        values = {
            "accuracy": accuracy,
            "fitness": fitness,
            "gap": fitness - accuracy,
            "upright": float(right(module, *self.task.upright()).mean()),
        }
        if self.classes:
            new = torch.isin(y, torch.tensor(self.classes))
            values |= {"new_classes": float(hits[new].mean()), "old_classes": float(hits[~new].mean())}
        if self.others:
            worlds = [DigitTask(shifts, self.task.world) for shifts in self.others]
            values["transfer"] = _mean([float(right(module, *world.test_images()).mean()) for world in worlds])
        return values


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
