"""EMQ: evolution of a formula that predicts, without training, which layers need their bits.

Source: Dong et al., EMQ: Evolving Training-free Proxies for Automated Mixed Precision Quantization (arXiv 2307.10554).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from heredity.errors import EvaluationFailed
from heredity.evaluation.ranking import spearman
from heredity.search.base import Candidate, Example, Searcher, Told, told_pairs
from heredity.search.expression import Expression, ExpressionSpace, Structure
from heredity.search.functional_hash import EquivalenceCache, FunctionalHash
from heredity.search.layer_stats import LayerStats
from heredity.search.mq_proxies import BitTask, MQProxy
from heredity.search.selection import truncation

TRIES = 200  # draws until one is fit to be proposed; then the last one is
SCREENED = 4  # mixtures on which a prediction must differ: the paper's "more than three"
PATIENCE = 10  # populations' worth of failures in a row that are an error


class EMQ(Searcher[Expression]):
    """A population of formulas; an iteration brings forth one child and, with it, one formula from nowhere.

    Args:
        tasks: networks with known accuracies of some bit vectors; the fitness is the mean Spearman's ρ over them.
        structure: of the formulas.
        population: members.
        p_cx, p_mut: probabilities that the child is crossed, and that it is mutated.
        topk: share of the population, from the top, that two parents are drawn from.
        dps: diversity-prompting selection: of child and newcomer only the fitter joins.
        csp: compatibility screening: formulas that fail or do not vary on a few mixtures are not proposed, and
            `fitness` knows formulas by their values, so that equal ones are evaluated once.
        osp: operation sampling prioritisation: risky operations are drawn less often.
        duplicates: whether formulas that compute the same may live together; if not, one that does is replaced by a
            fresh draw before it is proposed.
        seed: of everything.

    The worst member makes room for the one that joins. Candidates are told with their `fitness`; a failed one never
    joins. Without a success in ten populations' worth of candidates in a row, `tell` raises.
    """

    def __init__(
        self,
        tasks: Sequence[BitTask],
        structure: Structure = "branch",
        population: int = 20,
        *,
        p_cx: float = 0.5,
        p_mut: float = 0.5,
        topk: float = 0.5,
        dps: bool = True,
        csp: bool = True,
        osp: bool = True,
        duplicates: bool = False,
        seed: int = 0,
        metric: str | None = None,
    ) -> None:
        if not tasks or population < 2:
            raise ValueError(f"needs a task and a population of at least 2, got {len(tasks)} and {population}")
        if not (0 <= p_cx <= 1 and 0 <= p_mut <= 1 and 0 < topk <= 1):
            raise ValueError(f"p_cx, p_mut and topk are shares, got {p_cx}, {p_mut}, {topk}")
        self.tasks, self.population, self.seed, self.metric = list(tasks), population, seed, metric
        self.p_cx, self.p_mut, self.topk = p_cx, p_mut, float(topk)
        self.dps, self.csp, self.duplicates = dps, csp, duplicates
        self.space = ExpressionSpace(structure, prioritise=osp)
        self._first: dict[str, MQProxy | EvaluationFailed] = {}  # on the first task, by text
        self._hash: FunctionalHash[Expression] = FunctionalHash(lambda x, _: self._proxy(x).sensitivities)
        self._known: dict[str, int] = {}  # hash by text
        self._cache: EquivalenceCache[Expression] = EquivalenceCache(self._evaluate, self.identity if csp else str)
        self._plain = 0  # evaluations without the cache
        self.iteration = 0  # batches told
        self._next = 0
        self._members: dict[int, tuple[Expression, float]] = {}  # by age
        self._batch: dict[int, Expression] = {}
        self._waiting: list[int] = []
        self._told: dict[int, float | None] = {}
        self._failures = 0
        self._best: tuple[int, Expression, float] | None = None

    @property
    def members(self) -> list[tuple[Candidate[Expression], float]]:
        """The population with its fitness, the oldest first."""
        return [(Candidate(i, expression), fitness) for i, (expression, fitness) in self._members.items()]

    @property
    def distinct(self) -> int:
        """How many different things the population computes."""
        return len({self.identity(expression) for expression, _ in self._members.values()})

    @property
    def evaluations(self) -> int:
        """How often a fitness was computed, and not recalled."""
        return self._cache.stats.evaluations + self._plain

    def identity(self, expression: Expression) -> int:
        """Equal for formulas that compute the same for every layer of the first task."""
        key = expression.key
        if key not in self._known:
            self._known[key] = self._hash(expression)
        return self._known[key]

    def fitness(self, expression: Expression) -> float:
        """Mean Spearman's ρ with the accuracies, in [−1, 1].

        Raises:
            EvaluationFailed: the formula has no finite value for some layer, or predicts a constant.
        """
        if self.csp:
            return self._cache(expression).value
        self._plain += 1
        return self._evaluate(expression)

    def fit_to_propose(self, expression: Expression) -> bool:
        """The early rejection: finite on the first task, and neither zero nor equal on its first mixtures."""
        try:
            guess = self._proxy(expression).predict(self.tasks[0].configs[:SCREENED])
        except EvaluationFailed:
            return False
        return bool(np.isfinite(guess).all() and np.ptp(guess) > 0)

    def ask(self, n: int | None = None) -> list[Candidate[Expression]]:
        """Founders that are missing, then a child and a newcomer; at most n of them, none while all are out."""
        if not self._batch:
            self._breed()
        count = len(self._waiting) if n is None else max(0, min(n, len(self._waiting)))
        out, self._waiting = self._waiting[:count], self._waiting[count:]
        return [Candidate(i, self._batch[i]) for i in out]

    def tell(self, candidates: Sequence[Candidate[Expression]], outcomes: Sequence[Told]) -> None:
        """Report outcomes, in any order and in parts; selection follows when the batch is complete."""
        out = set(self._batch) - set(self._waiting) - set(self._told)
        told = told_pairs(candidates, outcomes, out, self.metric)
        self._told.update(told)
        for i, fitness in told.items():
            if fitness is not None and (self._best is None or (fitness, -i) > (self._best[2], -self._best[0])):
                self._best = (i, self._batch[i], fitness)
        if self._batch and len(self._told) == len(self._batch):
            self._select()

    @property
    def best(self) -> tuple[Candidate[Expression], float] | None:
        """The best formula told so far with its fitness; the earlier of equals."""
        return None if self._best is None else (Candidate(self._best[0], self._best[1]), self._best[2])

    def state_dict(self) -> Mapping[str, Any]:
        """Text and numbers: the configuration, the population and the present batch."""
        return {
            "config": self._config(),
            "next": self._next,
            "iteration": self.iteration,
            "members": [[i, str(expression), fitness] for i, (expression, fitness) in self._members.items()],
            "batch": [[i, str(expression)] for i, expression in self._batch.items()],
            "told": [[i, fitness] for i, fitness in sorted(self._told.items())],
            "failures": self._failures,
            "best": [self._best[0], str(self._best[1]), self._best[2]] if self._best else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue; what was out is handed out again.

        Raises:
            ValueError: the configuration differs.
        """
        for name, value in self._config().items():
            if state["config"].get(name) != value:
                saved = state["config"].get(name)
                raise ValueError(f"the state was saved with {name}={saved}, this searcher has {value}")
        self._next, self.iteration = int(state["next"]), int(state["iteration"])
        self._members = {int(i): (Expression.parse(text), float(f)) for i, text, f in state["members"]}
        self._batch = {int(i): Expression.parse(text) for i, text in state["batch"]}
        self._told = {int(i): fitness for i, fitness in state["told"]}
        self._waiting = [i for i in self._batch if i not in self._told]
        self._failures, best = int(state["failures"]), state["best"]
        self._best = (int(best[0]), Expression.parse(best[1]), float(best[2])) if best else None

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """Six layers of normal weights whose accuracies follow a hidden formula."""
        task = _example_task()
        truth = MQProxy.of(task.stats, "snip").predict(task.configs)

        def fitness(expression: Expression) -> float:
            try:
                return spearman(MQProxy.of(task.stats, expression).predict(task.configs), truth)
            except EvaluationFailed:
                return -1.0

        yield "branch", Example(lambda seed: cls([task], population=6, seed=seed), fitness)
        yield (
            "plain, sequential",
            Example(
                lambda seed: cls([task], "sequential", 6, dps=False, csp=False, osp=False, duplicates=True, seed=seed),
                fitness,
                rounds=80,
            ),
        )

    def _evaluate(self, expression: Expression) -> float:
        rhos = []
        for place, task in enumerate(self.tasks):
            proxy = MQProxy.of(task.stats, expression) if place else self._proxy(expression)
            guess = proxy.predict(task.configs)
            if not np.isfinite(guess).all() or np.ptp(guess) == 0:
                raise EvaluationFailed(f"{expression} predicts a constant, or values that overflow")
            rhos.append(spearman(guess, task.accuracies))
        return sum(rhos) / len(rhos)

    def _proxy(self, expression: Expression) -> MQProxy:
        """On the first task, which screening, hashing and fitness all look at.

        Raises:
            EvaluationFailed: as `MQProxy.of`.
        """
        key = expression.key
        if key not in self._first:
            try:
                self._first[key] = MQProxy.of(self.tasks[0].stats, expression)
            except EvaluationFailed as error:
                self._first[key] = error
        found = self._first[key]
        if isinstance(found, EvaluationFailed):
            raise EvaluationFailed(str(found))
        return found

    def _breed(self) -> None:
        rng = np.random.default_rng([self.seed, self.iteration])
        known = set() if self.duplicates else {self.identity(expression) for expression, _ in self._members.values()}
        missing = self.population - len(self._members)
        if missing:
            proposed = [self._unlike(None, known, rng) for _ in range(missing)]
        else:
            proposed = [self._unlike(self._child(rng), known, rng)]
            if self.dps:
                proposed.append(self._unlike(None, known, rng))
        for expression in proposed:
            self._batch[self._next] = expression
            self._next += 1
        self._waiting = list(self._batch)

    def _child(self, rng: np.random.Generator) -> Expression:
        ids = list(self._members)
        top = truncation([self._members[i][1] for i in ids], self.topk)
        a, b = (self._members[ids[top[int(place)]]][0] for place in rng.integers(len(top), size=2))
        if rng.random() < self.p_cx:
            a = self.space.crossover(a, b, rng)
        return self.space.mutate(a, rng) if rng.random() < self.p_mut else a

    def _unlike(self, wish: Expression | None, known: set[int], rng: np.random.Generator) -> Expression:
        """The wish if it is fit to be proposed, else a fresh draw that is; it becomes known."""
        chosen = self.space.sample(rng) if wish is None else wish
        for _ in range(TRIES):
            if (not self.csp or self.fit_to_propose(chosen)) and (
                self.duplicates or self.identity(chosen) not in known
            ):
                break
            chosen = self.space.sample(rng)
        if not self.duplicates:
            known.add(self.identity(chosen))
        return chosen

    def _select(self) -> None:
        good = [(fitness, -i) for i, fitness in self._told.items() if fitness is not None]
        count, batch = len(self._told), self._batch
        founding = len(self._members) < self.population
        joins = sorted(-i for _, i in good) if founding else [-max(good)[1]] if good else []
        for i in joins:
            if not founding:
                del self._members[min(self._members, key=lambda k: (self._members[k][1], k))]
            self._members[i] = (batch[i], float(self._told[i] or 0.0))
        self._batch, self._told, self._waiting = {}, {}, []
        self.iteration += 1
        self._failures = 0 if good else self._failures + count
        if self._failures >= PATIENCE * self.population:
            failed, self._failures = self._failures, 0
            raise EvaluationFailed(f"the last {failed} formulas all failed; there is nothing to select")

    def _config(self) -> dict[str, Any]:
        return {
            "structure": self.space.structure,
            "population": self.population,
            "p_cx": self.p_cx,
            "p_mut": self.p_mut,
            "topk": self.topk,
            "dps": self.dps,
            "csp": self.csp,
            "osp": self.space.prioritise,
            "duplicates": self.duplicates,
            "seed": self.seed,
        }


def _example_task() -> BitTask:
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 1, 3, 3), (6, 4, 3, 3), (6, 6, 1, 1), (8, 6, 3, 3), (8, 8, 1, 1), (10, 8)]
    layers = {
        f"layer{k}": {
            name: torch.randn(shape, generator=generator, dtype=torch.float64) * (1 + k) ** power
            for name, power in (("W", -0.5), ("G", 0.7), ("A", 0.2), ("H", 1.0), ("VG", -1.0))
        }
        for k, shape in enumerate(shapes)
    }
    configs = np.random.default_rng(0).integers(2, 5, size=(30, len(shapes)))
    stats = LayerStats(layers)
    return BitTask(stats, configs, MQProxy.of(stats, "snip").predict(configs))
