"""SHADE: differential evolution whose control parameters follow a memory of what succeeded.

L-SHADE is a row of the same class: its population shrinks over a budget of evaluations.
Sources: Tanabe & Fukunaga, Success-History Based Parameter Adaptation for Differential Evolution (CEC 2013); the same,
Improving the Search Performance of SHADE Using Linear Population Size Reduction (CEC 2014) for L-SHADE; the mutation
and its archive are those of JADE, Zhang & Sanderson (2009).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from heredity.search.base import Example
from heredity.search.box import Box, Vectors, as_box
from heredity.search.differential_evolution import binomial, distinct
from heredity.search.generations import Array, Vector, VectorSearcher

SMALLEST = 4  # population at the end of L-SHADE's budget, what its mutation needs
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
        budget: evaluations over which the population falls linearly to 4, by its worst members; default it does not.
            With it p is `greediness` itself, at least 2 / N, and the remembered CR is a weighted Lehmer mean as F's is:
            L-SHADE, whose constants `l_shade` has.
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
        budget: int | None = None,
        seed: int = 0,
        dtype: DTypeLike = np.float64,
        metric: str | None = None,
    ) -> None:
        if population < 4:
            raise ValueError(f"a mutant needs three other members, so population ≥ 4, got {population}")
        if not 0 < greediness <= 1 or archive < 0:
            raise ValueError(f"needs 0 < greediness ≤ 1 and archive ≥ 0, got {greediness} and {archive}")
        if memory < 1 or (budget is not None and budget < 1):
            raise ValueError(f"needs memory ≥ 1 and a budget ≥ 1, got memory={memory} and budget={budget}")
        super().__init__(space, population, seed=seed, dtype=dtype, metric=metric)
        self.memory, self.greediness, self.archive, self.budget = memory, greediness, archive, budget
        self._members: Array = np.empty((0, self.dim), self.dtype)
        self._fitness: Vector = np.empty(0)
        self._replaced: Array = np.empty((0, self.dim), self.dtype)
        self._CR, self._F = np.full(self.memory, 0.5), np.full(self.memory, 0.5)
        self._slot = 0
        self._trial: tuple[Vector, Vector] = (np.empty(0), np.empty(0))  # CR and F of the present generation
        self._victims: NDArray[np.float64] = np.empty(0)

    @property
    def members(self) -> tuple[Array, Vector]:
        """The population [N, dim] and its fitness [N]; copies, empty before the first generation."""
        return self._members.copy(), self._fitness.copy()

    def _living(self) -> tuple[Array, Vector]:
        return self._members, self._fitness

    def _draw(self, rng: np.random.Generator) -> Array:
        if not len(self._members):
            return self.space.samples(self.population, rng).astype(self.dtype, copy=False)
        n = len(self._members)
        x, slots = self._members, rng.integers(0, self.memory, size=n)
        rate = np.where(np.isnan(self._CR[slots]), 0.0, self._CR[slots] + SPREAD * rng.standard_normal(n))
        rate = np.clip(rate, 0.0, 1.0)
        scale = self._F[slots] + SPREAD * rng.standard_cauchy(n)
        while (bad := scale <= 0).any():
            scale[bad] = self._F[slots[bad]] + SPREAD * rng.standard_cauchy(int(bad.sum()))
        self._trial = (rate, np.minimum(scale, 1.0))
        low, high = min(2 / n, self.greediness), self.greediness
        if self.budget is not None:
            low = high = max(2 / n, self.greediness)
        share = rng.uniform(low, high, size=n)
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
        return np.where(binomial(rate, self.dim, rng), mutant, x)

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
            mean = weight @ rate if self.budget is None else (weight @ rate**2) / max(weight @ rate, 1e-300)
            self._CR[self._slot] = np.nan if dead else mean
            self._F[self._slot] = (weight @ scale**2) / (weight @ scale)
            self._slot = (self._slot + 1) % self.memory
        if self.budget is not None:
            self._shrink(self.budget)

    def _shrink(self, budget: int) -> None:
        """Leave the best members, as many as the evaluations spent say (equation 10), and an archive to match."""
        spent = min(1.0, (self._round.first + self._round.size) / budget)
        size = round(self.population + (SMALLEST - self.population) * spent)
        if size < len(self._members):
            best = np.sort(np.argsort(-self._fitness, kind="stable")[:size])
            self._members, self._fitness = self._members[best], self._fitness[best]
            # differs from paper: the first stored leave, not random ones, for learning draws nothing.
            self._replaced = self._replaced[max(0, len(self._replaced) - int(self.archive * size)) :]

    def _keep(self, replaced: Array, victims: NDArray[np.float64]) -> None:
        """Put replaced members into the archive; where it is full, each takes the place of a random one."""
        room = int(self.archive * len(self._members))
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
        return {**super()._config(), **own, "budget": self.budget or 0}

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """With a constant population and with one that shrinks, on a small sphere."""

        def sphere(x: Array) -> float:
            return -float(np.sum(np.square(x - 1.0)))

        box = Box(-2.0, 3.0, dim=3)
        yield cls.__name__, Example(lambda seed: cls(box, 12, seed=seed), sphere)
        yield f"{cls.__name__}-l_shade", Example(lambda seed: l_shade(box, 250, population=16, seed=seed), sphere)


def l_shade(space: Vectors, budget: int, **options: Any) -> SHADE:
    """L-SHADE with the constants of its paper: N = 18 dim at first, H = 6, p = 0.11, an archive of 2.6 N."""
    row: dict[str, Any] = {"population": 18 * as_box(space).dim, "memory": 6, "greediness": 0.11, "archive": 2.6}
    return SHADE(space, budget=budget, **{**row, **options})
