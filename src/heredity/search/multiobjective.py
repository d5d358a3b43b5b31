"""Searchers for several objectives that work in generations: a method is a choice of survivors and of parents.

Source: the loop of NSGA-II, Deb, Pratap, Agarwal & Meyarivan, IEEE TEC 6 (2002), section III-C.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heredity.errors import EvaluationFailed
from heredity.search.base import Candidate, Searcher, Space
from heredity.search.box import Box, Vectors, as_box
from heredity.search.breeding import Brood, Individuals
from heredity.search.breeding import Vectors as VectorBrood
from heredity.search.dominance import Indices, Points
from heredity.search.objectives import Judged, ManyTold, constrained_ranks, told_objectives

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
        self._brood: Brood[Any]
        if isinstance(space, Space) and not isinstance(space, Box):
            self._brood = Individuals(space, seed, crossover, 1.0 if mutation is None else mutation, key or _itself)
            self._box: Box | None = None
        else:
            self._box = as_box(space)
            self._brood = VectorBrood(self._box, crossover, eta_crossover, mutation, eta_mutation)
        self._ids: NDArray[np.int64] = np.empty(0, dtype=np.int64)  # of the members
        self._objectives: Points = np.empty((0, 0))  # of the members [k, m]
        self._violation: NDArray[np.float64] = np.empty(0)
        self._champion: tuple[int, tuple[float, ...]] | None = None
        self._drawn = False
        self._waiting: list[int] = []
        self._told: dict[int, Judged | None] = {}

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
        count = len(self._waiting) if n is None else max(0, min(n, len(self._waiting)))
        places, self._waiting = self._waiting[:count], self._waiting[count:]
        first = self.generation * self.population
        return [Candidate(first + place, self._brood.young(place)) for place in places]

    def tell(self, candidates: Sequence[Candidate[X]], outcomes: Sequence[ManyTold]) -> None:
        """Report outcomes, in any order and in parts; selection follows when the generation is complete.

        Args:
            candidates: as they were asked.
            outcomes: for each a vector of objectives and constraints, or an outcome that names them.
        """
        first, waiting = self.generation * self.population, set(self._waiting)
        out = {first + p for p in range(self.population if self._drawn else 0) if p not in waiting | self._told.keys()}
        told = told_objectives(
            candidates, outcomes, out, count=self._count(), metrics=self.metrics, constraints=self.constraints
        )
        self._told.update((i - first, judged) for i, judged in told.items())
        if len(self._told) == self.population:
            count = self._count() or 1
            objectives, violation = np.full((self.population, count), np.nan), np.zeros(self.population)
            for place, judged in self._told.items():
                if judged is not None:
                    objectives[place], violation[place] = judged
            self._finish(objectives, violation)

    def ask_array(self) -> NDArray[np.float64]:
        """In a box: the whole present generation [population, dim], read only.

        Raises:
            ValueError: the space is no box, or some of the generation was asked or told one by one.
        """
        self._breed()
        if not isinstance(self._brood, VectorBrood):
            raise ValueError("only the candidates of a box make an array; use ask")
        if len(self._waiting) != self.population:
            raise ValueError("part of this generation was asked one by one; tell it so, too")
        return self._brood.generation

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
        if not self._drawn or len(self._waiting) != self.population:
            raise ValueError("no whole generation is out; ask with ask_array first")
        failed = ~(np.isfinite(values).all(axis=1) & np.isfinite(broken))
        values[failed], broken[failed] = np.nan, 0.0
        self._finish(values, broken)

    @property
    def members(self) -> list[tuple[Candidate[X], tuple[float, ...], float]]:
        """Who survived the last complete generation: candidate, objectives, violation."""
        return [
            (Candidate(int(self._ids[k]), self._brood.member(k)), tuple(self._objectives[k].tolist()), float(broken))
            for k, broken in enumerate(self._violation)
        ]

    @property
    def front(self) -> list[Scored[X]]:
        """The feasible members that no other dominates, and the like among those told since; in order of asking.

        It has at most `population` of the last complete generation; empty while nothing feasible was found.
        """
        first, told = self.generation * self.population, sorted((p, j) for p, j in self._told.items() if j is not None)
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
                Candidate(ids[i], self._brood.member(i) if i < k else self._brood.young(ids[i] - first)),
                tuple(rows[i]),
            )
            for i in sorted(chosen, key=lambda i: ids[i])
        ]

    @property
    def best(self) -> Scored[X] | None:  # type: ignore[override]  # several objectives are a tuple
        """The feasible candidate told so far with the highest first objective; ties by the second, …, then the earlier.

        Nothing told dominates it. None before the first feasible one.
        """
        best, first = self._champion, self.generation * self.population
        place = None
        for p, judged in sorted(self._told.items()):
            if judged is not None and judged[1] == 0 and (best is None or judged[0] > best[1]):
                best, place = (first + p, judged[0]), p
        if best is None:
            return None
        return Candidate(best[0], self._brood.champion() if place is None else self._brood.young(place)), best[1]

    def state_dict(self) -> Mapping[str, Any]:
        """Configuration, members and the partly told generation: numbers, strings and arrays."""
        return {
            "config": self._config(),
            "generation": self.generation,
            "ids": self._ids.copy(),
            "objectives": self._objectives.copy(),
            "violation": self._violation.copy(),
            "champion": None if self._champion is None else [self._champion[0], list(self._champion[1])],
            "drawn": self._drawn,
            "told": [[p, None if j is None else [list(j[0]), j[1]]] for p, j in sorted(self._told.items())],
            "brood": dict(self._brood.state()),
            "method": dict(self._method_state()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue; the untold candidates of a begun generation are handed out again.

        Raises:
            ValueError: the configuration differs.
        """
        for name, value in self._config().items():
            if name not in state["config"] or not np.array_equal(np.asarray(state["config"][name]), np.asarray(value)):
                raise ValueError(
                    f"the state was saved with {name}={state['config'].get(name)}, this searcher has {value}"
                )
        self.generation, self._drawn = int(state["generation"]), bool(state["drawn"])
        self._ids = np.array(state["ids"], dtype=np.int64)
        self._violation = np.array(state["violation"], dtype=np.float64)
        self._objectives = np.array(state["objectives"], dtype=np.float64)
        champion = state["champion"]
        self._champion = None if champion is None else (int(champion[0]), tuple(map(float, champion[1])))
        self._brood.load(state["brood"])
        self._load_method_state(state["method"])
        self._told = {int(p): None if j is None else (tuple(map(float, j[0])), float(j[1])) for p, j in state["told"]}
        self._waiting = [p for p in range(self.population) if p not in self._told] if self._drawn else []

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
        return next((len(judged[0]) for judged in self._told.values() if judged is not None), None)

    def _generator(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.generation, purpose])

    def _breed(self) -> None:
        if self._drawn:
            return
        first, n, rng = self.generation * self.population, self.population, self._generator(0)
        if len(self._ids) < 2:
            self._brood.found(first, n, rng)
        else:
            self._brood.breed(first, n, self._parents(n + n % 2, rng).reshape(-1, 2), rng)
        self._drawn, self._waiting = True, list(range(n))

    def _finish(self, objectives: Points, violation: NDArray[np.float64]) -> None:
        """Members and children compete; the generation is over."""
        first, k, rng = self.generation * self.population, len(self._ids), self._generator(1)
        alive = np.flatnonzero(np.isfinite(objectives[:, 0]))
        self._drawn, self._waiting, self._told = False, [], {}
        self.generation += 1
        if not len(alive):
            self._brood.select(np.arange(k), None)
            raise EvaluationFailed(f"all {self.population} candidates of generation {self.generation - 1} failed")
        feasible = alive[violation[alive] == 0]
        top = None
        if len(feasible):
            place = int(feasible[np.lexsort(-objectives[feasible].T[::-1])[0]])
            row = tuple(objectives[place].tolist())
            if self._champion is None or row > self._champion[1]:
                self._champion, top = (first + place, row), k + place
        together = np.concatenate([self._objectives, objectives[alive]]) if k else objectives[alive]
        broken = np.concatenate([self._violation, violation[alive]])
        chosen = self._survivors(together, broken, constrained_ranks(together, broken), rng)
        places = np.concatenate([np.arange(k), k + alive])[chosen]
        self._ids = np.concatenate([self._ids, first + alive])[chosen]
        self._objectives, self._violation = together[chosen], broken[chosen]
        self._brood.select(places, top)


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


def _itself(value: Any) -> Hashable:
    return cast("Hashable", value)
