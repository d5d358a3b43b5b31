"""How well scores of untrained students rank what the students reach when they are distilled: the trial of DisWOT.

A pool of architectures is trained once. Every proxy scores the pool; a cell's value is a block's pseudo-value of
Kendall's τ by the jackknife: g·τ − (g − 1)·τ without the block, for g blocks. The mean over blocks is τ (less its bias
of order 1/n), and their spread is that of τ over architectures.
Source of the jackknife: Efron & Tibshirani 1993, chapter 11; Arvesen 1969 for U-statistics.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heredity.errors import EvaluationFailed
from heredity.evaluation.ranking import kendall
from heredity.lab import Child, Context, Model, Operator, Parents, Request
from heredity.papers.claim import Cell, Steps, Trial
from heredity.papers.testbeds import student_cells as nets
from heredity.search.base import Proxy
from heredity.search.diswot import DisWOT
from heredity.search.edge_cells import EdgeCell
from heredity.search.evolution import RegularizedEvolution
from heredity.search.proxies import PROXIES, Zen

DISWOT = {"diswot_shared": ("stem", "fc"), "diswot_independent": ()}  # what student and teacher share
TERMS: tuple[Literal["semantic", "relation"], ...] = ("semantic", "relation")
BASELINES = ("params", "flops", "nwot", "synflow", "snip")
COMPARISONS = ("kd", "ce", "across")
KD_SEEDS, CE_SEEDS = 3, 2
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Teacher(Operator):
    """The teacher, trained on labels, with its logits for the training images, `targets`. Notes: accuracy."""

    world: int
    epochs: int = nets.TEACHER_EPOCHS
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Train it."""
        net = nets.built(nets.TEACHER_CELL, context.seed, nets.TEACHER_CELLS)
        nets.train(net, self.world, self.epochs, context.seed)
        weights = {f"network.{name}": value for name, value in net.state_dict().items()}
        targets = torch.stack(nets.teacher_targets(net, self.world))
        return Child({**weights, "targets": targets}, None, {"accuracy": nets.accuracy(net, self.world)})


@dataclass(frozen=True)
class Student(Operator):
    """A student of one cell, trained on labels, and on the teacher's logits where there is a parent.

    Notes: accuracy, and the CPU seconds of training.
    """

    world: int
    cell: EdgeCell
    epochs: int = nets.STUDENT_EPOCHS
    kind: ClassVar[str] = "distill"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Train it."""
        net = nets.built(self.cell, context.seed)
        targets = list(parents[0].weights()["targets"]) if parents else None
        seconds = nets.train(net, self.world, self.epochs, context.seed, targets)
        return Child(net.state_dict(), None, {"accuracy": nets.accuracy(net, self.world), "seconds": seconds})


@dataclass(frozen=True)
class Truth(Operator):
    """What the parents, students of n architectures trained with several seeds, reached.

    The child holds `reached` [trainings, n] (first distilled, then plain) and `seconds` [1], the mean CPU time of a
    distillation.
    """

    architectures: int
    kind: ClassVar[str] = "step"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Gather."""
        reached = [float(model.notes["accuracy"]) for model in parents]
        seconds = [float(model.notes["seconds"]) for model in parents[: KD_SEEDS * self.architectures]]
        table = torch.tensor(reached, dtype=torch.float64).reshape(-1, self.architectures)
        return Child({"reached": table, "seconds": torch.tensor([np.mean(seconds)], dtype=torch.float64)})


