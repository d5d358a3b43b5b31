"""A searcher of vectors, seen as a searcher of what the vectors mean."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from heredity.evaluation.outcome import Failed
from heredity.search.base import Candidate, Searcher, Told, fitness_of

Vector: TypeAlias = NDArray[np.float64]
X = TypeVar("X")


class DecodedSearcher(Searcher[X]):
    """Asks a searcher of vectors and decodes; a family says what a vector means.

    Args:
        vectors: the searcher below.
        metric: the value of an outcome to maximise, where it has several.
    """

    def __init__(self, vectors: Searcher[Vector], metric: str | None = None) -> None:
        self.vectors, self.metric = vectors, metric
        self._out: dict[int, Candidate[Vector]] = {}

    @abstractmethod
    def decode(self, vector: Vector) -> X:
        """What a vector means."""

    @abstractmethod
    def refusal(self, vector: Vector) -> str | None:
        """Why a vector means nothing, or None. Such vectors are told as failures and never handed out."""

    @abstractmethod
    def price(self, value: X) -> float:
        """What is taken from the fitness of a value, 0 for nothing."""

    def ask(self, n: int | None = None) -> list[Candidate[X]]:
        """Values to evaluate; fewer than asked for where vectors mean nothing.

        Raises:
            EvaluationFailed: a whole batch of vectors means nothing.
        """
        asked = self.vectors.ask(n)
        reasons = {candidate.id: self.refusal(candidate.value) for candidate in asked}
        usable = [candidate for candidate in asked if reasons[candidate.id] is None]
        self._out |= {candidate.id: candidate for candidate in usable}
        refused = [candidate for candidate in asked if reasons[candidate.id] is not None]
        if refused:
            self.vectors.tell(refused, [Failed(str(reasons[candidate.id])) for candidate in refused])
        return [Candidate(candidate.id, self.decode(candidate.value)) for candidate in usable]

    def tell(self, candidates: Sequence[Candidate[X]], outcomes: Sequence[Told]) -> None:
        """Report outcomes, before any price."""
        unknown = [candidate.id for candidate in candidates if candidate.id not in self._out]
        if unknown:
            raise ValueError(f"candidate {unknown[0]} was never asked, or has been told before")
        told: list[Told] = []
        for candidate, outcome in zip(candidates, outcomes, strict=True):
            fitness = fitness_of(outcome, self.metric)
            told.append(Failed("no fitness") if fitness is None else fitness - self.price(candidate.value))
        self.vectors.tell([self._out[candidate.id] for candidate in candidates], told)
        for candidate in candidates:
            del self._out[candidate.id]

    @property
    def best(self) -> tuple[Candidate[X], float] | None:
        """The best value told so far, with its fitness less its price."""
        best = self.vectors.best
        return None if best is None else (Candidate(best[0].id, self.decode(best[0].value)), best[1])

    def state_dict(self) -> Mapping[str, Any]:
        """The state of the searcher of vectors, and what is out."""
        return {
            "vectors": self.vectors.state_dict(),
            "out": [[candidate.id, candidate.value.tolist()] for candidate in self._out.values()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue."""
        self.vectors.load_state_dict(state["vectors"])
        self._out = {int(i): Candidate(int(i), np.asarray(value)) for i, value in state["out"]}
