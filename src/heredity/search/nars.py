"""NARS: architectures and training recipes searched together by a predictor that was pretrained on free statistics.

A pool of candidates that fit a budget is drawn once by a Sobol' sequence. The first batch is spread over it; every
later batch holds the candidates of highest predicted accuracy, and a few random ones, and the predictor learns from all
that was told. At the end `search` evolves candidates on the predictor alone, for any budget, without further training.
After the first batch `heredity.search.learning_curves.correlation_epoch` says how many epochs rank candidates.
Source: Dai et al., FBNetV3 (arXiv 2006.02049), section 3.2.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from heredity.errors import EvaluationFailed
from heredity.search.base import Candidate, Example, Searcher, Told, told_pairs
from heredity.search.evolution import ElitistEvolution
from heredity.search.fields import Choice, Int, LogUniform
from heredity.search.joint_space import (
    ArchSpace,
    JointCandidate,
    JointSpace,
    Range,
    RecipeSpace,
)
from heredity.search.predictor import JointPredictor

POOL_LIMIT = 64  # times the pool's size that is drawn at most to fill it


class NARS(Searcher[JointCandidate]):
    """Batches of the most promising candidates of a pool.

    Args:
        space: with the ranges of its statistics.
        predictor: fresh, or pretrained elsewhere with pretrain=0; by default made for the space.
        batch: candidates per round.
        rounds: after so many `ask` returns none; None goes on until the pool is empty.
        pool: how many candidates are drawn, or the candidates themselves: a closed table.
        random_fraction: share of later batches that is random.
        pretrain: architectures whose statistics the predictor learns first; 0 for none.
        fit: settings of `JointPredictor.fit`.
        failed_as: what a failed candidate is worth to the predictor; default the worst told so far. It never wins.
        key: what makes two candidates the same; `heredity.search.functional_hash` can tell by what they compute.
        seed: of everything.
        metric: the value of an outcome to maximise, where it has several.

    Raises:
        ValueError: a number is out of range, or the ranges leave fewer candidates than a batch.
    """

    def __init__(
        self,
        space: JointSpace,
        predictor: JointPredictor | None = None,
        *,
        batch: int = 48,
        rounds: int | None = 4,
        pool: int | Sequence[JointCandidate] = 4096,
        random_fraction: float = 0.1,
        pretrain: int = 10_000,
        fit: Mapping[str, Any] | None = None,
        failed_as: float | None = None,
        key: Callable[[JointCandidate], Hashable] = JointSpace.key,
        seed: int = 0,
        metric: str | None = None,
    ) -> None:
        if batch < 1 or (rounds is not None and rounds < 1) or not 0 <= random_fraction <= 1 or pretrain < 0:
            raise ValueError(
                f"a search needs batch ≥ 1, rounds ≥ 1, 0 ≤ random_fraction ≤ 1 and pretrain ≥ 0, got {batch}, "
                f"{rounds}, {random_fraction} and {pretrain}"
            )
        self.space, self.batch, self.rounds, self.random_fraction = space, batch, rounds, random_fraction
        self.failed_as, self.key, self.seed, self.metric = failed_as, key, seed, metric
        self._fit, self._pretrain = dict(fit or {}), pretrain
        self._names = list(space.archs.statistics(space.archs.sample(np.random.default_rng(0))))
        self.predictor = predictor or JointPredictor(
            space.archs.width, space.recipes.width, statistics=len(self._names), seed=seed
        )
        self.pool = self._drawn(pool) if isinstance(pool, int) else self._given(pool)
        if len(self.pool) < batch:
            raise ValueError(f"{len(self.pool)} different candidates lie within {space.within}; a batch is {batch}")
        codes = [space.encode(candidate) for candidate in self.pool]
        self._archs, self._recipes = (torch.stack(part) for part in zip(*codes, strict=True))
        self._asked: list[int] = []  # candidate's id → its place in the pool
        self._told: dict[int, float | None] = {}
        self._open: list[int] = []  # ids of the present batch that are not told
        self._waiting: list[int] = []  # those of them that are not handed out
        self._size = 0  # of the present batch
        self.round = 0
        self._ready = False  # whether the predictor is pretrained
        self._fitted = 0  # outcomes that it has learnt

    def ask(self, n: int | None = None) -> list[Candidate[JointCandidate]]:
        """At most `n` of the present batch; none while all of it is out, after the last round, or without a pool."""
        if not self._open and (self.rounds is None or self.round < self.rounds):
            self._next_batch()
        count = len(self._waiting) if n is None else min(n, len(self._waiting))
        out, self._waiting = self._waiting[:count], self._waiting[count:]
        return [Candidate(i, copy.deepcopy(self.pool[self._asked[i]])) for i in out]

    def tell(self, candidates: Sequence[Candidate[JointCandidate]], outcomes: Sequence[Told]) -> None:
        """Report accuracies, in any order and in parts."""
        told = told_pairs(candidates, outcomes, self._open, self.metric)
        self._told.update(told)
        self._open = [i for i in self._open if i not in told]
        self._waiting = [i for i in self._waiting if i not in told]
        if told and not self._open:
            self.round += 1
            last = range(len(self._asked) - self._size, len(self._asked))
            if all(self._told[i] is None for i in last):
                raise EvaluationFailed(f"all {self._size} candidates of round {self.round - 1} failed")

    @property
    def best(self) -> tuple[Candidate[JointCandidate], float] | None:
        """The best candidate told so far with its measured accuracy; the earlier of equals."""
        good = [(value, -i) for i, value in self._told.items() if value is not None]
        if not good:
            return None
        value, i = max(good)
        return Candidate(-i, copy.deepcopy(self.pool[self._asked[-i]])), value

    def predict(self, candidates: Sequence[JointCandidate]) -> np.ndarray:
        """Accuracies [n] that the predictor, fitted to all that was told, expects.

        Raises:
            EvaluationFailed: nothing was told.
        """
        self._learn()
        codes = [self.space.encode(candidate) for candidate in candidates]
        archs, recipes = (torch.stack(part) for part in zip(*codes, strict=True))
        return self.predictor.predict(archs, recipes).double().numpy()

    def search(
        self,
        within: Mapping[str, Range] | None = None,
        population: int = 40,
        tol: float = 1e-6,
        *,
        generations: int = 200,
        seed: int = 0,
    ) -> JointCandidate:
        """The candidate of highest predicted accuracy that an evolution on the predictor finds for a budget.

        It begins with the better half of the told candidates that fit, and stops when the worst of the best
        `population` gains less than `tol`. What it predicts is optimistic: measure the winner.

        Args:
            within: ranges of statistics; default the space's own.
            generations: at most.

        Raises:
            EvaluationFailed: nothing was told.
            ValueError: no candidate fits.
        """
        space = self.space if within is None else self.space.restricted(within)
        ranked = sorted((i for i, v in self._told.items() if v is not None), key=lambda i: (-(self._told[i] or 0.0), i))
        known = [self.pool[self._asked[i]] for i in ranked[: (len(ranked) + 1) // 2]]
        evolution = ElitistEvolution(
            space,
            2 * population,
            population,
            population,
            population // 2,
            start=[candidate for candidate in known if space.valid(candidate)],
            key=self.key,
            seed=seed,
        )
        worst = -np.inf
        for _ in range(generations):
            asked = evolution.ask()
            if not asked:
                break
            scores = self.predict([candidate.value for candidate in asked])
            evolution.tell(asked, [float(score) for score in scores])
            archive = evolution.archive
            if len(archive) == population:
                if archive[-1][1] - worst < tol:
                    break
                worst = archive[-1][1]
        if evolution.best is None:
            raise ValueError(f"no candidate lies within {space.within}")
        return evolution.best[0].value

    def state_dict(self) -> Mapping[str, Any]:
        """Which of the pool was asked, and what was told; the pool and the predictor follow from these and the seed."""
        return {
            "config": self._config(),
            "asked": list(self._asked),
            "told": [[i, value] for i, value in sorted(self._told.items())],
            "open": list(self._open),
            "size": self._size,
            "round": self.round,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue; what was out is handed out again.

        Raises:
            ValueError: the configuration differs.
        """
        for name, value in self._config().items():
            if state["config"].get(name) != value:
                raise ValueError(
                    f"the state was saved with {name}={state['config'].get(name)}, this searcher has {value}"
                )
        self._asked = [int(place) for place in state["asked"]]
        self._told = {int(i): None if value is None else float(value) for i, value in state["told"]}
        self._open = [int(i) for i in state["open"]]
        self._waiting = list(self._open)
        self._size, self.round, self._fitted = int(state["size"]), int(state["round"]), 0

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """Tiny networks and recipes with a known best pair, without pretraining and with a little."""
        archs = ArchSpace({"width": Int(4, 64, log=True), "depth": Int(1, 4)}, _tiny_statistics)
        space = JointSpace(
            archs,
            RecipeSpace({"lr": LogUniform(1e-4, 1e-1), "optimizer": Choice(["sgd", "adam"])}),
            {"params": (None, 8000.0)},
        )

        def tiny(seed: int, pretrain: int) -> NARS:
            predictor = JointPredictor(archs.width, space.recipes.width, 8, (16,), seed=seed)
            fit = {"freeze_epochs": 5, "epochs": 15}
            return cls(space, predictor, batch=8, rounds=None, pool=256, pretrain=pretrain, fit=fit, seed=seed)

        yield "NARS-plain", Example(lambda seed: tiny(seed, 0), _tiny_worth, rounds=6)
        yield "NARS-pretrained", Example(lambda seed: tiny(seed, 64), _tiny_worth, rounds=6)

    def _next_batch(self) -> None:
        """Choose the batch of this round among the candidates that were never asked."""
        used = set(self._asked)
        left = [place for place in range(len(self.pool)) if place not in used]
        if not left:
            return
        count = min(self.batch, len(left))
        rng = np.random.default_rng([self.seed, self.round])
        if not self._told:
            # A Sobol' sequence is spread from its beginning; a table has its own order.
            chosen = (
                left[:count] if self._spread else [left[int(k)] for k in rng.choice(len(left), count, replace=False)]
            )
        else:
            self._learn()
            guess = self.predictor.predict(self._archs[left], self._recipes[left]).numpy()
            random = round(self.random_fraction * count)
            best = [left[int(k)] for k in np.argsort(-guess, kind="stable")[: count - random]]
            rest = [place for place in left if place not in set(best)]
            chosen = best + [rest[int(k)] for k in rng.choice(len(rest), random, replace=False)]
        first = len(self._asked)
        self._asked += chosen
        self._open = list(range(first, first + count))
        self._waiting, self._size = list(self._open), count

    def _learn(self) -> None:
        """Pretrain the predictor once, and fit it to all that was told."""
        good = [value for value in self._told.values() if value is not None]
        if not good:
            raise EvaluationFailed("no accuracy was told yet; there is nothing to learn from")
        if not self._ready:
            if self._pretrain:
                drawn = self.space.archs.sobol(self._pretrain, self.seed)
                table = [[self.space.archs.statistics(arch)[name] for name in self._names] for arch in drawn]
                self.predictor.pretrain(torch.stack([self.space.archs.encode(arch) for arch in drawn]), table)
            self._ready = True
        if self._fitted != len(self._told):
            bad = min(good) if self.failed_as is None else self.failed_as
            ids = sorted(self._told)
            places = torch.tensor([self._asked[i] for i in ids])
            told = [self._told[i] for i in ids]
            accuracies = [bad if value is None else value for value in told]
            self.predictor.fit(self._archs[places], self._recipes[places], accuracies, **self._fit)
            self._fitted = len(self._told)

    def _drawn(self, size: int) -> list[JointCandidate]:
        """The first `size` different candidates of a Sobol' sequence that fit, or as many as there are."""
        self._spread = True
        drawn = size
        while True:
            found = _unique(self.space.sobol(drawn, self.seed), self.key)
            if len(found) >= size or drawn >= POOL_LIMIT * size:
                return found[:size]
            drawn *= 2

    def _given(self, pool: Sequence[JointCandidate]) -> list[JointCandidate]:
        self._spread = False
        return [c for c in _unique(pool, self.key) if self.space.valid(c)]

    def _config(self) -> dict[str, Any]:
        return {
            "batch": self.batch,
            "rounds": self.rounds,
            "pool": len(self.pool),
            "random_fraction": self.random_fraction,
            "pretrain": self._pretrain,
            "seed": self.seed,
        }


def _unique(candidates: Sequence[JointCandidate], key: Callable[[JointCandidate], Hashable]) -> list[JointCandidate]:
    found: dict[Hashable, JointCandidate] = {}
    for candidate in candidates:
        found.setdefault(key(candidate), candidate)
    return list(found.values())


def _tiny_statistics(arch: Mapping[str, Any]) -> dict[str, float]:
    size = float(arch["width"] ** 2 * arch["depth"])
    return {"flops": 2 * size, "params": size + arch["width"]}


def _tiny_worth(x: JointCandidate) -> float:
    size = np.log10(_tiny_statistics(x.arch)["params"])
    return -float((size - 3) ** 2 + (np.log10(x.recipe["lr"]) + 2.5) ** 2 + 0.2 * (x.recipe["optimizer"] == "sgd"))
