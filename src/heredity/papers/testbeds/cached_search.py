"""A search whose candidates are evaluated through a cache, under a budget of charged evaluations, as one operator.

An evaluation costs 1, a look-up in a functional cache costs what its hash costs beside an evaluation, a syntactic key
costs nothing. So a run depends on its seed alone, and not on how busy the machine was. Evaluations that were paid for
in another arm are recalled within a process; they are charged all the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Ok
from heredity.lab import Child, Context, Operator, Parents, Request
from heredity.papers.claim import Cell as Trialled
from heredity.papers.claim import Steps, Trial
from heredity.papers.testbeds import digit_pairs, tiny_programs
from heredity.search.base import Candidate, Searcher, Space
from heredity.search.cells import Cell, DagCellSpace, canonical
from heredity.search.evolution import RegularizedEvolution
from heredity.search.functional_hash import EquivalenceCache, Evaluation, FunctionalHash, mix_floats
from heredity.search.random_search import RandomSearch

STRICT = 40  # mantissa bits by which functions are told apart when caches are judged
WATCHED_HITS = 20  # hits per run whose candidates are evaluated for comparison, free of charge

WorldName = Literal["cells", "programs"]
CacheName = Literal["none", "syntactic", "functional"]


class World(ABC):
    """A space and what its candidates are worth.

    Args:
        seed: of the division of the data.
    """

    space: Space[Any]
    chance: ClassVar[float]  # the test score of somebody who has tried nothing

    def __init__(self, seed: int) -> None:
        self.seed = seed

    @abstractmethod
    def syntax(self, candidate: Any) -> Hashable:
        """The same for candidates that are seen to be the same without running them."""

    @abstractmethod
    def outputs(self, candidate: Any) -> tuple[float, ...]:
        """What a functional hash mixes."""

    @abstractmethod
    def scores(self, candidate: Any) -> tuple[float, float]:
        """Validation and test score of a full evaluation; raises `EvaluationFailed`."""

    @abstractmethod
    def weights(self, candidate: Any) -> dict[str, Tensor]:
        """What a full evaluation has learnt."""


class CellWorld(World):
    """Cells of at most five vertices that tell whether two images show the same digit."""

    chance = 0.5

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.space = DagCellSpace(("linear", "relu", "tanh", "identity", "half"))

    def syntax(self, candidate: Cell) -> Hashable:
        """Pruned, up to isomorphism."""
        return canonical(candidate)

    def outputs(self, candidate: Cell) -> tuple[float, ...]:
        """Losses along three steps."""
        return _cell_outputs(candidate, self.seed)

    def scores(self, candidate: Cell) -> tuple[float, float]:
        """Accuracy."""
        return _cell_scores(_representative(candidate), self.seed)

    def weights(self, candidate: Cell) -> dict[str, Tensor]:
        """The trained network's."""
        net = digit_pairs.train(_representative(candidate), self.seed, self.seed)
        return {f"network.{name}": tensor.detach().clone() for name, tensor in net.state_dict().items()}


class ProgramWorld(World):
    """Programs of at most eight instructions that learn a regression."""

    chance = 0.0

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.space = tiny_programs.ProgramSpace()

    def syntax(self, candidate: tiny_programs.Program) -> Hashable:
        """Without dead instructions."""
        return tiny_programs.live(candidate)

    def outputs(self, candidate: tiny_programs.Program) -> tuple[float, ...]:
        """Predictions on ten training and ten validation examples of each split."""
        return tuple(tiny_programs.predictions(candidate, self.seed))

    def scores(self, candidate: tiny_programs.Program) -> tuple[float, float]:
        """R²."""
        found = _program_scores(tiny_programs.live(candidate), self.seed)
        if isinstance(found, str):
            raise EvaluationFailed(found)
        return found

    def weights(self, candidate: tiny_programs.Program) -> dict[str, Tensor]:
        """The memory at the end."""
        memory = tiny_programs.learn(tiny_programs.live(candidate), self.seed)[2]
        return {f"memory.{name}": torch.from_numpy(values) for name, values in memory.items()}


WORLDS: dict[WorldName, type[World]] = {"cells": CellWorld, "programs": ProgramWorld}


