"""GENOME and GENOME+: a population of experts that breeds by crossover, mutation, succession and selection.

This file never touches weights. The searcher asks for births (`Proposal`: which parents, in which roles, with which
numbers) and is told what the children were worth; `heredity.merging.breeding` makes the children. So a population may
live in memory (`heredity.merging.population.PopulationMerger`) or as recorded births, with the same children bit for
bit.

A generation: every member moves (succession, GENOME+ only), pairs cross and members mutate, the population is selected
back to its size. An individual is a position that never changes: a member that moves is a new individual. Its velocity
is v = (x − previous)/λ, where λ was the step of the last move, so that a move is a fixed linear combination of
individuals.

Source: arXiv 2503.01155, sections 3.1 (GENOME) and 3.2 (GENOME+).
Differs from the released code, on purpose: moved individuals are evaluated again; λ decays once per generation; r is
drawn per member and generation; elites of before the move stand for selection again, so that the best is never lost.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from heredity.errors import EvaluationFailed
from heredity.merging.births import Generation, GenomeConfig, Kind, Member, Proposal, Succession
from heredity.search.base import Candidate, Example, Searcher, Told, told_pairs
from heredity.search.selection import Indices, rank, roulette, roulette_probabilities, tournament, truncation


@dataclass
class _Progress:
    """Everything that changes; plain values, so that it is the state dict."""

    phase: str = "init"  # init, start, move, breed, done
    generation: int = 0
    stale: int = 0
    next_id: int = 0
    best: tuple[int, float] | None = None
    worst: tuple[int, float] | None = None
    best_at_start: float | None = None
    evaluated: int = 0
    failed: int = 0
    seen: list[int] = field(default_factory=list)  # ids evaluated in this generation
    alive_before: list[int] = field(default_factory=list)


class GenomeSearcher(Searcher[Proposal]):
    """Ask for births, tell what the children were worth.

    Args:
        founders: how many experts there are; their ids are 0 … founders − 1, births count on from there.
        config: settings; single ones may be given as keywords instead.
        metric: the value of an outcome to maximise, where it has several.

    Candidates of one batch are independent of each other. A failed child dies, a failed move is not made.
    """

    def __init__(
        self, founders: int, config: GenomeConfig | None = None, *, metric: str | None = None, **settings: Any
    ) -> None:
        self.config = dataclasses.replace(config or GenomeConfig(), **settings)
        least = 1 if self.config.init == "parents" and founders >= self.config.population else 2
        if founders < least:
            raise ValueError(f"a population needs at least {least} founders, got {founders}")
        self.founders, self.metric = founders, metric
        self.lineage: dict[int, Proposal] = {}
        self.fitness: dict[int, float | None] = {}
        self.members: list[Member] = []
        self.history: list[Generation] = []
        self._rng = np.random.default_rng(self.config.seed)
        self._now = _Progress(next_id=founders)
        self._batch: list[int] = []
        self._waiting: list[int] = []
        self._told: dict[int, float | None] = {}
        self._batch = self._waiting = self._first_founders()
        self._open(self._first_pairs())

    # --- the searcher contract ---

    @property
    def done(self) -> bool:
        """Whether the run is over: `ask` returns nothing any more."""
        return self._now.phase == "done"

    def ask(self, n: int | None = None) -> list[Candidate[Proposal]]:
        """At most `n` births of the present batch; none while all are out, or when the run is over."""
        count = len(self._waiting) if n is None else min(n, len(self._waiting))
        out, self._waiting = self._waiting[:count], self._waiting[count:]
        return [Candidate(i, self.lineage[i]) for i in out]

    def tell(self, candidates: Sequence[Candidate[Proposal]], outcomes: Sequence[Told]) -> None:
        """Report outcomes in any order and in parts; the next batch opens when the present one is complete.

        Raises:
            ValueError: a candidate was not asked or is told twice.
            EvaluationFailed: every candidate of a generation failed.
        """
        out = [i for i in self._batch if i not in self._waiting and i not in self._told]
        self._told |= told_pairs(candidates, outcomes, out, self.metric)
        if self._batch and len(self._told) == len(self._batch):
            results = [(i, self._told[i]) for i in self._batch]
            self._batch, self._told = [], {}
            self._absorb(results)
            self._advance()

    @property
    def best(self) -> tuple[Candidate[Proposal], float] | None:
        """The best individual ever, the earliest of equals."""
        best = self._now.best
        return None if best is None else (Candidate(best[0], self.lineage[best[0]]), best[1])

    @property
    def needed(self) -> set[int]:
        """Ids whose weights may still be asked for: parents of open births, members, their memories, best and worst."""
        ids = {p for i in self._batch for p in self.lineage[i].parents}
        ids |= {i for i in self._batch if self.lineage[i].kind == "founder"}
        for member in self.members:
            ids |= {member.id, member.own_best} | ({member.previous} if member.previous is not None else set())
        return ids | {pair[0] for pair in (self._now.best, self._now.worst) if pair is not None}

    @property
    def lineage_hash(self) -> str:
        """SHA-256 of all births and their fitness."""
        rows = [[i, dataclasses.astuple(p), self.fitness.get(i)] for i, p in sorted(self.lineage.items())]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def mixture(self, individual: int) -> list[float]:
        """Shares of the founders in an individual, exact when all merges are linear and moves unclipped.

        Mutations are noise and do not count; other merges count as if they were linear.
        """
        known: dict[int, np.ndarray] = dict(enumerate(np.eye(self.founders)))
        for i, birth in sorted(self.lineage.items()):
            parents = [known[p] for p in birth.parents]
            if birth.kind in {"init", "crossover"}:
                known[i] = sum(
                    (c * p for c, p in zip(birth.coefficients, parents, strict=True)), np.zeros(self.founders)
                )
            elif birth.kind == "mutate":
                known[i] = parents[0]
            elif birth.kind == "succeed":
                x, others = parents[0], parents[1:]
                known[i] = x + sum(c * (p - x) for c, p in zip(birth.coefficients, others, strict=True))
        return [float(share) for share in known[individual]]

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """Births whose worth is a lottery: what counts here is who breeds, and that nothing is lost."""

        def lottery(birth: Proposal) -> float:
            return int.from_bytes(hashlib.sha256(repr(birth).encode()).digest()[:6], "big") / 2**48

        yield "GENOME", Example(lambda seed: cls(4, population=6, seed=seed, patience=None), lottery, rounds=8)
        plus = Succession()
        yield (
            "GENOME+",
            Example(lambda seed: cls(4, population=6, succession=plus, seed=seed, patience=None), lottery, rounds=8),
        )

    # --- the generation ---

    def _advance(self) -> None:
        """Go through the phases until one has something to evaluate, or the run is over."""
        while not self._batch and not self.done:
            now, config = self._now, self.config
            if now.phase == "init":
                self._close_generation()
            elif now.phase == "start":
                if now.generation > config.generations or now.stale >= (config.patience or float("inf")):
                    now.phase = "done"
                else:
                    now.phase = "move"
                    self._open(self._moves() if config.succession else [])
            elif now.phase == "move":
                now.phase = "breed"
                self._open(self._children())
            else:
                self._select()
                self._close_generation()

    def _absorb(self, results: list[tuple[int, float | None]]) -> None:
        now = self._now
        now.seen += [i for i, _ in results]
        now.evaluated += len(results)
        now.failed += sum(fitness is None for _, fitness in results)
        for i, fitness in results:
            self.fitness[i] = fitness
            if fitness is not None:
                now.best = (i, fitness) if now.best is None or fitness > now.best[1] else now.best
                now.worst = (i, fitness) if now.worst is None or fitness < now.worst[1] else now.worst
        if now.phase == "move":
            self.members = self._moved(dict(results))
        else:
            self.members += [Member(i, fitness, i, fitness) for i, fitness in results if fitness is not None]

    def _first_founders(self) -> list[int]:
        ids = list(range(self.founders)) if self.config.init == "parents" else []
        self.lineage |= {i: Proposal("founder") for i in ids}
        return ids

    def _first_pairs(self) -> list[Proposal]:
        pairs = [(a, b) for a in range(self.founders) for b in range(a + 1, self.founders)]
        self._rng.shuffle(pairs)
        missing = max(0, self.config.population - len(self._batch))
        return [self._merge_of("init", pairs[k % len(pairs)], self._rng.uniform(size=2)) for k in range(missing)]

    def _moves(self) -> list[Proposal]:
        """Succession: every member takes a step."""
        rule, now = self.config.succession, self._now
        assert rule is not None and now.best is not None and now.worst is not None
        births = []
        for member in self.members:
            r = self._rng.uniform(size=4)
            others = [other.id for other in self.members if other.id != member.id] or [member.id]
            other = int(self._rng.choice(others))
            births.append(
                Proposal(
                    "succeed",
                    (
                        member.id,
                        other if member.previous is None else member.previous,
                        *(member.own_best, now.best[0], now.worst[0]),
                    ),
                    ("parent", "other" if member.previous is None else "previous", "best_own", "best", "worst"),
                    rule.coefficients([float(value) for value in r], self._step, member.previous_step),
                    clip=rule.clip,
                )
            )
        return births

    def _moved(self, results: Mapping[int, float | None]) -> list[Member]:
        members = {member.id: member for member in self.members}
        elites = [self.members[i] for i in truncation([m.fitness for m in self.members], self._elites)]
        after = {member.id: member for member in elites}
        for i, fitness in results.items():
            old = members[self.lineage[i].parents[0]]
            if fitness is None:
                after[old.id] = old
                continue
            own = (i, fitness) if fitness > old.own_best_fitness else (old.own_best, old.own_best_fitness)
            after[i] = Member(i, fitness, *own, previous=old.id, previous_step=self._step)
        return [after[i] for i in sorted(after)]

    def _children(self) -> list[Proposal]:
        """Crossover and mutation of the members."""
        config, births = self.config, []
        fitness = [member.fitness for member in self.members]
        p = roulette_probabilities(fitness)
        for _ in range(config.population // 2):
            if self._rng.uniform() < config.crossover and len(self.members) > 1:
                pair = roulette(fitness, 2, rng=self._rng, replace=False)
                pair.sort(key=lambda i: (-fitness[i], self.members[i].id))  # the child is drawn on the fitter's branch
                a, b = pair
                births.append(self._merge_of("crossover", (self.members[a].id, self.members[b].id), p[[a, b]]))
        births += [
            Proposal("mutate", (member.id,), ("parent",), gene=config.gene, sigma=config.sigma, seed=self._seed())
            for member in self.members
            if self._rng.uniform() < config.mutate
        ]
        return births

    def _merge_of(self, kind: Kind, parents: tuple[int, int], weights: np.ndarray) -> Proposal:
        shares = weights / weights.sum() if weights.sum() > 0 else np.full(2, 0.5)
        return Proposal(
            kind,
            (int(parents[0]), int(parents[1])),
            ("parent", "mate"),
            (float(shares[0]), float(shares[1])),
            method=self.config.merge,
            seed=self._seed(),
        )

    def _select(self) -> None:
        """Back to N: elites, the others by the chosen draw. Members are in order of age, which breaks ties."""
        size = self.config.population
        if len(self.members) <= size:
            return
        pool = sorted(self.members, key=lambda member: member.id)
        chosen = set(truncation([member.fitness for member in pool], self._elites))
        others = [i for i in range(len(pool)) if i not in chosen]
        fitness = [pool[i].fitness for i in others]
        chosen |= {others[k] for k in self._draw(fitness, size - len(chosen))}
        self.members = [pool[i] for i in sorted(chosen)]

    def _draw(self, fitness: list[float], n: int) -> Indices:
        if self.config.selection == "tournament":
            return tournament(fitness, n, 3, rng=self._rng, replace=False)
        if self.config.selection == "random":
            return [int(i) for i in self._rng.choice(len(fitness), size=n, replace=False)]
        draw = roulette if self.config.selection == "roulette" else rank
        return draw(fitness, n, rng=self._rng, replace=False)

    def _close_generation(self) -> None:
        now = self._now
        if now.evaluated and now.failed == now.evaluated:
            raise EvaluationFailed(f"all {now.evaluated} individuals of generation {now.generation} failed")
        if now.phase == "init":
            self._select()
        alive = [member.id for member in self.members]
        values = [member.fitness for member in self.members]
        gone = sorted((set(now.alive_before) | set(now.seen)) - set(alive))
        mean = float(np.mean(values))
        self.history.append(
            Generation(
                *(now.generation, max(values), mean, min(values)), tuple(alive), tuple(gone), now.evaluated, self._step
            )
        )
        assert now.best is not None
        improved = now.best_at_start is None or now.best[1] > now.best_at_start
        self._now = dataclasses.replace(
            now,
            phase="start",
            generation=now.generation + 1,
            stale=0 if improved else now.stale + 1,
            best_at_start=now.best[1],
            evaluated=0,
            failed=0,
            seen=[],
            alive_before=alive,
        )

    @property
    def _elites(self) -> int:
        return min(len(self.members), max(1, int(self.config.elite * self.config.population + 1e-9)))

    @property
    def _step(self) -> float:
        """λ of the present generation; it decays once per generation."""
        rule = self.config.succession
        return 0.0 if rule is None else rule.step * rule.decay ** max(0, self._now.generation - 1)

    def _seed(self) -> int:
        return int(self._rng.integers(2**31))

    def _open(self, births: Sequence[Proposal]) -> None:
        ids = list(range(self._now.next_id, self._now.next_id + len(births)))
        self._now.next_id += len(births)
        self.lineage |= dict(zip(ids, births, strict=True))
        self._batch = self._batch + ids
        self._waiting = self._waiting + ids

    # --- the state ---

    def state_dict(self) -> Mapping[str, Any]:
        """Plain values that JSON can hold: settings, generator, lineage, members and the open batch."""
        return {
            "config": dataclasses.asdict(self.config) | {"founders": self.founders},
            "rng": self._rng.bit_generator.state,
            "now": dataclasses.asdict(self._now),
            "lineage": [[i, dataclasses.asdict(birth)] for i, birth in self.lineage.items()],
            "fitness": [[i, fitness] for i, fitness in self.fitness.items()],
            "members": [dataclasses.asdict(member) for member in self.members],
            "history": [dataclasses.asdict(generation) for generation in self.history],
            "batch": list(self._batch),
            "told": [[i, fitness] for i, fitness in self._told.items()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue; births of the open batch that were not told are handed out again.

        Raises:
            ValueError: the state was saved with other settings.
        """
        for key, value in (dataclasses.asdict(self.config) | {"founders": self.founders}).items():
            if state["config"].get(key) != value:
                raise ValueError(
                    f"the state was saved with {key}={state['config'].get(key)}, this searcher has {key}={value}"
                )
        self._rng.bit_generator.state = state["rng"]
        now = state["now"]
        self._now = _Progress(**_tuples({k: v for k, v in now.items() if k not in {"seen", "alive_before"}}))
        self._now.seen, self._now.alive_before = list(now["seen"]), list(now["alive_before"])
        self.lineage = {int(i): Proposal(**_tuples(birth)) for i, birth in state["lineage"]}
        self.fitness = {int(i): fitness for i, fitness in state["fitness"]}
        self.members = [Member(**member) for member in state["members"]]
        self.history = [Generation(**_tuples(generation)) for generation in state["history"]]
        self._batch = [int(i) for i in state["batch"]]
        self._told = {int(i): fitness for i, fitness in state["told"]}
        self._waiting = [i for i in self._batch if i not in self._told]


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists only; the records hold tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
