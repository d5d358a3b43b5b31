"""Searches for the schedule of a small actor-critic in deceptive gridworlds, as recorded births, several seeds at once.

A schedule says, from how much of the budget is spent and how large it is, the learning rate and the weight of the
entropy. A seed's schedule, levels and draws are its own; that seeds are computed together changes nothing but the
order in which sums are rounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from heredity.environments.gridworlds import VecGridworld, deceptive_levels
from heredity.lab import Child, Context, Operator, Parents, Request
from heredity.papers.claim import Cell, Steps, Trial
from heredity.search.box import Box
from heredity.search.meta_training import MetaTrainer, Task, meta_gradient_loss
from heredity.search.open_es import OpenES
from heredity.search.tabular_agents import ActorCritic, Schedule, evaluate, train_agent

HIDDEN = 8
DIM = 2 * HIDDEN + HIDDEN + 2 * HIDDEN + 2
WORKERS, STEPS, LIMIT, TEST_WORKERS = 8, 10, 12, 64
HORIZONS = (10, 30, 100, 300)  # the last lies outside of what was trained on
LOWEST = 0.0  # return of a policy that collects nothing; no reward is negative
LIFETIMES = (10, 100)
VALUE_LR = 2.0
TESTING = 2**41  # seeds of levels from here on are for tests, below for training
Kind = Literal["temporal", "static", "constant", "annealed"]


def first_vector(seed: int) -> Tensor:
    """A schedule's parameters before any search: learning rate 50 and entropy weight .01 at all times."""
    generator = torch.Generator().manual_seed(seed)
    vector = torch.zeros(DIM)
    vector[: 2 * HIDDEN] = torch.randn(2 * HIDDEN, generator=generator)
    return vector


def learned(vectors: Tensor, temporal: bool) -> Schedule:
    """Schedules of vectors [members, 42]: an MLP from (2 n/N − 1, ln N / 2.3 − 1.5), both 0 for a static one, to
    log₁₀ of the learning rate, −.3 … 2.7, and of the entropy's weight, −4 … 0."""
    inner, bias, outer, shift = torch.split(vectors, [2 * HIDDEN, HIDDEN, 2 * HIDDEN, 2], dim=-1)

    def schedule(frac: float, lifetime: int) -> tuple[Tensor, Tensor]:
        features = torch.tensor([2 * frac - 1, math.log(lifetime) / 2.3 - 1.5]) * float(temporal)
        hidden = torch.tanh((inner.reshape(-1, HIDDEN, 2) * features).sum(-1) + bias)
        out = (outer.reshape(-1, 2, HIDDEN) * hidden[..., None, :]).sum(-1) + shift
        return 10.0 ** (1.7 + out[..., 0].clamp(-2, 1)), 10.0 ** (-2 + out[..., 1].clamp(-2, 2))

    return schedule


def handmade(settings: Tensor, annealed: bool) -> Schedule:
    """Learning rate and entropy weight of settings [members, 3], constant or going linearly to zero."""

    def schedule(frac: float, lifetime: int) -> tuple[Tensor, Tensor]:
        left = 1 - frac if annealed else 1.0
        return settings[:, 0] * left, settings[:, 1] * left

    return schedule


def rule_of(kind: Kind, rows: Tensor) -> ActorCritic:
    """The rule of parameters [members, …]; their agents stand in the members' order."""
    if kind in ("temporal", "static"):
        return ActorCritic(learned(rows, kind == "temporal"), VALUE_LR)
    return ActorCritic(handmade(rows, kind == "annealed"))


def level_seeds(rng: np.random.Generator, count: int, *, test: bool = False) -> list[int]:
    """Seeds of levels, either for training or for tests."""
    return [int(seed) + (TESTING if test else 0) for seed in rng.integers(2**40, size=count)]


def worlds(seeds: list[int]) -> tuple[VecGridworld, VecGridworld]:
    """A world to learn in, and the same levels with more workers and other draws to be judged in."""
    levels = deceptive_levels(seeds)
    return VecGridworld(levels, WORKERS), VecGridworld(levels, TEST_WORKERS, stream=1)


def lifetime_of(rng: np.random.Generator) -> int:
    """Log-uniform."""
    return round(float(np.exp(rng.uniform(math.log(LIFETIMES[0]), math.log(LIFETIMES[1])))))


