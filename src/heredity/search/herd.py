"""A population and its present generation, as rows of one array or as candidates of any space.

Both are known by place; a searcher keeps their fitness and decides who breeds and who lives.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from heredity.search.base import Space
from heredity.search.box import Box
from heredity.search.crossover import Crossover
from heredity.search.genealogy import Genealogy, generator
from heredity.search.mutation import Mutation

X = TypeVar("X")
Array = NDArray[Any]
TRIES = 100  # draws of one candidate until the space calls it valid and it is new
AGAIN = 8  # mutants of a row, and rounds of them, until it is new


class Herd(ABC, Generic[X]):
    """Members and a generation of candidates that are not members yet."""

    @abstractmethod
    def found(self, first: int, n: int, rng: np.random.Generator) -> None:
        """Make a generation of `n` samples, numbered from `first`."""

    @abstractmethod
    def breed(self, first: int, n: int, pairs: Array, rng: np.random.Generator) -> None:
        """Make a generation of `n` children of members: two neighbours of each of the pairs of places [⌈n / 2⌉, 2]."""

    @abstractmethod
    def value(self, place: int) -> X:
        """A copy of a candidate of the generation."""

    @abstractmethod
    def pool(self, places: Array) -> Array | Sequence[X]:
        """All members, then these candidates of the generation; the next call of `keep` refers to it."""

    @abstractmethod
    def keep(self, chosen: Array) -> None:
        """The members are now these of the pool; the generation ends."""

    @abstractmethod
    def adopt(self, places: Array, children: Array) -> None:
        """These candidates of the generation take the places of members, or follow the last; the generation ends."""

    @abstractmethod
    def member(self, place: int) -> X:
        """A copy of a member."""

    @abstractmethod
    def put(self, place: int, i: int, value: X) -> None:
        """A candidate from outside, numbered `i` from now on, takes the place of a member, or follows the last."""

    @abstractmethod
    def remember(self, place: int) -> None:
        """A candidate of the generation is the best so far."""

    @abstractmethod
    def best(self) -> X:
        """A copy of what was remembered."""

    @abstractmethod
    def state(self) -> Mapping[str, Any]:
        """Members and best, in plain form."""

    @abstractmethod
    def load(self, state: Mapping[str, Any]) -> None:
        """Continue; a generation that had begun has to be made again."""


class Rows(Herd[Array]):
    """Vectors: members [m, dim] and generation [n, dim].

    Args:
        box: where they live; what leaves it is folded back.
        cross, mutate: how children come about.
        rate: probability that a pair is crossed; both children of a pair are mutated in any case.
        dtype: float32 or float64.
        fresh: whether a child that equals a member or another child is mutated again.
    """

    def __init__(
        self, box: Box, cross: Crossover, mutate: Mutation, rate: float, dtype: np.dtype[Any], *, fresh: bool = True
    ) -> None:
        self._box, self._cross, self._mutate, self._rate, self._dtype = box, cross, mutate, rate, dtype
        self._fresh = fresh
        self._members: Array = np.empty((0, box.dim), dtype)
        self._best: Array = np.empty(0, dtype)
        self._pool: Array = self._members
        self.generation: Array = self._members

    @property
    def shown(self) -> Array:
        """The generation [n, dim], read only."""
        view = self.generation.view()
        view.flags.writeable = False
        return view

    def found(self, first: int, n: int, rng: np.random.Generator) -> None:
        self.generation = self._box.samples(n, rng).astype(self._dtype, copy=False)

    def breed(self, first: int, n: int, pairs: Array, rng: np.random.Generator) -> None:
        a, b = self._members[pairs[:, 0]], self._members[pairs[:, 1]]
        children = self._cross.rows(a, b, rng, self._box)
        single = rng.random(len(pairs)) >= self._rate
        children[0, single], children[1, single] = a[single], b[single]
        children = children.swapaxes(0, 1).reshape(-1, self._box.dim)[:n]
        x = self._varied(self._box.fold(children), rng)
        if self._fresh:
            for _ in range(AGAIN):
                if not len(twins := _twins(x, self._members)):
                    break
                # Several mutants at once, for many a mutation leaves a vector as it is: the first that differs.
                old = x[twins]
                tries = self._varied(np.repeat(old, AGAIN, axis=0), rng).reshape(len(twins), AGAIN, -1)
                x[twins] = tries[np.arange(len(twins)), np.argmax((tries != old[:, None]).any(axis=2), axis=1)]
        self.generation = x

    def _varied(self, x: Array, rng: np.random.Generator) -> Array:
        return self._box.fold(self._mutate.rows(x, rng, self._box))

    def value(self, place: int) -> Array:
        return np.array(self.generation[place])

    def pool(self, places: Array) -> Array:
        self._pool = np.concatenate([self._members, self.generation[places]])
        return self._pool

    def keep(self, chosen: Array) -> None:
        self._members = self._pool[chosen]
        self._pool = self._members

    def adopt(self, places: Array, children: Array) -> None:
        self._grow(int(np.max(places, initial=-1)) + 1)
        self._members[places] = self.generation[children]

    def member(self, place: int) -> Array:
        return np.array(self._members[place])

    def put(self, place: int, i: int, value: Array) -> None:
        self._grow(place + 1)
        self._members[place] = value

    def _grow(self, size: int) -> None:
        if (more := size - len(self._members)) > 0:
            self._members = np.concatenate([self._members, np.empty((more, self._box.dim), self._dtype)])

    def remember(self, place: int) -> None:
        self._best = self.value(place)

    def best(self) -> Array:
        return self._best.copy()

    def state(self) -> Mapping[str, Any]:
        return {"members": self._members.copy(), "best": self._best.copy()}

    def load(self, state: Mapping[str, Any]) -> None:
        self._members = np.array(state["members"], dtype=self._dtype).reshape(-1, self._box.dim)
        self._best = np.array(state["best"], dtype=self._dtype)
        self._pool = self.generation = self._members


class Items(Herd[X]):
    """Candidates of any space, known by how they were made.

    Args:
        space: what is drawn; it says what is valid.
        seed: of everything made.
        cross, mutate: how children come about, parts or functions; default the space's own crossover and mutation.
        rate: probability that a child has two parents.
        mutation: probability that a child of two parents is mutated, too; one of a single parent always is.
        key: what makes two candidates the same: one that equals a member or another of its generation is made again,
            unless the space seems to have no other. Default: nothing, equals may live together.

    Raises:
        ValueError: the space gave no valid candidate in 100 tries.

    Candidates from outside stay in the state as they are.
    """

    def __init__(
        self,
        space: Space[X],
        seed: int,
        *,
        cross: Any = None,
        mutate: Any = None,
        rate: float = 1.0,
        mutation: float = 1.0,
        key: Callable[[X], Hashable] | None = None,
    ) -> None:
        self._space, self._seed, self._rate, self._key = space, seed, rate, key
        self._family: Genealogy[X] = Genealogy(_Bred(space, cross, mutate, mutation), seed)
        self._members: list[int] = []
        self._pool: list[int] = []
        self._generation: list[int] = []
        self._best: int | None = None

    def found(self, first: int, n: int, rng: np.random.Generator) -> None:
        self._make_all(first, [()] * n)

    def breed(self, first: int, n: int, pairs: Array, rng: np.random.Generator) -> None:
        """The second child of a pair has its parents the other way round."""
        ids = [[self._members[place] for place in pair] for pair in pairs.tolist()]
        both: list[tuple[int, ...]] = [parents for a, b in ids for parents in ((a, b), (b, a))]
        self._make_all(first, both[:n])

    def value(self, place: int) -> X:
        return self._family.value(self._generation[place])

    def pool(self, places: Array) -> Sequence[X]:
        self._pool = self._members + [self._generation[place] for place in places.tolist()]
        return [self._family.value(i) for i in self._pool]

    def keep(self, chosen: Array) -> None:
        self._members = [self._pool[place] for place in chosen.tolist()]
        self._end()

    def adopt(self, places: Array, children: Array) -> None:
        for place, child in zip(places.tolist(), children.tolist(), strict=True):
            self._members[place : place + 1] = [self._generation[child]]
        self._end()

    def member(self, place: int) -> X:
        return self._family.value(self._members[place])

    def put(self, place: int, i: int, value: X) -> None:
        self._family.welcome(i, value)
        self._members[place : place + 1] = [i]
        self._family.keep(self._needed())

    def remember(self, place: int) -> None:
        self._best = self._generation[place]

    def best(self) -> X:
        assert self._best is not None
        return self._family.value(self._best)

    def state(self) -> Mapping[str, Any]:
        return {
            "members": list(self._members),
            "best": self._best,
            "births": self._family.state(self._needed() | set(self._generation)),
            "guests": self._family.guests,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self._members = [int(i) for i in state["members"]]
        self._best = None if state["best"] is None else int(state["best"])
        self._generation = []
        self._family.load(state["births"], state["guests"])
        self._family.keep(self._needed())

    def _make_all(self, first: int, parents: list[tuple[int, ...]]) -> None:
        known = set() if self._key is None else {self._key(self._family.value(i)) for i in self._members}
        self._generation = [self._make(i, above, known) for i, above in enumerate(parents, start=first)]

    def _make(self, i: int, parents: tuple[int, ...], known: set[Hashable]) -> int:
        """Candidate i; its key becomes known."""
        spare: tuple[int, tuple[int, ...], X] | None = None  # valid, though known
        for attempt in range(TRIES):
            above = parents
            if parents and self._rate < 1 and generator(self._seed, i, "select", attempt).random() >= self._rate:
                above = parents[:1]
            value = self._family.make(i, above, attempt)
            if self._space.valid(value):
                spare = attempt, above, value
                if self._key is None or self._key(value) not in known:
                    break
        if spare is None:
            raise ValueError(f"{type(self._space).__name__} gave no valid candidate in {TRIES} tries")
        attempt, above, value = spare
        self._family.add(i, above, attempt, value)
        if self._key is not None:
            known.add(self._key(value))
        return i

    def _end(self) -> None:
        self._generation = []
        self._family.keep(self._needed())

    def _needed(self) -> set[int]:
        return set(self._members) | (set() if self._best is None else {self._best})


class _Bred(Space[X]):
    """A space in which the child of two is crossed and then, with probability `rate`, mutated."""

    def __init__(self, space: Space[X], cross: Any, mutate: Any, rate: float) -> None:
        self._space, self._rate = space, rate
        self._cross = cross.item if isinstance(cross, Crossover) else cross or space.crossover
        self._vary = mutate.item if isinstance(mutate, Mutation) else mutate or space.mutate

    def sample(self, rng: np.random.Generator) -> X:
        return self._space.sample(rng)

    def mutate(self, x: X, rng: np.random.Generator) -> X:
        return cast("X", self._vary(x, rng))

    def crossover(self, a: X, b: X, rng: np.random.Generator) -> X:
        child = self._cross(a, b, rng)
        return self.mutate(child, rng) if self._rate == 1 or rng.random() < self._rate else cast("X", child)

    def valid(self, x: X) -> bool:
        return self._space.valid(x)


def _twins(x: Array, members: Array) -> NDArray[np.intp]:
    """Rows of `x` [n, dim] that equal a member or an earlier row, to the bit."""
    both = np.ascontiguousarray(np.concatenate([members, x]))
    # Equal rows have equal sums of their bits; only the few rows that share a sum are compared.
    sums = both.view(np.uint32 if both.itemsize == 4 else np.uint64).sum(axis=1, dtype=np.uint64)
    order = np.argsort(sums)
    same = np.flatnonzero(np.diff(sums[order]) == 0)
    known: set[bytes] = set()
    twins = []
    for row in sorted({*order[same].tolist(), *order[same + 1].tolist()}):
        key = both[row].tobytes()
        if key in known and row >= len(members):
            twins.append(row - len(members))
        known.add(key)
    return np.array(twins, dtype=np.intp)
