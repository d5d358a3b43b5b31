"""Tabular agents that learn all at once: rows of tables, moved together by an update rule.

A world is any object with `reset`, `step` and `noise` over [agents, workers], such as
`heredity.environments.gridworlds.VecGridworld`.
Source: the agents of Jackson et al. (arXiv 2402.05828) and Oh et al. (arXiv 2007.08794).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

Tables: TypeAlias = dict[str, Tensor]  # "policy" [A, states, actions] and what else a rule keeps


class World(Protocol):
    """What agents live in: A of them with W workers each."""

    states: int
    actions: int

    def reset(self) -> Tensor:
        """First states [A, W]."""

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Next states, rewards and ends of episodes [A, W]; ended episodes begin anew."""

    def noise(self) -> Tensor:
        """Uniform numbers [A, W] from which the next actions are drawn."""


@dataclass(frozen=True)
class Rollout:
    """T steps of all agents.

    Attributes:
        states, actions, rewards, dones: [A, W, T]; rewards and dones float32.
        last: [A, W] the states afterwards.
    """

    states: Tensor
    actions: Tensor
    rewards: Tensor
    dones: Tensor
    last: Tensor

    def rows(self, states: int) -> Tensor:
        """Where the states lie in tables whose first two axes were joined [A, W, T]."""
        agents = torch.arange(len(self.states), device=self.states.device)
        return self.states + agents[:, None, None] * states


class UpdateRule(ABC):
    """How agents learn from what they did.

    Attributes:
        penalty: what meta-gradients hold against the updates made since it was set to zero.
    """

    penalty: Tensor | float = 0.0

    @abstractmethod
    def begin(self, agents: int, states: int, actions: int, generator: torch.Generator) -> Tables:
        """Tables of new agents."""

    @abstractmethod
    def update(self, tables: Tables, rollout: Rollout, n: int, lifetime: int, *, graph: bool = False) -> Tables:
        """Tables after update n, counted from 0, of `lifetime`; with `graph` differentiable in the rule."""


@dataclass(frozen=True)
class AgentCurve:
    """A lifetime.

    Attributes:
        tables: at its end.
        rewards: [N, A] mean reward per step during each update.
    """

    tables: Tables
    rewards: Tensor


def roll(world: World, policy: Tensor, states: Tensor, steps: int) -> Rollout:
    """Act by softmax of tables [A, states, actions], from these states on; carries no gradient."""
    with torch.no_grad():
        below = torch.softmax(policy.detach(), dim=-1).cumsum(-1)[..., :-1].flatten(0, 1)
        agents = torch.arange(len(policy), device=policy.device)[:, None] * policy.shape[1]
        seen: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        for _ in range(steps):
            actions = (world.noise()[..., None] > below[agents + states]).sum(-1)
            after, rewards, dones = world.step(actions)
            seen.append((states, actions, rewards, dones.to(rewards.dtype)))
            states = after
        before, actions, rewards, dones = (torch.stack(column, dim=-1) for column in zip(*seen, strict=True))
        return Rollout(before, actions, rewards, dones, states)


def train_agent(rule: UpdateRule, world: World, lifetime: int, seed: int = 0, *, steps: int = 20) -> AgentCurve:
    """Agents that learn for a lifetime, all at once.

    Args:
        rule: by what. world: one agent for each of its rows.
        lifetime: N, number of updates. steps: of a rollout, after which an update follows.
        seed: of the first tables.
    """
    states = world.reset()
    generator = torch.Generator().manual_seed(seed)
    tables = rule.begin(len(states), world.states, world.actions, generator)
    rewards = []
    for n in range(lifetime):
        rollout = roll(world, tables["policy"], states, steps)
        states = rollout.last
        tables = rule.update(tables, rollout, n, lifetime)
        rewards.append(rollout.rewards.mean((1, 2)))
    return AgentCurve({name: table.detach() for name, table in tables.items()}, torch.stack(rewards))


@torch.no_grad()
def evaluate(policy: Tensor, world: World, limit: int) -> Tensor:
    """Mean return [A] of every worker's first episode of at most `limit` steps; NaN of policies that are not finite."""
    states = world.reset()
    going = torch.ones_like(states, dtype=torch.bool)
    total = torch.zeros(states.shape, dtype=torch.float32, device=states.device)
    finite = policy.isfinite().flatten(1).all(1)
    policy = policy.nan_to_num(0.0, 0.0, 0.0)
    for _ in range(limit):
        step = roll(world, policy, states, 1)
        total += step.rewards[..., 0] * going
        going &= step.dones[..., 0] == 0
        states = step.last
        if not going.any():
            break
    return torch.where(finite, total.mean(1), torch.nan)


