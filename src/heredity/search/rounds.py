"""The candidates of a generation that are out: who waits to be asked, and what has been told.

Searchers that work in generations know their candidates by place, 0 … size − 1, and number them onwards from `first`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Round(Generic[T]):
    """One generation at a time. `told` holds by place what became of each candidate, None of a failure.

    Attributes:
        first: number of the first candidate of the present generation, or of the next one between generations.
        size: candidates of the present generation, 0 between generations.
    """

    def __init__(self) -> None:
        self.first, self.size = 0, 0
        self.told: dict[int, T | None] = {}
        self._waiting: list[int] = []

    def begin(self, size: int) -> None:
        """A generation of so many candidates, none of them asked yet."""
        self.size, self.told, self._waiting = size, {}, list(range(size))

    def end(self) -> None:
        """The generation is over; the next one's numbers follow."""
        self.first, self.size, self.told, self._waiting = self.first + self.size, 0, {}, []

    def take(self, n: int | None) -> list[int]:
        """The next `n` places to be asked, fewer where fewer wait; default all."""
        count = len(self._waiting) if n is None else max(0, min(n, len(self._waiting)))
        places, self._waiting = self._waiting[:count], self._waiting[count:]
        return places

    @property
    def out(self) -> set[int]:
        """Numbers of the candidates that were asked and not told."""
        waiting = set(self._waiting)
        return {self.first + p for p in range(self.size) if p not in waiting and p not in self.told}

    @property
    def whole(self) -> bool:
        """Whether a generation has begun of which nobody was asked."""
        return 0 < self.size == len(self._waiting)

    def note(self, told: dict[int, T | None]) -> bool:
        """Take in what was told, by number; whether the generation is complete."""
        self.told.update((i - self.first, value) for i, value in told.items())
        return 0 < self.size == len(self.told)

    def in_order(self) -> list[T | None]:
        """What was told of a complete generation, by place."""
        return [self.told[place] for place in range(self.size)]

    def state(self) -> dict[str, Any]:
        """Numbers; what was told has to be plain."""
        told = [[place, value] for place, value in sorted(self.told.items())]
        return {"first": self.first, "size": self.size, "told": told}

    def load(
        self, state: Mapping[str, Any], begin: Callable[[], None], read: Callable[[Any], T] = lambda value: value
    ) -> None:
        """Continue; whoever was asked and not told is asked again.

        Args:
            begin: the searcher's own, which makes the candidates of a generation again and calls `Round.begin`.
            read: what was told, from the plain form it may have taken in the state.
        """
        self.first, size = int(state["first"]), int(state["size"])
        self.begin(0)
        if size:
            begin()
        self.told = {int(place): None if value is None else read(value) for place, value in state["told"]}
        self._waiting = [place for place in range(size) if place not in self.told]
