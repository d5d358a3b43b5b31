"""Cells: small directed acyclic graphs of operations, in the manner of NAS-Bench-101, and the network of a cell.

Vertex 0 is the input, the last vertex the output, those between carry an operation. Many genotypes are one function:
vertices off every path from input to output are dead, and vertices may be numbered in several ways.
Sources: Ying et al., NAS-Bench-101 (arXiv 1902.09635); mutation as in the authors' code of arXiv 2302.05433.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
import torch
from torch import Tensor, nn

from heredity.search.base import Space


@dataclass(frozen=True, slots=True)
class Cell:
    """A graph.

    Args:
        edges: (source, target), source < target, each once; kept sorted.
        ops: the operation of each intermediate vertex; vertex v carries ops[v − 1].
    """

    edges: tuple[tuple[int, int], ...]
    ops: tuple[str, ...]

    def __post_init__(self) -> None:
        edges = tuple(sorted((int(a), int(b)) for a, b in self.edges))
        last = len(self.ops) + 1
        for a, b in edges:
            if not 0 <= a < b <= last:
                raise ValueError(f"edge ({a}, {b}): a cell of {len(self.ops)} ops has edges a < b within 0..{last}")
        if len(set(edges)) < len(edges):
            raise ValueError("a cell has each edge at most once")
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "ops", tuple(self.ops))


def prune(cell: Cell) -> Cell | None:
    """Without the vertices off every path from input to output; None when there is no such path."""
    last = len(cell.ops) + 1
    forward, backward = {0}, {last}
    for a, b in cell.edges:  # sorted by source, so that a source's own inputs have been seen
        if a in forward:
            forward.add(b)
    for a, b in sorted(cell.edges, key=lambda edge: -edge[1]):
        if b in backward:
            backward.add(a)
    alive = sorted(forward & backward)
    if 0 not in alive or last not in alive:
        return None
    number = {v: i for i, v in enumerate(alive)}
    edges = tuple((number[a], number[b]) for a, b in cell.edges if a in number and b in number)
    return Cell(edges, tuple(cell.ops[v - 1] for v in alive[1:-1]))


def relabel(cell: Cell, order: Sequence[int]) -> Cell:
    """The same graph with its intermediate vertices in another order.

    Args:
        order: the old numbers (1..len(ops)) of the new intermediate vertices.

    Raises:
        ValueError: not a permutation, or an edge would point backwards.
    """
    last = len(cell.ops) + 1
    if sorted(order) != list(range(1, last)):
        raise ValueError(f"order must be a permutation of 1..{last - 1}, got {list(order)}")
    number = {0: 0, last: last} | {old: new for new, old in enumerate(order, 1)}
    return Cell(tuple((number[a], number[b]) for a, b in cell.edges), tuple(cell.ops[v - 1] for v in order))


def canonical(cell: Cell) -> Cell | None:
    """The representative of all cells whose pruned graphs are isomorphic; None without a path. Exact.

    Vertices are told apart by depth, operation and neighbours, repeatedly; what remains alike is tried in all orders.
    """
    pruned = prune(cell)
    if pruned is None:
        return None
    last = len(pruned.ops) + 1
    into: list[list[int]] = [[] for _ in range(last + 1)]
    out: list[list[int]] = [[] for _ in range(last + 1)]
    depth = [0] * (last + 1)
    for a, b in pruned.edges:
        into[b].append(a)
        out[a].append(b)
        depth[b] = max(depth[b], depth[a] + 1)
    # Depth leads, so that the order of colours is a topological one.
    colour = _ranks([(depth[v], ("", *pruned.ops, "")[v]) for v in range(last + 1)])
    while True:
        finer = _ranks(
            [
                (colour[v], sorted(colour[a] for a in into[v]), sorted(colour[b] for b in out[v]))
                for v in range(last + 1)
            ]
        )
        if len(set(finer)) == len(set(colour)):
            break
        colour = finer
    classes: dict[int, list[int]] = {}
    for v in sorted(range(1, last), key=lambda v: colour[v]):
        classes.setdefault(colour[v], []).append(v)
    orders = product(*(permutations(members) for members in classes.values()))
    return min((relabel(pruned, [v for part in order for v in part]) for order in orders), key=lambda c: c.edges)


class DagCellSpace(Space[Cell]):
    """Cells of `nodes` intermediate vertices whose pruned graph has a path and at most `max_edges` edges.

    Args:
        ops: names of operations.
        nodes: intermediate vertices of a genotype.
        max_edges: limit after pruning.
        rate: mutation flips each possible edge with probability rate/(nodes + 2) and draws each operation anew, among
            the others, with probability rate/nodes; it is repeated until the result is valid.
    """

    def __init__(self, ops: Sequence[str], nodes: int = 5, max_edges: int = 9, rate: float = 1.0) -> None:
        if len(set(ops)) != len(ops) or len(ops) < 1 or nodes < 1 or max_edges < 1:
            raise ValueError(f"a space needs distinct ops, a node and an edge; got {ops}, {nodes}, {max_edges}")
        if not 0 < rate <= nodes:
            raise ValueError(f"rate must lie in (0, nodes = {nodes}], got {rate}")
        self.ops, self.nodes, self.max_edges, self.rate = tuple(ops), nodes, max_edges, rate
        self._pairs = [(a, b) for a in range(nodes + 1) for b in range(a + 1, nodes + 2)]

    def sample(self, rng: np.random.Generator) -> Cell:
        """Every possible edge with probability ½, operations uniform, repeated until valid."""
        while True:
            edges = tuple(pair for pair, on in zip(self._pairs, rng.random(len(self._pairs)) < 0.5, strict=True) if on)
            cell = Cell(edges, tuple(self.ops[i] for i in rng.integers(len(self.ops), size=self.nodes)))
            if self.valid(cell):
                return cell

    def mutate(self, x: Cell, rng: np.random.Generator) -> Cell:
        """A valid neighbour; now and then the cell itself, and often one that differs in dead vertices alone."""
        self._check(x)
        while True:
            flips = rng.random(len(self._pairs)) < self.rate / (self.nodes + 2)
            edges = set(x.edges) ^ {pair for pair, flip in zip(self._pairs, flips, strict=True) if flip}
            ops = list(x.ops)
            for v in range(self.nodes):
                others = [op for op in self.ops if op != ops[v]]
                if rng.random() < self.rate / self.nodes and others:
                    ops[v] = others[int(rng.integers(len(others)))]
            cell = Cell(tuple(edges), tuple(ops))
            if self.valid(cell):
                return cell

    def crossover(self, a: Cell, b: Cell, rng: np.random.Generator) -> Cell:
        """Each possible edge and each operation from either parent by a fair coin, repeated until valid.

        Both parents are among the outcomes, so that it ends.
        """
        self._check(a)
        self._check(b)
        while True:
            coins = rng.random(len(self._pairs)) < 0.5
            edges = tuple(
                p for p, first in zip(self._pairs, coins, strict=True) if p in (a.edges if first else b.edges)
            )
            coins = rng.random(self.nodes) < 0.5
            ops = tuple(x if first else y for x, y, first in zip(a.ops, b.ops, coins, strict=True))
            cell = Cell(edges, ops)
            if self.valid(cell):
                return cell

    def valid(self, x: Cell) -> bool:
        """Whether `x` is a genotype of this space."""
        pruned = prune(x)
        known = len(x.ops) == self.nodes and all(op in self.ops for op in x.ops)
        return known and pruned is not None and len(pruned.edges) <= self.max_edges

    def _check(self, x: Cell) -> None:
        if not self.valid(x):
            raise ValueError(
                f"{x} is no cell of a space of {self.nodes} nodes, ops {self.ops}, ≤ {self.max_edges} edges"
            )


class Half(nn.Module):
    """x/2."""

    def forward(self, x: Tensor) -> Tensor:
        """[...] → [...]."""
        return 0.5 * x


def dense_operations(width: int) -> dict[str, Callable[[], nn.Module]]:
    """Makers of operations on [N, width]: linear, relu, tanh, identity, half."""
    return {
        "linear": lambda: nn.Linear(width, width),
        "relu": nn.ReLU,
        "tanh": nn.Tanh,
        "identity": nn.Identity,
        "half": Half,
    }


class CellNetwork(nn.Module):
    """The network of a cell, dead vertices left out: each vertex applies its operation to the sum of its inputs.

    Sums are in the order of the vertices: isomorphic cells agree up to rounding, which is what a functional hash cuts.

    Args:
        cell: with a path from input to output.
        operations: makers of operations by name; every vertex gets its own module.

    Raises:
        ValueError: no path, or an unknown operation.
    """

    def __init__(self, cell: Cell, operations: Mapping[str, Callable[[], nn.Module]]) -> None:
        super().__init__()
        pruned = prune(cell)
        if pruned is None:
            raise ValueError(f"{cell} has no path from input to output")
        for op in pruned.ops:
            if op not in operations:
                raise ValueError(f"unknown operation {op!r}; known are {', '.join(operations)}")
        self.cell = pruned
        self.vertices = nn.ModuleList(operations[op]() for op in pruned.ops)
        self._inputs: list[list[int]] = [[] for _ in range(len(pruned.ops) + 2)]
        for a, b in pruned.edges:
            self._inputs[b].append(a)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, width] → the sum that reaches the output, [N, width]."""
        values = [x]
        for vertex, sources in zip([*self.vertices, None], self._inputs[1:], strict=True):
            total = values[sources[0]]
            for source in sources[1:]:
                total = torch.add(total, values[source])
            values.append(total if vertex is None else vertex(total))
        return values[-1]


def _ranks(keys: Sequence[object]) -> list[int]:
    """The place of each key among the distinct keys in order."""
    place: dict[str, int] = {}
    ordered: list[object] = []
    for key in sorted(keys):  # type: ignore[type-var]
        if not ordered or ordered[-1] != key:
            ordered.append(key)
            place[repr(key)] = len(place)
    return [place[repr(key)] for key in keys]