@dataclass(frozen=True)
class Scores(Operator):
    """What a proxy says of every architecture: the mean over repeats, each with its own batch and initialisation.

    The child holds `scores` [n, columns] (for DisWOT a column for each term, else one) and `seconds` [1], the CPU time
    of one scoring.
    """

    world: int
    cells: tuple[EdgeCell, ...]
    proxy: str
    repeats: int = 8
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Score."""
        repeats = 1 if self.proxy in ("params", "flops", "random") else self.repeats
        started = time.process_time()
        each = [[score(self.proxy, cell, self.world, repeat) for cell in self.cells] for repeat in range(repeats)]
        seconds = (time.process_time() - started) / (repeats * len(self.cells))
        scores = torch.tensor(each, dtype=torch.float64).mean(0)
        return Child({"scores": scores, "seconds": torch.tensor([seconds], dtype=torch.float64)})


@dataclass(frozen=True)
class Chosen(Operator):
    """The student that regularised evolution finds with a proxy, distilled by the parent; with "random", a draw.

    Notes: accuracy and the cell.
    """

    world: int
    proxy: str
    evaluations: int = 60
    epochs: int = nets.STUDENT_EPOCHS
    kind: ClassVar[str] = "distill"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Search, then train what was found."""
        space = nets.student_space()
        if self.proxy == "random":
            cell = space.sample(np.random.default_rng([context.seed, 1]))
        else:
            searcher = RegularizedEvolution(space, population=15, tournament=5, seed=context.seed)
            found = searcher.run(
                lambda cell: sum(score(self.proxy, cell, self.world, context.seed)),
                self.evaluations,
                direction="maximize",
            )
            if found.best is None:
                raise EvaluationFailed(f"none of {self.evaluations} students could be scored")
            cell = found.best
        child = Student(self.world, cell, self.epochs).apply(parents, context)
        return Child(child.weights, None, {"accuracy": child.notes["accuracy"], "cell": list(cell)})


@dataclass(frozen=True)
class Ranked(Operator):
    """A block's pseudo-values of τ between scores and truth.

    The first parent is the truth, the second, where there is one, the scores; the role "chosen" is the student that an
    evolution found. Notes: as the card's metrics say.

    Args:
        cells: the architectures.
        compare: two kinds of single trainings to rank by one another where there are no scores: "kd", "ce", "across".
        term: one of DisWOT's columns; empty means their sum.
        start, size: the block.
    """

    cells: tuple[EdgeCell, ...]
    compare: str = ""
    term: str = ""
    start: int = 0
    size: int = 1
    kind: ClassVar[str] = "step"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Compute."""
        weights = parents[0].weights()
        reached = weights["reached"].numpy()
        truth = reached[:KD_SEEDS].mean(0)
        scored = [(column(parents[1].weights(), self.term), truth)] if len(parents) > 1 else []
        pairs = scored or trainings(self.compare, reached)
        groups = np.array([nets.conv3_count(cell) for cell in self.cells])

        def overall(kept: NDArray[np.bool_]) -> float:
            return float(np.mean([kendall(x[kept], y[kept], constant=0.0) for x, y in pairs]))

        def within(kept: NDArray[np.bool_]) -> float:
            return float(np.mean([grouped_tau(x[kept], y[kept], groups[kept]) for x, y in pairs]))

        tau = pseudo_value(overall, len(self.cells), self.start, self.size)
        notes = {"tau": tau, "tau_within": pseudo_value(within, len(self.cells), self.start, self.size)}
        notes["median"] = float(np.median(truth))
        if len(parents) > 1:
            notes["speed"] = float(weights["seconds"][0] / parents[1].weights()["seconds"][0])
        if (chosen := parents.role("chosen")) is not None:
            notes["chosen"] = float(chosen.notes["accuracy"])
        if (teacher := parents.role("teacher")) is not None:
            notes["teacher"] = float(teacher.notes["accuracy"])
        return Child({"tau": torch.tensor([tau], dtype=torch.float64)}, None, notes)


def trial(cell: Cell) -> Steps:
    """A block of architectures, ranked by one arm."""
    settings = cell.settings
    world, n, size = (int(cast("int", settings[name])) for name in ("pool", "architectures", "block"))
    start = (cell.seed - world) * size
    if not 0 <= start <= n - size:
        raise ValueError(
            f"seed {cell.seed} has no block: {n} architectures give the seeds {world} to {world + n // size - 1}"
        )
    cells = tuple(nets.architectures(n, world))
    scorer, epochs = str(settings["scorer"]), int(cast("int", settings.get("epochs", nets.STUDENT_EPOCHS)))
    names = BASELINES if scorer == "best_baseline" else () if scorer in COMPARISONS else (scorer,)
    (teacher,) = yield [Request(Teacher(world, 2 * epochs), seed=world)]
    kd = [Request(Student(world, one, epochs), (teacher,), seed=seed) for seed in range(KD_SEEDS) for one in cells]
    ce = [Request(Student(world, one, epochs), seed=seed) for seed in range(CE_SEEDS) for one in cells]
    made = yield [*kd, *ce, *(Request(Scores(world, cells, name)) for name in names)]
    students, tables = made[: len(kd) + len(ce)], dict(zip(names, made[len(kd) + len(ce) :], strict=True))
    (truth,) = yield [Request(Truth(n), tuple(students))]
    roles: dict[str, Model] = {"teacher": teacher}
    chosen_by = _best(tables, truth) if tables else ""
    if settings.get("search"):
        (roles["chosen"],) = yield [Request(Chosen(world, chosen_by, epochs=epochs), (teacher,), seed=cell.seed)]
    ranked = Ranked(cells, "" if tables else scorer, str(settings.get("term", "")), start, size)
    parents = (truth, tables[chosen_by]) if tables else (truth,)
    notes = [
        "tau",
        "tau_within",
        "median",
        "teacher",
        *(["speed"] if tables else []),
        *(["chosen"] if "chosen" in roles else []),
    ]
    return Trial(Request(ranked, parents, roles, cell.seed), notes=tuple(notes))


def score(proxy: str, cell: EdgeCell, world: int, repeat: int) -> list[float]:
    """What a proxy says of a cell in one repeat, a number for each of its columns."""
    if proxy == "random":
        return [float(np.random.default_rng([world, repeat, *map(ord, "".join(cell))]).random())]
    model, batch = nets.built(cell, repeat), nets.proxy_batch(world, repeat)
    if proxy in DISWOT:

        def teacher() -> nets.CellNet:
            return nets.built(nets.TEACHER_CELL, repeat, nets.TEACHER_CELLS)

        found = DisWOT(teacher, share=DISWOT[proxy], terms=TERMS, seed=repeat).distances(model, batch)
        return [-found[term] for term in TERMS]
    known: dict[str, Proxy] = {**PROXIES, "zen": Zen("features", seed=repeat)}
    return [known[proxy](model, batch)]


def column(weights: Mapping[str, Tensor], term: str = "") -> Vector:
    """Scores [n] of a table: one of DisWOT's terms, or the sum of the columns."""
    table = weights["scores"].numpy()
    return np.asarray(
        table[:, [name == term for name in TERMS].index(True)] if term else table.sum(1), dtype=np.float64
    )


