"""A population and its present generation, as rows of one array or as candidates of any space.

Both are known by place; a searcher keeps their fitness and decides who breeds and who lives.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from heredity.search.base import Space
from heredity.search.bounds import mirror
from heredity.search.box import Box
from heredity.search.genealogy import Genealogy

X = TypeVar("X")
Array = NDArray[Any]
TRIES = 100  # draws of one candidate until the space calls it valid


class Herd(ABC, Generic[X]):
    """Members and a generation of candidates that are not members yet."""

    @abstractmethod
    def found(self, first: int, n: int, rng: np.random.Generator) -> None:
        """Make a generation of `n` samples, numbered from `first`."""

    @abstractmethod
    def breed(self, first: int, mothers: Array, fathers: Array, rng: np.random.Generator) -> None:
        """Make a generation of the children of members; a father of −1 is none."""

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
    def member(self, place: int) -> X:
        """A copy of a member."""

    @abstractmethod
    def put(self, place: int, i: int, value: X) -> None:
        """A candidate from outside, numbered `i` from now on, takes the place of a member."""

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
        cross: rows of mothers and of fathers → rows of children.
        mutate: rows → changed rows.
        dtype: float32 or float64.
    """

    def __init__(
        self,
        box: Box,
        cross: Callable[[Array, Array, np.random.Generator], Array],
        mutate: Callable[[Array, np.random.Generator], Array],
        dtype: np.dtype[Any],
    ) -> None:
        self._box, self._cross, self._mutate, self._dtype = box, cross, mutate, dtype
        self._members: Array = np.empty((0, box.dim), dtype)
        self._best: Array = np.empty(0, dtype)
        self._pool: Array = self._members
        self.generation: Array = self._members

    def found(self, first: int, n: int, rng: np.random.Generator) -> None:
        self.generation = self._box.samples(n, rng).astype(self._dtype, copy=False)

    def breed(self, first: int, mothers: Array, fathers: Array, rng: np.random.Generator) -> None:
        children = self._members[mothers]
        two = np.flatnonzero(fathers >= 0)
        if len(two):
            children[two] = self._cross(children[two], self._members[fathers[two]], rng)
        self.generation = mirror(self._mutate(mirror(children, self._box), rng), self._box)

    def value(self, place: int) -> Array:
        return np.array(self.generation[place])

    def pool(self, places: Array) -> Array:
        self._pool = np.concatenate([self._members, self.generation[places]])
        return self._pool

    def keep(self, chosen: Array) -> None:
        self._members = self._pool[chosen]
        self._pool = self._members

    def member(self, place: int) -> Array:
        return np.array(self._members[place])

    def put(self, place: int, i: int, value: Array) -> None:
        self._members[place] = value

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
        space: what is drawn, mutated (one parent) and crossed (two); it says what is valid.
        seed: of everything made.

    Raises:
        ValueError: the space gave no valid candidate in 100 tries.

    Candidates from outside stay in the state as they are.
    """

    def __init__(self, space: Space[X], seed: int) -> None:
        self._space, self._seed = space, seed
        self._guests: list[X] = []
        self._family: Genealogy[X] = Genealogy(space, seed, self._guests)
        self._members: list[int] = []
        self._pool: list[int] = []
        self._generation: list[int] = []
        self._best: int | None = None

    def found(self, first: int, n: int, rng: np.random.Generator) -> None:
        self._generation = [self._make(i, ()) for i in range(first, first + n)]

    def breed(self, first: int, mothers: Array, fathers: Array, rng: np.random.Generator) -> None:
        pairs = zip(mothers.tolist(), fathers.tolist(), strict=True)
        parents = [(m,) if f < 0 else (m, f) for m, f in pairs]
        self._generation = [
            self._make(first + place, tuple(self._members[p] for p in pair)) for place, pair in enumerate(parents)
        ]

    def value(self, place: int) -> X:
        return deepcopy(self._family.value(self._generation[place]))

    def pool(self, places: Array) -> Sequence[X]:
        self._pool = self._members + [self._generation[place] for place in places.tolist()]
        return [self._family.value(i) for i in self._pool]

    def keep(self, chosen: Array) -> None:
        self._members = [self._pool[place] for place in chosen.tolist()]
        self._generation = []
        self._family.keep(self._needed())

    def member(self, place: int) -> X:
        return deepcopy(self._family.value(self._members[place]))

    def put(self, place: int, i: int, value: X) -> None:
        self._guests.append(deepcopy(value))
        self._family.add(i, (-len(self._guests),), 0, self._guests[-1])
        self._members[place] = i
        self._family.keep(self._needed())

    def remember(self, place: int) -> None:
        self._best = self._generation[place]

    def best(self) -> X:
        assert self._best is not None
        return deepcopy(self._family.value(self._best))

    def state(self) -> Mapping[str, Any]:
        return {
            "members": list(self._members),
            "best": self._best,
            "births": self._family.state(self._needed() | set(self._generation)),
            "guests": list(self._guests),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self._guests[:] = state["guests"]
        self._members = [int(i) for i in state["members"]]
        self._best = None if state["best"] is None else int(state["best"])
        self._generation = []
        self._family.load(state["births"])
        self._family.keep(self._needed())

    def _make(self, i: int, parents: tuple[int, ...]) -> int:
        for attempt in range(TRIES):
            value = self._family.make(i, parents, attempt)
            if self._space.valid(value):
                self._family.add(i, parents, attempt, value)
                return i
        raise ValueError(f"{type(self._space).__name__} gave no valid candidate in {TRIES} tries")

    def _needed(self) -> set[int]:
        return set(self._members) | (set() if self._best is None else {self._best})
