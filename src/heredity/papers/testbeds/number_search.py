"""Evolution strategies whose next mean a small sequence model writes, all runs of many seeds as one batch.

Arrays are [runs, generations, N, D]; losses are minimised. Runs of one seed and function draw the same noise in every
arm that moves a mean.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from heredity.environments.classic import CartPole
from heredity.papers.testbeds.sequence_models import NumberTransformer
from heredity.search.box import Box
from heredity.search.generations import VectorSearcher
from heredity.search.hill_climb import HillClimb
from heredity.search.mean_es import MeanES
from heredity.search.random_search import RandomSearch
from heredity.search.snes import SNES
from heredity.search.test_functions import TEST_FUNCTIONS, Problem

Floats: TypeAlias = NDArray[np.float64]
FUNCTIONS = ("rosenbrock", "rastrigin", "ackley", "griewank", "sharp_ridge", "schwefel12")
RADIUS, SIGMA, MEMBERS, SHOWN, PAIR = 3.0, 0.2, 5, 4, 2  # σ, N, K generations, coordinates in a question
UNIT, REACH = SIGMA / 4, 63  # of the relative code
EPISODES, TESTS = 4, 20  # of CartPole, in the search and for the report
FLOOR = 1e-8  # of regret, before its logarithm


class Landscape(ABC):
    """What R runs search together.

    Attributes:
        dim: D. keys: what a run's draws depend on, one tuple for each of R runs.
    """

    dim: int
    keys: list[tuple[int, ...]]

    @abstractmethod
    def losses(self, x: Floats, generation: int) -> tuple[Floats, Floats]:
        """True losses [R, N] of points [R, N, D], and what the searches see of them."""


class Functions(Landscape):
    """Each of the test functions for each seed, with a shift and rotation of its own.

    Args:
        seeds: of the runs. dim: D. noise: standard deviation of what is added to what is seen.
    """

    def __init__(self, seeds: Sequence[int], dim: int, noise: float) -> None:
        self.dim, self.noise = dim, noise
        self.keys = [(seed, place, dim) for seed in seeds for place in range(len(FUNCTIONS))]
        self.problems = [_problem(*key) for key in self.keys]
        self._rngs = [np.random.default_rng([*key, 1]) for key in self.keys]

    def losses(self, x: Floats, generation: int) -> tuple[Floats, Floats]:
        """The same noise for the same run, generation and member in every arm."""
        true = np.stack([problem(points) for problem, points in zip(self.problems, x, strict=True)])
        if not self.noise:
            return true, true
        return true, true + self.noise * np.stack([rng.normal(size=x.shape[1]) for rng in self._rngs])


def _problem(seed: int, place: int, dim: int) -> Problem:
    """A function in its own units, not stretched to a box, with its optimum in the middle .8 of the searches' box."""
    family = TEST_FUNCTIONS[FUNCTIONS[place]]
    state = int(np.random.SeedSequence([seed, place, dim]).generate_state(1)[0])
    optimum = 0.8 * RADIUS * np.random.default_rng(state).uniform(-1, 1, dim)
    return family(dim, seed=state, radius=family.domain, optimum=optimum)


def starts(landscape: Landscape) -> Floats:
    """Where the searches of every arm begin [R, D], uniform in the box."""
    draws = [np.random.default_rng([*key, 2]).uniform(-RADIUS, RADIUS, landscape.dim) for key in landscape.keys]
    return np.stack(draws)


class Carts(Landscape):
    """CartPole with a linear policy of four weights; the loss is −return, mean of episodes that all members share."""

    dim = 4

    def __init__(self, seeds: Sequence[int]) -> None:
        self.keys = [(seed, 99, 4) for seed in seeds]

    def losses(self, x: Floats, generation: int) -> tuple[Floats, Floats]:
        """Both are what was seen."""
        starts = [np.random.default_rng([*key, generation]).integers(2**31, size=EPISODES) for key in self.keys]
        found = -self.returns(x, np.stack(starts))
        return found, found

    @staticmethod
    def returns(x: Floats, starts: NDArray[np.int64]) -> Floats:
        """Mean return [R, N] of policies [R, N, 4] in episodes with seeds [R, E]."""
        runs, count, _ = x.shape
        shape = (runs, count, starts.shape[1])
        world = CartPole()
        seen = world.reset(np.broadcast_to(starts[:, None, :], shape).reshape(-1))
        weights = np.broadcast_to(x[:, :, None, :], (*shape, 4)).reshape(-1, 4)
        going, total = np.ones(len(weights), dtype=bool), np.zeros(len(weights))
        order = np.arange(len(weights))
        for _ in range(world.limit):
            step = world.step(((seen * weights).sum(1) > 0).astype(np.int64), going)
            total[order] += 1.0
            going = ~step[2]
            seen = step[0][going]
            if not going.any():
                break
            rows = np.flatnonzero(going)
            world.keep(rows)
            order, weights, going = order[rows], weights[rows], np.ones(len(rows), dtype=bool)
        return np.asarray(total.reshape(shape).mean(-1), dtype=np.float64)