@dataclass(frozen=True)
class EvolvedSchedules(Operator):
    """Schedules found by OpenES with antithetic tasks: the child holds `rows` [count, 42] and `returns`
    [generations, count], the mean return of each generation.

    Args:
        first, count: the seeds, searched side by side. Lifetimes are drawn once per generation for all of them.
        kind: whether schedules see the time.
        generations, pairs, levels: of the search; levels are per member.
        sigma, lr, lr_end: of OpenES; the step size falls geometrically.
    """

    first: int
    count: int
    kind_of: Kind
    generations: int = 100
    pairs: int = 12
    levels: int = 3
    sigma: float = 0.3
    lr: float = 0.1
    lr_end: float = 0.02
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Search."""
        decay = (self.lr_end / self.lr) ** (1 / max(1, self.generations - 1))
        searchers = [
            OpenES(
                Box(start=first_vector(seed).double().numpy()),
                self.pairs,
                self.sigma,
                self.lr,
                shaping="pair",
                lr_decay=decay,
                seed=seed,
            )
            for seed in range(self.first, self.first + self.count)
        ]
        trainer = MetaTrainer(searchers, self._task, lambda rows: rule_of(self.kind_of, rows), steps=STEPS)
        returns = []
        for generation in range(self.generations):
            returns.append(torch.from_numpy(trainer.step().mean(1)))
            context.progress(generation + 1, self.generations)
        rows = torch.stack([torch.from_numpy(es.center).float() for es in searchers])
        return Child({"rows": rows, "returns": torch.stack(returns)}, None, {})

    def _task(self, generation: int) -> Task:
        seeds: list[int] = []
        for seed in range(self.first, self.first + self.count):
            rng = np.random.default_rng([seed, generation])
            for _ in range(self.pairs):
                seeds += 2 * level_seeds(rng, self.levels)
        world, test = worlds(seeds)
        lifetime = lifetime_of(np.random.default_rng([self.first, generation, 1]))
        return Task(world, test, lifetime, LIMIT)


@dataclass(frozen=True)
class MetaGradientSchedules(Operator):
    """Schedules found by differentiating through K = 5 updates: the child holds `rows` [count, 42].

    Args:
        first, count: the seeds. agents: of each seed, on a level each. lifetimes: how many are lived.
        lr: of Adam.
    """

    first: int
    count: int
    kind_of: Kind = "temporal"
    agents: int = 72
    lifetimes: int = 60
    updates: int = 5
    lr: float = 0.01
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Search."""
        seeds = range(self.first, self.first + self.count)
        rows = torch.stack([first_vector(seed) for seed in seeds]).requires_grad_()
        adam = torch.optim.Adam([rows], lr=self.lr)
        for life in range(self.lifetimes):
            lifetime = lifetime_of(np.random.default_rng([self.first, life, 1]))
            world, _ = worlds(
                [s for seed in seeds for s in level_seeds(np.random.default_rng([seed, life]), self.agents)]
            )
            states = world.reset()
            tables = rule_of(self.kind_of, rows.detach()).begin(
                len(states), world.states, world.actions, torch.Generator()
            )
            critic = tables["value"]
            for n in range(0, lifetime - self.updates + 1, self.updates):
                losses, tables, critic, states = meta_gradient_loss(
                    rule_of(self.kind_of, rows),
                    world,
                    tables,
                    critic,
                    states,
                    n,
                    lifetime,
                    updates=self.updates,
                    steps=STEPS,
                    value_lr=VALUE_LR,
                )
                adam.zero_grad()
                torch.autograd.backward(losses.sum() / self.agents)
                adam.step()
            context.progress(life + 1, self.lifetimes)
        return Child({"rows": rows.detach().clone()}, None, {})


@dataclass(frozen=True)
class FirstSchedules(Operator):
    """Schedules before any search: `rows` [count, 42]."""

    first: int
    count: int
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Draw."""
        return Child({"rows": torch.stack([first_vector(self.first + k) for k in range(self.count)])}, None, {})


@dataclass(frozen=True)
class TunedActorCritic(Operator):
    """The best of random settings on levels of their own: `rows` [count, 3], equal: lr, entropy weight, value lr.

    Args:
        annealed: whether learning rate and entropy go linearly to zero.
        trials, levels: how many are tried, on how many levels for each lifetime.
    """

    count: int
    annealed: bool
    trials: int = 32
    levels: int = 48
    lifetimes: tuple[int, ...] = (12, 30, 80)
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Try."""
        rng = np.random.default_rng(context.seed)
        drawn = 10.0 ** rng.uniform([1.0, -3.0, -0.5], [2.7, 0.0, 0.7], size=(self.trials, 3))
        settings = torch.from_numpy(drawn).float()
        seeds = level_seeds(rng, self.levels)
        score = torch.zeros(self.trials)
        for lifetime in self.lifetimes:
            world, test = worlds(seeds * self.trials)
            rule = ActorCritic(handmade(settings, self.annealed), settings[:, 2].repeat_interleave(self.levels))
            policy = train_agent(rule, world, lifetime, steps=STEPS).tables["policy"]
            score += evaluate(policy, test, LIMIT).reshape(self.trials, -1).mean(1).nan_to_num(-torch.inf)
        best = int(score.argmax())
        return Child({"rows": settings[best].expand(self.count, -1).clone()}, None, {"tuning": float(score[best]) / 3})


