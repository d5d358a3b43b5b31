"""SHADE: differential evolution whose control parameters follow a memory of what succeeded.

Sources: Tanabe & Fukunaga, Success-History Based Parameter Adaptation for Differential Evolution (CEC 2013); the
mutation and its archive are those of JADE, Zhang & Sanderson (2009).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from heredity.search.bounds import mirror
from heredity.search.box import Vectors
from heredity.search.differential_evolution import binomial, distinct
from heredity.search.generations import Array, Vector, VectorSearcher
from heredity.search.migration import best_places, replace_worst

SPREAD = 0.1  # of the normal law of CR and of the Cauchy law of F, equations 1 and 2


class SHADE(VectorSearcher):
    """Ask and tell over vectors [dim] by current-to-pbest/1 with an archive.

    Args:
        space: where; members begin uniform in its bounds.
        population: N, at least 4.
        memory: H, pairs of (CR, F) remembered, which all begin at 0.5. SHADE had H = N; 6 is of its successor L-SHADE
            (2014) and adapts within the few generations of a small budget.
        greediness: the largest p; each mutant draws p from U(2 / N, greediness) and goes towards one of the best p N.
        archive: size of the archive of replaced members, as a multiple of N.
        seed, dtype, metric: as in `VectorSearcher`.

    The first generation is the population; each later one holds a trial for every member.
    """

    def __init__(
        self,
        space: Vectors,
        population: int = 50,
        *,
        memory: int = 6,
        greediness: float = 0.2,
        archive: float = 1.0,
        seed: int = 0,
        dtype: DTypeLike = np.float64,
        metric: str | None = None,
    ) -> None:
        if population < 4:
            raise ValueError(f"a mutant needs three other members, so population ≥ 4, got {population}")
        if not 0 < greediness <= 1 or archive < 0:
            raise ValueError(f"needs 0 < greediness ≤ 1 and archive ≥ 0, got {greediness} and {archive}")
        super().__init__(space, population, seed=seed, dtype=dtype, metric=metric)
        self.memory = memory
        if self.memory < 1:
            raise ValueError(f"the memory holds at least one pair, got memory={memory}")
        self.greediness, self.archive = greediness, archive
        self._members: Array = np.empty((0, self.dim), self.dtype)
        self._fitness: Vector = np.empty(0)
        self._replaced: Array = np.empty((0, self.dim), self.dtype)
        self._CR, self._F = np.full(self.memory, 0.5), np.full(self.memory, 0.5)
        self._slot = 0
        self._trial: tuple[Vector, Vector] = (np.empty(0), np.empty(0))  # CR and F of the present generation
        self._victims: NDArray[np.float64] = np.empty(0)

    @property
    def members(self) -> tuple[Array, Vector]:
        """The population [population, dim] and its fitness [population]; copies, empty before the first generation."""
        return self._members.copy(), self._fitness.copy()

    def receive(self, values: Array, fitness: Vector) -> None:
        """Take in known vectors [n, dim] with their fitness [n], each for the worst member if it is better.

        Raises:
            ValueError: a generation is out; its draws depend on who lives.
        """
        if self._begun:
            raise ValueError("a generation is out: migrants are received between generations")
        replace_worst(self._members, self._fitness, values, fitness)

    def emigrants(self, n: int) -> tuple[Array, Vector]:
        """Copies of the best `n`, best first, with their fitness."""
        best = best_places(self._fitness, n)
        return self._members[best], self._fitness[best]

    def _draw(self, rng: np.random.Generator) -> Array:
        n = self.population
        if not len(self._members):
            return self.space.samples(n, rng).astype(self.dtype, copy=False)
        x, slots = self._members, rng.integers(0, self.memory, size=n)
        rate = np.where(np.isnan(self._CR[slots]), 0.0, self._CR[slots] + SPREAD * rng.standard_normal(n))
        rate = np.clip(rate, 0.0, 1.0)
        scale = self._F[slots] + SPREAD * rng.standard_cauchy(n)
        while (low := scale <= 0).any():
            scale[low] = self._F[slots[low]] + SPREAD * rng.standard_cauchy(int(low.sum()))
        self._trial = (rate, np.minimum(scale, 1.0))
        floor = min(2 / n, self.greediness)
        share = rng.uniform(floor, self.greediness, size=n)
        towards = np.argsort(-self._fitness, kind="stable")[
            (rng.random(n) * np.maximum(1, np.rint(share * n))).astype(int)
        ]
        r1, r2 = distinct(n, 2, rng)
        # Uniform over population and archive together: the archive gets its share of the draws.
        stored = len(self._replaced)
        old, which = rng.random(n) < stored / (n + stored), (rng.random(n) * stored).astype(int)
        second = x[r2]
        second[old] = self._replaced[which[old]]
        self._victims = rng.random(n)  # which of the archive make room, drawn here so that learning draws nothing
        scale = self._trial[1][:, None].astype(self.dtype)
        mutant = x[towards]
        mutant -= x
        mutant += x[r1]
        mutant -= second
        mutant *= scale
        mutant += x
        return mirror(np.where(binomial(rate, self.dim, rng), mutant, x), self.space)

    def _learn(self, x: Array, fitness: Vector) -> None:
        if not len(self._members):
            self._members, self._fitness = x.copy(), fitness.copy()
            return
        better = fitness > self._fitness
        won = (fitness >= self._fitness) & (fitness > -np.inf)
        # The gain over a member that had failed has no size; it counts as much as the largest of the others.
        gain = fitness[better] - self._fitness[better]
        finite = np.isfinite(gain)
        gain[~finite] = gain[finite].max(initial=0.0) or 1.0
        self._keep(self._members[better], self._victims[better])
        self._members[won] = x[won]
        self._fitness[won] = fitness[won]
        if len(gain):
            weight = gain / gain.sum()
            rate, scale = self._trial[0][better], self._trial[1][better]
            # A memory of CR that has met only zeros stays at zero (NaN is the paper's ⊥, of L-SHADE).
            dead = np.isnan(self._CR[self._slot]) or rate.max() == 0
            self._CR[self._slot] = np.nan if dead else weight @ rate
            self._F[self._slot] = (weight @ scale**2) / (weight @ scale)
            self._slot = (self._slot + 1) % self.memory

    def _keep(self, replaced: Array, victims: NDArray[np.float64]) -> None:
        """Put replaced members into the archive; where it is full, each takes the place of a random one."""
        room = int(self.archive * self.population)
        free = max(0, room - len(self._replaced))
        if free:
            self._replaced = np.concatenate([self._replaced, replaced[:free]])
        if room:
            self._replaced[(victims[free:] * room).astype(int)] = replaced[free:]

    def _method_state(self) -> Mapping[str, Any]:
        return {
            "members": self._members.copy(),
            "fitness": self._fitness.copy(),
            "replaced": self._replaced.copy(),
            "CR": self._CR.copy(),
            "F": self._F.copy(),
            "slot": self._slot,
        }

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._members = np.array(state["members"], dtype=self.dtype).reshape(-1, self.dim)
        self._fitness = np.array(state["fitness"], dtype=np.float64)
        self._replaced = np.array(state["replaced"], dtype=self.dtype).reshape(-1, self.dim)
        self._CR, self._F, self._slot = np.array(state["CR"]), np.array(state["F"]), int(state["slot"])

    def _config(self) -> dict[str, Any]:
        own = {"memory": self.memory, "greediness": self.greediness, "archive": self.archive}
        return {**super()._config(), **own}
