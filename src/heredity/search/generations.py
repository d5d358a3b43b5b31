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
from heredity.search.base import Candidate, Example, Searcher, Told, check_config, told_pairs
from heredity.search.box import Box, Vectors, as_box
from heredity.search.migration import best_places, replace_worst
from heredity.search.noise import normal
from heredity.search.rounds import Round

Array: TypeAlias = NDArray[Any]  # float32 or float64, as the searcher was told
Vector: TypeAlias = NDArray[np.float64]


class VectorSearcher(Searcher[Array]):
    """Ask and tell over vectors [dim], a generation at a time.

    Args:
        space: a `Box`, a number of unbounded dimensions, or the `FlatParams` of a network (the search starts there).
        population: candidates per generation; a method may propose fewer.
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
        self._rng = np.random.Generator(np.random.SFC64(seed))
        self._before: Mapping[str, Any] = {}  # of the generator, before the present generation was drawn
        self._round: Round[float] = Round()
        self._x: Array | None = None  # the present generation as handed out [n, dim]
        self._guests: Array = np.empty((0, self.dim), self.dtype)  # will be part of the next generation
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
        """The next generation [n ≤ population, dim], a fresh array; outside the bounds it will be folded.

        None where the method makes candidates on demand, by `_vectors`, and need not hold them all.
        Changes nothing that `_method_state` returns: a loaded searcher draws the present generation again.
        """

    @abstractmethod
    def _learn(self, x: Array, fitness: Vector) -> None:
        """Change the search by what the candidates `x` as handed out [n, dim] were worth.

        `x` is empty where the method makes candidates on demand. `fitness` [n] is −∞ for failures, and finite for at
        least one.
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

    def _living(self) -> tuple[Array, Vector] | None:
        """Members [m, dim] and their fitness [m], not copied, where a method goes on from these alone."""
        return None

    def _inject(self, x: Array, places: slice) -> None:
        """Candidates `x` [k, dim] of others stand at these places of the generation just drawn, instead of its own.

        A method that learns from how it drew notes here how it would have drawn them.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot learn from vectors that it did not draw")

    # The contract.

    def ask(self, n: int | None = None) -> list[Candidate[Array]]:
        """At most `n` candidates of the present generation; none while all are out."""
        self._begin()
        places = self._round.take(n)
        copies = self._copies(places)
        first = self._round.first
        return [Candidate(first + place, copy) for place, copy in zip(places, copies, strict=True)]

    def tell(self, candidates: Sequence[Candidate[Array]], outcomes: Sequence[Told]) -> None:
        """Report outcomes, in any order and in parts; the update follows when the generation is complete."""
        if self._round.note(told_pairs(candidates, outcomes, self._round.out, self.metric)):
            self._finish(np.array([-np.inf if value is None else value for value in self._round.in_order()]))

    def ask_array(self) -> Array:
        """The whole present generation [n, dim], read only.

        Raises:
            ValueError: some of it was asked or told one by one.
        """
        x = self._generation()
        if not self._round.whole:
            raise ValueError("part of this generation was asked one by one; tell it so, too")
        view = x.view()
        view.flags.writeable = False
        return view

    def tell_array(self, fitness: Sequence[float] | NDArray[Any]) -> None:
        """Report the fitness [n] of the generation that `ask_array` gave; NaN and ±∞ are failures.

        Raises:
            ValueError: it has another shape, or no generation was asked.
            EvaluationFailed: all failed.
        """
        values = np.asarray(fitness, dtype=np.float64)
        if not self._round.whole:
            raise ValueError("no whole generation is out; ask with ask_array first")
        if values.shape != (self._round.size,):
            raise ValueError(f"fitness should have shape ({self._round.size},), it has {values.shape}")
        finite = np.isfinite(values)
        self._finish(values if finite.all() else np.where(finite, values, -np.inf))

    @property
    def best(self) -> tuple[Candidate[Array], float] | None:
        """The best candidate told so far with its fitness; the earlier of equals."""
        best = self._best
        for place, fitness in sorted(self._round.told.items()):
            if fitness is not None and (best is None or fitness > best[2]):
                best = (self._round.first + place, self._copies([place])[0], fitness)
        return None if best is None else (Candidate(best[0], best[1].copy()), best[2])

    def state_dict(self) -> Mapping[str, Any]:
        """Configuration, generator, method, best and the partly told generation: numbers, strings and arrays."""
        return {
            "config": self._config(),
            "generation": self.generation,
            "generator": _plain(self._before if self._round.size else self._rng.bit_generator.state),
            "round": self._round.state(),
            "guests": self._guests.copy(),
            "best": None if self._best is None else [self._best[0], self._best[1].copy(), self._best[2]],
            "method": dict(self._method_state()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue; the untold candidates of a begun generation are handed out again.

        Raises:
            ValueError: the configuration differs.
        """
        check_config(state["config"], self._config(), self)
        self.generation = int(state["generation"])
        self._rng.bit_generator.state = _generator_state(state["generator"])
        best = state["best"]
        self._best = None if best is None else (int(best[0]), np.array(best[1], dtype=self.dtype), float(best[2]))
        self._load_method_state(state["method"])
        self._guests = np.array(state["guests"], dtype=self.dtype).reshape(-1, self.dim)
        self._x = None
        self._round.load(state["round"], self._begin, float)

    @property
    def hosts(self) -> bool:
        """Whether the method has members of which only the fitness counts, or can learn from others' vectors."""
        return self._living() is not None or type(self)._inject is not VectorSearcher._inject

    def emigrants(self, n: int) -> tuple[list[Array], list[float]]:
        """Copies of the best members; of a method without members the best told so far, alone."""
        living = self._living()
        if living is None:
            return super().emigrants(n)
        best = best_places(living[1], n)
        return list(living[0][best]), living[1][best].tolist()

    def receive(self, values: Sequence[Array] | Array, worth: Sequence[float] | Vector) -> None:
        """Take in known vectors, each as a member for the worst one, if it is better and new.

        In a method without members they take the last places of the next generation and are evaluated there again.
        """
        if self._round.size:
            raise ValueError("a generation is out: migrants are received between generations")
        living = self._living()
        if living is not None:
            replace_worst(*living, values, np.asarray(worth, dtype=np.float64))
        elif not self.hosts:
            raise NotImplementedError(f"{type(self).__name__} cannot learn from vectors that it did not draw")
        elif len(values):
            known = np.asarray(values, dtype=self.dtype).reshape(-1, self.dim)
            self._guests = np.concatenate([self._guests, known])[-(self.population // 2) :]

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
        if self._round.size:
            return
        self._before = self._rng.bit_generator.state
        drawn = self._draw(self._rng)
        self._x = None
        if drawn is not None:
            if not 0 < len(drawn) <= self.population or drawn.shape[1:] != (self.dim,):
                raise ValueError(f"{type(self).__name__} drew {drawn.shape}, not {(self.population, self.dim)}")
            self._x = self.space.fold(drawn)
            if len(self._guests):
                places = slice(len(drawn) - len(self._guests), len(drawn))
                self._x[places] = self._guests
                self._inject(self._guests, places)
        self._round.begin(self.population if drawn is None else len(drawn))

    def _generation(self) -> Array:
        self._begin()
        if self._x is None:
            self._x = self.space.fold(self._vectors(range(self.population)))
        return self._x

    def _copies(self, places: Sequence[int]) -> Array:
        if self._x is None:
            return self.space.fold(self._vectors(places))
        return np.array(self._x if len(places) == len(self._x) else self._x[places])

    def _finish(self, fitness: Vector) -> None:
        number, size, x = self.generation, self._round.size, self._x
        top = int(np.argmax(fitness))
        failed = not fitness[top] > -np.inf
        if not failed:
            if self._best is None or fitness[top] > self._best[2]:
                self._best = (self._round.first + top, self._copies([top])[0], float(fitness[top]))
            self._learn(np.empty((0, self.dim), self.dtype) if x is None else x, fitness)
        self._x, self._guests = None, self._guests[:0]
        self._round.end()
        self.generation = number + 1
        if failed:
            raise EvaluationFailed(f"all {size} candidates of generation {number} failed; there is nothing to rank")


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