@dataclass(frozen=True)
class TestedSchedules(Operator):
    """What the parent's schedules are worth on unseen levels: the child holds their `rows` and `values`
    [count, horizons], mean returns; a seed's levels are the same for all kinds.

    An agent whose policy is no longer finite has the lowest return; notes say how many there were ("diverged_300", …).

    Args:
        first: seed of the first row. kind_of: what rows mean. levels: of each seed.
    """

    first: int
    kind_of: Kind
    levels: int = 256
    kind: ClassVar[str] = "adapt"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Train agents and test them."""
        rows = parents[0].weights()["rows"]
        seeds: list[int] = []
        for k in range(len(rows)):
            seeds += level_seeds(np.random.default_rng([self.first + k, 2**20]), self.levels, test=True)
        rule = rule_of(self.kind_of, rows)
        if self.kind_of in ("constant", "annealed"):
            rule.value_lr = rows[:, 2].repeat_interleave(self.levels)
        values, diverged = [], []
        for horizon in HORIZONS:
            world, test = worlds(seeds)
            policy = train_agent(rule, world, horizon, steps=STEPS).tables["policy"]
            returns = evaluate(policy, test, LIMIT).reshape(len(rows), -1)
            diverged.append(int(returns.isnan().sum()))
            values.append(returns.nan_to_num(LOWEST).mean(1))
            context.progress(len(values), len(HORIZONS))
        notes = {f"diverged_{horizon}": float(n) for horizon, n in zip(HORIZONS, diverged, strict=True)}
        return Child({"rows": rows, "values": torch.stack(values, dim=1)}, None, notes)


@dataclass(frozen=True)
class SeedsShare(Operator):
    """One seed's numbers of the tested parents: the first is the arm's, all others are compared with it.

    Notes: "return" (mean over horizons 10, 30 and 100), "return_10", …; for learned ones "change_lr" and
    "change_entropy" (log₁₀ at the end less at the beginning of a budget of 30), "change" (sum of their sizes); with
    more parents "es_gain", the highest "return" of the others less its own.
    """

    row: int
    learned: bool
    kind: ClassVar[str] = "adapt"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Take the row."""
        values = [parent.weights()["values"][self.row].double() for parent in parents]
        means = [float(v[:3].mean()) for v in values]
        notes: dict[str, float] = {"return": means[0]}
        notes |= {f"return_{horizon}": float(v) for horizon, v in zip(HORIZONS, values[0], strict=True)}
        rows = parents[0].weights()["rows"][self.row : self.row + 1]
        if self.learned:
            schedule: Any = learned(rows, True)
            begin, end = schedule(0.0, 30), schedule(1.0, 30)
            lr, entropy = (float((b.log10() - a.log10()).item()) for a, b in zip(begin, end, strict=True))
            notes |= {"change_lr": lr, "change_entropy": entropy, "change": abs(lr) + abs(entropy)}
        if len(parents) > 1:
            notes["es_gain"] = max(means[1:]) - means[0]
        return Child({"rows": rows.clone(), "values": values[0]}, None, notes)


def trial(cell: Cell) -> Steps:
    """One arm at one seed: seeds of a batch are searched and tested together, in births that their cells share."""
    batch = int(cell.setting("batch"))
    first = cell.seed - cell.seed % batch
    asked = [_search(cell, cell.setting("search"), first, batch)]
    others = ("temporal", "static") if cell.setting("search") == "first" else ()
    asked += [_search(cell, name, first, batch) for name in others]
    found = yield [request for request, _ in asked]
    tested = yield [
        Request(TestedSchedules(first, kind, cell.setting("test_levels")), (model,), seed=first)
        for model, (_, kind) in zip(found, asked, strict=True)
    ]
    names = ["return", *(f"return_{horizon}" for horizon in HORIZONS)]
    temporal = asked[0][1] == "temporal" and not others
    names += ["change_lr", "change_entropy", "change"] if temporal else []
    names += ["es_gain"] if others else []
    return Trial(Request(SeedsShare(cell.seed - first, temporal), tuple(tested), seed=cell.seed), notes=tuple(names))


def _search(cell: Cell, name: str, first: int, count: int) -> tuple[Request, Kind]:
    """The birth of a batch's schedules, and what they mean."""
    kind: Kind
    if name in ("temporal", "static"):
        kind = "temporal" if name == "temporal" else "static"
        return Request(EvolvedSchedules(first, count, kind, cell.setting("generations")), seed=first), kind
    if name == "meta_gradient":
        return Request(MetaGradientSchedules(first, count, lifetimes=cell.setting("lifetimes")), seed=first), "temporal"
    if name == "first":
        return Request(FirstSchedules(first, count), seed=first), "temporal"
    size = (cell.setting("trials"), cell.setting("tuning_levels"))
    kind = "annealed" if name == "annealed" else "constant"
    return Request(TunedActorCritic(count, name == "annealed", *size), seed=first), kind
