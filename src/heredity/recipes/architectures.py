"""`kind: architecture`: cells as networks on digits, or whatever a user's module calls a space and a fitness."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from heredity.data.digits import Split, load_digits
from heredity.errors import EvaluationFailed, RecipeError
from heredity.lab import Architecture, Child, Context, Model, Operator, Parents, Probe, Request
from heredity.lab.canonical import revive
from heredity.recipes.functions import bred, named
from heredity.recipes.genotypes import key_of, value_of
from heredity.recipes.search_schema import ArchitectureSection, CellsSection, SearchRecipe
from heredity.recipes.searches import Search, said, window
from heredity.recipes.tasks import load_module, source_hash
from heredity.search.base import Space
from heredity.search.cells import Cell, CellNetwork, DagCellSpace, dense_operations

BATCH = 64


class DigitCell(nn.Module):
    """Digits made smaller, a cell on their pixels, and a linear layer.

    Args:
        cell: the graph; side: of the smaller pictures, whose side² pixels run through it.
    """

    def __init__(self, cell: Cell, side: int) -> None:
        super().__init__()
        self.pool, self.last = nn.AdaptiveAvgPool2d(side), nn.Linear(side * side, 10)
        self.cell = CellNetwork(cell, dense_operations(side * side))

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 8, 8] → [N, 10]."""
        answers: Tensor = self.last(self.cell(self.pool(x).flatten(1)))
        return answers


