"""The genetic algorithm over any space: who mates, how they cross, how children mutate and who lives on are parts.

Vectors are bred as rows of one array; candidates of other spaces one by one, known by how they were made. Generation g
draws from a generator seeded by (seed, g), so that a state needs no generator.
Sources: Holland, Adaptation in Natural and Artificial Systems (1975); the defaults for vectors are those of Deb et al.,
NSGA-II (2002), with one objective.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import isroutine
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from heredity.errors import EvaluationFailed
from heredity.search.base import Candidate, Example, Searcher, Space, Told, told_pairs
from heredity.search.box import Box, as_box
from heredity.search.crossover import SBX, Crossover, Points
from heredity.search.herd import Herd, Items, Rows
from heredity.search.mating import Places, Tournament, Truncation
from heredity.search.migration import best_places
from heredity.search.mutation import Mutation, Polynomial, Swap
from heredity.search.permutations import Permutations
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
        rate: float = 1.0,
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
            vary = self.mutate.rows
            self._herd = cast("Herd[X]", Rows(box, self.crossover.rows, lambda x, rng: vary(x, rng, box), self.dtype))
        else:
            self.space = space
            self.crossover = space.crossover if crossover is None else crossover
            self.mutate = space.mutate if mutate is None else mutate
            self._herd = Items(_Bred(space, self.crossover, self.mutate), seed)
        self.generation = 0  # how many have been told
        self._next = 0  # number of the first candidate of the generation
        self._fitness: Vector = np.empty(0)
        self._born: NDArray[np.int64] = np.empty(0, np.int64)
        self._size = 0  # of the generation that is out, 0 between generations
        self._waiting: list[int] = []
        self._told: dict[int, float | None] = {}
        self._best: tuple[int, float] | None = None

    @property
    def members(self) -> list[tuple[X, float]]:
        """The living with their fitness, in the order in which `survive` chose them; copies."""
        return [(self._herd.member(place), float(fitness)) for place, fitness in enumerate(self._fitness)]

    def ask(self, n: int | None = None) -> list[Candidate[X]]:
        """At most `n` candidates of the present generation; none while all are out."""
        self._begin()
        count = len(self._waiting) if n is None else max(0, min(n, len(self._waiting)))
        places, self._waiting = self._waiting[:count], self._waiting[count:]
        return [Candidate(self._next + place, self._herd.value(place)) for place in places]

    def tell(self, candidates: Sequence[Candidate[X]], outcomes: Sequence[Told]) -> None:
        """Report outcomes, in any order and in parts; selection follows when the generation is complete."""
        waiting = set(self._waiting)
        open_ids = {self._next + p for p in range(self._size) if p not in waiting and p not in self._told}
        told = told_pairs(candidates, outcomes, open_ids, self.metric)
        self._told.update((i - self._next, fitness) for i, fitness in told.items())
        if self._size and len(self._told) == self._size:
            values = (self._told[place] for place in range(self._size))
            self._finish(np.array([-np.inf if value is None else value for value in values]))

    def ask_array(self) -> NDArray[Any]:
        """The whole present generation of vectors [n, dim], read only.

        Raises:
            TypeError: the candidates are no vectors.
            ValueError: some of it was asked or told one by one.
        """
        if not isinstance(self._herd, Rows):
            raise TypeError(f"candidates of {type(self.space).__name__} are no vectors; use ask and tell")
        self._begin()
        if len(self._waiting) != self._size:
            raise ValueError("part of this generation was asked one by one; tell it so, too")
        view = self._herd.generation.view()
        view.flags.writeable = False
        return view

    def tell_array(self, fitness: Sequence[float] | NDArray[Any]) -> None:
        """Report the fitness [n] of the generation that `ask_array` gave; NaN and ±∞ are failures."""
        values = np.asarray(fitness, dtype=np.float64)
        if not self._size or len(self._waiting) != self._size:
            raise ValueError("no whole generation is out; ask with ask_array first")
        if values.shape != (self._size,):
            raise ValueError(f"fitness should have shape ({self._size},), it has {values.shape}")
        self._finish(np.where(np.isfinite(values), values, -np.inf))

    @property
    def best(self) -> tuple[Candidate[X], float] | None:
        """The best candidate told so far with its fitness; the earlier of equals."""
        found: tuple[Candidate[X], float] | None = None
        if self._best is not None:
            found = (Candidate(self._best[0], self._herd.best()), self._best[1])
        for place, fitness in sorted(self._told.items()):
            if fitness is not None and (found is None or fitness > found[1]):
                found = (Candidate(self._next + place, self._herd.value(place)), fitness)
        return found

    def receive(self, values: Sequence[X] | NDArray[Any], fitness: Vector) -> None:
        """Take in known candidates with their fitness, each for the worst member if it is better.

        Raises:
            ValueError: a generation is out; its draws depend on who lives.
        """
        if self._size:
            raise ValueError("a generation is out: migrants are received between generations")
        for value, worth in zip(values, fitness, strict=True):
            if len(self._fitness) and worth > self._fitness.min() and worth not in self._fitness:
                worst = int(np.argmin(self._fitness))
                self._herd.put(worst, self._next, value)
                self._fitness[worst], self._born[worst] = worth, self._next
                self._next += 1

    def emigrants(self, n: int) -> tuple[list[X], Vector]:
        """Copies of the best `n` members, best first, with their fitness."""
        best = best_places(self._fitness, n)
        return [self._herd.member(int(place)) for place in best], self._fitness[best]

    def state_dict(self) -> Mapping[str, Any]:
        """Configuration, members and the partly told generation: numbers and arrays, of other spaces genealogies."""
        return {
            "config": self._config(),
            "generation": self.generation,
            "next": self._next,
            "fitness": self._fitness.copy(),
            "born": self._born.copy(),
            "drawn": bool(self._size),
            "told": [[place, fitness] for place, fitness in sorted(self._told.items())],
            "best": None if self._best is None else list(self._best),
            "herd": dict(self._herd.state()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue; the untold candidates of a begun generation are handed out again.

        Raises:
            ValueError: the configuration differs.
        """
        for name, value in self._config().items():
            if state["config"].get(name) != value:
                raise ValueError(f"the state was saved with {name}={state['config'].get(name)}, this has {value}")
        self.generation, self._next = int(state["generation"]), int(state["next"])
        self._fitness, self._born = (
            np.array(state["fitness"], dtype=np.float64),
            np.array(state["born"], dtype=np.int64),
        )
        self._best = None if state["best"] is None else (int(state["best"][0]), float(state["best"][1]))
        self._herd.load(state["herd"])
        self._size, self._waiting, self._told = 0, [], {}
        if state["drawn"]:
            self._begin()
            self._told = {int(place): fitness for place, fitness in state["told"]}
            self._waiting = [place for place in self._waiting if place not in self._told]

    def _begin(self) -> None:
        """Breed the next generation unless one is out."""
        if self._size:
            return
        rng = np.random.Generator(np.random.SFC64([self.seed, self.generation]))
        if not len(self._fitness):
            self._size = self.population
            self._herd.found(self._next, self._size, rng)
        else:
            self._size = self.children
            mothers, fathers = np.split(np.asarray(self.select(self._fitness, 2 * self._size, rng)), 2)
            fathers = np.where(rng.random(self._size) < self.rate, fathers, -1)
            self._herd.breed(self._next, mothers, fathers, rng)
        self._waiting = list(range(self._size))

    def _finish(self, fitness: Vector) -> None:
        size, number, first = self._size, self.generation, self._next
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
        self._size, self._waiting, self._told = 0, [], {}
        self.generation, self._next = number + 1, first + size
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
        rest: dict[str, Any] = {"mutate": Swap(), "survive": crowd}
        yield (
            f"{cls.__name__}-orders",
            Example(lambda seed: cls(order, 8, **rest, seed=seed), _sorted),
        )


class _Bred(Space[X]):
    """A space in which a child of two is crossed, then mutated."""

    def __init__(self, space: Space[X], crossover: Any, mutate: Any) -> None:
        self._space = space
        self._cross = crossover.item if isinstance(crossover, Crossover) else crossover
        self._vary = mutate.item if isinstance(mutate, Mutation) else mutate

    def sample(self, rng: np.random.Generator) -> X:
        return self._space.sample(rng)

    def mutate(self, x: X, rng: np.random.Generator) -> X:
        return cast("X", self._vary(x, rng))

    def crossover(self, a: X, b: X, rng: np.random.Generator) -> X:
        return self.mutate(self._cross(a, b, rng), rng)

    def valid(self, x: X) -> bool:
        return self._space.valid(x)


def _named(part: Any) -> str:
    """A part with its settings, or the name of a function, for comparing configurations."""
    return f"{part.__module__}.{part.__qualname__}" if isroutine(part) else repr(part)


def _sorted(order: Sequence[int]) -> float:
    """How near an order is to 0, 1, 2…, at most 0."""
    return -float(sum(abs(value - place) for place, value in enumerate(order)))
