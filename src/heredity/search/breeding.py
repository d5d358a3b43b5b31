"""How a generation of children comes from pairs of parents: arrays at once in a box, one by one in any other space.

Source: simulated binary crossover, Deb & Agrawal, Complex Systems 9 (1995), bounded as in Deb & Goyal, CSI 26 (1996),
which also has polynomial mutation.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from heredity.search.base import Space
from heredity.search.box import Box
from heredity.search.dominance import Indices
from heredity.search.genealogy import Genealogy, generator

X = TypeVar("X")
Vector = NDArray[np.float64]
TRIES = 100  # draws until a candidate is valid and new


class Brood(ABC, Generic[X]):
    """The members of a population and their young, known by their places."""

    @abstractmethod
    def found(self, first: int, n: int, rng: np.random.Generator) -> None:
        """Draw `n` young without parents; the first has the number `first`."""

    @abstractmethod
    def breed(self, first: int, n: int, pairs: Indices, rng: np.random.Generator) -> None:
        """Make `n` young of members, two of each of the pairs of places [⌈n / 2⌉, 2]."""

    @abstractmethod
    def young(self, place: int) -> X:
        """A copy of one of the young."""

    @abstractmethod
    def member(self, place: int) -> X:
        """A copy of a member."""

    @abstractmethod
    def select(self, places: Indices, kept: int | None) -> None:
        """Make those the members, in this order, who stand at these places of the list of members and young.

        `kept` is the place of one to be remembered as `champion`; None keeps the one remembered.
        """

    @abstractmethod
    def champion(self) -> X:
        """A copy of the one to be remembered."""

    @abstractmethod
    def state(self) -> Mapping[str, Any]:
        """Members, champion and young: numbers and arrays."""

    @abstractmethod
    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""


class Vectors(Brood[Vector]):
    """In a box: simulated binary crossover and polynomial mutation of a whole generation.

    Args:
        space: the box.
        crossover: probability that a pair is crossed.
        eta_crossover, eta_mutation: indices of the two distributions; higher stays nearer.
        mutation: probability per coordinate; default 1 / dim.
    """

    def __init__(
        self, space: Box, crossover: float, eta_crossover: float, mutation: float | None, eta_mutation: float
    ) -> None:
        self._space, self._crossover = space, crossover
        self._eta_crossover, self._eta_mutation = eta_crossover, eta_mutation
        self._mutation = 1 / space.dim if mutation is None else mutation
        self._members, self._champion = np.empty((0, space.dim)), np.empty(space.dim)
        self._young = np.empty((0, space.dim))

    @property
    def generation(self) -> Vector:
        """All young [n, dim], read only."""
        view = self._young.view()
        view.flags.writeable = False
        return view

    def found(self, first: int, n: int, rng: np.random.Generator) -> None:
        """Draw `n` young from the box."""
        self._young = self._space.samples(n, rng)

    def breed(self, first: int, n: int, pairs: Indices, rng: np.random.Generator) -> None:
        """Cross and mutate; a child that equals a member or another child is mutated in one more coordinate."""
        a, b = self._members[pairs[:, 0]], self._members[pairs[:, 1]]
        crossed = rng.random((len(pairs), 1)) < self._crossover
        where = crossed & (rng.random(a.shape) < 0.5)
        x = sbx(a, b, self._space, where=where, eta=self._eta_crossover, rng=rng)
        x = x.swapaxes(0, 1).reshape(-1, self._space.dim)[:n]  # the children of a pair are neighbours
        where = rng.random(x.shape) < self._mutation
        x = polynomial(x, self._space, where=where, eta=self._eta_mutation, rng=rng)
        known = set(_rows(self._members))
        again = np.zeros(x.shape, dtype=bool)
        for place, row in enumerate(_rows(x)):
            if row in known:
                again[place, rng.integers(self._space.dim)] = True
            known.add(row)
        if again.any():
            x = polynomial(x, self._space, where=again, eta=self._eta_mutation, rng=rng)
        self._young = x

    def young(self, place: int) -> Vector:
        """A copy of one of the young [dim]."""
        return np.array(self._young[place])

    def member(self, place: int) -> Vector:
        """A copy of a member [dim]."""
        return np.array(self._members[place])

    def champion(self) -> Vector:
        """A copy of the one to be remembered [dim]."""
        return self._champion.copy()

    def select(self, places: Indices, kept: int | None) -> None:
        """Keep rows."""
        everybody = np.concatenate([self._members, self._young])
        if kept is not None:
            self._champion = everybody[kept]
        self._members, self._young = everybody[places], self._young[:0]

    def state(self) -> Mapping[str, Any]:
        """Three arrays."""
        return {
            "members": self._members.copy(),
            "champion": self._champion.copy(),
            "young": self._young.copy(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take the arrays over."""
        shape = (-1, self._space.dim)
        self._members = np.array(state["members"], dtype=np.float64).reshape(shape)
        self._champion = np.array(state["champion"], dtype=np.float64)
        self._young = np.array(state["young"], dtype=np.float64).reshape(shape)


