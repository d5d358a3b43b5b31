"""Novelty: how far a behaviour is from those seen before, and a search that selects by nothing else.

Sources: Lehman & Stanley, Abandoning Objectives (Evolutionary Computation 19, 2011); GA-NS of Such et al. (arXiv
1712.06567, section 3.4 and its supplement), whose constants are the defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Failed, Ok, Pending
from heredity.search.base import Candidate, Example, Searcher, Space, Told
from heredity.search.genealogy import Genealogy, generator
from heredity.search.selection import truncation as best_of

X = TypeVar("X")
Vector: TypeAlias = NDArray[np.float64]
CHUNK = 1 << 24  # distances held at once


class NoveltyArchive:
    """Behaviours that were kept, and the novelty of others beside them.

    Args:
        k: neighbours whose mean distance is the novelty; all there are where there are fewer.
        p_add: probability with which a behaviour is kept.
        seed: of these draws.
    """

    def __init__(self, k: int = 25, p_add: float = 0.01, seed: int = 0) -> None:
        if k < 1 or not 0 <= p_add <= 1:
            raise ValueError(f"an archive needs k ≥ 1 and p_add in [0, 1], got {k} and {p_add}")
        self.k, self.p_add, self.seed = k, p_add, seed
        self._kept: Vector = np.empty((0, 0))
        self._calls = 0

    def __len__(self) -> int:
        """How many behaviours are kept."""
        return len(self._kept)

    @property
    def behaviours(self) -> Vector:
        """Those kept [A, d], a copy."""
        return self._kept.copy()

    def score(self, behaviours: ArrayLike) -> Vector:
        """Novelty [N] of behaviours [N, d]: mean distance to the k nearest among the archive and the other N − 1.

        Raises:
            ValueError: another number of dimensions than the archive's, or a value that is not finite.
        """
        x = self._checked(behaviours)
        everybody = np.concatenate([self._kept.reshape(-1, x.shape[1]), x])
        near = min(self.k, len(everybody) - 1)
        if not near:
            return np.zeros(len(x))
        found = np.empty(len(x))
        step = max(1, CHUNK // len(everybody))
        for start in range(0, len(x), step):
            rows = np.arange(start, min(start + step, len(x)))
            distances = cdist(x[rows], everybody)
            distances[rows - start, len(self._kept) + rows] = np.inf  # nobody is a neighbour of itself
            found[rows] = np.partition(distances, near - 1, axis=1)[:, :near].mean(axis=1)
        return found

    def add(self, behaviours: ArrayLike) -> None:
        """Keep each of behaviours [N, d] with probability p_add."""
        x = self._checked(behaviours)
        drawn = np.random.default_rng([self.seed, self._calls]).random(len(x)) < self.p_add
        self._calls += 1
        self._kept = np.concatenate([self._kept.reshape(-1, x.shape[1]), x[drawn]])

    def state_dict(self) -> dict[str, Any]:
        """The behaviours kept, and how often draws were made."""
        return {"kept": self._kept.copy(), "calls": self._calls}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue."""
        self._kept, self._calls = np.array(state["kept"], dtype=np.float64), int(state["calls"])

    def _checked(self, behaviours: ArrayLike) -> Vector:
        x = np.asarray(behaviours, dtype=np.float64)
        if x.ndim != 2 or (len(self._kept) and x.shape[1] != self._kept.shape[1]):
            wanted = self._kept.shape[1] if len(self._kept) else "d"
            raise ValueError(f"behaviours should have shape [N, {wanted}], they have {x.shape}")
        if not np.isfinite(x).all():
            raise ValueError("behaviours must be finite; leave failed members out")
        return x


