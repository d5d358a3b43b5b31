"""Networks that hold all of a space's architectures at once: one set of weights for each edge and operation.

A genotype selects what runs. A network alone is the same class with nothing but what its genotype runs, under the same
names, so that weights go from one to the other by name.
Source: one-shot models as in Bender et al., Understanding and Simplifying One-Shot Architecture Search (2018), and in
the released code of arXiv 2111.15097.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeAlias

import torch
from torch import Tensor, nn

Genotype: TypeAlias = tuple[tuple[int, ...], ...]
MakeOp: TypeAlias = Callable[[], nn.Module]


class MixedOp(nn.Module):
    """The operations of one edge, of which one runs.

    Args:
        makers: what makes each; None for an operation that is the absence of the edge, which has no module.
        place: cell and gene that say which.
        genotype: of a network alone, which holds nothing but its operation; None holds all.
    """

    def __init__(self, makers: Sequence[MakeOp | None], place: tuple[int, int], genotype: Genotype | None) -> None:
        super().__init__()
        self.place = place
        only = None if genotype is None else genotype[place[0]][place[1]]
        self.ops = nn.ModuleDict()
        for index, make in enumerate(makers):
            if make is not None and only in (None, index):
                self.ops[str(index)] = make()

    def forward(self, x: Tensor, choice: int) -> Tensor:
        """Run one operation.

        Raises:
            ValueError: this network does not hold it.
        """
        key = str(choice)
        if key not in self.ops:
            raise ValueError(f"operation {choice} does not exist on this edge, which holds {', '.join(self.ops)}")
        out: Tensor = self.ops[key](x)
        return out


class Supernet(nn.Module, ABC):
    """All architectures of a space, or one alone.

    A network defines `forward(x, genotype=None)`; with a genotype of its own it runs that. `config` holds the arguments
    that it is built with, without the genotype.
    """

    def __init__(self, config: dict[str, Any], genotype: Genotype | None) -> None:
        super().__init__()
        self.config = dict(config)
        self.genotype = None if genotype is None else tuple(tuple(int(gene) for gene in cell) for cell in genotype)

    @abstractmethod
    def forward(self, x: Tensor, genotype: Genotype | None = None) -> Tensor:
        """Run one architecture."""

    def chosen(self, genotype: Genotype | None) -> Genotype:
        """The genotype to run.

        Raises:
            ValueError: there is none, or the network holds another alone.
        """
        if self.genotype is None:
            if genotype is None:
                raise ValueError("a supernet needs the genotype to run")
            return genotype
        if genotype is not None and genotype != self.genotype:
            raise ValueError(f"this network holds the genotype {self.genotype} alone, not {genotype}")
        return self.genotype

    def alone(self, genotype: Genotype) -> Self:
        """A new network with nothing but this architecture, and first weights of its own from the global generator."""
        return type(self)(**self.config, genotype=genotype)

    def extract(self, genotype: Genotype) -> Self:
        """A network with nothing but this architecture, and copies of this network's weights, in the same mode."""
        with torch.random.fork_rng(devices=[]):
            single = self.alone(genotype)
        mine = self.state_dict()
        single.load_state_dict({name: mine[name] for name in single.state_dict()})
        return single.train(self.training)

    def size(self, genotype: Genotype) -> int:
        """Parameters of the architecture alone."""
        self.chosen(genotype)
        total = sum(parameter.numel() for parameter in self.parameters())
        for edge in self.modules():
            if isinstance(edge, MixedOp):
                chosen = str(genotype[edge.place[0]][edge.place[1]])
                idle = (op for key, op in edge.ops.items() if key != chosen)
                total -= sum(parameter.numel() for op in idle for parameter in op.parameters())
        return total
