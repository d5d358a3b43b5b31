"""Students for a teacher on digits: small networks of one cell, their data, and how they are trained.

Digits of 8×8 are made harder: 600 training images, of which every epoch sees a stored copy with its own shifts of at
most one pixel and noise; the 1,197 test images have one such copy. Networks pool early, to 4×4 and 2×2 and, with a
third cell, to 1×1.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from heredity.data.digits import load_digits
from heredity.inheritance.distillation import distillation_loss
from heredity.search.edge_cells import EdgeCell, EdgeCellModule, EdgeCellSpace, conv_operations, reaching

Regime = Literal["kd", "ce"]
TRAIN, COPIES, NOISE = 600, 20, 0.1
WIDTH, BATCH, RATE = 16, 50, 1e-2
TEMPERATURE, ALPHA = 4.0, 0.9
TEACHER_CELL: EdgeCell = ("conv3",) * 6
TEACHER_CELLS, TEACHER_EPOCHS, STUDENT_EPOCHS = 3, 40, 20
PROXY_BATCH = 64


def able(operations: EdgeCell) -> bool:
    """Whether a cell has two convolutions on its paths, one of them 3×3: of others, many cannot be trained at all."""
    return operations.count("conv3") >= 1 and operations.count("conv1") + operations.count("conv3") >= 2


def student_space() -> EdgeCellSpace:
    """The space of students."""
    return EdgeCellSpace(valid=able)


def architectures(n: int, seed: int) -> list[EdgeCell]:
    """n cells that differ in the edges that count, drawn uniformly."""
    space, rng = student_space(), np.random.default_rng(seed)
    found: dict[tuple[tuple[int, str], ...], EdgeCell] = {}
    while len(found) < n:
        cell = space.sample(rng)
        found.setdefault(tuple((place, cell[place]) for place in reaching(cell, space.nodes)), cell)
    return list(found.values())


def conv3_count(cell: EdgeCell) -> int:
    """3×3 convolutions on paths."""
    return [cell[place] for place in reaching(cell, 4)].count("conv3")


class CellNet(nn.Module):
    """Stem, cells with a 2×2 pooling before each, global average, linear head.

    Args:
        cell: of all cells.
        cells: how many.
        width: channels.
    """

    def __init__(self, cell: EdgeCell, cells: int = 2, width: int = WIDTH) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        parts: list[nn.Module] = []
        for _ in range(cells):
            parts += [nn.MaxPool2d(2), EdgeCellModule(cell, conv_operations(width))]
        self.features = nn.Sequential(*parts, nn.BatchNorm2d(width), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 8, 8] → logits [N, 10]."""
        logits: Tensor = self.fc(self.pool(self.features(self.stem(x))).flatten(1))
        return logits


@dataclass(frozen=True)
class CellData:
    """Images of one division.

    Args:
        copies: [COPIES, 600, 1, 8, 8]; train_y: [600].
        test_x, test_y: [1197, 1, 8, 8] and labels.
    """

    copies: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor


@lru_cache(maxsize=4)
def cell_data(world: int) -> CellData:
    """The division of a world."""
    split = load_digits(train=TRAIN, seed=world)
    generator = torch.Generator().manual_seed(7919 * world + 1)
    copies = torch.stack([_moved(split.train_x, generator) for _ in range(COPIES)])
    return CellData(copies, split.train_y, _moved(split.test_x, generator), split.test_y)


def proxy_batch(world: int, repeat: int) -> tuple[Tensor, Tensor]:
    """64 training images and labels."""
    data = cell_data(world)
    places = torch.randperm(TRAIN, generator=torch.Generator().manual_seed(104_729 * world + repeat))[:PROXY_BATCH]
    return data.copies[0][places], data.train_y[places]


def built(cell: EdgeCell, seed: int, cells: int = 2) -> CellNet:
    """A network with PyTorch's own initialisation from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CellNet(cell, cells)


def train(net: CellNet, world: int, epochs: int, seed: int, targets: Sequence[Tensor] | None = None) -> float:
    """Train with AdamW and one cycle of the learning rate; CPU seconds.

    Args:
        targets: the teacher's logits [600, 10] for each stored copy; None means labels alone.
    """
    data, generator = cell_data(world), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * (TRAIN // BATCH))
    started = time.process_time()
    net.train()
    for epoch in range(epochs):
        x = data.copies[epoch % COPIES]
        for places in torch.split(torch.randperm(TRAIN, generator=generator), BATCH):
            logits, labels = net(x[places]), data.train_y[places]
            if targets is None:
                loss = functional.cross_entropy(logits, labels)
            else:
                teacher = targets[epoch % COPIES][places]
                loss = distillation_loss(logits, teacher, labels, alpha=ALPHA, tau=TEMPERATURE)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return time.process_time() - started


@torch.no_grad()
def accuracy(net: CellNet, world: int) -> float:
    """On the test images."""
    data = cell_data(world)
    return float((net.eval()(data.test_x).argmax(1) == data.test_y).double().mean())


@torch.no_grad()
def teacher_targets(teacher: CellNet, world: int) -> list[Tensor]:
    """Its logits for every stored copy."""
    return [teacher.eval()(x) for x in cell_data(world).copies]


def _moved(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each image shifted by −1, 0 or 1 pixel both ways, with normal noise."""
    padded = functional.pad(x, (1, 1, 1, 1))
    size = x.shape[-1]
    starts = torch.randint(0, 3, (len(x), 2), generator=generator)
    moved = torch.stack(
        [image[:, a : a + size, b : b + size] for image, (a, b) in zip(padded, starts.tolist(), strict=True)]
    )
    return moved + NOISE * torch.randn(moved.shape, generator=generator)
