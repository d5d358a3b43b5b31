"""What a searcher has to offer to live on an island: it sends its best away and takes in strangers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.intp]


@runtime_checkable
class Host(Protocol):
    """A searcher with members that migrate."""

    def emigrants(self, n: int) -> tuple[Any, NDArray[np.float64]]:
        """Copies of its best candidates, at most `n`, best first, with their fitness."""

    def receive(self, values: Any, fitness: NDArray[np.float64]) -> None:
        """Take in known candidates with their fitness, between generations."""


def best_places(fitness: NDArray[np.float64], n: int) -> Places:
    """Indices of the best `n` of fitness [m], best first; failures (−∞) never."""
    order = np.argsort(-fitness, kind="stable")[:n]
    return order[fitness[order] > -np.inf]


def replace_worst(
    members: NDArray[Any],
    fitness: NDArray[np.float64],
    values: Sequence[Any] | NDArray[Any],
    worths: NDArray[np.float64],
) -> None:
    """Put each value in the place of the worst of `members` [m, dim] if it is better; changes both arrays.

    One that is a member already is left out, or else a few migrants would soon be the whole population.
    """
    for value, worth in zip(values, worths, strict=True):
        if len(fitness) and worth > fitness[worst := int(np.argmin(fitness))]:
            twins = np.flatnonzero(fitness == worth)
            if not any(np.array_equal(members[twin], value) for twin in twins):
                members[worst], fitness[worst] = value, worth
