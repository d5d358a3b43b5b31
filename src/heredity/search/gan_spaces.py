"""EAGAN's genotypes: where generators and discriminators of cells live.

Source: arXiv 2111.15097 and its released code. Differs from the code, where that is a mistake: a genotype is checked as
a whole after every change, and the two genes that halve the side change between keeping and halving together.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from heredity.search.base import Space
from heredity.search.gan_cells import DOWN, NORMAL, UP
from heredity.search.supernet import Genotype

Cell: TypeAlias = tuple[int, ...]
# The discriminator against which generators are searched.
HAND_MADE: Genotype = ((3, 0, 3, 0, 2, 0, 0), (3, 0, 3, 0, 1, -1, -1), (3, 0, 3, 0, 1, -1, -1))


class CellSpace(Space[Genotype]):
    """Genotypes of several cells with seven genes each.

    Args:
        cells: how many.
        operations: indices into `heredity.search.gan_cells.NORMAL` that may be chosen; "none", 0, is always one.
    """

    def __init__(self, cells: int = 3, operations: Sequence[int] = range(len(NORMAL))) -> None:
        given = sorted({0, *operations})
        if cells < 1 or len(given) < 2 or given[0] < 0 or given[-1] >= len(NORMAL):
            raise ValueError(f"cells ≥ 1 and some of operations 0 … {len(NORMAL) - 1} are needed, got {cells}, {given}")
        self.cells, self.operations = cells, tuple(given)
        self.choices = self._choices()

    @abstractmethod
    def _choices(self) -> tuple[tuple[int, ...], ...]:
        """What each gene may be."""

    @abstractmethod
    def _valid_cell(self, cell: Cell) -> bool:
        """Whether genes that may be what they are go together."""

    def _locus(self, place: int) -> tuple[int, ...]:
        """The genes that change together with this one; alone unless a space says otherwise."""
        return (place,)

    def valid(self, x: Genotype) -> bool:
        """Whether every gene may be what it is and every cell has a path."""
        if len(x) != self.cells or any(len(cell) != len(self.choices) for cell in x):
            return False
        known = all(gene in may for cell in x for gene, may in zip(cell, self.choices, strict=True))
        return known and all(self._valid_cell(cell) for cell in x)

    def sample(self, rng: np.random.Generator) -> Genotype:
        """Cell by cell, each gene uniform, drawn again until they go together."""
        while True:
            drawn = tuple(self._cell(rng) for _ in range(self.cells))
            if self.valid(drawn):
                return drawn

    def _cell(self, rng: np.random.Generator) -> Cell:
        while True:
            cell = tuple(may[rng.integers(len(may))] for may in self.choices)
            if self._valid_cell(cell):
                return cell

    def mutate(self, x: Genotype, rng: np.random.Generator) -> Genotype:
        """One gene becomes another."""
        while True:
            cell, place = int(rng.integers(self.cells)), int(rng.integers(len(self.choices)))
            others = [gene for gene in self.choices[place] if gene != x[cell][place]]
            if not others:
                continue
            changed = self._with(x, cell, place, others[rng.integers(len(others))], rng)
            if self.valid(changed):
                return changed

    def crossover(self, a: Genotype, b: Genotype, rng: np.random.Generator) -> Genotype:
        """`a` with one gene of `b` that differs; a mutation of `a` where no such child is valid."""
        places = [(c, p) for c in range(self.cells) for p in range(len(self.choices)) if a[c][p] != b[c][p]]
        for index in rng.permutation(len(places)):
            cell, place = places[index]
            genes = list(a[cell])
            for one in self._locus(place):
                genes[one] = b[cell][one]
            child = (*a[:cell], tuple(genes), *a[cell + 1 :])
            if self.valid(child):
                return child
        return self.mutate(a, rng)

    def _with(self, x: Genotype, cell: int, place: int, gene: int, rng: np.random.Generator) -> Genotype:
        genes = list(x[cell])
        genes[place] = gene
        return (*x[:cell], tuple(genes), *x[cell + 1 :])


class GSpace(CellSpace):
    """Generators. A cell's genes: [0, 1] up-sampling of nodes 0 and 1 (`gan_cells.UP`); [2] node 0 → 2, [3] 1 → 2,
    [4] 0 → 3, [5] 1 → 3, [6] 2 → 3 (`gan_cells.NORMAL`). Nodes 2 and 3 take in something."""

    def _choices(self) -> tuple[tuple[int, ...], ...]:
        return (tuple(range(len(UP))),) * 2 + (self.operations,) * 5

    def _valid_cell(self, cell: Cell) -> bool:
        return any(cell[2:4]) and any(cell[4:7])


class DSpace(CellSpace):
    """Discriminators. A cell's genes: [0] node 0 → 1, not none; [1] 0 → 2, [2] 1 → 2, [3] 1 → 3, [4] 0 → 3
    (`gan_cells.NORMAL`); [5, 6] how nodes 2 and 3 get half the side (`gan_cells.DOWN`), or both −1 to keep it, which
    the two genes turn to and from together. Nodes 2 and 3 take in something.

    Args:
        halvings: in how many cells at most; by default in all. The first block has halved the images already.
    """

    def __init__(
        self, cells: int = 3, operations: Sequence[int] = range(len(NORMAL)), *, halvings: int | None = None
    ) -> None:
        self.halvings = cells if halvings is None else halvings
        super().__init__(cells, operations)

    def _choices(self) -> tuple[tuple[int, ...], ...]:
        kernels = {NORMAL[gene] for gene in self.operations}
        downs = tuple(i for i, name in enumerate(DOWN) if name in ("avg", "max") or name in kernels)
        return (self.operations[1:],) + (self.operations,) * 4 + ((-1, *downs),) * 2

    def _valid_cell(self, cell: Cell) -> bool:
        return any(cell[1:3]) and any(cell[3:5]) and (cell[5] < 0) == (cell[6] < 0)

    def valid(self, x: Genotype) -> bool:
        """Whether also no more cells halve the side than may."""
        return super().valid(x) and sum(cell[5] >= 0 for cell in x) <= self.halvings

    def _cell(self, rng: np.random.Generator) -> Cell:
        while True:  # the sixth gene says whether the side is halved, and the seventh follows it
            *genes, first, second = (may[rng.integers(len(may))] for may in self.choices)
            if first < 0:
                second = -1
            elif second < 0:
                continue
            cell = (*genes, first, second)
            if self._valid_cell(cell):
                return cell

    def _locus(self, place: int) -> tuple[int, ...]:
        return (5, 6) if place in (5, 6) else (place,)

    def _with(self, x: Genotype, cell: int, place: int, gene: int, rng: np.random.Generator) -> Genotype:
        changed = super()._with(x, cell, place, gene, rng)
        if place in (5, 6) and (gene < 0) != (x[cell][place] < 0):
            other = 11 - place
            downs = [one for one in self.choices[other] if one >= 0]
            partner = -1 if gene < 0 else downs[rng.integers(len(downs))]
            changed = super()._with(changed, cell, other, partner, rng)
        return changed
