"""Recorded training of the small experts: an ancestor, and founders that each learned one shift of its world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from heredity.data.composed import composed_task
from heredity.data.experts import MLP, FounderSpec, TrainState, founder_data, train
from heredity.lab import Child, Context, Operator, Parents
from heredity.lab.architecture import Architecture

StateDict = Mapping[str, Tensor]


def _train(module: MLP, x: Tensor, y: Tensor, *, epochs: int, lr: float, context: Context) -> Child:
    """Train with a checkpoint after every epoch, so that a killed birth goes on where it was."""
    saved = context.restore()
    state = TrainState.from_tensors(saved[0], saved[1]["epoch"]) if saved is not None else None

    def save(state: TrainState) -> None:
        context.checkpoint(state.tensors(), epoch=state.epoch)
        context.progress(state.epoch, epochs)

    done = train(module, x, y, epochs=epochs, lr=lr, seed=context.seed, state=state, on_epoch=save)
    return Child(done.weights, Architecture(MLP, {"widths": list(module.widths)}).spec())


@dataclass(frozen=True)
class TrainAncestor(Operator):
    """An MLP trained from scratch on upright digits (a root: it has no parents).

    Args:
        widths: layer sizes.
        epochs, lr: AdamW.
        world: seed of the division of the digits; the same for everything that is compared.
    """

    widths: tuple[int, ...] = (64, 512, 512, 10)
    epochs: int = 20
    lr: float = 1e-3
    world: int = 0
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Train from a random start drawn from the birth's seed."""
        task = composed_task(self.world)
        return _train(
            MLP(self.widths, context.seed), task.train_x, task.train_y, epochs=self.epochs, lr=self.lr, context=context
        )


@dataclass(frozen=True)
class LearnShift(Operator):
    """A founder: the parent fine-tuned on the same digits under one shift.

    Args:
        founder: name, shifts and classes of its world.
        epochs, lr: AdamW.
        world: seed of the division of the digits.
    """

    founder: FounderSpec
    epochs: int = 6
    lr: float = 5e-4
    world: int = 0
    kind: ClassVar[str] = "train"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Fine-tune the primary parent."""
        task = composed_task(self.world)
        module = parents[0].load()
        assert isinstance(module, MLP)
        x, y = founder_data(self.founder, task.train_x, task.train_y, seed=context.seed)
        return _train(module, x, y, epochs=self.epochs, lr=self.lr, context=context)
