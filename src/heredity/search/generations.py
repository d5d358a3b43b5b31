"""Searchers that work in generations of vectors: what they all share, so that a method is a draw and an update.

Source: the family contract in the specification of arXiv 1712.06567.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from heredity.errors import EvaluationFailed
from heredity.search.base import Candidate, Example, Searcher, Told, told_pairs
from heredity.search.box import Box, Vectors, as_box
from heredity.search.noise import normal

Array: TypeAlias = NDArray[Any]  # float32 or float64, as the searcher was told
Vector: TypeAlias = NDArray[np.float64]


class VectorSearcher(Searcher[Array]):
    """Ask and tell over vectors [dim], a generation at a time.

    Args:
        space: a `Box`, a number of unbounded dimensions, or the `FlatParams` of a network (the search starts there).
        population: candidates per generation.
        seed: of everything drawn.
        dtype: of the candidates; float32 halves the time and memory of large ones.
        metric: the value of an outcome to maximise, where it has several.

    A method defines `_draw`, `_learn`, `_method_state` and `_load_method_state`. Candidates lie inside the bounds: a
    draw outside is folded back (`Box.fold`) before it is handed out, and the method learns from where it drew.
    Between generations a whole generation can be asked and told as arrays, which is several times faster where the
    function is fast: `ask_array`, `tell_array`.
    """

    def __init__(
        self,
        space: Vectors,
        population: int,
        *,
        seed: int = 0,
        dtype: DTypeLike = np.float64,
        metric: str | None = None,
    ) -> None:
        if population < 2:
            raise ValueError(f"a generation needs at least two candidates, got population={population}")
        self.space: Box = as_box(space)
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ValueError(f"dtype must be float32 or float64, got {self.dtype}")
        self.population, self.seed, self.metric = population, seed, metric
        self.generation = 0  # how many have been told
        self._open_space = not (np.isfinite(self.space.low).any() or np.isfinite(self.space.high).any())
        self._rng = np.random.Generator(np.random.SFC64(seed))
        self._before: Mapping[str, Any] = {}  # of the generator, before the present generation was drawn
        self._begun = False
        self._x: Array | None = None  # the present generation as handed out [population, dim]
        self._waiting: list[int] = []
        self._told: dict[int, float | None] = {}
        self._best: tuple[int, Array, float] | None = None

    @property
    def dim(self) -> int:
        """Length of a candidate."""
        return self.space.dim

    @property
    def center(self) -> Array:
        """What the search has settled on [dim]; with noisy fitness less lucky than `best`. Default: the best told."""
        return np.array(self.space.start if self._best is None else self._best[1], dtype=self.dtype)

    # What a method says.

    @abstractmethod
    def _draw(self, rng: np.random.Generator) -> Array | None:
        """The next generation [population, dim], a fresh array; outside the bounds it will be folded.

        None where the method makes candidates on demand, by `_vectors`, and need not hold them all.
        Changes nothing that `_method_state` returns: a loaded searcher draws the present generation again.
        """

    @abstractmethod
    def _learn(self, x: Array, fitness: Vector) -> None:
        """Change the search by what the candidates `x` as handed out [population, dim] were worth.

        `x` is empty where the method makes candidates on demand. `fitness` [population] is −∞ for failures, and finite
        for at least one.
        """

    @abstractmethod
    def _method_state(self) -> Mapping[str, Any]:
        """Numbers and arrays, copied."""

    @abstractmethod
    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `_method_state`."""

    def _vectors(self, places: Sequence[int]) -> Array:
        """Candidates [n, dim] of the generation last drawn, where `_draw` gave None; fresh, not yet folded."""
        raise NotImplementedError(f"{type(self).__name__} drew no vectors and cannot make them")

    # The contract.

    def ask(self, n: int | None = None) -> list[Candidate[Array]]:
        """At most `n` candidates of the present generation; none while all are out."""
        self._begin()
        count = len(self._waiting) if n is None else max(0, min(n, len(self._waiting)))
        places, self._waiting = self._waiting[:count], self._waiting[count:]
        copies = self._copies(places)
        first = self.generation * self.population
        return [Candidate(first + place, copy) for place, copy in zip(places, copies, strict=True)]

    def tell(self, candidates: Sequence[Candidate[Array]], outcomes: Sequence[Told]) -> None:
        """Report outcomes, in any order and in parts; the update follows when the generation is complete."""
        first = self.generation * self.population
        waiting, known = set(self._waiting), self._told
        places = range(self.population if self._begun else 0)
        out = {first + place for place in places if place not in waiting and place not in known}
        told = told_pairs(candidates, outcomes, out, self.metric)
        self._told.update((i - first, fitness) for i, fitness in told.items())
        if len(self._told) == self.population:
            values = (self._told[place] for place in range(self.population))
            self._finish(np.array([-np.inf if value is None else value for value in values]))

    def ask_array(self) -> Array:
        """The whole present generation [population, dim], read only.

        Raises:
            ValueError: some of it was asked or told one by one.
        """
        x = self._generation()
        if len(self._waiting) != self.population:
            raise ValueError("part of this generation was asked one by one; tell it so, too")
        view = x.view()
        view.flags.writeable = False
        return view

    def tell_array(self, fitness: Sequence[float] | NDArray[Any]) -> None:
        """Report the fitness [population] of the generation that `ask_array` gave; NaN and ±∞ are failures.

        Raises:
            ValueError: it has another shape, or no generation was asked.
            EvaluationFailed: all failed.
        """
        values = np.asarray(fitness, dtype=np.float64)
        if values.shape != (self.population,):
            raise ValueError(f"fitness should have shape ({self.population},), it has {values.shape}")
        if not self._begun or len(self._waiting) != self.population:
            raise ValueError("no whole generation is out; ask with ask_array first")
        finite = np.isfinite(values)
        self._finish(values if finite.all() else np.where(finite, values, -np.inf))

    @property
    def best(self) -> tuple[Candidate[Array], float] | None:
        """The best candidate told so far with its fitness; the earlier of equals."""
        best = self._best
        first = self.generation * self.population
        for place, fitness in sorted(self._told.items()):
            if fitness is not None and (best is None or fitness > best[2]):
                best = (first + place, self._copies([place])[0], fitness)
        return None if best is None else (Candidate(best[0], best[1].copy()), best[2])

    def state_dict(self) -> Mapping[str, Any]:
        """Configuration, generator, method, best and the partly told generation: numbers, strings and arrays."""
        return {
            "config": self._config(),
            "generation": self.generation,
            "generator": _plain(self._before if self._begun else self._rng.bit_generator.state),
            "drawn": self._begun,
            "told": [[place, fitness] for place, fitness in sorted(self._told.items())],
            "best": None if self._best is None else [self._best[0], self._best[1].copy(), self._best[2]],
            "method": dict(self._method_state()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue; the untold candidates of a begun generation are handed out again.

        Raises:
            ValueError: the configuration differs.
        """
        for name, value in self._config().items():
            if name not in state["config"] or not np.array_equal(np.asarray(state["config"][name]), np.asarray(value)):
                saved = state["config"].get(name)
                raise ValueError(f"the state was saved with {name}={saved}, this {type(self).__name__} has {value}")
        self.generation = int(state["generation"])
        self._rng.bit_generator.state = _generator_state(state["generator"])
        best = state["best"]
        self._best = None if best is None else (int(best[0]), np.array(best[1], dtype=self.dtype), float(best[2]))
        self._load_method_state(state["method"])
        self._close()
        if state["drawn"]:
            self._begin()
            self._told = {int(place): fitness for place, fitness in state["told"]}
            self._waiting = [place for place in self._waiting if place not in self._told]

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """The method on a small sphere in a box, with its defaults."""

        def make(seed: int) -> Searcher[Any]:
            return cls(Box(-2.0, 3.0, dim=3), seed=seed)  # type: ignore[call-arg]  # a method has its own population

        yield cls.__name__, Example(make, lambda x: -float(np.sum(np.square(x - 1.0))))

    def _normal(self, rng: np.random.Generator, shape: tuple[int, ...], out: Array | None = None) -> Array:
        """Standard normal noise in the searcher's dtype, into `out` where that fits; see `heredity.search.noise`."""
        return normal(rng, shape, self.dtype, out)

    def _config(self) -> dict[str, Any]:
        """What has to be equal when a state is loaded; a method adds its own."""
        return {
            "method": type(self).__name__,
            "dim": self.dim,
            "population": self.population,
            "seed": self.seed,
            "dtype": self.dtype.name,
            "low": self.space.low,
            "high": self.space.high,
        }

    def _begin(self) -> None:
        if self._begun:
            return
        self._before = self._rng.bit_generator.state
        drawn = self._draw(self._rng)
        if drawn is not None:
            if drawn.shape != (self.population, self.dim):
                raise ValueError(f"{type(self).__name__} drew {drawn.shape}, not {(self.population, self.dim)}")
            self._x = self._folded(drawn)
        self._waiting, self._begun = list(range(self.population)), True

    def _generation(self) -> Array:
        self._begin()
        if self._x is None:
            self._x = self._folded(self._vectors(range(self.population)))
        return self._x

    def _folded(self, x: Array) -> Array:
        return x if self._open_space else self.space.fold(x)

    def _copies(self, places: Sequence[int]) -> Array:
        if self._x is None:
            return self._folded(self._vectors(places))
        return np.array(self._x if len(places) == self.population else self._x[places])

    def _finish(self, fitness: Vector) -> None:
        number = self.generation
        top = int(np.argmax(fitness))
        failed = not fitness[top] > -np.inf
        if not failed:
            if self._best is None or fitness[top] > self._best[2]:
                self._best = (number * self.population + top, self._copies([top])[0], float(fitness[top]))
            self._learn(np.empty((0, self.dim), self.dtype) if self._x is None else self._x, fitness)
        self._close()
        self.generation = number + 1
        if failed:
            raise EvaluationFailed(
                f"all {self.population} candidates of generation {number} failed; there is nothing to rank"
            )

    def _close(self) -> None:
        self._x, self._waiting, self._told, self._begun = None, [], {}, False


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """A bit generator's state with nothing of numpy but arrays."""
    return {
        key: _plain(value) if isinstance(value, Mapping) else (value.copy() if isinstance(value, np.ndarray) else value)
        for key, value in state.items()
    }


def _generator_state(state: Mapping[str, Any]) -> dict[str, Any]:
    inner = {
        key: np.asarray(value, dtype=np.uint64) if isinstance(value, (list, np.ndarray)) else value
        for key, value in state["state"].items()
    }
    return {**state, "state": inner}
