"""Who leaves an island, whose place a stranger takes, and how a search distribution sees one.

Source of the last: Hansen, Injecting External Solutions Into CMA-ES, arXiv 1110.4181, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.intp]


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


def clipped(z: NDArray[Any]) -> NDArray[Any]:
    """Foreign vectors as draws from a search distribution: standardised `z` [k, dim], shortened where they are long.

    No draw is much longer than √dim; a longer one would move the distribution further than it can justify. They are
    cut at √dim + 2 dim / (dim + 2).
    """
    dim = z.shape[1]
    longest = np.sqrt(dim) + 2 * dim / (dim + 2)
    length = np.sqrt(np.square(z, dtype=np.float64).sum(axis=1, keepdims=True))
    return np.asarray(z * np.minimum(1.0, longest / np.maximum(length, 1e-300)), dtype=z.dtype)
