"""Trials of the claim on joint search of architectures and recipes: a closed table that all arms look up.

A row of the table, one architecture with all recipes, is a birth; the table is a birth of its rows; an arm is a birth
of the table. Only the final picks of searches are trained again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heredity.evaluation.ranking import kendall
from heredity.lab import Architecture, Child, Context, Operator, Parents, Request
from heredity.papers.claim import Cell, Steps, Trial
from heredity.papers.testbeds.recipe_table import DigitNet, architectures, recipes, train
from heredity.search.hyperparameters import Setting
from heredity.search.joint_space import JointCandidate, JointSpace
from heredity.search.learning_curves import correlation_epoch
from heredity.search.nars import NARS
from heredity.search.predictor import JointPredictor

Vector = NDArray[np.float64]
ARCHS, RECIPES = 32, 12  # of the table
AGAIN = (12, 5)  # the first architectures and recipes, which are trained with a second seed
SECOND = 1000  # added to a row's seed then
HELD_OUT = 12  # architectures on which predictors are judged
LABELS = (10, 20, 40, 80)  # cells that a predictor learns from
FEW = 40  # labels up to which the score of a predictor counts
BATCH = 15  # of a joint search
WITHIN = 0.75  # share of the architectures that the FLOP cap allows
NEW_SEEDS = (50_001, 50_002, 50_003)  # of the trainings of a final pick
SUBSET = 8  # of the architectures with two seeds, per repetition
PRETRAINED = 4096  # architectures whose statistics a predictor learns first

Predicting = Literal["pretrained", "plain", "trees", "trees_statistics", "ridge", "ridge_statistics", "flops"]
Searching = Literal["joint", "joint_plain", "arch_only", "alternating", "random", "everything"]


@dataclass(frozen=True)
class TrainRow(Operator):
    """One architecture trained with several recipes: `valid` [R, E] after each epoch, `test` [R] at the end.

    Args:
        arch, recipes: settings of `heredity.papers.testbeds.recipe_table`.
        division: of the images.
        epochs: E.
    """

    arch: Mapping[str, Any]
    recipes: tuple[Mapping[str, Any], ...]
    division: int
    epochs: int
    kind: ClassVar[str] = "train"

    def apply(self, parents: Parents, context: Context) -> dict[str, Tensor]:
        """Train them, each with a seed of its own."""
        found = [
            train(dict(self.arch), dict(recipe), context.seed * 100 + column, self.division, self.epochs)
            for column, recipe in enumerate(self.recipes)
        ]
        return {"valid": torch.tensor([one.valid for one in found]), "test": torch.tensor([one.test for one in found])}


@dataclass(frozen=True)
class TrainCell(Operator):
    """One architecture trained with one recipe: the network; notes its validation and test accuracy."""

    arch: Mapping[str, Any]
    recipe: Mapping[str, Any]
    division: int
    epochs: int
    kind: ClassVar[str] = "train"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Train it."""
        found = train(dict(self.arch), dict(self.recipe), context.seed, self.division, self.epochs)
        weights = {name: tensor.detach().clone() for name, tensor in found.net.state_dict().items()}
        notes = {"valid": found.valid[-1], "test": found.test}
        return Child(weights, Architecture(DigitNet, {"arch": dict(self.arch)}).spec(), notes)


@dataclass(frozen=True)
class Table(Operator):
    """The parents' rows as one: `valid` [A, R, E], `test` [A, R], and `again` [12, 5], validation at a second seed."""

    kind: ClassVar[str] = "step"

    def apply(self, parents: Parents, context: Context) -> dict[str, Tensor]:
        """Put rows together."""
        rows = [parent.weights() for parent in parents]
        return {
            "valid": torch.stack([row["valid"] for row in rows[:ARCHS]]),
            "test": torch.stack([row["test"] for row in rows[:ARCHS]]),
            "again": torch.stack([row["valid"][:, -1] for row in rows[ARCHS:]]),
        }


