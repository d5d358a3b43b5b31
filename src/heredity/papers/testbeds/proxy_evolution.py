"""Formulas that predict what few bits cost, fitted on two families of networks and tried on a third: EMQ's trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heredity.errors import EvaluationFailed
from heredity.evaluation.ranking import spearman, spearman_top_k
from heredity.lab import Child, Context, Operator, Parents, Request
from heredity.papers.claim import Cell, Steps, Trial
from heredity.papers.testbeds import mixed_bits as nets
from heredity.search.emq import EMQ
from heredity.search.expression import Expression
from heredity.search.layer_stats import INPUTS, LayerStats
from heredity.search.mq_proxies import SENSITIVITIES, BitTask, MQProxy

FITTED = 50  # mixtures of each network that a search sees
BUDGET, LIMIT = 600, 3000  # expressions scored; proposals at most
RIVALS = ("mean_bits", "bparams", "hawq_trace", "snip", "synflow", "fisher", "grad_norm")
METRICS = ("transfer", "heldout", "fitted", "partial", "top")
TOP = 0.2
Predict = Callable[[LayerStats, NDArray[np.int64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Network(Operator):
    """A network, trained, its batch norms folded. Notes: accuracy."""

    family: nets.Family
    width: int
    data: int
    epochs: int = nets.EPOCHS
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Train it."""
        net = nets.trained(self.family, self.width, self.data, self.epochs)
        return Child(net.state_dict(), None, {"accuracy": nets.accuracy(net, self.data)})


@dataclass(frozen=True)
class Bench(Operator):
    """The parent's accuracies under mixtures of bits, and its layers' statistics.

    The child holds `configs` [n, 8], `accuracies` [n] and `stats.<layer>.<statistic>`. Notes: accuracy of the parent,
    and `spread`, the distance of the accuracies' quartiles.
    """

    family: nets.Family
    width: int
    data: int
    configs: int = nets.CONFIGS
    kind: ClassVar[str] = "step"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Measure."""
        net = nets.restored(self.family, self.width, dict(parents[0].weights()))
        bench, stats = nets.benched(net, self.data, self.configs)
        held = {f"stats.{place}.{key}": x for place, row in enumerate(stats.values()) for key, x in row.items()}
        low, high = np.quantile(bench.accuracies, [0.25, 0.75])
        tables = {"configs": torch.from_numpy(bench.configs), "accuracies": torch.from_numpy(bench.accuracies)}
        notes = {"accuracy": float(parents[0].notes["accuracy"]), "spread": float(high - low)}
        return Child({**tables, **held}, None, notes)


@dataclass(frozen=True)
class Predicted(Operator):
    """A predictor, made from some mixtures of four networks and judged on others, and on the third family's.

    The parents are the six networks' benches, family by family. Notes: `METRICS` as the card says; `expression`,
    and for a search `scored`, `proposed` and `distinct`.

    Args:
        method: "emq", "random", "handmade", "oracle", "linear", or the name of a sensitivity.
        left_out: the family that is not searched on.
        budget: expressions that are scored; proposals end a search that finds nothing new.
        population, dps, csp, osp, duplicates: of EMQ.
    """

    method: str
    left_out: nets.Family
    budget: int = BUDGET
    proposals: int = LIMIT
    population: int = 20
    dps: bool = True
    csp: bool = True
    osp: bool = True
    duplicates: bool = False
    kind: ClassVar[str] = "step"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Fit and judge."""
        tasks = [_task(parent.weights()) for parent in parents]
        width = len(tasks) // len(nets.FAMILIES)
        first = width * nets.FAMILIES.index(self.left_out)
        test, search = tasks[first : first + width], tasks[:first] + tasks[first + width :]
        seen, unseen = zip(*(_divided(task, context.seed + 31 * k) for k, task in enumerate(search)), strict=True)
        predict, facts = self._fitted(list(seen), test, context.seed)
        notes = {
            "transfer": _mean(predict, test, spearman),
            "heldout": _mean(predict, unseen, spearman),
            "fitted": _mean(predict, seen, spearman),
            "top": _mean(predict, test, lambda x, y: spearman_top_k(x, y, TOP)),
            "partial": float(np.mean([_partial(predict, task) for task in test])),
            "accuracy": min(float(parent.notes["accuracy"]) for parent in parents),
            "spread": min(float(parent.notes["spread"]) for parent in parents),
        }
        values = torch.tensor([notes[name] for name in METRICS], dtype=torch.float64)
        return Child({"values": values}, None, {**notes, **facts})

    def _fitted(self, seen: list[BitTask], test: list[BitTask], seed: int) -> tuple[Predict, dict[str, object]]:
        """A predictor, and what is to be noted of how it was found."""
        if self.method == "linear":
            return _regression(seen), {}
        if self.method == "emq":
            return self._evolved(seen, seed)
        if self.method == "random":
            return self._drawn(seen, seed)
        if self.method in ("handmade", "oracle"):
            judges = seen if self.method == "handmade" else test
            rules = [(name, each) for name in RIVALS for each in (False, True)]
            found = max(rules, key=lambda rule: _mean(_sensitivity(*rule), judges, spearman))
            return _sensitivity(*found), {"expression": f"{found[0]}{' per weight' if found[1] else ''}"}
        if self.method not in SENSITIVITIES:
            raise ValueError(f"unknown method {self.method!r}")
        return _sensitivity(self.method, False), {}

    def _evolved(self, seen: list[BitTask], seed: int) -> tuple[Predict, dict[str, object]]:
        searcher = self._searcher(seen, seed)
        proposed, diversity = 0, []
        while searcher.evaluations < self.budget and proposed < self.proposals:
            candidates = searcher.ask()
            proposed += len(candidates)
            searcher.tell(candidates, [_fitness(searcher, candidate.value) for candidate in candidates])
            diversity.append(searcher.distinct)
        if searcher.best is None:
            raise EvaluationFailed("no expression could be scored")
        best = searcher.best[0].value
        facts = {"scored": searcher.evaluations, "proposed": proposed, "distinct": float(np.mean(diversity))}
        return _formula(best), {"expression": str(best), **facts}

    def _drawn(self, seen: list[BitTask], seed: int) -> tuple[Predict, dict[str, object]]:
        """The best of as many different expressions, drawn from the space of the evolution and screened alike."""
        searcher = self._searcher(seen, seed)
        rng, known = np.random.default_rng([seed, 1]), set[int]()
        best: tuple[float, Expression] | None = None
        for _ in range(20 * self.budget):
            if len(known) == self.budget:
                break
            drawn = searcher.space.sample(rng)
            if not searcher.fit_to_propose(drawn) or searcher.identity(drawn) in known:
                continue
            known.add(searcher.identity(drawn))
            fitness = _fitness(searcher, drawn)
            if np.isfinite(fitness) and (best is None or fitness > best[0]):
                best = (fitness, drawn)
        if best is None:
            raise EvaluationFailed("no expression could be scored")
        return _formula(best[1]), {"expression": str(best[1]), "scored": len(known)}

    def _searcher(self, seen: list[BitTask], seed: int) -> EMQ:
        return EMQ(
            seen,
            population=self.population,
            dps=self.dps,
            csp=self.csp,
            osp=self.osp,
            duplicates=self.duplicates,
            seed=seed,
        )