@dataclass(frozen=True)
class Traces:
    """What runs did: points [R, G, N, D], true and seen losses [R, G, N], means [R, G + 1, D] where there are any."""

    x: Floats
    true: Floats
    seen: Floats
    means: Floats | None = None


# Points and seen losses so far, and the means [R, D] they were drawn around → the next means.
Recombine: TypeAlias = Callable[[Floats, Floats, Floats], Floats]


def mean_search(landscape: Landscape, generations: int, recombine: Recombine) -> Traces:
    """Draw N points of fixed deviation around a mean, move the mean, and so on."""
    runs, box = len(landscape.keys), Box(-RADIUS, RADIUS, dim=landscape.dim)
    shape = (generations, MEMBERS, landscape.dim)
    noise = np.stack([np.random.default_rng([*key, 0]).normal(size=shape) for key in landscape.keys])
    mean = starts(landscape)
    x = np.empty((runs, *shape))
    true, seen = np.empty((2, runs, generations, MEMBERS))
    means = [mean]
    for g in range(generations):
        x[:, g] = box.fold(mean[:, None] + SIGMA * noise[:, g])
        true[:, g], seen[:, g] = landscape.losses(x[:, g], g)
        mean = np.clip(recombine(x[:, : g + 1], seen[:, : g + 1], mean), -RADIUS, RADIUS)
        means.append(mean)
    return Traces(x, true, seen, np.stack(means, axis=1))


class Momentum:
    """The next mean of MomentumES: m ← m + p, p ← .6 p + mean of the two best − m."""

    def __init__(self) -> None:
        self._speed: Floats | float = 0.0

    def __call__(self, x: Floats, seen: Floats, mean: Floats) -> Floats:
        """See `Recombine`."""
        self._speed = 0.6 * self._speed + ranked(x[:, -1], seen[:, -1])[:, -2:].mean(1) - mean
        return mean + self._speed


def last_elite(x: Floats, seen: Floats, mean: Floats) -> Floats:
    """The best of the last generation."""
    return ranked(x[:, -1], seen[:, -1])[:, -1]


def ranked(x: Floats, seen: Floats) -> Floats:
    """Members [R, …, N, D] from the worst to the best; of equals the earlier is better."""
    order = np.argsort(-seen[..., ::-1], axis=-1, kind="stable")
    return np.take_along_axis(x[..., ::-1, :], order[..., None], axis=-2)


@dataclass(frozen=True)
class TokenCode:
    """Histories as tokens.

    Args:
        levels: 0 for the relative code (units of σ/4 from the last elite, −63 … 63); else 0 … levels over the box.
        order: "sorted" from the worst to the best, generations and members; "reversed"; or "unsorted".
    """

    levels: int = 0
    order: str = "sorted"

    @property
    def numbers(self) -> int:
        """Tokens that are numbers; a separator and a blank follow."""
        return (self.levels or 2 * REACH) + 1

    @property
    def length(self) -> int:
        """Of a context."""
        return SHOWN * (MEMBERS * PAIR + 1)

    def context(self, x: Floats, seen: Floats) -> NDArray[np.int64]:
        """The last generations of histories [R, g, N, 2] as [R, 44]; what there is not yet is blank."""
        anchor = ranked(x[:, -1], seen[:, -1])[:, -1]
        x, seen = x[:, -SHOWN:], seen[:, -SHOWN:]
        if self.order != "unsorted":
            x = ranked(x, seen)
            order = np.argsort(-seen.min(-1), axis=1, kind="stable")
            x = np.take_along_axis(x, order[:, :, None, None], axis=1)
            x = x[:, ::-1, ::-1] if self.order == "reversed" else x
        tokens = self.write(x, anchor[:, None, None]).reshape(*x.shape[:2], -1)
        separators = np.full((*tokens.shape[:2], 1), self.numbers)
        rows = np.concatenate([tokens, separators], axis=2).reshape(len(x), -1)
        blank = np.full((len(x), self.length - rows.shape[1]), self.numbers + 1)
        return np.concatenate([blank, rows], axis=1).astype(np.int64)

    def write(self, x: Floats, anchor: Floats) -> NDArray[np.int64]:
        """Numbers of coordinates."""
        if self.levels:
            found = np.rint((np.clip(x, -RADIUS, RADIUS) + RADIUS) / (2 * RADIUS) * self.levels)
        else:
            found = np.clip(np.rint((x - anchor) / UNIT), -REACH, REACH) + REACH
        return found.astype(np.int64)

    def read(self, tokens: NDArray[np.int64], anchor: Floats) -> Floats:
        """Coordinates of numbers."""
        if self.levels:
            return np.asarray(tokens / self.levels * 2 * RADIUS - RADIUS, dtype=np.float64)
        return np.asarray(anchor + (tokens - REACH) * UNIT, dtype=np.float64)