def advantages(rollout: Rollout, values: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantages and the returns they imply [A, W, T], from tables of values [A, states].

    Source: Schulman et al., arXiv 1506.02438, equation 16.
    """
    agents = torch.arange(len(values), device=values.device)
    now = values[agents[:, None, None], rollout.states]
    after = torch.cat([now[..., 1:], values[agents[:, None], rollout.last][..., None]], dim=-1)
    going = 1 - rollout.dones
    errors = rollout.rewards + gamma * going * after - now
    found, total = [], torch.zeros_like(errors[..., 0])
    for t in range(errors.shape[-1] - 1, -1, -1):
        total = errors[..., t] + gamma * lam * going[..., t] * total
        found.append(total)
    gains = torch.stack(found[::-1], dim=-1)
    return gains, gains + now


def learn_values(values: Tensor, rollout: Rollout, returns: Tensor, lr: Tensor | float) -> Tensor:
    """Tables of values [A, states] after a step down the mean of ½ (return − value)² over a rollout.

    Args:
        lr: a number or [A].
    """
    agents = torch.arange(len(values), device=values.device)[:, None, None]
    errors = (returns - values[agents, rollout.states]).flatten()[:, None] / rollout.states[0].numel()
    steps = _per_state(errors, rollout.rows(values.shape[1]).flatten(), values[..., None])[..., 0]
    return values + torch.as_tensor(lr, dtype=values.dtype, device=values.device).reshape(-1, 1) * steps


# n / N and N → learning rate and weight of the entropy, each a number or [A].
Schedule: TypeAlias = Callable[[float, int], "tuple[Tensor | float, Tensor | float]"]


class ActorCritic(UpdateRule):
    """Advantage actor-critic whose learning rate and entropy weight follow a schedule, hand-made or learned.

    The step of a policy table is lr · (∇ mean(log π · Â) + w_H ∇ mean H), written out, so that it can be differentiated
    in lr and w_H.

    Args:
        schedule: what they are at a time.
        value_lr: of the critic's table, a number or [A].
        gamma, lam: of the advantages; with λ = 1 they are returns of the rollout, as plain A2C has them.
    """

    def __init__(
        self, schedule: Schedule, value_lr: Tensor | float = 2.0, *, gamma: float = 0.99, lam: float = 1.0
    ) -> None:
        self.schedule, self.value_lr, self.gamma, self.lam = schedule, value_lr, gamma, lam

    def begin(self, agents: int, states: int, actions: int, generator: torch.Generator) -> Tables:
        """Uniform policies and values of zero."""
        return {"policy": torch.zeros(agents, states, actions), "value": torch.zeros(agents, states)}

    def update(self, tables: Tables, rollout: Rollout, n: int, lifetime: int, *, graph: bool = False) -> Tables:
        """One step of actor and critic."""
        with torch.set_grad_enabled(graph):
            policy, values = tables["policy"], tables["value"].detach()
            gains, returns = advantages(rollout, values, self.gamma, self.lam)
            lr, weight = self.schedule(n / lifetime, lifetime)
            size = policy.shape[1]
            rows = rollout.rows(size).flatten()
            log = torch.log_softmax(policy.flatten(0, 1)[rows], dim=-1)
            probability = log.exp()
            taken = torch.nn.functional.one_hot(rollout.actions.flatten(), policy.shape[-1])
            entropy = -(probability * log).sum(-1, keepdim=True)
            uphill = gains.flatten()[:, None] * (taken - probability)
            flatter = -probability * (log + entropy)
            count = rollout.states[0].numel()
            steps = (
                _each(lr, len(policy))
                / count
                * (_per_state(uphill, rows, policy) + _each(weight, len(policy)) * _per_state(flatter, rows, policy))
            )
            return {"policy": policy + steps, "value": learn_values(values, rollout, returns, self.value_lr)}


def _each(value: Tensor | float, agents: int) -> Tensor:
    """[A, 1, 1] of a number, or of [members] for agents divided among them in order."""
    found = torch.as_tensor(value, dtype=torch.float32).reshape(-1)
    return found.repeat_interleave(agents // len(found))[:, None, None]


def _per_state(rows: Tensor, places: Tensor, like: Tensor) -> Tensor:
    """Rows [n, width] added up where they belong in a table [A, states, width]."""
    return torch.zeros(like.shape).flatten(0, 1).index_add(0, places, rows).view_as(like)
