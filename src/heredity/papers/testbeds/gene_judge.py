"""What a gene that is a small network is worth on scikit-learn's digits: it is trained by its own recipe, and tested.

For a sandbox's server to preload: importing this module loads the digits and trains for a few steps, so that every
fork has the data in memory, and what torch loads at first use.
"""

from __future__ import annotations

import math
import types
from typing import Any

import torch
from torch import Tensor, nn

from heredity.data.digits import all_digits, stratified_parts
from heredity.papers.testbeds.gene_nets import seed_gene

TRAIN, VALID = 400, 400  # images; the other 997 are the test set
BATCH, EPOCHS = 50, 20
IMAGES, LABELS = all_digits()


def judge(module: Any, entry: str, division: int, seed: int) -> dict[str, float]:
    """Train the gene's network by its recipe and test it.

    Args:
        module: holds the network's class, named `entry`, and a class `Recipe`.
        division: which division of the digits into training, validation and test images.
        seed: of the weights, the order of the images, and dropout.

    Returns:
        "valid" and "test" accuracy, and "parameters" of the network as it was made.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    parts = stratified_parts(LABELS, (TRAIN, VALID, len(LABELS) - TRAIN - VALID), division)
    net: nn.Module = getattr(module, entry)()
    parameters = sum(p.numel() for p in net.parameters())
    recipe = module.Recipe()
    _train(net, recipe, IMAGES[parts[0]], LABELS[parts[0]], torch.Generator().manual_seed(seed))
    net.eval()
    return {
        "valid": _accuracy(net, IMAGES[parts[1]], LABELS[parts[1]]),
        "test": _accuracy(net, IMAGES[parts[2]], LABELS[parts[2]]),
        "parameters": float(parameters),
    }


def _train(net: nn.Module, recipe: Any, x: Tensor, y: Tensor, generator: torch.Generator) -> None:
    optimizer = recipe.optimizer(list(net.parameters()))
    steps = EPOCHS * len(x) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=float(recipe.rate), total_steps=steps, cycle_momentum=False
    )
    loss_of = nn.CrossEntropyLoss(label_smoothing=float(recipe.smoothing))
    net.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(x), generator=generator)
        for batch in torch.split(order, BATCH):
            optimizer.zero_grad()
            loss = loss_of(net(x[batch]), y[batch])
            if not math.isfinite(loss.item()):
                raise ValueError("the loss is not finite")
            loss.backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def _accuracy(net: nn.Module, x: Tensor, y: Tensor) -> float:
    logits = net(x)
    if logits.shape != (len(x), 10):
        raise ValueError(f"the network gives {tuple(logits.shape)}, not {(len(x), 10)}")
    return float((logits.argmax(-1) == y).double().mean())


def _warm_up() -> None:
    """Train the first gene, which is our own, for one epoch."""
    module = types.ModuleType("warm")
    exec(seed_gene(), module.__dict__)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = module.Network()
        for kind in (torch.optim.AdamW, torch.optim.SGD):
            recipe = types.SimpleNamespace(
                rate=0.01, smoothing=0.1, optimizer=lambda parameters, kind=kind: kind(parameters, lr=0.01)
            )
            _train(net, recipe, IMAGES[:BATCH], LABELS[:BATCH], torch.Generator().manual_seed(0))


_warm_up()
