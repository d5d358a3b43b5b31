"""CMA-ES: evolution strategy with covariance matrix adaptation, by the PyPI package `cma`, turned to maximise.

Use this one where the package's own bits are wanted, as recorded claims do; else `heredity.search.cma_es.CMAES`.
The state is the record of what was told: `load_state_dict` replays it, which reproduces the strategy bit for bit and
needs no pickle. A replayed generation costs what its update costs, a third of a millisecond at n = 24.
Source: N. Hansen, The CMA Evolution Strategy: A Tutorial, arXiv 1604.00772.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from heredity.errors import EvaluationFailed
from heredity.search.base import Candidate, Example, Searcher, Told, told_pairs

Vector: TypeAlias = NDArray[np.float64]
Bound: TypeAlias = float | Sequence[float] | Vector | None


class CMA(Searcher[Vector]):
    """Ask and tell over vectors [n].

    Args:
        dim: n, at least 2.
        sigma0: first standard deviation of the samples, in the unit of the coordinates.
        x0: where to start [n]; default the middle of finite bounds, else 0.
        diagonal: adapt only the diagonal of the covariance; default for n > 100, where the full one learns slowly.
        bounds: (low, high), each a number, a vector [n] or None; samples stay inside.
        population: candidates per generation; default 4 + ⌊3 ln n⌋.
        seed: of the samples.
        metric: the value of an outcome to maximise, where it has several.

    Failed candidates get the worst rank of their generation.
    """

    def __init__(
        self,
        dim: int,
        sigma0: float,
        x0: Sequence[float] | Vector | None = None,
        *,
        diagonal: bool | None = None,
        bounds: tuple[Bound, Bound] | None = None,
        population: int | None = None,
        seed: int = 0,
        metric: str | None = None,
    ) -> None:
        if dim < 2:
            raise ValueError(f"CMA-ES needs at least two dimensions, got dim={dim}")
        if not (np.isfinite(sigma0) and sigma0 > 0):
            raise ValueError(f"sigma0 must be positive, got {sigma0}")
        self.dim, self.sigma0, self.seed, self.metric = dim, float(sigma0), seed, metric
        self.low, self.high = (_bound(b, dim) for b in bounds or (None, None))
        self.x0 = _start(x0, dim, self.low, self.high)
        self.diagonal = dim > 100 if diagonal is None else diagonal
        self.population = 4 + int(3 * np.log(dim)) if population is None else population
        if self.population < 2:
            raise ValueError(f"a generation needs at least two candidates, got population={self.population}")
        self._restart()

    def _restart(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns at import that plotting is not available
            import cma

        rng = np.random.default_rng(self.seed)
        options: dict[str, Any] = {
            "verbose": -9,
            "seed": np.nan,  # or else cma would seed numpy's global generator
            "randn": lambda *shape: rng.standard_normal(shape),
            "popsize": self.population,
            "CMA_diagonal": self.diagonal,
        }
        if self.low is not None or self.high is not None:
            options["bounds"] = [None if b is None else b.tolist() for b in (self.low, self.high)]
        self._strategy = cma.CMAEvolutionStrategy(self.x0.copy(), self.sigma0, options)
        self._told: list[list[float | None]] = []  # finished generations
        self._generation: list[Vector] = []
        self._waiting: list[int] = []  # places in the generation not handed out
        self._fitness: dict[int, float | None] = {}  # place -> fitness
        self._best: tuple[Candidate[Vector], float] | None = None

    @property
    def generation(self) -> int:
        """How many generations have been told."""
        return len(self._told)

    @property
    def mean(self) -> Vector:
        """The centre of the search distribution [n], inside the bounds; with noisy fitness less lucky than `best`."""
        return np.array(self._strategy.result.xfavorite, dtype=np.float64)

    @property
    def sigma(self) -> float:
        """The present overall standard deviation."""
        return float(self._strategy.sigma)

    def ask(self, n: int | None = None) -> list[Candidate[Vector]]:
        """At most `n` candidates of the present generation; none while all are out."""
        if not self._generation:
            self._sample()
        count = len(self._waiting) if n is None else min(n, len(self._waiting))
        places, self._waiting = self._waiting[:count], self._waiting[count:]
        first = self.generation * self.population
        return [Candidate(first + place, self._generation[place].copy()) for place in places]

    def tell(self, candidates: Sequence[Candidate[Vector]], outcomes: Sequence[Told]) -> None:
        """Report outcomes, in any order and in parts; the update follows when the generation is complete."""
        first = self.generation * self.population
        out = {
            first + place
            for place in range(len(self._generation))
            if place not in self._waiting and place not in self._fitness
        }
        for i, fitness in told_pairs(candidates, outcomes, out, self.metric).items():
            self._fitness[i - first] = fitness
        if self._generation and len(self._fitness) == self.population:
            self._finish([self._fitness[place] for place in range(self.population)])

    @property
    def best(self) -> tuple[Candidate[Vector], float] | None:
        """The best candidate told so far with its fitness; the earlier of equals."""
        best = self._best
        first = self.generation * self.population
        for place, fitness in sorted(self._fitness.items()):
            if fitness is not None and (best is None or fitness > best[1]):
                best = (Candidate(first + place, self._generation[place].copy()), fitness)
        return best

    def state_dict(self) -> Mapping[str, Any]:
        """Plain numbers: the configuration, every fitness told, and the mean as a check."""
        return {
            "config": self._config(),
            "told": [list(generation) for generation in self._told],
            "partial": [[place, fitness] for place, fitness in sorted(self._fitness.items())],
            "sampled": bool(self._generation),
            "mean": self._strategy.mean.tolist(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replay; the untold candidates of a begun generation are handed out again.

        Raises:
            ValueError: the configuration differs, or the replay does not arrive at the recorded mean.
        """
        config = self._config()
        for key, value in config.items():
            if state["config"].get(key) != value:
                raise ValueError(f"the state was saved with {key}={state['config'].get(key)}, this CMA has {value}")
        self._restart()
        for generation in state["told"]:
            self._sample()
            self._finish(list(generation))
        if self._strategy.mean.tolist() != list(state["mean"]):
            raise ValueError(
                "replaying the record gives another mean than was saved; the packages cma or numpy have changed since"
            )
        if state["sampled"]:
            self._sample()
            self._fitness = {int(place): fitness for place, fitness in state["partial"]}
            self._waiting = [place for place in self._waiting if place not in self._fitness]

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """A small sphere, bounded."""
        yield (
            "CMA",
            Example(
                lambda seed: cls(3, 1.0, bounds=(-2.0, 3.0), seed=seed), lambda x: -float(np.sum(np.square(x - 1.0)))
            ),
        )

    def _config(self) -> dict[str, Any]:
        return {
            "dim": self.dim,
            "sigma0": self.sigma0,
            "x0": self.x0.tolist(),
            "diagonal": self.diagonal,
            "low": None if self.low is None else self.low.tolist(),
            "high": None if self.high is None else self.high.tolist(),
            "population": self.population,
            "seed": self.seed,
        }

    def _sample(self) -> None:
        self._generation = [np.array(x, dtype=np.float64) for x in self._strategy.ask()]
        self._waiting = list(range(self.population))

    def _finish(self, fitness: list[float | None]) -> None:
        good = [f for f in fitness if f is not None]
        if not good:
            raise EvaluationFailed(
                f"all {self.population} candidates of generation {self.generation} failed; there is nothing to rank"
            )
        # The strategy uses ranks alone, so any cost above the worst will do for a failure.
        worst = max(-f for f in good)
        failure = worst + max(1.0, abs(worst))
        costs = [failure if f is None else -f for f in fitness]
        self._strategy.tell(self._generation, costs)
        first = self.generation * self.population
        for place, value in enumerate(fitness):
            if value is not None and (self._best is None or value > self._best[1]):
                self._best = (Candidate(first + place, self._generation[place].copy()), value)
        self._told.append(fitness)
        self._generation, self._waiting, self._fitness = [], [], {}