@dataclass(frozen=True)
class TrainCell(Operator):
    """The network of a cell, trained from new weights by Adam; a parent is the cell that this one is a variation of.

    Args:
        cell: the graph; side: of what it sees; epochs, lr: of training; world: which division of the digits.
    """

    cell: Cell
    side: int
    epochs: int
    lr: float = 0.01
    world: int = 0
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Train."""
        data = _parts(self.world)[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            module = DigitCell(self.cell, self.side)
        optimizer = torch.optim.Adam(module.parameters(), self.lr)
        for epoch in range(self.epochs):
            for rows in torch.randperm(len(data.train_x), generator=context.generator).split(BATCH):  # type: ignore[no-untyped-call]
                loss = functional.cross_entropy(module(data.train_x[rows]), data.train_y[rows])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            context.progress(epoch + 1, self.epochs)
        return Child(module.state_dict(), Architecture(DigitCell, {"cell": self.cell, "side": self.side}).spec())


@dataclass(frozen=True)
class MutateCell(TrainCell):
    """A variation of one cell, trained."""

    kind: ClassVar[str] = "mutate"


@dataclass(frozen=True)
class CrossCells(TrainCell):
    """A mixture of two cells, trained."""

    kind: ClassVar[str] = "crossover"


@dataclass(frozen=True)
class DigitScore(Probe):
    """Accuracy on digits that training did not see, and parameters.

    Args:
        part: "validation", or "test" for those that the search did not see either, as `test`.
        world: which division.
    """

    part: str = "validation"
    world: int = 0

    def measure(self, model: Model, context: Context) -> Mapping[str, float]:
        """Answer."""
        search, whole = _parts(self.world)
        data = whole if self.part == "test" else search
        module = model.load()
        with torch.no_grad():
            accuracy = float((module(data.test_x).argmax(1) == data.test_y).float().mean())
        if self.part == "test":
            return {"test": accuracy}
        return {"accuracy": accuracy, "parameters": float(sum(p.numel() for p in module.parameters()))}


def _parts(world: int) -> tuple[Split, Split]:
    """Half of the digits to train on with a quarter to choose by, and a quarter to test on."""
    whole = load_digits(train=0.75, seed=world)
    count = len(whole.train_x) * 2 // 3
    search = Split(whole.train_x[:count], whole.train_y[:count], whole.train_x[count:], whole.train_y[count:])
    return search, whole


@dataclass(frozen=True)
class ModuleFitness(Probe):
    """What the `fitness` of a user's module says of a recorded candidate.

    Args:
        target: file.py, or a module; sha256: of its file; metrics: the numbers that count, in order.
        folder: where a file lies.
    """

    target: str
    sha256: str
    metrics: tuple[str, ...]
    folder: str = field(default=".", metadata={"identity": False})

    def measure(self, model: Model, context: Context) -> Mapping[str, float]:
        """Call it.

        Raises:
            EvaluationFailed: it does not return the numbers that were asked for.
        """
        module = load_module(self.target, Path(self.folder), "search.module")
        if source_hash(module) != self.sha256:
            raise EvaluationFailed(f"{self.target} was edited while the run was going on")
        return named(module.fitness(value_of(model)), self.metrics, f"fitness of {self.target}")


def prepare_architecture(recipe: SearchRecipe, section: ArchitectureSection, folder: Path) -> Search:
    """The search of a recipe.

    Raises:
        RecipeError: the module, its space or the searcher is not as it should be.
    """
    several = len(section.objectives) > 1
    probe: Probe
    if section.cells is not None:
        cells, text = section.cells, f"cells of {section.cells.nodes} nodes, ≤ {section.cells.max_edges} edges"
        space, probe, test = _cells(cells), DigitScore(world=recipe.seed), DigitScore("test", recipe.seed)
    else:
        assert section.module is not None
        module = load_module(section.module, folder, "search.module")
        space, test, text = _space_of(module, section.module), None, f"SPACE of {section.module}"
        probe = ModuleFitness(section.module, source_hash(module), tuple(section.objectives), str(folder))
    fixed: dict[str, Any] = {"seed": recipe.seed}
    fixed |= {"metrics": tuple(section.objectives)} if several else {"metric": next(iter(section.objectives))}
    options = dict(section.options)
    name = section.searcher or ("nsga2" if several else "regularized_evolution")
    if name.startswith("regularized") and section.population is not None:
        options.setdefault("tournament", max(1, section.population // 4))
    searcher, kin = bred(space, name, {"options": options, "population": section.population, **fixed}, several=several)
    if section.cells is not None:
        kin.request = _training(section.cells, recipe.seed)
    return Search(
        searcher,
        kin,
        probe,
        section.objectives,
        section.evaluations,
        [("space", text), ("searcher", type(searcher).__name__)],
        what=lambda model: _words(_candidate(model)),
        files=lambda model: {"winner.json": _json(_candidate(model))},
        test=test,
        **window(section.in_flight),
    )


def _cells(section: CellsSection) -> Space[Cell]:
    try:
        return DagCellSpace(section.operations, section.nodes, section.max_edges)
    except ValueError as error:
        raise RecipeError(f"search.cells: {error}") from error


def _training(section: CellsSection, seed: int) -> Any:
    def request(cell: Cell, parents: tuple[Model, ...]) -> Request:
        kind = (TrainCell, MutateCell, CrossCells)[min(len(parents), 2)]
        return Request(kind(cell, section.side, section.epochs, world=seed), parents[:2], seed=seed)

    return request


def _space_of(module: Any, where: str) -> Space[Any]:
    """A user's space, whose candidates a record can hold."""
    space = getattr(module, "SPACE", None)
    if not isinstance(space, Space) or not callable(getattr(module, "fitness", None)):
        raise RecipeError(
            f"search.module: {where} must define SPACE, a heredity.search.base.Space, and fitness(candidate)"
        )
    sample = space.sample(np.random.default_rng(0))
    if revive(json.loads(key_of(sample))) != sample:
        raise RecipeError(f"search.module: a candidate of {where}'s SPACE is {sample!r:.60}; use tuples, not lists")
    return space


def _candidate(model: Model) -> Any:
    config = model.operator["config"]
    return revive(config["cell"]) if "cell" in config else value_of(model)


def _json(value: Any) -> str:
    plain = {"ops": value.ops, "edges": value.edges} if isinstance(value, Cell) else json.loads(key_of(value))
    return json.dumps(plain) + "\n"


def _words(value: Any) -> str:
    if isinstance(value, Cell):
        return said(f"{' '.join(value.ops)}; {' '.join(f'{a}→{b}' for a, b in value.edges)}", 72)
    return said(value)
