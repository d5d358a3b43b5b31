"""Searching for learning rules: evolution with antithetic tasks, and meta-gradients, over agents that learn at once.

    trainer = MetaTrainer(OpenES(42, 12, 0.3, 0.1, shaping="pair"), task_of_generation, rule_of_vectors)
    for _ in range(100):
        returns = trainer.step()

Source: Jackson et al., Discovering Temporally-Aware Reinforcement Learning Algorithms (arXiv 2402.05828): antithetic
task sampling, and its meta-gradient baseline after Oh et al. (arXiv 2007.08794).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heredity.search.generations import VectorSearcher
from heredity.search.learned_objectives import LPG, lpg_losses
from heredity.search.tabular_agents import (
    Rollout,
    Tables,
    UpdateRule,
    World,
    advantages,
    evaluate,
    learn_values,
    roll,
    train_agent,
)


class LPGRule(UpdateRule):
    """Agents that minimise LPG's loss by gradient descent, with a policy and a categorical prediction.

    Args:
        lpg: the architecture, and its parameters where `parameters` is None.
        parameters: one set per member, each with a leading axis [P, …]; agents are divided among members in order.
        lr: of the agents. alpha_y: weight of the prediction's loss.
    """

    def __init__(
        self, lpg: LPG, parameters: dict[str, Tensor] | None = None, *, lr: float = 40.0, alpha_y: float = 0.5
    ) -> None:
        self.lpg, self.parameters, self.lr, self.alpha_y = lpg, parameters, lr, alpha_y

    def begin(self, agents: int, states: int, actions: int, generator: torch.Generator) -> Tables:
        """Normal tables with deviation 1/√states, equal for all agents, so that members begin alike."""

        def drawn(width: int) -> Tensor:
            table = torch.randn(states, width, generator=generator) / math.sqrt(states)
            return table.expand(agents, -1, -1).clone()

        return {"policy": drawn(actions), "prediction": drawn(self.lpg.targets)}

    def update(self, tables: Tables, rollout: Rollout, n: int, lifetime: int, *, graph: bool = False) -> Tables:
        """One step down the mean loss of every agent."""
        with torch.enable_grad():
            # An agent's own gradient is of its tables as they stand; with `graph` they keep how they came about.
            leaves = {
                name: t if graph and t.requires_grad else t.detach().requires_grad_() for name, t in tables.items()
            }
            loss = self._losses(leaves, rollout, n, lifetime, graph).mean((1, 2)).sum()
            steps = torch.autograd.grad(loss, list(leaves.values()), create_graph=graph)
            return {name: t - self.lr * g for (name, t), g in zip(leaves.items(), steps, strict=True)}

    def _losses(self, tables: Tables, rollout: Rollout, n: int, lifetime: int, graph: bool) -> Tensor:
        """[A, W, T]."""
        agents = torch.arange(len(rollout.states))[:, None, None]
        policy = torch.softmax(tables["policy"], dim=-1)[agents, rollout.states]
        pi_a = policy.gather(-1, rollout.actions[..., None])[..., 0]
        following = torch.cat([rollout.states[..., 1:], rollout.last[..., None]], dim=-1)
        predicted = torch.softmax(tables["prediction"], dim=-1)
        y, y1 = predicted[agents, rollout.states], predicted[agents, following].detach()
        inputs = (rollout.rewards, rollout.dones, pi_a.detach(), y.detach(), y1)
        with torch.set_grad_enabled(graph):
            outputs = self._read(inputs, n / lifetime, math.log(lifetime))
        if graph:
            size = 5e-3 * outputs[0].square().mean() + 1e-3 * outputs[1].square().sum(-1).mean()
            self.penalty = self.penalty + size
        return lpg_losses(outputs, pi_a, y, self.alpha_y)

    def _read(self, inputs: tuple[Tensor, ...], frac: float, log_n: float) -> tuple[Tensor, Tensor]:
        shape = inputs[0].shape
        if self.parameters is None:
            pi_hat, y_hat = self.lpg(*(x.flatten(0, 1) for x in inputs), frac, log_n)
        else:
            members = len(next(iter(self.parameters.values())))
            per_member = [x.reshape(members, -1, *x.shape[2:]) for x in inputs]

            def one(parameters: dict[str, Tensor], *parts: Tensor) -> Any:
                return torch.func.functional_call(self.lpg, parameters, (*parts, frac, log_n))

            pi_hat, y_hat = torch.func.vmap(one)(self.parameters, *per_member)
        return pi_hat.reshape(shape), y_hat.reshape(*shape, -1)


@dataclass(frozen=True)
class Task:
    """What a generation's members are trained and judged on.

    Attributes:
        world: agents of one member after another, so many for each; the members 2i and 2i + 1 stand on equal levels.
        test: the same agents with other workers, for the final return.
        lifetime: N, the same for all. limit: steps of an episode at most. seed: of the agents' first tables.
    """

    world: World
    test: World
    lifetime: int
    limit: int
    seed: int = 0


class MetaTrainer:
    """Evolution of update rules: every member's fitness is the return of agents that learned by it for a lifetime.

    Args:
        es: the search; or several, of equal population, which are advanced together as one batch.
        sample_task: the task of a generation, with room for the members of all searches in their order.
        rule: what vectors [members, dim] mean, one for each member.
        steps: of a rollout.
    """

    def __init__(
        self,
        es: VectorSearcher | Sequence[VectorSearcher],
        sample_task: Callable[[int], Task],
        rule: Callable[[Tensor], UpdateRule],
        *,
        steps: int = 20,
    ) -> None:
        self.searchers = [es] if isinstance(es, VectorSearcher) else list(es)
        self.sample_task, self.rule, self.steps = sample_task, rule, steps
        self.generation = 0

    def step(self) -> NDArray[np.float64]:
        """One generation; returns [searches, population] of the trained agents.

        Raises:
            EvaluationFailed: no member of a search ended with finite policies.
        """
        task = self.sample_task(self.generation)
        vectors = torch.from_numpy(np.concatenate([es.ask_array() for es in self.searchers])).float()
        curve = train_agent(self.rule(vectors), task.world, task.lifetime, task.seed, steps=self.steps)
        returns = evaluate(curve.tables["policy"], task.test, task.limit)
        fitness = returns.double().reshape(len(self.searchers), self.searchers[0].population, -1).mean(-1).numpy()
        for es, worth in zip(self.searchers, fitness, strict=True):
            es.tell_array(worth)
        self.generation += 1
        return fitness


def meta_gradient_loss(  # noqa: PLR0917 - the agents' state, in order
    rule: UpdateRule,
    world: World,
    tables: Tables,
    critic: Tensor,
    states: Tensor,
    n: int,
    lifetime: int,
    *,
    updates: int = 5,
    steps: int = 20,
    entropy: float = 0.05,
    gamma: float = 0.99,
    lam: float = 0.95,
    value_lr: float = 2.0,
) -> tuple[Tensor, Tables, Tensor, Tensor]:
    """What agents lose after a few updates, as a function of the rule: −log π·Â − entropy · H on a fresh rollout, the
    rule's penalty, and −.001 times the entropy of predictions where there are any.

    Args:
        rule: differentiable in what is learned. tables, states: the agents as they stand; n: updates behind them.
        critic: [A, states] values for Â, learnt beside the agents with `value_lr`.
        updates: K, through which the loss is differentiated.

    Returns:
        The mean loss of each agent [A], and their tables, critic and states afterwards, without gradients.
    """
    tables = {name: table.detach() for name, table in tables.items()}
    rule.penalty = 0.0
    for k in range(updates):
        rollout = roll(world, tables["policy"], states, steps)
        states = rollout.last
        _, returns = advantages(rollout, critic, gamma, lam)
        critic = learn_values(critic, rollout, returns, value_lr)
        tables = rule.update(tables, rollout, n + k, lifetime, graph=True)
    rollout = roll(world, tables["policy"], states, steps)
    gains, _ = advantages(rollout, critic, gamma, lam)
    agents = torch.arange(len(states))[:, None, None]
    log = torch.log_softmax(tables["policy"], dim=-1)[agents, rollout.states]
    taken = log.gather(-1, rollout.actions[..., None])[..., 0]
    losses = (-taken * gains + entropy * (log.exp() * log).sum(-1)).mean((1, 2)) + rule.penalty / updates
    if "prediction" in tables:
        guess = torch.log_softmax(tables["prediction"], dim=-1)[agents, rollout.states]
        losses = losses + 1e-3 * (guess.exp() * guess).sum(-1).mean((1, 2))
    return losses, {name: table.detach() for name, table in tables.items()}, critic, rollout.last
