"""The genetic algorithm over any space: who mates, how they cross, how children mutate and who lives on are parts.

Vectors are bred as rows of one array; candidates of other spaces one by one, known by how they were made. Generation g
draws from a generator seeded by (seed, g), so that a state needs no generator.
Sources: Holland, Adaptation in Natural and Artificial Systems (1975); the defaults for vectors are those of Deb et al.,
NSGA-II (2002), with one objective: a pair is crossed with probability 0.9 and has two children, and a child that equals
another candidate is mutated again, as in the library pymoo.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from inspect import isroutine
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from heredity.errors import EvaluationFailed
from heredity.search.base import Candidate, Example, Searcher, Space, Told, check_config, told_pairs
from heredity.search.box import Box, as_box
from heredity.search.crossover import SBX, Crossover, Points
from heredity.search.herd import Herd, Items, Rows
from heredity.search.mating import Places, Tournament, Truncation
from heredity.search.migration import best_places
from heredity.search.mutation import Mutation, Polynomial, Swap
from heredity.search.permutations import Permutations
from heredity.search.rounds import Round
from heredity.search.survival import Comma, Crowding, Plus, Pool
from heredity.search.vector import FlatParams

X = TypeVar("X")
Vector = NDArray[np.float64]
Mate = Callable[[Vector, int, np.random.Generator], Places]
Survive = Callable[[Pool, int], Places]


class GeneticAlgorithm(Searcher[X]):
    """Ask and tell over any space, a generation at a time.

    Args:
        space: a `Box`, a number of unbounded dimensions, the `FlatParams` of a network, or any other `Space`.
        population: members at most; founders are samples of the space.
        select: who mates (`mating`), default the fitter of two.
        crossover: a part of `crossover`; default SBX for vectors, else the space's own. For other spaces a function
            (a, b, generator) → child will do.
        mutate: a part of `mutation`; default polynomial for vectors, else the space's own. For other spaces a function
            (x, generator) → mutant will do.
        survive: who lives on (`survival`); default the best of members and children
            (truncation).
        children: per generation, by default as many as the population.
        rate: probability that a child has two parents; every child is mutated.
        same: what makes two candidates of other spaces the same: one that equals a member or another child is made
            again. Default: nothing, equals may live together.
        dtype: of vectors.
        seed, metric: as in `VectorSearcher`.

    Failures never become members.
    """

    def __init__(
        self,
        space: Space[X] | int | FlatParams,
        population: int = 50,
        *,
        select: Mate | None = None,
        crossover: Crossover | Callable[[X, X, np.random.Generator], X] | None = None,
        mutate: Mutation | Callable[[X, np.random.Generator], X] | None = None,
        survive: Survive | None = None,
        children: int | None = None,
        rate: float = 0.9,
        same: Callable[[X], Hashable] | None = None,
        seed: int = 0,
        dtype: DTypeLike = np.float64,
        metric: str | None = None,
    ) -> None:
        self.population, self.children = population, population if children is None else children
        if population < 2 or self.children < 1 or not 0 <= rate <= 1:
            raise ValueError(
                f"needs population ≥ 2, children ≥ 1 and rate in [0, 1], got {population}, {self.children} and {rate}"
            )
        self.rate, self.seed, self.metric, self.dtype = rate, seed, metric, np.dtype(dtype)
        if self.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ValueError(f"dtype must be float32 or float64, got {self.dtype}")
        self.select: Mate = Tournament(2) if select is None else select
        self.survive: Survive = Plus() if survive is None else survive
        self._herd: Herd[X]
        if isinstance(space, (Box, int, np.integer, FlatParams)):
            box = as_box(space)
            self.space: Space[X] = cast("Space[X]", box)
            self.crossover, self.mutate = SBX() if crossover is None else crossover, mutate or Polynomial()
            if not isinstance(self.crossover, Crossover) or not isinstance(self.mutate, Mutation):
                raise TypeError("vectors are bred by parts of heredity.search.crossover and heredity.search.mutation")
            self._herd = cast("Herd[X]", Rows(box, self.crossover, self.mutate, rate, self.dtype))
        else:
            self.space = space
            self.crossover = space.crossover if crossover is None else crossover
            self.mutate = space.mutate if mutate is None else mutate
            self._herd = Items(space, seed, cross=self.crossover, mutate=self.mutate, rate=rate, key=same)
        self.generation = 0  # how many have been told
        self._round: Round[float] = Round()
        self._fitness: Vector = np.empty(0)
        self._born: NDArray[np.int64] = np.empty(0, np.int64)
        self._best: tuple[int, float] | None = None

    @property
    def members(self) -> list[tuple[X, float]]:
        """The living with their fitness, in the order in which `survive` chose them; copies."""
        return [(self._herd.member(place), float(fitness)) for place, fitness in enumerate(self._fitness)]

    def ask(self, n: int | None = None) -> list[Candidate[X]]:
        """At most `n` candidates of the present generation; none while all are out."""
        self._begin()
        return [Candidate(self._round.first + place, self._herd.value(place)) for place in self._round.take(n)]

    def tell(self, candidates: Sequence[Candidate[X]], outcomes: Sequence[Told]) -> None:
        """Report outcomes, in any order and in parts; selection follows when the generation is complete."""
        if self._round.note(told_pairs(candidates, outcomes, self._round.out, self.metric)):
            self._finish(np.array([-np.inf if value is None else value for value in self._round.in_order()]))

    def ask_array(self) -> NDArray[Any]:
        """The whole present generation of vectors [n, dim], read only.

        Raises:
            TypeError: the candidates are no vectors.
            ValueError: some of it was asked or told one by one.
        """
        if not isinstance(self._herd, Rows):
            raise TypeError(f"candidates of {type(self.space).__name__} are no vectors; use ask and tell")
        self._begin()
        if not self._round.whole:
            raise ValueError("part of this generation was asked one by one; tell it so, too")
        return self._herd.shown

    def tell_array(self, fitness: Sequence[float] | NDArray[Any]) -> None:
        """Report the fitness [n] of the generation that `ask_array` gave; NaN and ±∞ are failures."""
        values = np.asarray(fitness, dtype=np.float64)
        if not self._round.whole:
            raise ValueError("no whole generation is out; ask with ask_array first")
        if values.shape != (self._round.size,):
            raise ValueError(f"fitness should have shape ({self._round.size},), it has {values.shape}")
        self._finish(np.where(np.isfinite(values), values, -np.inf))

    @property
    def best(self) -> tuple[Candidate[X], float] | None:
        """The best candidate told so far with its fitness; the earlier of equals."""
        found: tuple[Candidate[X], float] | None = None
        if self._best is not None:
            found = (Candidate(self._best[0], self._herd.best()), self._best[1])
        for place, fitness in sorted(self._round.told.items()):
            if fitness is not None and (found is None or fitness > found[1]):
                found = (Candidate(self._round.first + place, self._herd.value(place)), fitness)
        return found

    def receive(self, values: Sequence[X] | NDArray[Any], worth: Sequence[float] | Vector) -> None:
        """Take in known candidates with their fitness, each for the worst member if it is better and new."""
        if self._round.size:
            raise ValueError("a generation is out: migrants are received between generations")
        for value, fitness in zip(values, worth, strict=True):
            if len(self._fitness) and fitness > self._fitness.min() and fitness not in self._fitness:
                worst = int(np.argmin(self._fitness))
                self._herd.put(worst, self._round.first, value)
                self._fitness[worst], self._born[worst] = fitness, self._round.first
                self._round.first += 1

    def emigrants(self, n: int) -> tuple[list[X], list[float]]:
        """Copies of the best `n` members, best first, with their fitness."""
        best = best_places(self._fitness, n)
        return [self._herd.member(int(place)) for place in best], self._fitness[best].tolist()

    def state_dict(self) -> Mapping[str, Any]:
        """Configuration, members and the partly told generation: numbers and arrays, of other spaces genealogies."""
        return {
            "config": self._config(),
            "generation": self.generation,
            "round": self._round.state(),
            "fitness": self._fitness.copy(),
            "born": self._born.copy(),
            "best": None if self._best is None else list(self._best),
            "herd": dict(self._herd.state()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue; the untold candidates of a begun generation are handed out again.

        Raises:
            ValueError: the configuration differs.
        """
        check_config(state["config"], self._config(), self)
        self.generation = int(state["generation"])
        self._fitness = np.array(state["fitness"], dtype=np.float64)
        self._born = np.array(state["born"], dtype=np.int64)
        self._best = None if state["best"] is None else (int(state["best"][0]), float(state["best"][1]))
        self._herd.load(state["herd"])
        self._round.load(state["round"], self._begin, float)

    def _begin(self) -> None:
        """Breed the next generation unless one is out."""
        if self._round.size:
            return
        rng, first = np.random.Generator(np.random.SFC64([self.seed, self.generation])), self._round.first
        if not len(self._fitness):
            size = self.population
            self._herd.found(first, size, rng)
        else:
            size = self.children
            pairs = -(-size // 2)
            parents = np.asarray(self.select(self._fitness, 2 * pairs, rng))
            self._herd.breed(first, size, parents.reshape(2, pairs).T, rng)
        self._round.begin(size)

    def _finish(self, fitness: Vector) -> None:
        size, number, first = self._round.size, self.generation, self._round.first
        good = np.flatnonzero(fitness > -np.inf)
        if len(good):
            top = int(np.argmax(fitness))
            if self._best is None or fitness[top] > self._best[1]:
                self._best = (first + top, float(fitness[top]))
                self._herd.remember(top)
            pooled = np.concatenate([self._fitness, fitness[good]])
            born = np.concatenate([self._born, first + good])
            pool = Pool(pooled, born, len(self._fitness), self._herd.pool(good))
            chosen = np.asarray(self.survive(pool, self.population), dtype=np.intp)
            self._herd.keep(chosen)
            self._fitness, self._born = pooled[chosen], born[chosen]
        self._round.end()
        self.generation = number + 1
        if not len(good):
            raise EvaluationFailed(f"all {size} candidates of generation {number} failed; there is nothing to select")

    def _config(self) -> dict[str, Any]:
        parts = {name: _named(getattr(self, name)) for name in ("select", "crossover", "mutate", "survive")}
        own = {"population": self.population, "children": self.children, "rate": self.rate, "seed": self.seed}
        box = self.space if isinstance(self.space, Box) else None
        bounds = {} if box is None else {"low": box.low.tolist(), "high": box.high.tolist(), "dtype": self.dtype.name}
        return {**own, **parts, **bounds}

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """Vectors with two sets of parts, and orders of numbers."""

        def sphere(x: NDArray[Any]) -> float:
            return -float(np.sum(np.square(x - 1.0)))

        box: Any = Box(-2.0, 3.0, dim=3)
        order: Any = Permutations(7)
        yield f"{cls.__name__}-vectors", Example(lambda seed: cls(box, 12, seed=seed), sphere)
        parts: dict[str, Any] = {"select": Truncation(0.5), "crossover": Points(1), "survive": Comma(1), "children": 20}
        yield f"{cls.__name__}-comma", Example(lambda seed: cls(box, 12, **parts, seed=seed), sphere)
        crowd = Crowding(distance=lambda a, b: sum(x != y for x, y in zip(a, b, strict=True)))
        rest: dict[str, Any] = {"mutate": Swap(), "survive": crowd, "same": tuple}
        yield (
            f"{cls.__name__}-orders",
            Example(lambda seed: cls(order, 8, **rest, seed=seed), _sorted),
        )


def _named(part: Any) -> str:
    """A part with its settings, or the name of a function, for comparing configurations."""
    return f"{part.__module__}.{part.__qualname__}" if isroutine(part) else repr(part)


def _sorted(order: Sequence[int]) -> float:
    """How near an order is to 0, 1, 2…, at most 0."""
    return -float(sum(abs(value - place) for place, value in enumerate(order)))