def trainings(compare: str, reached: Vector) -> list[tuple[Vector, Vector]]:
    """Pairs of single trainings [n], both distilled ("kd"), both plain ("ce"), or one of each ("across")."""
    kd, ce = range(KD_SEEDS), range(KD_SEEDS, KD_SEEDS + CE_SEEDS)
    first, second = {"kd": (kd, kd), "ce": (ce, ce), "across": (kd, ce)}[compare]
    return [(reached[i], reached[j]) for i in first for j in second if i < j]


def pseudo_value(statistic: Callable[[NDArray[np.bool_]], float], n: int, start: int, size: int) -> float:
    """g·θ − (g − 1)·θ without the block, for a statistic of which items [n] are kept; g = n / size."""
    kept = np.ones(n, dtype=bool)
    whole = statistic(kept)
    kept[start : start + size] = False
    blocks = n / size
    return blocks * whole - (blocks - 1) * statistic(kept)


def grouped_tau(x: Vector, y: Vector, groups: NDArray[np.int64]) -> float:
    """(concordant − discordant) / pairs, over the pairs of one group; 0 without any."""
    a, b = np.triu_indices(len(x), 1)
    same = groups[a] == groups[b]
    signs = np.sign(x[a] - x[b]) * np.sign(y[a] - y[b])
    return float(signs[same].mean()) if same.any() else 0.0


def _best(tables: Mapping[str, Model], truth: Model) -> str:
    """The scorer with the highest τ; of one alone, that one."""
    reached = truth.weights()["reached"].numpy()[:KD_SEEDS].mean(0)
    return max(tables, key=lambda name: kendall(column(tables[name].weights()), reached, constant=0.0))