@dataclass(frozen=True)
class Pretrain(Operator):
    """A predictor that has learnt the statistics of `count` architectures; the seed draws them and its weights."""

    count: int = PRETRAINED
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> dict[str, Tensor]:
        """Learn them."""
        space, predictor = architectures(), fresh(context.seed)
        drawn = space.sobol(self.count, context.seed)
        predictor.pretrain(torch.stack([space.encode(arch) for arch in drawn]), [_free(arch) for arch in drawn])
        return {name: tensor.clone() for name, tensor in predictor.state_dict().items()}


@dataclass(frozen=True)
class Predict(Operator):
    """A predictor learns from few cells and ranks those of networks that it has not seen. Parents: table, predictor.

    The seed draws both. Notes `tau_N`, Kendall's τ on the held-out cells with N labels, and `score`, the mean up to 40.

    Args:
        how: "flops" ranks by FLOPs, without labels; the others learn.
        table: seed of the table's architectures and recipes.
    """

    how: Predicting
    table: int
    kind: ClassVar[str] = "step"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Learn and rank."""
        archs, found = _table(self.table)[0], parents[0].weights()["valid"][:, :, -1].double().numpy()
        rng = np.random.default_rng(context.seed)
        order = rng.permutation(len(archs))
        seen = [(int(a), r) for a in order[HELD_OUT:] for r in range(RECIPES)]
        test = [(int(a), r) for a in order[:HELD_OUT] for r in range(RECIPES)]
        cells = [seen[int(k)] for k in rng.permutation(len(seen))]
        truth = np.array([found[cell] for cell in test])
        state = {name: tensor.clone() for name, tensor in parents[1].weights().items()}
        notes = {}
        for n in LABELS:
            y = np.array([found[cell] for cell in cells[:n]])
            guess = self._guess(cells[:n], y, test, state, context.seed)
            notes[f"tau_{n}"] = kendall(guess, truth, constant=0.0)
        notes["score"] = float(np.mean([notes[f"tau_{n}"] for n in LABELS if n <= FEW]))
        return Child({"taus": torch.tensor([notes[f"tau_{n}"] for n in LABELS], dtype=torch.float64)}, None, notes)

    def _guess(
        self,
        cells: list[tuple[int, int]],
        y: Vector,
        test: list[tuple[int, int]],
        state: dict[str, Tensor],
        seed: int,
    ) -> Vector:
        """Predictions of the test cells."""
        archs = _table(self.table)[0]
        if self.how == "flops":
            return np.array([_free(archs[a])[0] for a, _ in test])
        if self.how in ("pretrained", "plain"):
            predictor = fresh(seed)
            if self.how == "pretrained":
                predictor.pretrained_from(state)
                predictor.fit(*_codes(self.table, cells), y.tolist())
            else:  # an encoder that knows nothing is not worth freezing
                predictor.fit(*_codes(self.table, cells), y.tolist(), freeze_epochs=0, epochs=100)
            return predictor.predict(*_codes(self.table, test)).double().numpy()
        free = self.how.endswith("statistics")

        def inputs(chosen: list[tuple[int, int]]) -> Vector:
            rows = torch.cat(_codes(self.table, chosen), 1).double().numpy()
            logs = np.log([_free(archs[a]) for a, _ in chosen])
            return np.hstack([rows, logs]) if free else rows

        fitted = _regression("trees" if "trees" in self.how else "ridge", inputs(cells), y, seed)
        return np.asarray(fitted.predict(inputs(test)))


@dataclass(frozen=True)
class Search(Operator):
    """A search of the table's cells under a FLOP cap; the seed draws. Parents: table, pretrained predictor.

    Notes the pick's `arch` and `recipe`, places in the table, its `picked` validation accuracy, how many cells were
    `paid`, and of joint searches the `epoch` that would have ranked the first batch.

    Args:
        how: "joint" is NARS; "arch_only" finds the recipe on one architecture and keeps it; "alternating" goes on from
            there, by turns, until all is spent; "everything" looks at the whole table.
        table: seed of the table's architectures and recipes.
        evaluations: cells that may be looked up.
    """

    how: Searching
    table: int
    evaluations: int
    kind: ClassVar[str] = "step"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Search; the pick is the best cell measured."""
        archs, _ = _table(self.table)
        curves = parents[0].weights()["valid"].double().numpy()
        found = curves[:, :, -1]
        cap = flop_cap(self.table)
        allowed = [place for place, arch in enumerate(archs) if _free(arch)[0] <= cap]
        rng = np.random.default_rng(context.seed)
        notes: dict[str, float] = {}
        if self.how in ("joint", "joint_plain"):
            cells, epoch = self._nars(parents, allowed, cap, curves, context.seed)
            notes["epoch"] = float(epoch)
        elif self.how == "random":
            pool = [(a, r) for a in allowed for r in range(RECIPES)]
            cells = [pool[int(k)] for k in rng.choice(len(pool), size=self.evaluations, replace=False)]
        elif self.how == "everything":
            cells = [(a, r) for a in allowed for r in range(RECIPES)]
        else:
            cells = self._by_turns(allowed, found, int(rng.choice(allowed)))
        arch, recipe = max(cells, key=lambda cell: found[cell])  # the first of equals
        notes |= {"arch": arch, "recipe": recipe, "picked": float(found[arch, recipe]), "paid": float(len(cells))}
        return Child({"cells": torch.tensor(cells)}, None, notes)

    def _by_turns(self, allowed: list[int], found: Vector, arch: int) -> list[tuple[int, int]]:
        """Recipes on one architecture, then architectures with the best of them, and so on where that is allowed."""
        cells: list[tuple[int, int]] = []
        for turn in range(2 if self.how == "arch_only" else self.evaluations):
            recipe = max(cells, key=lambda cell: found[cell])[1] if cells else 0
            line = [(arch, r) for r in range(RECIPES)] if turn % 2 == 0 else [(a, recipe) for a in allowed]
            new = [cell for cell in line if cell not in cells]
            if turn >= 2 and not new:
                break
            cells += new[: self.evaluations - len(cells)]
            arch = max(cells, key=lambda cell: found[cell])[0]
        return cells

    def _nars(
        self, parents: Parents, allowed: list[int], cap: float, curves: Vector, seed: int
    ) -> tuple[list[tuple[int, int]], int]:
        archs, all_recipes = _table(self.table)
        space = JointSpace(architectures(), recipes(), {"flops": (None, cap)})
        places = [(a, r) for a in allowed for r in range(RECIPES)]
        pool = [JointCandidate(archs[a], all_recipes[r]) for a, r in places]
        where = {space.key(candidate): place for candidate, place in zip(pool, places, strict=True)}
        predictor, fit = fresh(seed), {}
        if self.how == "joint":
            predictor.pretrained_from({name: tensor.clone() for name, tensor in parents[1].weights().items()})
        else:
            fit = {"freeze_epochs": 0, "epochs": 100}
        nars = NARS(
            space,
            predictor,
            batch=BATCH,
            rounds=self.evaluations // BATCH,
            pool=pool,
            pretrain=0,
            fit=fit,
            seed=seed,
        )
        cells: list[tuple[int, int]] = []
        while asked := nars.ask():
            new = [where[space.key(candidate.value)] for candidate in asked]
            nars.tell(asked, [float(curves[a, r, -1]) for a, r in new])
            cells += new
        return cells, correlation_epoch([curves[a, r] for a, r in cells[:BATCH]])


