"""Evolution of candidates of any space: regularised evolution, where age or weakness kills, and elitist generations.

A candidate is known by how it was made: candidate i is a function of the seed, i, its parents and how many tries were
turned down. So a searcher's state is a genealogy of numbers, whatever the candidates are, and what is drawn does not
depend on the order of tells within a batch. The space has to be the same, and repeatable, when a state is loaded.
Sources: Real et al., Regularized Evolution (arXiv 1802.01548); arXiv 2302.05433 (its searches); the elitist scheme of
AutoDiffusion (arXiv 2309.10438).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar, cast

import numpy as np

from heredity.errors import EvaluationFailed
from heredity.search.base import Candidate, Example, Searcher, Space, Told, check_config, told_pairs
from heredity.search.box import Box
from heredity.search.genealogy import Genealogy, generator, itself
from heredity.search.selection import tournament as tournament_winners

X = TypeVar("X")
TRIES = 100  # draws from the space until one is valid
Best = tuple[int, float]


class RegularizedEvolution(Searcher[X]):
    """A population in which the winner of a tournament has a mutated child and somebody dies.

    Args:
        space: founders are its samples, children its mutants.
        population: members.
        tournament: distinct members drawn, the fittest of which is the parent.
        kill: "oldest" (regularised evolution) or "worst" (the elitist variant); of equally bad ones the older.
        seed: of everything.
        metric: the value of an outcome to maximise, where it has several.

    Children are asked one by one or many at once. Age counts from the asking: a straggler may be dead when it is told.
    Failed candidates never join; a failed founder is replaced by another draw.
    """

    def __init__(
        self,
        space: Space[X],
        population: int = 50,
        tournament: int = 10,
        kill: Literal["oldest", "worst"] = "oldest",
        *,
        seed: int = 0,
        metric: str | None = None,
    ) -> None:
        if population < 1 or not 1 <= tournament <= population:
            raise ValueError(f"a tournament of {tournament} needs a population of at least as many, got {population}")
        if kill not in ("oldest", "worst"):
            raise ValueError(f'kill must be "oldest" or "worst", got {kill!r}')
        self.space, self.population, self.tournament, self.kill = space, population, tournament, kill
        self.seed, self.metric = seed, metric
        self._family = Genealogy(space, seed)
        self._next = 0
        self._members: dict[int, float] = {}  # by age, the oldest first
        self._open: set[int] = set()
        self._waiting: list[int] = []  # founders that an earlier run had asked and never told
        self._founding = True
        self._failures = 0  # in a row
        self._best: Best | None = None

    @property
    def members(self) -> list[tuple[Candidate[X], float]]:
        """The living with their fitness, the oldest first."""
        return [(Candidate(i, self._family.value(i)), fitness) for i, fitness in self._members.items()]

    def ask(self, n: int | None = None) -> list[Candidate[X]]:
        """Founders until the population is full (by default all that are missing), then children (by default one).

        None come back while founders are out and no more are missing.
        """
        if self._founding:
            missing = max(0, self.population - len(self._members) - len(self._open) + len(self._waiting))
            count = missing if n is None else min(n, missing)
            again, self._waiting = self._waiting[:count], self._waiting[count:]
            founders = [Candidate(i, self._family.value(i)) for i in again]
            return founders + [self._new(()) for _ in range(count - len(again))]
        return [self._new(self._parent()) for _ in range(1 if n is None else n)]

    def tell(self, candidates: Sequence[Candidate[X]], outcomes: Sequence[Told]) -> None:
        """Report outcomes in any order; the batch of "all failed" is as many in a row as the population has members."""
        told = told_pairs(candidates, outcomes, self._open, self.metric)
        self._open.difference_update(told)
        self._waiting = [i for i in self._waiting if i not in told]
        for i, fitness in told.items():
            self._failures = self._failures + 1 if fitness is None else 0
            if fitness is not None:
                self._members[i] = fitness
                self._best = _better(self._best, i, fitness)
        self._cull()
        if self._failures >= self.population:
            count, self._failures = self._failures, 0
            raise EvaluationFailed(f"the last {count} candidates told all failed; there is nothing to select")

    def emigrants(self, n: int) -> tuple[list[X], list[float]]:
        """Copies of the best `n` of the living, best first, with their fitness."""
        best = sorted(self._members, key=lambda i: (-self._members[i], i))[:n]
        return [self._family.value(i) for i in best], [self._members[i] for i in best]

    def receive(self, values: Sequence[X], worth: Sequence[float]) -> None:
        """Take in known candidates, unless a member is worth the same: each as a newborn, for which somebody dies."""
        for value, fitness in zip(values, worth, strict=True):
            if fitness not in self._members.values():
                self._family.welcome(self._next, value)
                self._members[self._next], self._next = fitness, self._next + 1
        self._cull()

    def _cull(self) -> None:
        self._members = dict(sorted(self._members.items()))
        self._founding = self._founding and len(self._members) < self.population
        while len(self._members) > self.population:
            lives = self._members
            dead = next(iter(lives)) if self.kill == "oldest" else min(lives, key=lambda i: (lives[i], i))
            del self._members[dead]
        self._family.keep(self._needed())

    @property
    def best(self) -> tuple[Candidate[X], float] | None:
        """The best candidate told so far with its fitness; the earlier of equals."""
        best = self._best
        return None if best is None else (Candidate(best[0], self._family.value(best[0])), best[1])

    def state_dict(self) -> Mapping[str, Any]:
        """Plain numbers: the configuration, the genealogy of the living and the open, and their fitness."""
        return {
            "config": self._config(),
            "next": self._next,
            "members": [[i, fitness] for i, fitness in self._members.items()],
            "open": sorted(self._open),
            "founding": self._founding,
            "failures": self._failures,
            "best": list(self._best) if self._best else None,
            "births": self._family.state(self._needed()),
            "guests": self._family.guests,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue; founders that were out are handed out again, children that were out may still be told.

        Raises:
            ValueError: the configuration differs.
        """
        check_config(state["config"], self._config(), self)
        self._next, self._open = int(state["next"]), {int(i) for i in state["open"]}
        self._members = {int(i): float(fitness) for i, fitness in state["members"]}
        self._founding, self._failures = bool(state["founding"]), int(state["failures"])
        self._best = (int(state["best"][0]), float(state["best"][1])) if state["best"] else None
        self._family.load(state["births"], state["guests"])
        self._family.keep(self._needed())
        self._waiting = sorted(self._open) if self._founding else []

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """Both ways to die, on a small sphere."""
        box: Space[Any] = Box(-2.0, 3.0, dim=3)
        yield "regularized", Example(lambda seed: cls(box, 10, 3, seed=seed), _sphere)
        yield "worst dies", Example(lambda seed: cls(box, 10, 3, "worst", seed=seed), _sphere)

    def _parent(self) -> tuple[int]:
        rng = generator(self.seed, self._next, "select")
        ids = list(self._members)
        (winner,) = tournament_winners(list(self._members.values()), 1, self.tournament, rng=rng)
        return (ids[winner],)

    def _new(self, parents: tuple[int, ...]) -> Candidate[X]:
        i, self._next = self._next, self._next + 1
        for attempt in range(TRIES):
            value = self._family.make(i, parents, attempt)
            if self.space.valid(value):
                self._family.add(i, parents, attempt, value)
                self._open.add(i)
                return Candidate(i, self._family.value(i))
        raise ValueError(f"{type(self.space).__name__} gave no valid candidate in {TRIES} tries")

    def _needed(self) -> set[int]:
        return set(self._members) | self._open | ({self._best[0]} if self._best else set())

    def _config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("population", "tournament", "kill", "seed")}


