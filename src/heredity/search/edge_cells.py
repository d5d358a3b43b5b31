"""Cells with operations on their edges, in the manner of NAS-Bench-201, and networks of such cells.

Node 0 is the input, the last node the output; every earlier node is joined to every later one by an edge that carries
an operation, and a node is the sum of what reaches it.
Source: Dong & Yang, NAS-Bench-201 (arXiv 2001.00326).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from heredity.search.base import Space

EdgeCell: TypeAlias = tuple[str, ...]  # the operation of each edge, in the order of `edges_of`
ZERO, SKIP = "zero", "skip"
OPERATIONS = (ZERO, SKIP, "conv1", "conv3", "avgpool3")


def edges_of(nodes: int) -> list[tuple[int, int]]:
    """All (source, target), source < target, by target: (0, 1), (0, 2), (1, 2), …"""
    return [(a, b) for b in range(1, nodes) for a in range(b)]


def reaching(cell: EdgeCell, nodes: int) -> list[int]:
    """Places of the edges that lie on a path from input to output without a zero; empty where there is none."""
    edges = edges_of(nodes)
    alive = [(place, a, b) for place, (a, b) in enumerate(edges) if cell[place] != ZERO]
    forward, backward = {0}, {nodes - 1}
    for _, a, b in alive:  # targets ascend, so that a source has been seen
        if a in forward:
            forward.add(b)
    for _, a, b in sorted(alive, key=lambda edge: -edge[2]):
        if b in backward:
            backward.add(a)
    return [place for place, a, b in alive if a in forward and b in backward]


class EdgeCellSpace(Space[EdgeCell]):
    """Cells with a path from input to output.

    Args:
        operations: names; "zero" cuts an edge.
        nodes: with input and output; 4 gives the six edges of NAS-Bench-201.
        valid: what else a cell must satisfy, told of its operations on paths; None means nothing.
    """

    def __init__(
        self,
        operations: Sequence[str] = OPERATIONS,
        nodes: int = 4,
        valid: Callable[[EdgeCell], bool] | None = None,
    ) -> None:
        if nodes < 2 or len(set(operations)) != len(operations) or len(operations) < 2:
            raise ValueError(f"a space needs two nodes and two distinct operations, got {nodes} and {operations}")
        self.operations, self.nodes, self.condition = tuple(operations), nodes, valid
        self.size = len(edges_of(nodes))

    def sample(self, rng: np.random.Generator) -> EdgeCell:
        """Operations uniform, repeated until valid."""
        while True:
            cell = tuple(self.operations[i] for i in rng.integers(len(self.operations), size=self.size))
            if self.valid(cell):
                return cell

    def mutate(self, x: EdgeCell, rng: np.random.Generator) -> EdgeCell:
        """One edge with another operation, repeated until valid; if no neighbour is valid, the cell itself."""
        self._check(x)
        for _ in range(1000):
            place = int(rng.integers(self.size))
            others = [op for op in self.operations if op != x[place]]
            cell = (*x[:place], others[int(rng.integers(len(others)))], *x[place + 1 :])
            if self.valid(cell):
                return cell
        return x

    def crossover(self, a: EdgeCell, b: EdgeCell, rng: np.random.Generator) -> EdgeCell:
        """Each edge from either parent, repeated until valid; both parents are among the outcomes."""
        self._check(a)
        self._check(b)
        while True:
            coins = rng.random(self.size) < 0.5
            cell = tuple(x if first else y for x, y, first in zip(a, b, coins, strict=True))
            if self.valid(cell):
                return cell

    def valid(self, x: EdgeCell) -> bool:
        """Whether `x` is a cell of this space."""
        if len(x) != self.size or any(op not in self.operations for op in x):
            return False
        places = reaching(x, self.nodes)
        return bool(places) and (self.condition is None or self.condition(tuple(x[place] for place in places)))

    def _check(self, x: EdgeCell) -> None:
        if not self.valid(x):
            raise ValueError(f"{x} is no valid cell of {self.nodes} nodes and operations {self.operations}")


def conv_operations(width: int) -> dict[str, Callable[[], nn.Module]]:
    """Makers of the operations of NAS-Bench-201 on [N, width, H, W]: ReLU, convolution, batch norm; average of 3×3."""

    def conv(kernel: int) -> nn.Module:
        layer = nn.Conv2d(width, width, kernel, padding=kernel // 2, bias=False)
        return nn.Sequential(nn.ReLU(), layer, nn.BatchNorm2d(width))

    return {
        SKIP: nn.Identity,
        "conv1": lambda: conv(1),
        "conv3": lambda: conv(3),
        "avgpool3": lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    }


class EdgeCellModule(nn.Module):
    """A cell as a module; edges off every path are left out.

    Args:
        cell: with a path.
        operations: makers by name.
        nodes: of the cell.

    Raises:
        ValueError: no path, or an unknown operation.
    """

    def __init__(self, cell: EdgeCell, operations: Mapping[str, Callable[[], nn.Module]], nodes: int = 4) -> None:
        super().__init__()
        places = reaching(cell, nodes)
        if not places:
            raise ValueError(f"{cell} has no path from input to output")
        if unknown := [cell[place] for place in places if cell[place] not in operations]:
            raise ValueError(f"unknown operation {unknown[0]!r}; known are {', '.join(operations)}")
        self.nodes, self._edges = nodes, [edges_of(nodes)[place] for place in places]
        self.operations = nn.ModuleList(operations[cell[place]]() for place in places)

    def forward(self, x: Tensor) -> Tensor:
        """[N, width, H, W] → the same shape."""
        values: dict[int, Tensor] = {0: x}
        for (a, b), operation in zip(self._edges, self.operations, strict=True):
            reached = operation(values[a])
            values[b] = torch.add(values[b], reached) if b in values else reached
        return values[self.nodes - 1]
