"""Do these two images show the same digit? A task on which cells of a small network differ widely.

Without a nonlinearity on the path the answer stays at chance: the same digit is no linear property of two images.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from heredity.data.digits import all_digits, stratified_parts
from heredity.search.cells import Cell, CellNetwork, dense_operations
from heredity.search.functional_hash import initialise_by_shape

WIDTH = 32
IMAGES = (700, 450, 640)
PAIRS = (1200, 800, 1200)


@dataclass(frozen=True)
class Pairs:
    """Balanced pairs.

    Args:
        x: [N, 128] float32, two images side by side in [−1, 1].
        y: [N] int64, 1 where they show the same digit, in half of the pairs.
    """

    x: Tensor
    y: Tensor


@lru_cache(maxsize=4)
def digit_pairs(world: int) -> tuple[Pairs, Pairs, Pairs]:
    """Training, validation and test pairs of disjoint images.

    Args:
        world: seed of the division and of the pairing.
    """
    x, y = all_digits(scale="signed")
    generator = torch.Generator().manual_seed(world)
    parts = stratified_parts(y, IMAGES, world)
    train, valid, test = (_paired(x[p].flatten(1), y[p], n, generator) for p, n in zip(parts, PAIRS, strict=True))
    return train, valid, test


def _paired(x: Tensor, y: Tensor, count: int, generator: torch.Generator) -> Pairs:
    wanted = torch.arange(count) % 2 == 1
    first = torch.randint(len(y), (count,), generator=generator)
    alike = y[first][:, None] == y
    alike[torch.arange(count), first] = False  # not the image itself
    other = y[first][:, None] != y
    second = torch.multinomial(torch.where(wanted[:, None], alike, other).double(), 1, generator=generator)[:, 0]
    return Pairs(torch.cat([x[first], x[second]], 1), wanted.long())


def network(cell: Cell) -> nn.Sequential:
    """128 → 32 → cell → 2."""
    return nn.Sequential(nn.Linear(128, WIDTH), CellNetwork(cell, dense_operations(WIDTH)), nn.Linear(WIDTH, 2))


def train(cell: Cell, world: int, seed: int, epochs: int = 12) -> nn.Sequential:
    """The cell's network after training with Adam (5e-3, batches of 64) on the world's training pairs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = network(cell)
    generator = torch.Generator().manual_seed(seed)
    data = digit_pairs(world)[0]
    adam = torch.optim.Adam(net.parameters(), lr=5e-3, fused=True)
    for _ in range(epochs):
        order = torch.randperm(len(data.y), generator=generator)
        for start in range(0, len(order), 64):
            batch = order[start : start + 64]
            loss = cross_entropy(net(data.x[batch]), data.y[batch])
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
    return net


@torch.no_grad()
def scores(net: nn.Module, world: int) -> dict[str, float]:
    """Share of right answers on validation and test pairs; a network with a non-finite answer is wrong there."""
    found = {}
    for name, pairs in zip(("valid", "test"), digit_pairs(world)[1:], strict=True):
        logits = net(pairs.x)
        found[name] = float(((logits.argmax(1) == pairs.y) & logits.isfinite().all(1)).double().mean())
    return found


def behaviour(cell: Cell, world: int, steps: int = 3) -> list[float]:
    """The losses on 64 training pairs before and after each of `steps` full-batch steps of gradient descent.

    Float64, weights that depend on shapes alone; what a functional hash of the cell mixes.
    """
    net = network(cell).double()
    initialise_by_shape(net)
    data = digit_pairs(world)[0]
    x, y = data.x[:64].double(), data.y[:64]
    losses = []
    for step in range(steps + 1):
        loss = cross_entropy(net(x), y)
        losses.append(loss.item())
        if step < steps:
            parameters = list(net.parameters())
            with torch.no_grad():
                for parameter, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                    parameter.add_(slope, alpha=-0.1)
    return losses