@dataclass
class Tally:
    """What a run has tried, found and paid."""

    charged: float = 0.0
    proposals: int = 0
    trained: list[int] = field(default_factory=list)  # strict hashes of evaluated candidates
    best: tuple[float, Any] | None = None
    curve: list[tuple[float, float, float]] = field(default_factory=list)  # charged, validation, test of the best
    hits: int = 0
    false_hits: int = 0
    hit_errors: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class CachedSearch(Operator):
    """The best candidate by validation that a search finds within its budget.

    The child holds what the winner has learnt and the `curve` [T, 3]: charged cost, validation and test score of the
    best so far. Notes: see `notes_of`.

    Args:
        world: "cells" or "programs".
        data: seed of the division of the data.
        search: "evolution" (regularised) or "random".
        cache: "none", "syntactic" or "functional".
        mantissa_bits, max_evals, remove_probability: of the functional cache.
        hash_cost: of a look-up in the functional cache, in evaluations.
        noise: standard deviation of what is added to validation scores.
        budget: in evaluations.
        proposals: limit on candidates, for caches that answer everything.
        population, tournament: of the evolution.
    """

    world: WorldName
    data: int
    search: Literal["evolution", "random"] = "evolution"
    cache: CacheName = "functional"
    mantissa_bits: int = 24
    max_evals: int = 1
    remove_probability: float = 0.0
    hash_cost: float = 0.02
    noise: float = 0.0
    budget: float = 80.0
    proposals: int = 2000
    population: int = 20
    tournament: int = 5
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Search."""
        world = WORLDS[self.world](self.data)
        searcher: Searcher[Any] = (
            RandomSearch(world.space, context.seed)
            if self.search == "random"
            else RegularizedEvolution(world.space, self.population, self.tournament, seed=context.seed)
        )
        tally = Tally()
        cache = self._cache(world, context.seed, tally)
        first: dict[Hashable, int] = {}  # strict hash of the candidate that a functional key was stored for
        while tally.charged < self.budget and tally.proposals < self.proposals:
            (candidate,) = searcher.ask(1)
            answer = cache(candidate.value)
            self._account(world, candidate, answer, tally, first)
            try:
                searcher.tell([candidate], [answer.outcome])
            except EvaluationFailed:
                continue  # a run of failures; the searcher goes on
        if tally.best is None:
            raise EvaluationFailed(f"none of {tally.proposals} candidates could be evaluated")
        curve = torch.tensor(tally.curve, dtype=torch.float64)
        return Child({**world.weights(tally.best[1]), "curve": curve}, None, self.notes_of(world, tally))

    def _cache(self, world: World, seed: int, tally: Tally) -> EquivalenceCache[Any]:
        def evaluate(candidate: Any) -> float:
            noise = np.random.default_rng([seed, len(tally.trained)]).normal() * self.noise if self.noise else 0.0
            tally.trained.append(mix_floats(world.outputs(candidate), STRICT))
            return world.scores(candidate)[0] + float(noise)

        def serial(candidate: Any) -> Hashable:
            return tally.proposals

        keys: dict[str, Callable[[Any], Hashable]] = {
            "none": serial,
            "syntactic": world.syntax,
            "functional": FunctionalHash(lambda candidate, _: world.outputs(candidate), self.mantissa_bits),
        }
        return EquivalenceCache(evaluate, keys[self.cache], self.max_evals, self.remove_probability, seed)

    def _account(
        self, world: World, candidate: Candidate[Any], answer: Evaluation, tally: Tally, first: dict[Hashable, int]
    ) -> None:
        """Charge an answer and note what it tells."""
        tally.proposals += 1
        looked_up = self.cache == "functional"
        tally.charged += (answer.hit != "full") + (self.hash_cost if looked_up else 0.0)
        if looked_up:
            outputs = world.outputs(candidate.value)
            key, strict = mix_floats(outputs, self.mantissa_bits), mix_floats(outputs, STRICT)
            if answer.hit == "miss":
                first[key] = strict
            elif answer.hit == "full":
                tally.hits += 1
                tally.false_hits += first[key] != strict
                if tally.hits <= WATCHED_HITS and isinstance(answer.outcome, Ok):
                    try:
                        own = world.scores(candidate.value)[0]
                    except EvaluationFailed:
                        own = 0.0
                    tally.hit_errors.append(abs(own - answer.value))
        elif answer.hit == "full":
            tally.hits += 1
        paid = tally.charged <= self.budget  # the last evaluation may cost more than is left
        if paid and isinstance(answer.outcome, Ok) and (tally.best is None or answer.value > tally.best[0]):
            tally.best = (answer.value, candidate.value)
            tally.curve.append((tally.charged, answer.value, world.scores(candidate.value)[1]))

    def notes_of(self, world: World, tally: Tally) -> dict[str, float]:
        """Numbers of a run.

        `area`: mean over the budget of the test score of the best by validation; `test`: its last value; `distinct`:
        functions evaluated per evaluation's cost; `proposals`: candidates; `hits`: share answered by the cache;
        `false_hits`: share of these whose function is another one than was stored, judged by more bits; `hit_error`:
        mean absolute difference between the cache's answer and the candidate's own validation score, over some hits.
        """
        area, since, score = 0.0, 0.0, world.chance
        for time, _, test in tally.curve:
            area += (time - since) * score
            since, score = time, test
        area += (self.budget - since) * score
        return {
            "area": area / self.budget,
            "test": score,
            "distinct": len(set(tally.trained)) / max(tally.charged, self.budget),
            "proposals": float(tally.proposals),
            "hits": tally.hits / tally.proposals,
            "false_hits": tally.false_hits / max(tally.hits, 1),
            "hit_error": sum(tally.hit_errors) / max(len(tally.hit_errors), 1),
        }


def trial(cell: Trialled) -> Steps:
    """One search: the arm's settings are the operator's fields; the seed divides the data and draws the search."""
    yield from ()
    operator = CachedSearch(cell.world, data=cell.seed, **cell.settings)  # type: ignore[arg-type]
    names = ("area", "test", "distinct", "proposals", "hits", "false_hits", "hit_error")
    return Trial(Request(operator, seed=cell.seed), notes=names)


def _representative(cell: Cell) -> Cell:
    found = canonical(cell)
    if found is None:
        raise EvaluationFailed("the cell has no path from input to output")
    return found


@lru_cache(maxsize=100_000)
def _cell_outputs(cell: Cell, world: int) -> tuple[float, ...]:
    return tuple(digit_pairs.behaviour(cell, world))


@lru_cache(maxsize=100_000)
def _cell_scores(cell: Cell, world: int) -> tuple[float, float]:
    found = digit_pairs.scores(digit_pairs.train(cell, world, world), world)
    return found["valid"], found["test"]


@lru_cache(maxsize=100_000)
def _program_scores(program: tiny_programs.Program, world: int) -> tuple[float, float] | str:
    """Scores, or why there are none."""
    try:
        return tiny_programs.learn(program, world)[:2]
    except EvaluationFailed as error:
        return str(error)