def _bound(bound: Bound, dim: int) -> Vector | None:
    if bound is None:
        return None
    vector = np.broadcast_to(np.asarray(bound, dtype=np.float64), (dim,)).copy()
    if np.isnan(vector).any():
        raise ValueError("a bound is NaN")
    return vector


def _start(x0: Sequence[float] | Vector | None, dim: int, low: Vector | None, high: Vector | None) -> Vector:
    bottom = np.full(dim, -np.inf) if low is None else low
    top = np.full(dim, np.inf) if high is None else high
    if (bottom >= top).any():
        raise ValueError(f"the lower bound must be below the upper one, at coordinate {int(np.argmax(bottom >= top))}")
    if x0 is None:
        finite = np.isfinite(bottom) & np.isfinite(top)
        middle = np.where(finite, np.where(finite, bottom, 0.0) / 2 + np.where(finite, top, 0.0) / 2, 0.0)
        return np.clip(middle, bottom, top)
    start = np.array(x0, dtype=np.float64)
    if start.shape != (dim,) or not np.isfinite(start).all():
        raise ValueError(f"x0 must hold {dim} finite numbers, got shape {start.shape}")
    if ((start < bottom) | (start > top)).any():
        outside = int(np.argmax((start < bottom) | (start > top)))
        raise ValueError(f"x0 lies outside the bounds at coordinate {outside}: {start[outside]}")
    return start