class NoveltySearch(Searcher[X]):
    """A mutation-only genetic algorithm with truncation selection whose fitness is novelty (GA-NS).

    Args:
        space: generation 0 are its samples, children its mutants; `SeedChains` for networks.
        population: candidates per generation.
        truncation: how many of the most novel are parents, drawn uniformly; the most novel of them stays a parent for
            the next generation (elitism), with its novelty measured anew.
        archive: k and the probability of being kept; its draws are seeded by the search.
        behaviour: which values of an `Ok` are the behaviour, in this order; default all but `metric`.
        metric: which value is the fitness that `best` goes by. Selection never sees it.
        seed: of everything.

    An outcome is an `Ok`, a pair (fitness, behaviour), a sequence of numbers (a behaviour), or a number, which is its
    own behaviour and fitness. Where no fitness is told, `best` is the candidate that was most novel in its generation.
    """

    def __init__(
        self,
        space: Space[X],
        population: int = 250,
        truncation: int = 20,
        archive: NoveltyArchive | None = None,
        *,
        behaviour: Sequence[str] | None = None,
        metric: str | None = None,
        seed: int = 0,
    ) -> None:
        if population < 2 or not 1 <= truncation <= population:
            raise ValueError(f"{truncation} parents need a population of at least as many and 2, got {population}")
        given = NoveltyArchive() if archive is None else archive  # an empty one is false
        self.space, self.population, self.truncation, self.seed = space, population, truncation, seed
        self.behaviour, self.metric = None if behaviour is None else tuple(behaviour), metric
        self.archive = NoveltyArchive(given.k, given.p_add, seed)
        self.generation = 0
        self._family = Genealogy(space, seed)
        self._parents: list[int] = []
        self._elite: tuple[int, list[float]] | None = None
        self._members: list[int] = []
        self._waiting: list[int] = []
        self._told: dict[int, tuple[float | None, list[float]] | None] = {}
        self._best: tuple[int, float] | None = None

    @property
    def parents(self) -> list[Candidate[X]]:
        """Those of the present generation, the most novel first."""
        return [Candidate(i, self._family.value(i)) for i in self._parents]

    def ask(self, n: int | None = None) -> list[Candidate[X]]:
        """At most `n` candidates of the present generation; none while all are out."""
        if not self._members:
            self._breed()
        count = len(self._waiting) if n is None else max(0, min(n, len(self._waiting)))
        out, self._waiting = self._waiting[:count], self._waiting[count:]
        return [Candidate(i, self._family.value(i)) for i in out]

    def tell(self, candidates: Sequence[Candidate[X]], outcomes: Sequence[Any]) -> None:
        """Report behaviours, in any order and in parts; selection follows when the generation is complete."""
        if len(candidates) != len(outcomes):
            raise ValueError(f"{len(candidates)} candidates were told with {len(outcomes)} outcomes")
        waiting, told = set(self._waiting), {}
        for candidate, outcome in zip(candidates, outcomes, strict=True):
            i = candidate.id
            if i not in self._members or i in waiting or i in self._told or i in told:
                raise ValueError(f"candidate {i} was never asked, or has been told before")
            told[i] = self._read(outcome)
        self._told.update(told)
        if self._members and len(self._told) == self.population:
            self._finish()

    @property
    def best(self) -> tuple[Candidate[X], float] | None:
        """By the fitness told, or else by novelty when its generation was complete; the earlier of equals."""
        best = self._best
        for i, seen in sorted(self._told.items()):
            if seen is not None and seen[0] is not None and (best is None or seen[0] > best[1]):
                best = (i, seen[0])
        return None if best is None else (Candidate(best[0], self._family.value(best[0])), best[1])

    def state_dict(self) -> Mapping[str, Any]:
        """Plain numbers: the genealogy of the parents, the present generation and the best, and the archive."""
        return {
            "config": self._config(),
            "generation": self.generation,
            "births": self._family.state(self._needed()),
            "parents": list(self._parents),
            "elite": None if self._elite is None else [self._elite[0], list(self._elite[1])],
            "members": list(self._members),
            "told": [[i, None if seen is None else [seen[0], list(seen[1])]] for i, seen in sorted(self._told.items())],
            "best": None if self._best is None else list(self._best),
            "archive": self.archive.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue; the untold candidates of a begun generation are handed out again.

        Raises:
            ValueError: the configuration differs.
        """
        for name, value in self._config().items():
            if state["config"].get(name) != value:
                raise ValueError(
                    f"the state was saved with {name}={state['config'].get(name)}, this search has {name}={value}"
                )
        self.generation = int(state["generation"])
        self._family.load(state["births"])
        self._parents, self._members = list(state["parents"]), list(state["members"])
        self._elite = None if state["elite"] is None else (state["elite"][0], list(state["elite"][1]))
        self._told = {i: None if seen is None else (seen[0], list(seen[1])) for i, seen in state["told"]}
        self._best = None if state["best"] is None else (int(state["best"][0]), float(state["best"][1]))
        self.archive.load_state_dict(state["archive"])
        self._waiting = [i for i in self._members if i not in self._told]
        self._family.keep(self._needed())

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """Points of a box whose fitness is their only behaviour: what is new reaches beyond what is known."""
        from heredity.search.box import Box

        def make(seed: int) -> Searcher[Any]:
            return NoveltySearch(Box(-2.0, 3.0, dim=3), 12, 4, NoveltyArchive(3, 0.1), seed=seed)

        yield cls.__name__, Example(make, lambda x: -float(np.sum(np.square(x - 1.0))))

    def _read(self, outcome: Told | Sequence[Any]) -> tuple[float | None, list[float]] | None:
        """(fitness, behaviour) of what was told; None of a failure."""
        fitness: Any
        behaviour: Sequence[Any]
        if isinstance(outcome, Pending):
            raise ValueError("a pending evaluation cannot be told; tell it when it has ended")
        if isinstance(outcome, Failed):
            return None
        if isinstance(outcome, Ok):
            names = self.behaviour or tuple(name for name in outcome.values if name != self.metric)
            behaviour = [outcome[name] for name in names]
            fitness = outcome[self.metric] if self.metric else behaviour[0] if len(outcome.values) == 1 else None
        elif isinstance(outcome, (int, float)):
            fitness, behaviour = outcome, [outcome]
        elif isinstance(outcome, tuple) and len(outcome) == 2 and np.ndim(outcome[1]) == 1:
            fitness, behaviour = outcome[0], outcome[1]
        else:
            fitness, behaviour = None, outcome
        numbers = [float(value) for value in behaviour]
        fitness = None if fitness is None else float(fitness)
        if not np.isfinite([*numbers, *([] if fitness is None else [fitness])]).all():
            return None
        return fitness, numbers

    def _breed(self) -> None:
        first = self.generation * self.population
        for i in range(first, first + self.population):
            rng = generator(self.seed, i, "select")
            parents = (self._parents[int(rng.integers(len(self._parents)))],) if self._parents else ()
            self._family.add(i, parents, 0, self._family.make(i, parents))
            self._members.append(i)
        self._waiting = list(self._members)

    def _finish(self) -> None:
        seen = {i: told for i, told in sorted(self._told.items()) if told is not None}
        self._members, self._waiting, self._told = [], [], {}
        self.generation += 1
        if not seen:
            self._family.keep(self._needed())
            raise EvaluationFailed(f"all {self.population} candidates of generation {self.generation - 1} failed")
        ids, behaviours = list(seen), [behaviour for _, behaviour in seen.values()]
        pool, points = ids, behaviours
        if self._elite is not None:  # measured anew beside the present generation
            pool, points = [self._elite[0], *ids], [self._elite[1], *behaviours]
        novelty = self.archive.score(points)
        order = best_of(novelty, min(self.truncation, len(pool)))
        self._parents = [pool[place] for place in order]
        self._elite = (pool[order[0]], list(points[order[0]]))
        self.archive.add(behaviours)
        for place, i in enumerate(pool):
            fitness = seen[i][0] if i in seen else None
            worth = fitness if fitness is not None or i not in seen else float(novelty[place])
            if worth is not None and (self._best is None or worth > self._best[1]):
                self._best = (i, worth)
        self._family.keep(self._needed())

    def _needed(self) -> set[int]:
        kept = {*self._parents, *self._members}
        return kept | ({self._best[0]} if self._best else set()) | ({self._elite[0]} if self._elite else set())

    def _config(self) -> dict[str, Any]:
        return {
            "population": self.population,
            "truncation": self.truncation,
            "k": self.archive.k,
            "p_add": self.archive.p_add,
            "behaviour": None if self.behaviour is None else list(self.behaviour),
            "metric": self.metric,
            "seed": self.seed,
        }