class Individuals(Brood[X]):
    """In any space: its own crossover and then its own mutation, with ancestors on record.

    Args:
        space: makes the same candidates again from the same generators.
        seed: of these generators.
        crossover, mutation: probabilities of each; a child of which neither was asked is mutated.
        key: what makes two candidates the same. A child that equals a member or another child is made again.
    """

    def __init__(
        self, space: Space[X], seed: int, crossover: float, mutation: float, key: Callable[[X], Hashable]
    ) -> None:
        self._space, self._seed, self._crossover, self._mutation, self._key = space, seed, crossover, mutation, key
        self._family = Genealogy(space, seed)
        self._members: list[int] = []
        self._young: list[int] = []
        self._champion: int | None = None

    def found(self, first: int, n: int, rng: np.random.Generator) -> None:
        """Draw `n` young from the space."""
        self._make(first, [()] * n)

    def breed(self, first: int, n: int, pairs: Indices, rng: np.random.Generator) -> None:
        """Cross and mutate; the second child of a pair has its parents the other way round."""
        ids = [[self._members[place] for place in pair] for pair in pairs.tolist()]
        both: list[tuple[int, ...]] = [parents for a, b in ids for parents in ((a, b), (b, a))]
        self._make(first, list(both[:n]))

    def _make(self, first: int, parents: list[tuple[int, ...]]) -> None:
        known = {self._key(self._family.value(i)) for i in self._members}
        self._young = []
        for c, pair in enumerate(parents, start=first):
            for attempt in range(TRIES):
                i, above, value = self._child(c, pair, attempt)
                # The space may hold fewer candidates than are wanted: then the last try is taken, though known.
                if self._space.valid(value) and (self._key(value) not in known or attempt == TRIES - 1):
                    break
            else:
                raise ValueError(f"{type(self._space).__name__} made no valid candidate in {TRIES} tries")
            known.add(self._key(value))
            self._family.add(i, above, attempt, value)
            self._young.append(i)

    def _child(self, c: int, parents: tuple[int, ...], attempt: int) -> tuple[int, tuple[int, ...], X]:
        """Candidate c is number 2 c + 1 of the family, or 2 c if it is a crossover that was not mutated."""
        if parents:
            crosses, mutates = generator(self._seed, c, "select", attempt).random(2) < (self._crossover, self._mutation)
            if crosses:
                value = self._family.make(2 * c, parents, attempt)
                if not mutates:
                    return 2 * c, parents, value
                self._family.add(2 * c, parents, attempt, value)
                parents = (2 * c,)
            else:
                parents = parents[:1]
        return 2 * c + 1, parents, self._family.make(2 * c + 1, parents, attempt)

    def young(self, place: int) -> X:
        """A copy of one of the young."""
        return copy.deepcopy(self._family.value(self._young[place]))

    def member(self, place: int) -> X:
        """A copy of a member."""
        return copy.deepcopy(self._family.value(self._members[place]))

    def champion(self) -> X:
        """A copy of the one to be remembered."""
        assert self._champion is not None
        return copy.deepcopy(self._family.value(self._champion))

    def select(self, places: Indices, kept: int | None) -> None:
        """Keep who is named; the values of all others are forgotten."""
        everybody = self._members + self._young
        if kept is not None:
            self._champion = everybody[kept]
        self._members, self._young = [everybody[place] for place in places.tolist()], []
        self._family.keep(self._needed())

    def state(self) -> Mapping[str, Any]:
        """Numbers: who there is, and how they and all their ancestors were made."""
        return {
            "members": list(self._members),
            "champion": self._champion,
            "young": list(self._young),
            "births": self._family.state(self._needed()),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Make everybody again."""
        self._members, self._young = [int(i) for i in state["members"]], [int(i) for i in state["young"]]
        self._champion = None if state["champion"] is None else int(state["champion"])
        self._family.load(state["births"])
        self._family.keep(self._needed())

    def _needed(self) -> set[int]:
        return {*self._members, *self._young} | ({self._champion} if self._champion is not None else set())


def sbx(a: Vector, b: Vector, space: Box, *, where: NDArray[np.bool_], eta: float, rng: np.random.Generator) -> Vector:
    """Simulated binary crossover of parents [n, dim] at the coordinates `where` [n, dim]: children [2, n, dim].

    The children lie about as far apart as their parents and keep inside the bounds. Of each crossed coordinate either
    child gets either value.
    """
    children = np.stack([a, b])
    rows, coordinates = np.nonzero(where & (a != b))
    first, second = a[rows, coordinates], b[rows, coordinates]
    low, high = np.minimum(first, second), np.maximum(first, second)
    gap, total, u = high - low, high + low, rng.random(len(rows))
    with np.errstate(over="ignore"):  # of a gap that is next to nothing: then nothing is cut off
        spreads = []
        for room in (low - space.low[coordinates], space.high[coordinates] - high):
            alpha = 2 - (1 + 2 * room / gap) ** -(eta + 1)  # 2 where there is no bound
            inner = u * alpha
            spreads.append(np.where(inner <= 1, inner, 1 / (2 - inner)) ** (1 / (eta + 1)) * gap)
    lower, upper = (total - spreads[0]) / 2, (total + spreads[1]) / 2
    swap = rng.random(len(rows)) < 0.5
    children[0, rows, coordinates] = np.where(swap, upper, lower)
    children[1, rows, coordinates] = np.where(swap, lower, upper)
    return np.clip(children, space.low, space.high, out=children)


def polynomial(x: Vector, space: Box, *, where: NDArray[np.bool_], eta: float, rng: np.random.Generator) -> Vector:
    """Polynomial mutation of vectors [n, dim] at the coordinates `where` [n, dim].

    Steps are in units of the range; of a coordinate that is not bounded on both sides, of `scale` / 0.3, which is the
    range where `scale` is the default.
    """
    mutated = x.copy()
    rows, coordinates = np.nonzero(where)
    old, u = x[rows, coordinates], rng.random(len(rows))
    low, high = space.low[coordinates], space.high[coordinates]
    span = np.where(np.isfinite(low) & np.isfinite(high), high - low, space.scale[coordinates] / 0.3)
    down = u < 0.5
    room = np.minimum(np.where(down, old - low, high - old) / span, 1.0)
    left = np.where(down, 2 * u, 2 * (1 - u))
    step = 1 - (left + (1 - left) * (1 - room) ** (eta + 1)) ** (1 / (eta + 1))
    mutated[rows, coordinates] = np.clip(old + np.where(down, -step, step) * span, low, high)
    return mutated


def _rows(x: Vector) -> list[bytes]:
    """The bytes of each row."""
    return [row.tobytes() for row in x]