def trial(cell: Cell) -> Steps:
    """One predictor for one left-out family; the seed trains the networks, draws the mixtures and the search."""
    rows = [(family, width) for family in nets.FAMILIES for width in nets.WIDTHS]
    made = yield [Request(Network(family, width, cell.seed)) for family, width in rows]
    benches = yield [
        Request(Bench(family, width, cell.seed), (model,)) for (family, width), model in zip(rows, made, strict=True)
    ]
    operator = Predicted(left_out=cast("nets.Family", cell.world), **cell.settings)  # type: ignore[arg-type]
    notes = [*METRICS, "accuracy", "spread"]
    if operator.method == "emq":
        notes += ["distinct", "scored", "proposed"]
    return Trial(Request(operator, tuple(benches), seed=cell.seed), notes=tuple(notes))


def _task(weights: Mapping[str, Tensor]) -> BitTask:
    count = weights["configs"].shape[1]
    stats: dict[str, dict[str, Tensor]] = {
        f"{place}": {key: weights[f"stats.{place}.{key}"] for key in INPUTS} for place in range(count)
    }
    return BitTask(LayerStats(stats), weights["configs"].numpy(), weights["accuracies"].numpy())


def _divided(task: BitTask, seed: int) -> tuple[BitTask, BitTask]:
    """The mixtures that a search sees, drawn without replacement, and the others."""
    order = np.random.default_rng(seed).permutation(len(task.accuracies))
    parts = (np.sort(order[:FITTED]), np.sort(order[FITTED:]))
    first, second = (BitTask(task.stats, task.configs[part], task.accuracies[part]) for part in parts)
    return first, second


def _fitness(searcher: EMQ, expression: Expression) -> float:
    try:
        return searcher.fitness(expression)
    except EvaluationFailed:
        return float("nan")


def _formula(expression: Expression) -> Predict:
    return lambda stats, configs: MQProxy.of(stats, expression).predict(configs)


def _sensitivity(name: str, per_weight: bool) -> Predict:
    return lambda stats, configs: MQProxy.of(stats, name, per_weight=per_weight).predict(configs)


def _regression(seen: Sequence[BitTask]) -> Predict:
    """Least squares of accuracy on one-hot bits, a fit for each network; another network gets their mean."""
    fits = {id(task.stats): np.linalg.lstsq(_one_hot(task.configs), task.accuracies, rcond=None)[0] for task in seen}
    mean = np.mean(list(fits.values()), axis=0)

    def predict(stats: LayerStats, configs: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(_one_hot(configs) @ np.asarray(fits.get(id(stats), mean)), dtype=np.float64)

    return predict


def _one_hot(configs: NDArray[np.int64]) -> NDArray[np.float64]:
    on = configs[:, :, None] == np.array(nets.BITS)
    return np.asarray(on.reshape(len(configs), -1), dtype=np.float64)


def _partial(predict: Predict, task: BitTask) -> float:
    """Correlation given mean bits; 0 for a predictor that fails."""
    try:
        return task.partial_correlation(predict(task.stats, task.configs))
    except (EvaluationFailed, ValueError):
        return 0.0


def _mean(
    predict: Predict,
    tasks: Sequence[BitTask],
    correlation: Callable[[NDArray[np.float64], NDArray[np.float64]], float],
) -> float:
    """Mean correlation; a predictor that fails on a network has −1 there."""
    found = []
    for task in tasks:
        try:
            guess = predict(task.stats, task.configs)
            found.append(correlation(guess, task.accuracies) if np.isfinite(guess).all() else -1.0)
        except EvaluationFailed:
            found.append(-1.0)
    return float(np.mean(found))