class Written:
    """The next mean that a model writes, two coordinates at a time, all questions at once."""

    def __init__(self, model: NumberTransformer, code: TokenCode) -> None:
        self.model, self.code = model.eval(), code

    def __call__(self, x: Floats, seen: Floats, mean: Floats) -> Floats:
        """See `Recombine`."""
        blocks = [x[..., k : k + PAIR] for k in range(0, x.shape[-1], PAIR)]
        prompts = np.concatenate([self.code.context(block, seen) for block in blocks])
        answers = self.model.answer(torch.from_numpy(prompts), PAIR).numpy()
        anchor = last_elite(x, seen, mean)
        anchors = np.concatenate([anchor[:, k : k + PAIR] for k in range(0, x.shape[-1], PAIR)])
        return np.concatenate(np.split(self.code.read(answers, anchors), len(blocks)), axis=1)


def library_search(landscape: Landscape, generations: int, make: Callable[[Box, int], Any]) -> Traces:
    """One searcher of the library per run, from the same start with the same deviation."""
    searchers = []
    for key, start in zip(landscape.keys, starts(landscape), strict=True):
        box = Box(-RADIUS, RADIUS, dim=landscape.dim, start=start, scale=SIGMA)
        searchers.append(make(box, int(np.random.SeedSequence([*key, 0]).generate_state(1)[0])))
    x = np.empty((len(searchers), generations, MEMBERS, landscape.dim))
    true, seen = np.empty((2, len(searchers), generations, MEMBERS))
    for g in range(generations):
        asked = [None if isinstance(s, VectorSearcher) else s.ask(MEMBERS) for s in searchers]
        for run, (searcher, candidates) in enumerate(zip(searchers, asked, strict=True)):
            x[run, g] = searcher.ask_array() if candidates is None else [c.value for c in candidates]
        true[:, g], seen[:, g] = landscape.losses(x[:, g], g)
        for searcher, candidates, losses in zip(searchers, asked, seen[:, g], strict=True):
            if candidates is None:
                searcher.tell_array(-losses)
            else:
                searcher.tell(candidates, [float(-loss) for loss in losses])
    return Traces(x, true, seen)


LIBRARY: dict[str, Callable[[Box, int], Any]] = {
    "random": RandomSearch,
    "hill_climb": lambda box, seed: HillClimb(box, MEMBERS, SIGMA, seed=seed),
    "snes": lambda box, seed: SNES(box, MEMBERS, seed=seed),
    "mean_es": lambda box, seed: MeanES(box, MEMBERS, 2, SIGMA, seed=seed),
}


def search(name: str, landscape: Landscape, generations: int, written: Written | None) -> Traces:
    """The runs of an arm: a searcher of the library, "momentum", "last_elite", or what a model writes."""
    if name in LIBRARY:
        return library_search(landscape, generations, LIBRARY[name])
    if name in ("momentum", "last_elite"):
        return mean_search(landscape, generations, Momentum() if name == "momentum" else last_elite)
    if written is None:
        raise ValueError(f"the arm {name!r} needs a model")
    return mean_search(landscape, generations, written)


def log_regret(traces: Traces) -> Floats:
    """log₁₀ of the lowest true loss of all points [R]; test functions are 0 at their optimum."""
    return np.asarray(np.log10(np.maximum(traces.true.min((1, 2)), FLOOR)), dtype=np.float64)


def cart_score(landscape: Carts, traces: Traces) -> Floats:
    """Return of the best seen policy of each run in new episodes, as a share of 500 [R]."""
    flat = traces.seen.reshape(len(traces.seen), -1).argmin(1)
    best = traces.x.reshape(len(flat), -1, 4)[np.arange(len(flat)), flat]
    starts = [np.random.default_rng([*key, 2**20]).integers(2**31, size=TESTS) for key in landscape.keys]
    return Carts.returns(best[:, None], np.stack(starts))[:, 0] / 500