class ElitistEvolution(Searcher[X]):
    """Generations bred from an archive of the best that is kept for ever; each genome is proposed once only.

    Args:
        space: where candidates live.
        population: candidates per generation.
        parents: size of the archive.
        mutants: children per generation by mutation of a member of the archive, drawn uniformly.
        crossovers: children by crossover of two distinct members.
        fresh: random candidates per generation; "fill" makes up the population. An integer leaves generations smaller
            where tries are used up.
        start: candidates that lead the first generation (known good ones), repeated ones dropped.
        key: what makes two candidates the same genome; by default the candidate, which must be hashable then.
        seed: of everything.
        metric: the value of an outcome to maximise, where it has several.

    Each kind of child has ten tries per child wanted; invalid and known ones are turned down.
    """

    def __init__(
        self,
        space: Space[X],
        population: int = 50,
        parents: int = 10,
        mutants: int = 25,
        crossovers: int = 15,
        *,
        fresh: Literal["fill"] | int = "fill",
        start: Iterable[X] = (),
        key: Callable[[X], Hashable] | None = None,
        seed: int = 0,
        metric: str | None = None,
    ) -> None:
        if min(population, parents) < 1 or min(mutants, crossovers) < 0 or mutants + crossovers > population:
            raise ValueError(
                f"a population of {population} needs parents ≥ 1 and mutants + crossovers ≤ {population}, "
                f"got {parents}, {mutants} + {crossovers}"
            )
        if isinstance(fresh, str) and fresh != "fill":
            raise ValueError(f'fresh must be "fill" or a number, got {fresh!r}')
        self.space, self.population, self.parents = space, population, parents
        self.mutants, self.crossovers, self.fresh = mutants, crossovers, fresh
        self.seed, self.metric = seed, metric
        self._key: Callable[[X], Hashable] = key or itself
        self._start = list(start)
        self._family = Genealogy(space, seed, self._start)
        self._visited: set[Hashable] = set()
        self._generation: list[int] = []
        self._waiting: list[int] = []
        self._out: set[int] = set()
        self._told: dict[int, float | None] = {}
        self._archive: list[Best] = []  # best first
        self._best: Best | None = None  # of those told; the archive may hold better ones from outside
        self._next = 0
        self.generation = 0  # how many have been told

    @property
    def archive(self) -> list[tuple[Candidate[X], float]]:
        """The best so far with their fitness, best first."""
        return [(Candidate(i, self._family.value(i)), fitness) for i, fitness in self._archive]

    def ask(self, n: int | None = None) -> list[Candidate[X]]:
        """At most `n` candidates of the present generation; none while all are out, or when no new genome is found."""
        if not self._generation:
            self._breed()
        count = len(self._waiting) if n is None else min(n, len(self._waiting))
        out, self._waiting = self._waiting[:count], self._waiting[count:]
        self._out.update(out)
        return [Candidate(i, self._family.value(i)) for i in out]

    def tell(self, candidates: Sequence[Candidate[X]], outcomes: Sequence[Told]) -> None:
        """Report outcomes, in any order and in parts; selection follows when the generation is complete."""
        told = told_pairs(candidates, outcomes, self._out, self.metric)
        self._out.difference_update(told)
        self._waiting = [i for i in self._waiting if i not in told]
        self._told.update(told)
        if self._generation and len(self._told) == len(self._generation):
            size, good = len(self._told), [(i, f) for i, f in self._told.items() if f is not None]
            self._generation, self._told = [], {}
            self.generation += 1
            for i, fitness in good:
                self._best = _better(self._best, i, fitness)
            self._select(good)
            if not good:
                raise EvaluationFailed(f"all {size} candidates of generation {self.generation - 1} failed")

    def _select(self, new: list[Best]) -> None:
        self._archive = sorted(self._archive + new, key=lambda known: (-known[1], known[0]))[: self.parents]
        self._family.keep(self._needed())

    def emigrants(self, n: int) -> tuple[list[X], list[float]]:
        """Copies of the best `n` of the archive, best first, with their fitness."""
        return [self._family.value(i) for i, _ in self._archive[:n]], [fitness for _, fitness in self._archive[:n]]

    def receive(self, values: Sequence[X], worth: Sequence[float]) -> None:
        """Take in known candidates with their fitness: genomes that were never proposed enter the archive."""
        for value, fitness in zip(values, worth, strict=True):
            if (key := self._key(value)) not in self._visited:
                self._visited.add(key)
                self._family.welcome(self._next, value)
                self._select([(self._next, fitness)])
                self._next += 1

    @property
    def best(self) -> tuple[Candidate[X], float] | None:
        """The best candidate told so far with its fitness; the earlier of equals."""
        best = self._best
        for i, fitness in self._told.items():
            if fitness is not None:
                best = _better(best, i, fitness)
        return None if best is None else (Candidate(best[0], self._family.value(best[0])), best[1])

    def state_dict(self) -> Mapping[str, Any]:
        """Plain numbers: the configuration, everybody's genealogy, the archive, the present generation."""
        return {
            "config": self._config(),
            "next": self._next,
            "births": self._family.state(),
            "guests": self._family.guests,
            "archive": [[i, fitness] for i, fitness in self._archive],
            "best": list(self._best) if self._best else None,
            "generation": list(self._generation),
            "number": self.generation,
            "out": sorted(self._out),
            "told": [[i, fitness] for i, fitness in sorted(self._told.items())],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue; the untold candidates of a begun generation are handed out again.

        Raises:
            ValueError: the configuration differs.
        """
        check_config(state["config"], self._config(), self)
        self._next, self.generation = int(state["next"]), int(state["number"])
        self._family.load(state["births"], state["guests"])
        self._visited = {self._key(value) for value in self._family.values()}
        self._archive = [(int(i), float(fitness)) for i, fitness in state["archive"]]
        self._best = (int(state["best"][0]), float(state["best"][1])) if state["best"] else None
        self._generation = [int(i) for i in state["generation"]]
        self._told = {int(i): fitness for i, fitness in state["told"]}
        self._out = {int(i) for i in state["out"]}
        self._waiting = [i for i in self._generation if i not in self._told]
        self._family.keep(self._needed())

    def _needed(self) -> set[int]:
        return {i for i, _ in self._archive} | set(self._generation) | ({self._best[0]} if self._best else set())

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """Small generations on a small sphere."""
        box: Space[Any] = Box(-2.0, 3.0, dim=3)
        yield (
            "elitist",
            Example(
                lambda seed: cls(box, 10, 3, 5, 3, key=lambda x: cast("Any", x).tobytes(), seed=seed),
                _sphere,
                rounds=10,
            ),
        )

    def _breed(self) -> None:
        if self._next == 0:
            for place, value in enumerate(self._start):
                self._try(value, (-1 - place,), 0)
        if self._archive:
            self._children(self.mutants, 1)
            if len(self._archive) > 1:
                self._children(self.crossovers, 2)
        missing = self.population - len(self._generation)
        self._children(missing if self.fresh == "fill" or not self._archive else min(missing, int(self.fresh)), 0)
        self._waiting = list(self._generation)

    def _children(self, wanted: int, parents: int) -> None:
        """Add up to `wanted` new children of so many parents each."""
        made, attempt = 0, 0
        for _ in range(10 * wanted):
            if made == wanted:
                break
            rng = generator(self.seed, self._next, "select", attempt)
            chosen = rng.choice(len(self._archive), size=parents, replace=False) if parents else ()
            ids = tuple(self._archive[int(place)][0] for place in chosen)
            added = self._try(self._family.make(self._next, ids, attempt), ids, attempt)
            made, attempt = (made + 1, 0) if added else (made, attempt + 1)

    def _try(self, value: X, parents: tuple[int, ...], attempt: int) -> bool:
        """Take a candidate into the generation unless it is invalid or known."""
        key = self._key(value)
        if key in self._visited or not self.space.valid(value):
            return False
        self._visited.add(key)
        self._family.add(self._next, parents, attempt, value)
        self._generation.append(self._next)
        self._next += 1
        return True

    def _config(self) -> dict[str, Any]:
        names = ("population", "parents", "mutants", "crossovers", "fresh", "seed")
        return {**{name: getattr(self, name) for name in names}, "start": len(self._start)}


def _better(best: Best | None, i: int, fitness: float) -> Best:
    if best is None or (fitness, -i) > (best[1], -best[0]):
        return (i, fitness)
    return best


def _sphere(x: Any) -> float:
    return -float(np.sum(np.square(x - 1.0)))