@dataclass(frozen=True)
class Retrained(Operator):
    """`score`, the mean test accuracy of all parents but the first, trainings of its pick; keeps the first's notes."""

    kind: ClassVar[str] = "step"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Average."""
        tests = [float(parent.notes["test"]) for parent in parents[1:]]
        kept = {name: float(parents[0].notes[name]) for name in ("picked", "paid", "epoch") if name in parents[0].notes}
        return Child({"tests": torch.tensor(tests)}, None, {"score": float(np.mean(tests)), **kept})


@dataclass(frozen=True)
class RankAgreement(Operator):
    """How alike architectures rank: Kendall's τ between `across` "recipes" or "seeds", the mean of all pairs; `score`.

    The seed draws 8 of the 12 architectures that were trained twice with five recipes. Parent: the table.
    """

    across: Literal["recipes", "seeds"]
    kind: ClassVar[str] = "step"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Compare rankings."""
        held = {name: tensor.double().numpy() for name, tensor in parents[0].weights().items()}
        rows = np.random.default_rng(context.seed).choice(AGAIN[0], size=SUBSET, replace=False)
        once, again = held["valid"][rows, : AGAIN[1], -1], held["again"][rows]
        if self.across == "seeds":
            pairs = [(once[:, r], again[:, r]) for r in range(AGAIN[1])]
        else:
            pairs = [(once[:, r], once[:, s]) for r, s in combinations(range(AGAIN[1]), 2)]
        taus = [kendall(a, b, constant=0.0) for a, b in pairs]
        return Child({"taus": torch.tensor(taus, dtype=torch.float64)}, None, {"score": float(np.mean(taus))})


