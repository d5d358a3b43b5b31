"""Experts as low-rank adapters of the ancestor: a merge sees their factors and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from heredity.data.composed import composed_task
from heredity.data.experts import MLP, FounderSpec, founder_data, train
from heredity.inheritance.lora import add_slot, attach_lora, lora_layers
from heredity.lab import Child, Context, Operator, Parents, architecture
from heredity.lab.architecture import Architecture
from heredity.merging.base import StateDict, Weights

SLOT = "expert"


@architecture
def adapted_mlp(widths: tuple[int, ...], rank: int = 4) -> nn.Module:
    """A multi-layer perceptron with one active slot on every matrix that feeds a hidden layer."""
    last = f"layers.{len(widths) - 2}"
    model = attach_lora(MLP(widths), rank, lambda name, _: name != last)
    add_slot(model, SLOT)
    for _, layer in lora_layers(model):
        layer.active = {SLOT: 1.0}
    return model


@dataclass(frozen=True)
class AdaptToShift(Operator):
    """An expert: a new adapter of the parent, trained on the digits under one shift; the parent stays as it is.

    Args:
        founder: name, shifts and classes of its world.
        rank: of the factors.
        epochs, lr: AdamW.
        world: seed of the division of the digits.
    """

    founder: FounderSpec
    rank: int = 4
    epochs: int = 6
    lr: float = 5e-3
    world: int = 0
    kind: ClassVar[str] = "train"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Train the factors."""
        task, base = composed_task(self.world), dict(parents[0].weights())
        widths = [base["layers.0.weight"].shape[1], *(w.shape[0] for n, w in base.items() if n.endswith(".weight"))]
        model = adapted_mlp(tuple(widths), self.rank)
        fresh = attach_lora(_loaded(MLP(widths), base), self.rank, lambda name, _: name != f"layers.{len(widths) - 2}")
        add_slot(fresh, SLOT, seed=context.seed)
        model.load_state_dict(fresh.state_dict())
        x, y = founder_data(self.founder, task.train_x, task.train_y, seed=context.seed)
        # Only what asks for a gradient is moved: the factors. Decay would pull on nothing else.
        done = train(model, x, y, epochs=self.epochs, lr=self.lr, seed=context.seed)
        return Child(done.weights, Architecture(adapted_mlp, {"widths": list(widths), "rank": self.rank}).spec())


def factors(expert: Mapping[str, Tensor]) -> StateDict:
    """The factors of an expert's weights, under the names of `heredity.inheritance.lora.slot_state_dict`."""
    found: StateDict = {}
    for name, tensor in expert.items():
        layer, _, part = name.removesuffix(f".{SLOT}").rpartition(".")
        if part in ("down", "up"):
            found[f"{layer}.lora_{'A' if part == 'down' else 'B'}"] = tensor.clone()
    return found


def no_change(expert: Mapping[str, Tensor]) -> StateDict:
    """The ancestor among adapters: factors of zeros."""
    return {name: torch.zeros_like(tensor) for name, tensor in factors(expert).items()}


def expressed(ancestor: Weights, adapter: Weights) -> StateDict:
    """The ancestor's weights with W + B A for every pair of factors."""
    whole = {name: tensor.clone() for name, tensor in ancestor.items()}
    for name, down in adapter.items():
        layer, _, part = name.rpartition(".")
        if part == "lora_A":
            whole[f"{layer}.weight"] += adapter[f"{layer}.lora_B"] @ down
    return whole


def _loaded(module: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    module.load_state_dict(dict(weights))
    return module
