"""Restarts of a searcher of vectors that has come to rest: IPOP doubles populations, BIPOP mixes large and small ones.

Source: Auger & Hansen, A Restart CMA Evolution Strategy With Increasing Population Size (CEC 2005); Hansen,
Benchmarking a BI-Population CMA-ES on the BBOB-2009 Function Testbed (GECCO 2009), also for the criteria.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from heredity.errors import EvaluationFailed
from heredity.search.base import Candidate, Example, Searcher, Told, fitness_of
from heredity.search.box import Box, Vectors, as_box
from heredity.search.generations import Array, VectorSearcher

Schedule: TypeAlias = Literal["ipop", "bipop"]
REMEMBERED = 20_000  # generations


class Restarts(Searcher[Array]):
    """Ask and tell over vectors [dim]; the first run is, bit for bit, the one that `kind` alone makes.

    Args:
        kind: the searcher's class, for instance `CMAES`.
        space: where; of the first run also from where. Later runs begin at `starts.sample`.
        population: of the first run; default what `kind` takes.
        schedule: "ipop": every run has twice the population of the last; "bipop": that, and in between small ones of
            random population and first standard deviations, whichever of the two have used fewer evaluations.
        starts: where later runs begin; default `space`.
        limit: no population above this many times the first.
        tol_fun: a run ends when the best fitness of its last generations and the whole of its last one differ by less.
        tol_x: or when the candidates' standard deviations are all below this share of `Box.scale`.
        seed, dtype, metric: as in `VectorSearcher`.
        options: of `kind`: numbers, strings and booleans.

    A run ends, too, when its best and its median fitness have not improved in a fifth to a third of its generations.
    """

    def __init__(
        self,
        kind: type[VectorSearcher],
        space: Vectors,
        population: int | None = None,
        *,
        schedule: Schedule = "ipop",
        starts: Box | None = None,
        limit: int = 512,
        tol_fun: float = 1e-12,
        tol_x: float = 1e-12,
        seed: int = 0,
        dtype: DTypeLike = np.float64,
        metric: str | None = None,
        **options: Any,
    ) -> None:
        if schedule not in get_args(Schedule):
            raise ValueError(f'schedule must be "ipop" or "bipop", got {schedule!r}')
        if limit < 1:
            raise ValueError(f"limit must be at least 1, got {limit}")
        self.kind, self.space, self.schedule, self.seed, self.metric = kind, as_box(space), schedule, seed, metric
        self.starts = self.space if starts is None else starts
        if self.starts.dim != self.space.dim:
            raise ValueError(f"starts has {self.starts.dim} dimensions, space has {self.space.dim}")
        self.limit, self.tol_fun, self.tol_x = limit, tol_fun, tol_x
        self.options = {"dtype": np.dtype(dtype).name, **options}
        self.restarts = 0
        self.reasons: list[str] = []  # why each run ended
        self.spent = [0, 0]  # evaluations of runs with large and with small populations
        self._offset, self._last_large, self._doublings = 0, 0, 0
        self._bests: list[float] = []  # of the present run's generations
        self._medians: list[float] = []
        self._told: list[float] = []  # successes of the present generation
        self._width: float | None = None  # of the present generation, in units of Box.scale
        self._best: tuple[Candidate[Array], float] | None = None  # of earlier runs
        self._begin(population, seed, self.space.start, 1.0, large=True)
        self.first_population = self.searcher.population

    @property
    def center(self) -> Array:
        """What the search has settled on [dim]: the best told."""
        return np.array(self.space.start if self.best is None else self.best[0].value, dtype=self.options["dtype"])

    @property
    def population(self) -> int:
        """Candidates per generation of the present run."""
        return self.searcher.population

    # The contract.

    def ask(self, n: int | None = None) -> list[Candidate[Array]]:
        """At most `n` candidates of the present generation; none while all are out."""
        self._measure()
        return [Candidate(self._offset + c.id, c.value) for c in self.searcher.ask(n)]

    def tell(self, candidates: Sequence[Candidate[Array]], outcomes: Sequence[Told]) -> None:
        """Report outcomes, in any order and in parts; the update follows when the generation is complete."""
        inner = [Candidate(c.id - self._offset, c.value) for c in candidates]
        before = self.searcher.generation
        try:
            self.searcher.tell(inner, outcomes)
        except EvaluationFailed:
            self._after([])
            raise
        told = (fitness_of(outcome, self.metric) for outcome in outcomes)
        self._told += [value for value in told if value is not None]
        if self.searcher.generation > before:
            self._after(self._told)

    def ask_array(self) -> Array:
        """The whole present generation [population, dim], read only; see `VectorSearcher.ask_array`."""
        self._measure()
        return self.searcher.ask_array()

    def tell_array(self, fitness: Sequence[float] | NDArray[Any]) -> None:
        """Report the fitness [population] of the generation that `ask_array` gave; NaN and ±∞ are failures."""
        values = np.asarray(fitness, dtype=np.float64)
        try:
            self.searcher.tell_array(values)
        except EvaluationFailed:
            self._after([])
            raise
        self._after(values[np.isfinite(values)])

    @property
    def best(self) -> tuple[Candidate[Array], float] | None:
        """The best candidate of all runs with its fitness; the earlier of equals."""
        now, best = self.searcher.best, self._best
        if now is not None and (best is None or now[1] > best[1]):
            best = (Candidate(self._offset + now[0].id, now[0].value), now[1])
        return None if best is None else (Candidate(best[0].id, best[0].value.copy()), best[1])

    def state_dict(self) -> Mapping[str, Any]:
        """Configuration, the present run with its searcher's state and record, and the best of earlier ones."""
        best = self._best
        return {
            "config": self._config(),
            "run": {**self._run, "start": self._start.copy()},
            "searcher": self.searcher.state_dict(),
            "restarts": self.restarts,
            "reasons": list(self.reasons),
            "spent": list(self.spent),
            "counts": [self._offset, self._last_large, self._doublings],
            "best": None if best is None else [best[0].id, best[0].value.copy(), best[1]],
            "histories": [list(self._bests), list(self._medians)],
            "told": list(self._told),
            "width": self._width,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue.

        Raises:
            ValueError: the configuration differs.
        """
        for name, value in self._config().items():
            if name not in state["config"] or not np.array_equal(np.asarray(state["config"][name]), np.asarray(value)):
                raise ValueError(f"the state was saved with {name}={state['config'].get(name)}, this one has {value}")
        run = state["run"]
        self._begin(int(run["population"]), int(run["seed"]), np.array(run["start"]), run["factor"], large=run["large"])
        self.searcher.load_state_dict(state["searcher"])
        self.restarts, self.reasons, self.spent = state["restarts"], list(state["reasons"]), list(state["spent"])
        self._offset, self._last_large, self._doublings = (int(count) for count in state["counts"])
        best = state["best"]
        self._best = (
            None
            if best is None
            else (Candidate(int(best[0]), np.array(best[1], dtype=self.options["dtype"])), float(best[2]))
        )
        self._bests, self._medians = (list(history) for history in state["histories"])
        self._told, self._width = list(state["told"]), state["width"]

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """Two methods on a small sphere, of which runs end early enough to see restarts."""
        from heredity.search.cma_es import CMAES
        from heredity.search.snes import SNES

        kinds: tuple[tuple[type[VectorSearcher], Schedule], ...] = ((CMAES, "bipop"), (SNES, "ipop"))
        for kind, schedule in kinds:

            def make(seed: int, kind: type[VectorSearcher] = kind, schedule: Schedule = schedule) -> Searcher[Any]:
                return cls(kind, Box(-2.0, 3.0, dim=3), schedule=schedule, tol_fun=3.0, seed=seed)

            yield f"{cls.__name__}-{schedule}", Example(make, lambda x: -float(np.sum(np.square(x - 1.0))))

    # Runs.

    def _begin(self, population: int | None, seed: int, start: Array, factor: float, *, large: bool) -> None:
        box = self.space
        space = Box(box.low, box.high, dim=box.dim, start=start, scale=factor * box.scale)
        self.searcher = self.kind(space, population, seed=seed, metric=self.metric, **self.options)  # type: ignore[arg-type]
        self._run = {"population": self.searcher.population, "seed": seed, "factor": factor, "large": large}
        self._start = space.start
        self._bests, self._medians, self._told, self._width = [], [], [], None

    def _measure(self) -> None:
        if self._width is None:
            self._width = float(np.max(np.std(self.searcher.ask_array(), axis=0) / self.space.scale))

    def _after(self, told: Sequence[float] | NDArray[Any]) -> None:
        """Take note of a complete generation, and begin another run when this one has come to rest."""
        values, width = np.sort(np.asarray(told, dtype=np.float64))[::-1], self._width
        self._told, self._width = [], None
        reason = None
        if len(values):
            self._bests.append(float(values[0]))
            self._medians.append(float(np.median(values)))
            del self._bests[:-REMEMBERED], self._medians[:-REMEMBERED]
            reason = self._rest(float(values[0] - values[-1]), width)
        used = self.searcher.generation * self.searcher.population
        small_enough = self._run["large"] or used < self._last_large / 2
        if reason is None and small_enough:
            return
        self.reasons.append(reason or "half of the last large run's evaluations")
        self._again(used)

    def _rest(self, spread: float, width: float | None) -> str | None:
        bests, n, size = self._bests, self.space.dim, self.searcher.population
        rounding = 4 * float(np.finfo(np.float64).eps) * abs(bests[-1])
        recent = bests[-(10 + -(-30 * n // size)) :]
        if len(recent) == 10 + -(-30 * n // size) and max(max(recent) - min(recent), spread) < self.tol_fun + rounding:
            return "tol_fun"
        if width is not None and width < self.tol_x:
            return "tol_x"
        least = 120 + 30 * n // size
        window = max(least, len(bests) // 5)
        if len(bests) >= max(window, least) and len(bests) % 10 == 0:
            part = max(1, int(0.3 * window))
            histories = (np.array(history[-window:]) for history in (bests, self._medians))
            if all(np.median(history[-part:]) <= np.median(history[:part]) for history in histories):
                return "stagnation"
        return None

    def _again(self, used: int) -> None:
        large = bool(self._run["large"])
        self.spent[0 if large else 1] += used
        if large:
            self._last_large = used
        best = self.best
        self._offset, self._best = self._offset + used, best
        self.restarts += 1
        rng = np.random.Generator(np.random.SFC64([self.seed, self.restarts]))
        seed = int(rng.integers(2**62))
        start = self.space.fold(self.starts.sample(rng))
        first = self.first_population
        if self.schedule == "bipop" and self._doublings and self.spent[1] < self.spent[0]:
            u, v = rng.random(2)
            ratio = 2**self._doublings / 2
            size = max(first, int(first * ratio ** (u * u)))
            self._begin(size, seed, start, 10 ** (-2 * float(v)), large=False)
            return
        if first * 2 ** (self._doublings + 1) <= first * self.limit:
            self._doublings += 1
        self._begin(first * 2**self._doublings, seed, start, 1.0, large=True)

    def _config(self) -> dict[str, Any]:
        return {
            "kind": f"{self.kind.__module__}.{self.kind.__qualname__}",
            "schedule": self.schedule,
            "options": json.dumps(self.options, sort_keys=True),
            "first_population": self.first_population,
            "seed": self.seed,
            "limit": self.limit,
            "tolerances": [self.tol_fun, self.tol_x],
            "low": self.space.low,
            "high": self.space.high,
            "start": self.space.start,
            "scale": self.space.scale,
            "starts": [self.starts.low, self.starts.high, self.starts.start, self.starts.scale],
        }