def trial(cell: Cell) -> Steps:
    """One predictor, search or comparison of rankings on the table; the seed resamples."""
    number, division, epochs = cell.setting("table"), cell.setting("division"), cell.setting("epochs")
    archs, all_recipes = _table(number)

    def row(place: int, columns: int, seed: int) -> Request:
        return Request(TrainRow(archs[place], tuple(all_recipes[:columns]), division, epochs), seed=seed)

    rows = yield [
        *(row(place, RECIPES, place) for place in range(ARCHS)),
        *(row(place, AGAIN[1], SECOND + place) for place in range(AGAIN[0])),
    ]
    table, predictor = yield [Request(Table(), rows), Request(Pretrain(), seed=cell.seed)]
    kind, how = cell.setting("kind"), cell.setting("how")
    if kind == "predict":
        notes = ("score", *(f"tau_{n}" for n in LABELS))
        return Trial(Request(Predict(how, number), (table, predictor), seed=cell.seed), notes=notes)
    if kind == "ranks":
        return Trial(Request(RankAgreement(how), (table,), seed=cell.seed), notes=("score",))
    search = Search(how, number, cell.setting("evaluations"))
    (found,) = yield [Request(search, (table, predictor), seed=cell.seed)]
    arch, recipe = archs[int(found.notes["arch"])], all_recipes[int(found.notes["recipe"])]
    trained = yield [Request(TrainCell(arch, recipe, division, epochs), seed=seed) for seed in NEW_SEEDS]
    notes = ("score", "picked", "paid", *(("epoch",) if how.startswith("joint") else ()))
    return Trial(Request(Retrained(), (found, *trained)), notes=notes)


def fresh(seed: int) -> JointPredictor:
    """A predictor that has learnt nothing."""
    return JointPredictor(architectures().width, recipes().width, seed=seed)


def flop_cap(table: int) -> float:
    """The FLOPs of one image that three quarters of the table's architectures do not exceed."""
    flops = sorted(_free(arch)[0] for arch in _table(table)[0])
    return flops[round(WITHIN * ARCHS) - 1]


@cache
def _table(seed: int) -> tuple[list[Setting], list[Setting]]:
    """The table's architectures and recipes."""
    return architectures().sobol(ARCHS, seed), recipes().sobol(RECIPES, seed + 1)


def _free(arch: Setting) -> tuple[float, float]:
    found = architectures().statistics(arch)
    return found["flops"], found["params"]


def _codes(table: int, cells: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    archs, all_recipes = _encoded(table)
    return archs[[a for a, _ in cells]], all_recipes[[r for _, r in cells]]


@cache
def _encoded(table: int) -> tuple[Tensor, Tensor]:
    archs, all_recipes = _table(table)
    return (
        torch.stack([architectures().encode(arch) for arch in archs]),
        torch.stack([recipes().encode(recipe) for recipe in all_recipes]),
    )


def _regression(name: str, x: Vector, y: Vector, seed: int) -> Any:
    """A fitted regression: gradient-boosted trees, or a ridge whose penalty is cross-validated."""
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = (
        GradientBoostingRegressor(random_state=seed)
        if name == "trees"
        else make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
    )
    return model.fit(x, y)
