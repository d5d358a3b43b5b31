"""The toy of population based training: two workers climb a hill of which each sees one coordinate at first.

Q(θ) = 1.2 − θ₀² − θ₁² is wanted, and Q̂(θ | h) = 1.2 − h₀θ₀² − h₁θ₁² is climbed.
Source: arXiv 1711.09846, figure 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from heredity.search.fields import Uniform
from heredity.search.pbt import PBT
from heredity.search.pbt_rounds import Hyper

RATE = 0.01


def toy(seed: int, *, exploit: bool = True, noise: float = 0.1, ties: bool = True, updates: int = 200) -> float:
    """Q of the better worker at the end.

    Args:
        exploit: every fourth update a worker takes the other's weights where they are better, and explores from its
            own hyperparameters.
        noise: standard deviation of what exploration adds to them; they stay at or above 0.
        ties: copy an equal, too: without, nothing ever happens, for the start is a tie.
        updates: of each worker, in turn.
    """

    def rule(place: int, scores: Sequence[float], rng: np.random.Generator) -> int | None:
        own, other = scores[place], scores[1 - place]
        return 1 - place if other > own or (ties and other == own) else None

    def explore(hyper: Hyper, rng: np.random.Generator) -> Hyper:
        return {name: min(10.0, max(0.0, h + noise * rng.standard_normal())) for name, h in hyper.items()}

    pbt = PBT(
        {"h0": Uniform(0.0, 10.0), "h1": Uniform(0.0, 10.0)},
        2,
        4,
        exploit=rule if exploit else "none",
        explore=explore,
        inherit="weights",
        synchronous=False,
        start=[{"h0": 1.0, "h1": 0.0}, {"h0": 0.0, "h1": 1.0}],
        seed=seed,
    )
    thetas: dict[int | None, Any] = {None: np.array([0.9, 0.9])}
    waiting = pbt.ask()
    for _ in range(2 * updates):
        candidate = waiting.pop(0)
        task = candidate.value
        theta = thetas[task.parent] * (1 - 2 * RATE * np.array([task.hyper["h0"], task.hyper["h1"]]))
        thetas[candidate.id] = theta
        pbt.tell([candidate], [1.2 - float((theta**2).sum())])
        waiting += pbt.ask()
    assert pbt.leader is not None
    return pbt.leader[1]
