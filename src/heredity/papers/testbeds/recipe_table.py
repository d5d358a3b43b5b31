"""A closed table: small convolutional networks × training recipes on scikit-learn's digits, every cell a real training.

Source: the bench of the specification of arXiv 2006.02049 at this scale; the networks and recipes are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from heredity.data.digits import all_digits, stratified_parts
from heredity.search.fields import Choice, Int, LogUniform, Uniform, When
from heredity.search.hyperparameters import Setting
from heredity.search.joint_space import ArchSpace, RecipeSpace

TRAIN, VALID, TEST = 600, 500, 697
ACTIVATIONS: Mapping[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}
# The usual rate of each optimiser; a recipe's rate is a factor of it, a decade to either side.
USUAL = {"sgd": 0.05, "adam": 0.005, "rmsprop": 0.0025}
EMA = 0.95  # per step
CHANCE = 0.1


class DigitNet(nn.Module):
    """Blocks of convolution, batch normalisation and activation, a 2×2 average, a linear layer.

    Args:
        arch: a setting of `architectures()`.
        dropout: before the linear layer.
    """

    def __init__(self, arch: Setting, dropout: float = 0.0) -> None:
        super().__init__()
        widths, kernels = _widths(arch), _kernels(arch)
        self.pool_after, self.residual = _pool(arch), bool(arch.get("residual", False))
        inputs = [1, *widths[:-1]]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(i, o, k, padding=k // 2, bias=False) for i, o, k in zip(inputs, widths, kernels, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.activation = ACTIVATIONS[arch["activation"]]()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4 * widths[-1], 10)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, 1, 8, 8] to logits [N, 10]."""
        for block, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True), 1):
            y = norm(convolution(x))
            if self.residual and y.shape == x.shape:
                y = y + x
            x = self.activation(y)
            if block == self.pool_after:
                x = functional.max_pool2d(x, 2)
        pooled = functional.adaptive_avg_pool2d(x, 2).flatten(1)
        logits: Tensor = self.head(self.dropout(pooled))
        return logits


def architectures() -> ArchSpace:
    """Depth 1 to 4, width, growth of width per block, a kernel per block, residual sums, where to pool, activation.

    A field exists only where it changes the network, so that different codes are different networks.
    """
    kernel, deeper = Choice([1, 3, 5]), [2, 3, 4]
    return ArchSpace(
        {
            "depth": Int(1, 4),
            "width": Int(4, 16, log=True),
            "growth": When("depth", deeper, Choice([1.0, 1.5])),
            "kernel1": kernel,
            "kernel2": When("depth", deeper, kernel),
            "kernel3": When("depth", [3, 4], kernel),
            "kernel4": When("depth", 4, kernel),
            "residual": When("growth", 1.0, Choice([False, True])),
            "pool": When("depth", deeper, Choice(["first", "last"])),
            "activation": Choice(list(ACTIVATIONS)),
        },
        statistics,
    )


def recipes() -> RecipeSpace:
    """Optimiser, rate, weight decay, label smoothing, mixup, dropout, batch size, average of weights."""
    return RecipeSpace(
        {
            "optimizer": Choice(list(USUAL)),
            "rate": LogUniform(0.1, 10.0),
            "decay": LogUniform(1e-6, 1e-2),
            "smoothing": Uniform(0.0, 0.2),
            "mixup": Uniform(0.0, 0.4),
            "dropout": Uniform(0.0, 0.4),
            "batch": Choice([32, 64]),
            "ema": Choice([False, True]),
        }
    )


def statistics(arch: Mapping[str, Any]) -> dict[str, float]:
    """FLOPs of one image, as `heredity.evaluation.compute.count_flops` counts them, and parameters, by formula."""
    widths, kernels, side = _widths(arch), _kernels(arch), 8
    flops, params = 0, 0
    for block, (i, o, k) in enumerate(zip([1, *widths[:-1]], widths, kernels, strict=True), 1):
        flops += 2 * side * side * k * k * i * o
        params += k * k * i * o + 2 * o
        if block == _pool(arch):
            side //= 2
    last = 4 * widths[-1] * 10
    return {"flops": float(flops + 2 * last), "params": float(params + last + 10)}


