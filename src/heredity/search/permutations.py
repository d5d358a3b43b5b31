"""The space of orders of n things. Source: Davis, Applying Adaptive Algorithms to Epistatic Domains (1985), for OX."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from heredity.search.base import Space

Order: TypeAlias = tuple[int, ...]


class Permutations(Space[Order]):
    """Tuples that hold each of 0…n−1 once; n is at least 2."""

    def __init__(self, n: int) -> None:
        if n < 2:
            raise ValueError(f"an order needs at least two things, got n={n}")
        self.n = n

    def sample(self, rng: np.random.Generator) -> Order:
        """Uniform."""
        return tuple(rng.permutation(self.n).tolist())

    def mutate(self, x: Order, rng: np.random.Generator) -> Order:
        """A stretch of at least two, drawn uniformly, is reversed: the smallest change of a tour."""
        i, j = sorted(rng.choice(self.n + 1, size=2, replace=False).tolist())
        if j - i < 2:  # a stretch of one would change nothing
            i, j = (i, j + 1) if j < self.n else (i - 1, j)
        return x[:i] + x[i:j][::-1] + x[j:]

    def crossover(self, a: Order, b: Order, rng: np.random.Generator) -> Order:
        """Order crossover: a stretch of `a` stays in place, the rest follows in the order of `b` from its end on."""
        i, j = sorted(rng.choice(self.n + 1, size=2, replace=False).tolist())
        kept = set(a[i:j])
        rest = [v for v in b[j:] + b[:j] if v not in kept]
        tail = self.n - j
        return (*rest[tail:], *a[i:j], *rest[:tail])

    def valid(self, x: Order) -> bool:
        """Whether `x` holds each once."""
        return isinstance(x, tuple) and sorted(x) == list(range(self.n))
