"""Random search: every candidate is a fresh draw from the space. The floor that a searcher has to beat.

Source: Bergstra & Bengio, Random Search for Hyper-Parameter Optimization (2012).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from heredity.errors import EvaluationFailed
from heredity.search.base import Candidate, Example, Searcher, Space, Told, told_pairs
from heredity.search.box import Box

X = TypeVar("X")


class RandomSearch(Searcher[X]):
    """Draw from `space`, remember the best.

    Args:
        space: where to draw.
        seed: candidate i is drawn from a generator of its own, seeded by (seed, i); so the state is a few numbers.
        metric: the value of an outcome to maximise, where it has several.
    """

    def __init__(self, space: Space[X], seed: int = 0, *, metric: str | None = None) -> None:
        self.space, self.seed, self.metric = space, seed, metric
        self._next = 0
        self._open: set[int] = set()
        self._best: tuple[int, float] | None = None

    def ask(self, n: int | None = None) -> list[Candidate[X]]:
        """Draw `n` candidates, by default one."""
        first, self._next = self._next, self._next + (1 if n is None else n)
        self._open.update(range(first, self._next))
        return [Candidate(i, self._draw(i)) for i in range(first, self._next)]

    def tell(self, candidates: Sequence[Candidate[X]], outcomes: Sequence[Told]) -> None:
        """Report outcomes; the batch of "all failed" is the call."""
        told = told_pairs(candidates, outcomes, self._open, self.metric)
        self._open.difference_update(told)
        for i, fitness in sorted(told.items()):
            if fitness is not None and (self._best is None or fitness > self._best[1]):
                self._best = (i, fitness)
        if told and all(fitness is None for fitness in told.values()):
            raise EvaluationFailed(f"all {len(told)} candidates told failed; the first was candidate {min(told)}")

    @property
    def best(self) -> tuple[Candidate[X], float] | None:
        """The best candidate so far with its fitness."""
        return None if self._best is None else (Candidate(self._best[0], self._draw(self._best[0])), self._best[1])

    def state_dict(self) -> Mapping[str, Any]:
        """Counters, and the id and fitness of the best."""
        return {
            "seed": self.seed,
            "next": self._next,
            "open": sorted(self._open),
            "best": list(self._best) if self._best else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue; candidates that were asked and not told may still be told.

        Raises:
            ValueError: the seed differs.
        """
        if state["seed"] != self.seed:
            raise ValueError(f"the state was saved with seed={state['seed']}, this searcher has {self.seed}")
        self._next, self._open = int(state["next"]), set(state["open"])
        self._best = (int(state["best"][0]), float(state["best"][1])) if state["best"] else None

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """Draws from a box."""
        box: Space[Any] = Box(-2.0, 3.0, dim=3)
        yield "RandomSearch", Example(lambda seed: cls(box, seed), lambda x: -float(np.sum(np.square(x - 1.0))))

    def _draw(self, i: int) -> X:
        return self.space.sample(np.random.default_rng([self.seed, i]))
