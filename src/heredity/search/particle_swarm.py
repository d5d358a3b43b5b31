"""Particle swarm: every particle is drawn towards the best place it has seen and the best its neighbours have.

Sources: Kennedy & Eberhart, Particle Swarm Optimization (1995); the constriction of Clerc & Kennedy (2002); the ring
of Kennedy & Mendes, Population Structure and Particle Swarm Performance (2002).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import DTypeLike

from heredity.search.base import Example
from heredity.search.box import Box, Vectors
from heredity.search.generations import Array, Vector, VectorSearcher

Neighbours: TypeAlias = Literal["all", "ring"]
CHI = 0.7298  # Clerc & Kennedy: 2 / |2 − φ − √(φ² − 4φ)| with φ = 4.1
FASTEST = 0.5  # of the range, the longest first step


class PSO(VectorSearcher):
    """Ask and tell over vectors [dim].

    Args:
        space: where; particles begin uniform in its bounds.
        population: particles.
        inertia: what is kept of a velocity; a pair (first, last) falls linearly over `generations`. The default with
            those of `own` and `social` is the constricted swarm: 0.7298, and 0.7298 · 2.05 each.
        own, social: largest pull towards the particle's own best, and towards the best of its neighbours.
        neighbours: "all" (gbest: fast), or "ring" (lbest: each particle and `reach` on either side; slower to agree,
            and so less often caught in a poor optimum).
        reach: neighbours on each side of the ring.
        generations: over how many an inertia that is a pair falls.
        fastest: largest speed in each coordinate, as a share of the range; no limit where a coordinate is unbounded.
        seed, dtype, metric: as in `VectorSearcher`.

    A particle that would leave the bounds stops there, and its velocity is the way it went.
    """

    def __init__(
        self,
        space: Vectors,
        population: int = 50,
        *,
        inertia: float | tuple[float, float] = CHI,
        own: float = 2.05 * CHI,
        social: float = 2.05 * CHI,
        neighbours: Neighbours = "all",
        reach: int = 1,
        generations: int | None = None,
        fastest: float = FASTEST,
        seed: int = 0,
        dtype: DTypeLike = np.float64,
        metric: str | None = None,
    ) -> None:
        if neighbours not in get_args(Neighbours):
            raise ValueError(f"neighbours must be one of {get_args(Neighbours)}, got {neighbours!r}")
        if isinstance(inertia, tuple) != (generations is not None):
            raise ValueError("an inertia (first, last) falls over a number of generations: pass both, or one number")
        if min(own, social) < 0 or fastest <= 0:
            raise ValueError(f"needs own, social ≥ 0 and fastest > 0, got {own}, {social} and {fastest}")
        if not 1 <= reach < max(2, population):
            raise ValueError(f"reach must lie between 1 and {population - 1}, got {reach}")
        super().__init__(space, population, seed=seed, dtype=dtype, metric=metric)
        self.inertia, self.own, self.social = inertia, own, social
        self.neighbours, self.reach, self.generations, self.fastest = neighbours, reach, generations, fastest
        box = self.space
        bounded = np.isfinite(box.low) & np.isfinite(box.high)
        span = np.where(bounded, box.high, 0.0) - np.where(bounded, box.low, 0.0)
        self._limit = np.where(bounded, fastest * span, np.inf).astype(self.dtype)
        self._low, self._high = box.low.astype(self.dtype), box.high.astype(self.dtype)
        none = np.empty((0, self.dim), self.dtype)
        self._position, self._velocity, self._top = none, none.copy(), none.copy()
        self._worth: Vector = np.empty(0)  # of each particle's best place
        self._way: Array = none.copy()  # velocities of the present generation

    def _living(self) -> tuple[Array, Vector]:
        return self._top, self._worth

    def _draw(self, rng: np.random.Generator) -> Array:
        n = self.population
        if not len(self._position):
            start = self.space.samples(n, rng).astype(self.dtype)
            other = self.space.samples(n, rng).astype(self.dtype)
            self._way = np.clip((other - start) / 2, -self._limit, self._limit)  # the half-diff start of SPSO 2007
            return start
        # v ← w v + c1 u1 (p − x) + c2 u2 (g − x), in as few passes over [n, dim] as there are terms.
        x = self._position
        way: Array = self._top - x
        way *= self._uniform(rng)
        way *= self.own
        pull = self._leaders()
        pull -= x
        pull *= self._uniform(rng)
        pull *= self.social
        way += pull
        np.multiply(self._velocity, self._inertia(), out=pull)
        way += pull
        if np.isfinite(self._limit).any():
            np.clip(way, -self._limit, self._limit, out=way)
        drawn = np.add(x, way, out=pull)
        np.clip(drawn, self._low, self._high, out=drawn)
        self._way = np.subtract(drawn, x, out=way)
        return drawn

    def _learn(self, x: Array, fitness: Vector) -> None:
        self._velocity = self._way
        self._position = x.copy()
        if not len(self._top):
            self._top, self._worth = x.copy(), fitness.copy()
            return
        better = fitness > self._worth
        self._top[better] = x[better]
        self._worth[better] = fitness[better]

    def _uniform(self, rng: np.random.Generator) -> Array:
        dtype: Any = self.dtype
        return np.asarray(rng.random((self.population, self.dim), dtype=dtype))

    def _leaders(self) -> Array:
        """The best place that each particle's neighbours remember [population, dim], a fresh array."""
        n = self.population
        if self.neighbours == "all":
            return np.repeat(self._top[np.argmax(self._worth)][None], n, axis=0)
        # Its own place first, so that a particle without better neighbours follows itself.
        steps = [0, *(sign * step for step in range(1, self.reach + 1) for sign in (-1, 1))]
        around = (np.arange(n)[:, None] + np.array(steps)) % n
        return np.asarray(self._top[around[np.arange(n), np.argmax(self._worth[around], axis=1)]])

    def _inertia(self) -> float:
        if not isinstance(self.inertia, tuple):
            return self.inertia
        assert self.generations is not None
        first, last = self.inertia
        return first + (last - first) * min(1.0, self.generation / self.generations)

    def _method_state(self) -> Mapping[str, Any]:
        return {
            "position": self._position.copy(),
            "velocity": self._velocity.copy(),
            "top": self._top.copy(),
            "worth": self._worth.copy(),
        }

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        rows = (
            np.array(state[name], dtype=self.dtype).reshape(-1, self.dim) for name in ("position", "velocity", "top")
        )
        self._position, self._velocity, self._top = rows
        self._worth = np.array(state["worth"], dtype=np.float64)

    def _config(self) -> dict[str, Any]:
        own = {"inertia": self.inertia, "own": self.own, "social": self.social, "neighbours": self.neighbours}
        rest = {"reach": self.reach, "fastest": self.fastest}
        return {**super()._config(), **own, **rest, "generations": self.generations or 0}

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """Both neighbourhoods, and a falling inertia, on a small sphere."""

        def sphere(x: Array) -> float:
            return -float(np.sum(np.square(x - 1.0)))

        box = Box(-2.0, 3.0, dim=3)
        yield cls.__name__, Example(lambda seed: cls(box, 10, seed=seed), sphere)
        yield f"{cls.__name__}-ring", Example(lambda seed: cls(box, 10, neighbours="ring", seed=seed), sphere)
        yield (
            f"{cls.__name__}-falling",
            Example(lambda seed: cls(box, 10, inertia=(0.9, 0.4), generations=30, seed=seed), sphere),
        )
