"""Searchers for several objectives that work in generations: a method is a choice of survivors and of parents.

Source: the loop of NSGA-II, Deb, Pratap, Agarwal & Meyarivan, IEEE TEC 6 (2002), section III-C.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heredity.errors import EvaluationFailed
from heredity.search.base import Candidate, Searcher, Space, check_config
from heredity.search.box import Box, Vectors, as_box
from heredity.search.crossover import SBX
from heredity.search.dominance import Indices, Points
from heredity.search.genealogy import itself
from heredity.search.herd import Herd, Items, Rows
from heredity.search.mutation import Polynomial
from heredity.search.objectives import Judged, ManyTold, constrained_ranks, told_objectives
from heredity.search.rounds import Round

X = TypeVar("X")
Scored: TypeAlias = "tuple[Candidate[X], tuple[float, ...]]"


class ParetoSearcher(Searcher[X]):
    """Ask and tell with vectors of objectives, a generation at a time; parents and children compete to survive.

    Args:
        space: a `Box` (or what makes one), where whole generations are arrays, or any space with its own crossover and
            mutation.
        population: candidates per generation and members that survive it.
        metrics: the values of an `Ok` that are objectives, maximised; by default all that are no constraint.
        constraints: the values of an `Ok` that should be at most 0. Where vectors are told instead, they follow the
            objectives.
        crossover: probability that a pair of parents is crossed.
        mutation: probability of mutation: of each coordinate in a box, default 1 / dim; of each child otherwise,
            default 1.
        eta_crossover, eta_mutation: indices of the distributions in a box; higher stays nearer to the parents.
        key: outside a box, what makes two candidates the same; by default the candidate, which must be hashable then.
        seed: of everything.

    A failed candidate never becomes a member. A candidate that keeps all constraints beats any that does not.
    """

    def __init__(
        self,
        space: Space[X] | Vectors,
        population: int,
        *,
        metrics: Sequence[str] | None,
        constraints: Sequence[str],
        crossover: float,
        mutation: float | None,
        eta_crossover: float,
        eta_mutation: float,
        key: Callable[[X], Hashable] | None,
        seed: int,
    ) -> None:
        if population < 4:
            raise ValueError(f"a population needs at least four members, got {population}")
        for name, share in (("crossover", crossover), ("mutation", mutation)):
            if share is not None and not 0 <= share <= 1:
                raise ValueError(f"{name} is a probability, got {share}")
        if min(eta_crossover, eta_mutation) < 0:
            raise ValueError(f"indices of distributions are not negative, got {eta_crossover} and {eta_mutation}")
        self.population, self.seed = population, seed
        self.metrics = None if metrics is None else tuple(metrics)
        self.constraints = tuple(constraints)
        self._announced = None if metrics is None else len(metrics)  # number of objectives
        self.crossover, self.mutation = crossover, mutation
        self.eta_crossover, self.eta_mutation = eta_crossover, eta_mutation
        self.generation = 0  # how many have been told
        self._herd: Herd[Any]
        self._box: Box | None = None
        if isinstance(space, Space) and not isinstance(space, Box):
            share = 1.0 if mutation is None else mutation
            self._herd = Items(space, seed, rate=crossover, mutation=share, key=key or itself)
        else:
            self._box = as_box(space)
            cross, mutate = SBX(eta_crossover), Polynomial(eta_mutation, mutation)
            self._herd = Rows(self._box, cross, mutate, crossover, np.dtype(np.float64))
        self._ids: NDArray[np.int64] = np.empty(0, dtype=np.int64)  # of the members
        self._objectives: Points = np.empty((0, 0))  # of the members [k, m]
        self._violation: NDArray[np.float64] = np.empty(0)
        self._champion: tuple[int, tuple[float, ...]] | None = None
        self._round: Round[Judged] = Round()

    # What a method says.

    @abstractmethod
    def _survivors(
        self, objectives: Points, violation: NDArray[np.float64], ranks: Indices, rng: np.random.Generator
    ) -> Indices:
        """Places of the at most `population` that live on, among members and children without failures [n, m]."""

    @abstractmethod
    def _parents(self, n: int, rng: np.random.Generator) -> Indices:
        """Places of `n` parents among the members, pairs being neighbours. Changes nothing."""

    def _method_state(self) -> Mapping[str, Any]:
        """What `_survivors` has learned: numbers and arrays, copied."""
        return {}

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `_method_state`."""

    # The contract.

    def ask(self, n: int | None = None) -> list[Candidate[X]]:
        """At most `n` candidates of the present generation; none while all are out."""
        self._breed()
        return [Candidate(self._round.first + place, self._herd.value(place)) for place in self._round.take(n)]

    def tell(self, candidates: Sequence[Candidate[X]], outcomes: Sequence[ManyTold]) -> None:
        """Report outcomes, in any order and in parts; selection follows when the generation is complete.

        Args:
            candidates: as they were asked.
            outcomes: for each a vector of objectives and constraints, or an outcome that names them.
        """
        told = told_objectives(
            candidates,
            outcomes,
            self._round.out,
            count=self._count(),
            metrics=self.metrics,
            constraints=self.constraints,
        )
        if self._round.note(told):
            count = self._count() or 1
            objectives, violation = np.full((self.population, count), np.nan), np.zeros(self.population)
            for place, judged in self._round.told.items():
                if judged is not None:
                    objectives[place], violation[place] = judged
            self._finish(objectives, violation)

    def ask_array(self) -> NDArray[np.float64]:
        """In a box: the whole present generation [population, dim], read only.

        Raises:
            ValueError: the space is no box, or some of the generation was asked or told one by one.
        """
        self._breed()
        if not isinstance(self._herd, Rows):
            raise ValueError("only the candidates of a box make an array; use ask")
        if not self._round.whole:
            raise ValueError("part of this generation was asked one by one; tell it so, too")
        return self._herd.shown

    def tell_array(self, objectives: ArrayLike, violation: ArrayLike | None = None) -> None:
        """Report the generation that `ask_array` gave; a row with a number that is not finite is a failure.

        Args:
            objectives: [population, m], maximised.
            violation: [population], by how much constraints are broken in sum; 0 is feasible. Default all 0.

        Raises:
            ValueError: a wrong shape, a negative violation, or no generation was asked.
            EvaluationFailed: all failed.
        """
        values = np.array(objectives, dtype=np.float64)
        count = values.shape[1] if values.ndim == 2 else 0
        wanted = self._count() or count
        if values.shape != (self.population, wanted) or not wanted:
            raise ValueError(f"objectives should have shape ({self.population}, {wanted}), they have {values.shape}")
        broken = np.zeros(self.population) if violation is None else np.array(violation, dtype=np.float64)
        if broken.shape != (self.population,) or (broken < 0).any():
            raise ValueError(f"violations are {self.population} numbers of at least 0")
        if not self._round.whole:
            raise ValueError("no whole generation is out; ask with ask_array first")
        failed = ~(np.isfinite(values).all(axis=1) & np.isfinite(broken))
        values[failed], broken[failed] = np.nan, 0.0
        self._finish(values, broken)

    @property
    def members(self) -> list[tuple[Candidate[X], tuple[float, ...], float]]:
        """Who survived the last complete generation: candidate, objectives, violation."""
        return [
            (Candidate(int(self._ids[k]), self._herd.member(k)), tuple(self._objectives[k].tolist()), float(broken))
            for k, broken in enumerate(self._violation)
        ]

    @property
    def front(self) -> list[Scored[X]]:
        """The feasible members that no other dominates, and the like among those told since; in order of asking.

        It has at most `population` of the last complete generation; empty while nothing feasible was found.
        """
        first = self._round.first
        told = sorted((place, judged) for place, judged in self._round.told.items() if judged is not None)
        rows = [*self._objectives.tolist(), *(judged[0] for _, judged in told)]
        if not rows:
            return []
        violation = np.array([*self._violation, *(judged[1] for _, judged in told)])
        ranks = constrained_ranks(np.array(rows), violation)
        ids = [*self._ids.tolist(), *(first + place for place, _ in told)]
        chosen = np.flatnonzero((ranks == 0) & (violation == 0)).tolist()
        k = len(self._ids)
        return [
            (
                Candidate(ids[i], self._herd.member(i) if i < k else self._herd.value(ids[i] - first)),
                tuple(rows[i]),
            )
            for i in sorted(chosen, key=lambda i: ids[i])
        ]

    @property
    def best(self) -> Scored[X] | None:  # type: ignore[override]  # several objectives are a tuple
        """The feasible candidate told so far with the highest first objective; ties by the second, …, then the earlier.

        Nothing told dominates it. None before the first feasible one.
        """
        best, first = self._champion, self._round.first
        place = None
        for p, judged in sorted(self._round.told.items()):
            if judged is not None and judged[1] == 0 and (best is None or judged[0] > best[1]):
                best, place = (first + p, judged[0]), p
        if best is None:
            return None
        return Candidate(best[0], self._herd.best() if place is None else self._herd.value(place)), best[1]

    def emigrants(self, n: int) -> tuple[list[X], list[Judged]]:
        """Copies of the best `n` members by front, the earlier in it first, with their objectives and violation."""
        ranks = constrained_ranks(self._objectives, self._violation) if len(self._ids) else self._ids
        best = np.lexsort((self._ids, ranks))[:n].tolist()
        judged = [(tuple(self._objectives[k].tolist()), float(self._violation[k])) for k in best]
        return [self._herd.member(k) for k in best], judged

    def receive(self, values: Sequence[X] | NDArray[Any], worth: Sequence[Judged]) -> None:
        """Take in known candidates with their objectives and violation; each competes with the members to survive.

        One that is worth what a member is worth is left out.
        """
        if self._round.size:
            raise ValueError("a generation is out: migrants are received between generations")
        for value, (row, violation) in zip(values, worth, strict=True):
            k = len(self._ids)
            if not k or (np.all(self._objectives == row, axis=1) & (self._violation == violation)).any():
                continue
            together = np.concatenate([self._objectives, [row]])
            broken = np.append(self._violation, violation)
            alive = self._survivors(together, broken, constrained_ranks(together, broken), self._generator(2))
            dead = np.setdiff1d(np.arange(k + 1), alive)
            place = int(dead[0]) if len(dead) else k
            if len(dead) and place == k:
                continue
            self._herd.put(place, self._round.first, value)
            ids = np.append(self._ids, self._round.first)
            self._round.first += 1
            kept = np.append(np.delete(np.arange(k), place), k) if place < k else np.arange(k + 1)
            order = kept if place == k else np.insert(kept[:-1], place, k)  # in the place of the dead one
            self._ids, self._objectives, self._violation = ids[order], together[order], broken[order]

    def state_dict(self) -> Mapping[str, Any]:
        """Configuration, members and the partly told generation: numbers, strings and arrays."""
        return {
            "config": self._config(),
            "generation": self.generation,
            "ids": self._ids.copy(),
            "objectives": self._objectives.copy(),
            "violation": self._violation.copy(),
            "champion": None if self._champion is None else [self._champion[0], list(self._champion[1])],
            "round": self._round.state(),
            "herd": dict(self._herd.state()),
            "method": dict(self._method_state()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue; the untold candidates of a begun generation are handed out again.

        Raises:
            ValueError: the configuration differs.
        """
        check_config(state["config"], self._config(), self)
        self.generation = int(state["generation"])
        self._ids = np.array(state["ids"], dtype=np.int64)
        self._violation = np.array(state["violation"], dtype=np.float64)
        self._objectives = np.array(state["objectives"], dtype=np.float64)
        champion = state["champion"]
        self._champion = None if champion is None else (int(champion[0]), tuple(map(float, champion[1])))
        self._herd.load(state["herd"])
        self._load_method_state(state["method"])
        self._round.load(state["round"], self._breed, lambda judged: (tuple(map(float, judged[0])), float(judged[1])))

    def _config(self) -> dict[str, Any]:
        """What has to be equal when a state is loaded; a method adds its own."""
        box = self._box
        return {
            "method": type(self).__name__,
            "population": self.population,
            "seed": self.seed,
            "metrics": self.metrics,
            "constraints": self.constraints,
            "variation": [self.crossover, self.mutation, self.eta_crossover, self.eta_mutation],
            "low": None if box is None else box.low,
            "high": None if box is None else box.high,
        }

    def _count(self) -> int | None:
        """How many objectives there are; None before that is known."""
        if self._announced is not None:
            return self._announced
        if len(self._ids):
            return int(self._objectives.shape[1])
        return next((len(judged[0]) for judged in self._round.told.values() if judged is not None), None)

    def _generator(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.generation, purpose])

    def _breed(self) -> None:
        if self._round.size:
            return
        first, n, rng = self._round.first, self.population, self._generator(0)
        if len(self._ids) < 2:
            self._herd.found(first, n, rng)
        else:
            self._herd.breed(first, n, self._parents(n + n % 2, rng).reshape(-1, 2), rng)
        self._round.begin(n)

    def _finish(self, objectives: Points, violation: NDArray[np.float64]) -> None:
        """Members and children compete; the generation is over."""
        first, k, rng = self._round.first, len(self._ids), self._generator(1)
        alive = np.flatnonzero(np.isfinite(objectives[:, 0]))
        self._round.end()
        self.generation += 1
        if not len(alive):
            raise EvaluationFailed(f"all {self.population} candidates of generation {self.generation - 1} failed")
        feasible = alive[violation[alive] == 0]
        if len(feasible):
            place = int(feasible[np.lexsort(-objectives[feasible].T[::-1])[0]])
            row = tuple(objectives[place].tolist())
            if self._champion is None or row > self._champion[1]:
                self._champion = (first + place, row)
                self._herd.remember(place)
        together = np.concatenate([self._objectives, objectives[alive]]) if k else objectives[alive]
        broken = np.concatenate([self._violation, violation[alive]])
        chosen = self._survivors(together, broken, constrained_ranks(together, broken), rng)
        self._ids = np.concatenate([self._ids, first + alive])[chosen]
        self._objectives, self._violation = together[chosen], broken[chosen]
        self._herd.pool(alive)
        self._herd.keep(chosen)


def paired_tournament(
    n: int, size: int, better: Callable[[Indices, Indices], Indices], rng: np.random.Generator
) -> Indices:
    """Winners of `n` tournaments of two among `size` members, who all meet equally often (as far as 2 n allows).

    `better` is positive where the first of two members wins, negative where the second does, 0 for a coin.
    """
    rounds = -(-2 * n // size)
    places = np.concatenate([rng.permutation(size) for _ in range(rounds)])[: 2 * n].reshape(n, 2)
    verdict = better(places[:, 0], places[:, 1])
    coin = rng.random(n) < 0.5
    return np.where((verdict > 0) | ((verdict == 0) & coin), places[:, 0], places[:, 1])