@dataclass(frozen=True)
class Trained:
    """What a training gave.

    Args:
        valid: validation accuracy after each epoch [E].
        test: test accuracy at the end.
        net: the network that has it, with averaged weights where the recipe wants them.
    """

    valid: list[float]
    test: float
    net: DigitNet


def train(arch: Setting, recipe: Setting, seed: int, world: int, epochs: int = 6) -> Trained:
    """Train one network; one that diverges has chance accuracy from there on.

    Args:
        seed: of first weights, batches and noise; world: of the division of the images.
    """
    images = _images(world)
    with torch.random.fork_rng(devices=[]):  # first weights and dropout draw from the global generator
        torch.manual_seed(seed)
        net = DigitNet(arch, recipe["dropout"])
        averaged = {name: tensor.clone() for name, tensor in net.state_dict().items()} if recipe["ema"] else None
        optimizer = _optimizer(net, recipe)
        rng = np.random.default_rng(seed)
        valid: list[float] = []
        judged = net
        for _ in range(epochs):
            net.train()
            for rows in torch.from_numpy(rng.permutation(TRAIN)).split(recipe["batch"]):  # type: ignore[no-untyped-call]
                loss = _loss(net, images["train_x"][rows], images["train_y"][rows], recipe, rng)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                if averaged is not None:
                    _average(averaged, net)
            judged = _with(net, arch, averaged)
            valid.append(_accuracy(judged, images["valid_x"], images["valid_y"]))
        return Trained(valid, _accuracy(judged, images["test_x"], images["test_y"]), judged)


def _loss(net: nn.Module, x: Tensor, y: Tensor, recipe: Setting, rng: np.random.Generator) -> Tensor:
    """Cross-entropy with smoothed labels of images that are mixed in pairs."""
    share = float(rng.beta(recipe["mixup"], recipe["mixup"])) if recipe["mixup"] > 0 else 1.0
    other = torch.from_numpy(rng.permutation(len(x)))
    logits = net(share * x + (1 - share) * x[other])
    smoothing = recipe["smoothing"]
    return share * functional.cross_entropy(logits, y, label_smoothing=smoothing) + (
        1 - share
    ) * functional.cross_entropy(logits, y[other], label_smoothing=smoothing)


def _optimizer(net: nn.Module, recipe: Setting) -> torch.optim.Optimizer:
    rate, decay = USUAL[recipe["optimizer"]] * recipe["rate"], recipe["decay"]
    if recipe["optimizer"] == "sgd":
        return torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=decay)
    kind = torch.optim.Adam if recipe["optimizer"] == "adam" else torch.optim.RMSprop
    return kind(net.parameters(), lr=rate, weight_decay=decay)


def _average(averaged: dict[str, Tensor], net: nn.Module) -> None:
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            averaged[name].lerp_(tensor, 1 - EMA)
        else:
            averaged[name].copy_(tensor)


def _with(net: DigitNet, arch: Setting, averaged: dict[str, Tensor] | None) -> DigitNet:
    """The network itself, or one with the averaged weights."""
    if averaged is None:
        return net
    twin = DigitNet(arch)
    twin.load_state_dict(averaged)
    return twin


@torch.no_grad()
def _accuracy(net: nn.Module, x: Tensor, y: Tensor) -> float:
    net.eval()
    logits = net(x)
    return float((logits.argmax(1) == y).float().mean()) if torch.isfinite(logits).all() else CHANCE


def _widths(arch: Mapping[str, Any]) -> list[int]:
    growth = arch.get("growth", 1.0)
    return [math.floor(arch["width"] * growth**block) for block in range(arch["depth"])]


def _pool(arch: Mapping[str, Any]) -> int:
    """The block after which the image is halved."""
    depth: int = arch["depth"]
    return 1 if arch.get("pool", "first") == "first" else depth


def _kernels(arch: Mapping[str, Any]) -> list[int]:
    return [arch[f"kernel{block}"] for block in range(1, arch["depth"] + 1)]


@cache
def _images(world: int) -> dict[str, Tensor]:
    x, y = all_digits(8, "signed")
    parts = stratified_parts(y, (TRAIN, VALID, TEST), world)
    found: dict[str, Tensor] = {}
    for name, rows in zip(("train", "valid", "test"), parts, strict=True):
        found |= {f"{name}_x": x[rows], f"{name}_y": y[rows]}
    return found
