"""Deep GA: mutation, truncation selection and a carefully chosen elite, over networks written as seed chains.

Source: Such et al., Deep Neuroevolution (arXiv 1712.06567), algorithm 1, and its released code, whose Atari settings
are the defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Ok
from heredity.search.base import Candidate, Example, Searcher, Told, told_pairs
from heredity.search.deep_ga_schedules import EpisodeCap, PowerSchedule
from heredity.search.seedchain import SEEDS, SeedChain
from heredity.search.selection import truncation as best_of


@dataclass(frozen=True, slots=True)
class Recheck(Candidate[SeedChain]):
    """A candidate for the elite, handed out again for one more independent evaluation.

    Args:
        of: id of the child that is evaluated again.
        repeat: which of its extra evaluations, from 0.
    """

    of: int = -1
    repeat: int = 0


class DeepGA(Searcher[SeedChain]):
    """Children are parents with one more mutation; the elite is chosen by extra evaluations, not by a lucky one.

    Args:
        population: children per generation, each evaluated once.
        truncation: parents, the best by that evaluation, and the elite if it is not among them. 0: nobody breeds, and
            every child is a fresh root: the paper's random search, with the same choice of an elite.
        power: σ of mutations, absolute: a number, or a schedule over generations.
        candidates: how many of the best of a generation (one of them the previous elite, once there is one) stand for
            elite.
        recheck: extra evaluations of each of them; the elite has the best mean. 0: the best of the generation is the
            elite, right where the fitness has no noise.
        cap: a limit on episodes that grows; `episode_cap` is the present one, and every outcome then is an `Ok` whose
            value "truncated" says whether the limit cut it (0 or 1).
        seed: of everything drawn.
        metric: the value of an outcome to maximise, where it has several.

    `ask` hands out a generation's children, and when all are told its rechecks (`Recheck`): evaluate each as any other
    candidate, in an episode of its own. `best` is the elite with the mean of its extra evaluations. A candidate that
    failed in some of them stands behind all that did not.
    """

    def __init__(
        self,
        population: int = 1000,
        truncation: int = 20,
        power: float | PowerSchedule = 0.002,
        candidates: int = 10,
        recheck: int = 30,
        *,
        cap: EpisodeCap | None = None,
        seed: int = 0,
        metric: str | None = None,
    ) -> None:
        if population < 2 or not 0 <= truncation <= population or not 1 <= candidates <= population or recheck < 0:
            raise ValueError(
                "a population of at least 2 needs 0 ≤ truncation ≤ population ≥ candidates ≥ 1 and recheck ≥ 0, got "
                f"population={population}, truncation={truncation}, candidates={candidates}, recheck={recheck}"
            )
        self.population, self.truncation, self.candidates, self.recheck = population, truncation, candidates, recheck
        self.power, self.cap, self.seed, self.metric = power, cap, seed, metric
        self.episode_cap = None if cap is None else cap.start
        self.generation = 0  # how many are complete, rechecks included
        self._next = 0
        self._parents: list[SeedChain] = []
        self._elite: tuple[int, SeedChain, float] | None = None
        self._out: list[Candidate[SeedChain]] = []  # of the present phase, in order
        self._waiting: list[int] = []
        self._told: dict[int, float | None] = {}
        self._cut: dict[int, float] = {}
        self._ranked: list[tuple[int, SeedChain, float]] = []  # who is rechecked, with their first fitness

    @property
    def parents(self) -> list[SeedChain]:
        """Those of the next children, the best first."""
        return list(self._parents)

    @property
    def rechecking(self) -> bool:
        """Whether the present candidates are rechecks."""
        return bool(self._ranked)

    def mutation_power(self) -> float:
        """σ of the present generation's mutations."""
        return self.power(self.generation) if isinstance(self.power, PowerSchedule) else self.power

    def ask(self, n: int | None = None) -> list[Candidate[SeedChain]]:
        """At most `n` candidates of the present phase; none while all are out."""
        if not self._out:
            self._breed()
        count = len(self._waiting) if n is None else max(0, min(n, len(self._waiting)))
        places, self._waiting = self._waiting[:count], self._waiting[count:]
        return [self._out[place] for place in places]

    def tell(self, candidates: Sequence[Candidate[SeedChain]], outcomes: Sequence[Told]) -> None:
        """Report outcomes, in any order and in parts; a phase ends when it is complete.

        Raises:
            ValueError: as in the contract, or a cap is set and an outcome does not say "truncated".
            EvaluationFailed: all children, or all rechecks, failed.
        """
        waiting = set(self._waiting)
        out = {c.id for k, c in enumerate(self._out) if k not in waiting and c.id not in self._told}
        told = told_pairs(candidates, outcomes, out, self.metric)
        if self.cap is not None and not self._ranked:
            self._cut |= self._truncated(candidates, outcomes)
        self._told.update(told)
        if self._out and len(self._told) == len(self._out):
            if self._ranked:
                self._choose_elite()
            else:
                self._select()

    @property
    def best(self) -> tuple[Candidate[SeedChain], float] | None:
        """The elite and the mean of its extra evaluations; before the first, the best child told so far."""
        best = self._elite
        if best is None:
            pool = self._ranked or [
                (c.id, c.value, fitness) for c in self._out if (fitness := self._told.get(c.id)) is not None
            ]
            best = max(pool, key=lambda known: (known[2], -known[0]), default=None)
        return None if best is None else (Candidate(best[0], best[1]), best[2])

    def state_dict(self) -> Mapping[str, Any]:
        """Plain numbers: the configuration, the parents' and the elite's chains, and what was told of the phase."""
        return {
            "config": self._config(),
            "generation": self.generation,
            "next": self._next,
            "episode_cap": self.episode_cap,
            "parents": [_plain(chain) for chain in self._parents],
            "elite": None if self._elite is None else _written(self._elite),
            "ranked": [_written(known) for known in self._ranked],
            "drawn": bool(self._out),
            "told": [[i, fitness] for i, fitness in sorted(self._told.items())],
            "cut": [[i, cut] for i, cut in sorted(self._cut.items())],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue; the untold candidates of a begun phase are handed out again.

        Raises:
            ValueError: the configuration differs.
        """
        for name, value in self._config().items():
            if state["config"].get(name) != value:
                raise ValueError(
                    f"the state was saved with {name}={state['config'].get(name)}, this search has {name}={value}"
                )
        self.generation, self.episode_cap = int(state["generation"]), state["episode_cap"]
        self._parents = [_chain(plain) for plain in state["parents"]]
        self._elite = None if state["elite"] is None else _read(state["elite"])
        self._ranked = [_read(known) for known in state["ranked"]]
        self._out, self._told, self._cut = [], {}, {int(i): float(cut) for i, cut in state["cut"]}
        self._next = int(state["next"])
        if state["drawn"]:
            self._next -= len(self._ranked) * self.recheck if self._ranked else self.population
            self._breed()
            self._told = {int(i): fitness for i, fitness in state["told"]}
            self._waiting = [k for k, c in enumerate(self._out) if c.id not in self._told]

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """A network of three numbers that should be 1, read off its chain."""
        from heredity.search.seed_noise import add_noise

        def fitness(chain: SeedChain) -> float:
            theta = np.zeros(3, np.float32)
            for seed, power in ((chain.root, 1.0), *chain.steps):
                add_noise(theta, seed, power)
            return -float(np.sum(np.square(theta.astype(np.float64) - 1.0)))

        def make(seed: int) -> Searcher[Any]:
            return cls(12, 4, 0.3, 3, 2, seed=seed)

        yield cls.__name__, Example(make, fitness)
        yield f"{cls.__name__} as random search", Example(lambda seed: cls(5, 0, 0.3, 2, 2, seed=seed), fitness, 80)
        yield f"{cls.__name__} without rechecks", Example(lambda seed: cls(9, 3, 0.3, 1, 0, seed=seed), fitness)

    def _breed(self) -> None:
        """Draw the present phase: rechecks of those ranked, or a generation of children."""
        first = self._next
        if self._ranked:
            self._out = [
                Recheck(first + place * self.recheck + repeat, chain, i, repeat)
                for place, (i, chain, _) in enumerate(self._ranked)
                for repeat in range(self.recheck)
            ]
        else:
            rng = np.random.default_rng([self.seed, self.generation])
            chosen = rng.integers(max(1, len(self._parents)), size=self.population)
            seeds, power = rng.integers(SEEDS, size=self.population), self.mutation_power()
            self._out = [
                Candidate(
                    first + k,
                    self._parents[chosen[k]].child(int(seed), power) if self._parents else SeedChain(int(seed)),
                )
                for k, seed in enumerate(seeds)
            ]
        self._next = first + len(self._out)
        self._waiting = list(range(len(self._out)))

    def _select(self) -> None:
        """All children are told: rank them, choose parents, and who stands for elite."""
        alive = [(c.id, c.value, fitness) for c in self._out if (fitness := self._told[c.id]) is not None]
        failed = len(self._out) - len(alive)
        if self.cap is not None and self.episode_cap is not None:
            self.episode_cap = self.cap.after(self.episode_cap, sum(self._cut.values()) / self.population)
        self._out, self._told, self._cut = [], {}, {}
        if not alive:
            self.generation += 1
            raise EvaluationFailed(f"all {failed} children of generation {self.generation - 1} failed")
        order = best_of([fitness for _, _, fitness in alive], min(len(alive), max(self.truncation, self.candidates)))
        ranked = [alive[place] for place in order]
        standing = ranked[: self.candidates]
        if self._elite is not None:
            standing = [self._elite, *ranked[: max(1, self.candidates - 1)]]
        self._parents = [chain for _, chain, _ in ranked[: self.truncation]]
        if self.recheck:
            self._ranked = standing
        else:
            self._crown(max(standing, key=lambda known: known[2]))

    def _choose_elite(self) -> None:
        """All rechecks are told: the best mean is the elite."""
        values = [self._told[c.id] for c in self._out]
        standing, self._out, self._told, self._ranked = self._ranked, [], {}, []
        best: tuple[tuple[int, float], tuple[int, SeedChain, float]] | None = None
        for place, (i, chain, _) in enumerate(standing):
            told = values[place * self.recheck : (place + 1) * self.recheck]
            good = [value for value in told if value is not None]
            if good:
                # Differences are averaged, so that equal evaluations have exactly their value as mean.
                mean = good[0] + sum(value - good[0] for value in good) / len(good)
                rank = (-int(len(good) < len(told)), mean)
                if best is None or rank > best[0]:
                    best = (rank, (i, chain, mean))
        if best is None:
            self.generation += 1
            raise EvaluationFailed(f"all {len(values)} rechecks of generation {self.generation - 1} failed")
        self._crown(best[1])

    def _crown(self, elite: tuple[int, SeedChain, float]) -> None:
        self._elite = elite
        if self.truncation and elite[1] not in self._parents:
            self._parents = [elite[1], *self._parents[: self.truncation - 1]]
        self.generation += 1

    def _truncated(self, candidates: Sequence[Candidate[SeedChain]], outcomes: Sequence[Told]) -> dict[int, float]:
        found = {}
        for candidate, outcome in zip(candidates, outcomes, strict=True):
            if isinstance(outcome, (int, float)) or (isinstance(outcome, Ok) and "truncated" not in outcome.values):
                raise ValueError(
                    f'a search with an episode cap is told Ok outcomes with a value "truncated"; that of candidate '
                    f"{candidate.id} has none"
                )
            if isinstance(outcome, Ok):
                found[candidate.id] = outcome["truncated"]
        return found

    def _config(self) -> dict[str, Any]:
        power = self.power
        return {
            "population": self.population,
            "truncation": self.truncation,
            "power": power if isinstance(power, (int, float)) else repr(power),
            "candidates": self.candidates,
            "recheck": self.recheck,
            "cap": repr(self.cap),
            "seed": self.seed,
        }


def _plain(chain: SeedChain) -> list[Any]:
    return [chain.root, [list(step) for step in chain.steps]]


def _chain(plain: Sequence[Any]) -> SeedChain:
    return SeedChain(plain[0], tuple((seed, power) for seed, power in plain[1]))


def _written(known: tuple[int, SeedChain, float]) -> list[Any]:
    return [known[0], _plain(known[1]), known[2]]


def _read(written: Sequence[Any]) -> tuple[int, SeedChain, float]:
    return int(written[0]), _chain(written[1]), float(written[2])
