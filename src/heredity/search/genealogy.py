"""Candidates known by how they were made, so that a searcher's state is numbers whatever its candidates are.

Candidate i is a function of the seed, i, its parents and how many tries were turned down before it.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Generic, Literal, TypeVar, cast

import numpy as np

from heredity.search.base import Space

X = TypeVar("X")


def generator(seed: int, i: int, purpose: Literal["select", "vary"], attempt: int = 0) -> np.random.Generator:
    """The generator of one candidate: one for choosing its parents, another for making it."""
    return np.random.default_rng([seed, i, attempt, 0 if purpose == "select" else 1])


def itself(value: Any) -> Hashable:
    """What makes two candidates the same where nothing else is said: they are equal."""
    return cast("Hashable", value)


class Genealogy(Generic[X]):
    """How candidates were made, and the values of those that are needed.

    Args:
        space: where they live; the same space makes the same candidates again.
        seed: of all generators.
        start: candidates from outside; element k is the "parent" −1−k.
    """

    def __init__(self, space: Space[X], seed: int, start: Sequence[X] = ()) -> None:
        self._space, self._seed, self._start = space, seed, start
        self._guests: list[X] = []  # follow those of `start`
        self._births: dict[int, tuple[int, tuple[int, ...]]] = {}  # id → (attempt, parents); ids ascend
        self._values: dict[int, X] = {}

    def make(self, i: int, parents: tuple[int, ...], attempt: int = 0) -> X:
        """What candidate i is at this attempt: a sample, a mutant of one parent, or a crossover of two."""
        if parents and parents[0] < 0:
            place = -1 - parents[0]
            return self._start[place] if place < len(self._start) else self._guests[place - len(self._start)]
        rng = generator(self._seed, i, "vary", attempt)
        if not parents:
            return self._space.sample(rng)
        if len(parents) == 1:
            return self._space.mutate(self._values[parents[0]], rng)
        return self._space.crossover(self._values[parents[0]], self._values[parents[1]], rng)

    def add(self, i: int, parents: tuple[int, ...], attempt: int, value: X) -> None:
        """Take a candidate in; ids ascend."""
        self._births[i] = (attempt, parents)
        self._values[i] = value

    def welcome(self, i: int, value: X) -> None:
        """Take in a candidate from outside; it stays in the state as it is."""
        self._guests.append(copy.deepcopy(value))
        self.add(i, (-len(self._start) - len(self._guests),), 0, copy.deepcopy(value))

    @property
    def guests(self) -> list[X]:
        """All that were welcomed, in order; copies, to be given to `load`."""
        return copy.deepcopy(self._guests)

    def value(self, i: int) -> X:
        """The value of a candidate that is kept: a copy, which its receiver may change."""
        return copy.deepcopy(self._values[i])

    def values(self) -> list[X]:
        """All values that are kept."""
        return list(self._values.values())

    def keep(self, ids: set[int]) -> None:
        """Forget all other values; how they were made stays known."""
        self._values = {i: value for i, value in self._values.items() if i in ids}

    def state(self, ids: set[int] | None = None) -> list[list[int]]:
        """[id, attempt, *parents] of these candidates and all their ancestors; by default of all. Forgets the rest."""
        if ids is not None:
            needed = set(ids)
            for i in sorted(self._births, reverse=True):  # parents have smaller ids
                if i in needed:
                    needed.update(parent for parent in self._births[i][1] if parent >= 0)
            self._births = {i: birth for i, birth in self._births.items() if i in needed}
        return [[i, attempt, *parents] for i, (attempt, parents) in self._births.items()]

    def load(self, births: Iterable[Sequence[int]], guests: Sequence[X] = ()) -> None:
        """Make everybody again, in order."""
        self._guests = copy.deepcopy(list(guests))
        self._births, self._values = {}, {}
        for i, attempt, *parents in births:
            self.add(i, tuple(parents), attempt, self.make(i, tuple(parents), attempt))
