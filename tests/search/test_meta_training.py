import numpy as np
import pytest
import torch

from heredity.environments.gridworlds import VecGridworld, deceptive_levels, map_levels
from heredity.errors import EvaluationFailed
from heredity.search.learned_objectives import LPG
from heredity.search.meta_training import LPGRule, MetaTrainer, Task, meta_gradient_loss
from heredity.search.open_es import OpenES
from heredity.search.tabular_agents import (
    ActorCritic,
    Rollout,
    UpdateRule,
    advantages,
    evaluate,
    learn_values,
    roll,
    train_agent,
)


def world(seeds=range(6), workers=4, stream=0):
    return VecGridworld(deceptive_levels(seeds), workers, stream=stream)


def constant(lr=50.0, entropy=0.01):
    return ActorCritic(lambda frac, lifetime: (lr, entropy))


def test_advantages_of_a_made_up_rollout():
    # One agent and worker, rewards 1, 0, 2, the second step ends an episode; values: state 0 → 1, 1 → 2, 2 → 4.
    one = torch.tensor([[[0, 1, 2]]])
    rollout = Rollout(one, one, torch.tensor([[[1.0, 0, 2]]]), torch.tensor([[[0.0, 1, 0]]]), torch.tensor([[1]]))
    gains, returns = advantages(rollout, torch.tensor([[1.0, 2, 4]]), gamma=0.5, lam=0.5)
    # errors: 1 + ½·2 − 1 = 1; 0 − 2 = −2 (ended); 2 + ½·2 − 4 = −1. Sums: 1 + ¼·(−2) = ½; −2; −1.
    assert gains.flatten().tolist() == [0.5, -2.0, -1.0] and returns.flatten().tolist() == [1.5, 0.0, 3.0]
    # One of three samples: a step of lr/3 of the error.
    assert learn_values(torch.zeros(1, 3), rollout, returns, 0.3).tolist()[0] == pytest.approx([0.15, 0.0, 0.3])


def test_the_written_out_step_is_the_gradient_of_the_loss():
    play = world()
    agents = 6
    policy = torch.randn(agents, 16, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    values = torch.randn(agents, 16, generator=torch.Generator().manual_seed(1))
    rollout = roll(play, policy, play.reset(), 7)
    rule = constant(3.0, 0.2)
    gains, _ = advantages(rollout, values, rule.gamma, rule.lam)
    log = torch.log_softmax(policy, -1)[torch.arange(agents)[:, None, None], rollout.states]
    taken = log.gather(-1, rollout.actions[..., None])[..., 0]
    loss = (-taken * gains + 0.2 * (log.exp() * log).sum(-1)).mean((1, 2)).sum()
    (gradient,) = torch.autograd.grad(loss, policy)
    after = rule.update({"policy": policy.detach(), "value": values}, rollout, 0, 10)["policy"]
    assert torch.allclose(after, policy - 3.0 * gradient, atol=1e-5)


def test_agents_learn_and_do_not_notice_each_other():
    test = world(workers=32, stream=1)
    before = evaluate(torch.zeros(6, 16, 5), test, 12)
    curve = train_agent(constant(), world(workers=8), 40, steps=10)
    after = evaluate(curve.tables["policy"], world(workers=32, stream=1), 12)
    assert float(after.mean()) > float(before.mean()) + 0.3 and curve.rewards.shape == (40, 6)
    alone = train_agent(constant(), world([3], workers=8), 40, steps=10)
    assert torch.allclose(alone.tables["policy"][0], curve.tables["policy"][3], atol=1e-4)


def test_a_rule_is_told_the_updates_before_the_present_one():
    seen = []
    train_agent(ActorCritic(lambda frac, lifetime: (seen.append((frac, lifetime)), 0.0)[1:] * 2), world(), 4, steps=2)
    assert seen == [(0.0, 4), (0.25, 4), (0.5, 4), (0.75, 4)]


def test_the_first_episode_counts_and_a_broken_policy_is_worth_nothing():
    # S0: the object lies beside the start; always right collects 1 once in the first episode of 3 steps.
    play = VecGridworld(map_levels("S0\n..", rewards=[1.0], ends=[0.0], horizon=3), 2)
    policy = torch.full((1, play.states, 5), -50.0)
    policy[..., 3] = 50
    assert evaluate(policy, play, 9).tolist() == [1.0]
    policy[0, 0, 0] = torch.nan
    assert bool(evaluate(policy, play, 9).isnan().all())


def test_members_of_an_lpg_population_learn_as_each_alone():
    nets = [LPG(targets=4, width=6, seed=seed) for seed in (1, 2)]
    stacked = {
        name: torch.stack([dict(net.named_parameters())[name].detach() for net in nets])
        for name, _ in nets[0].named_parameters()
    }
    seeds = [5, 6, 5, 6]  # two levels for each member
    together = train_agent(LPGRule(nets[0], stacked, lr=5.0), world(seeds), 3, seed=9, steps=5).tables
    for member, net in enumerate(nets):
        alone = train_agent(LPGRule(net, lr=5.0), world([5, 6]), 3, seed=9, steps=5).tables
        rows = slice(2 * member, 2 * member + 2)
        assert all(torch.allclose(together[name][rows], alone[name], atol=1e-5) for name in alone)
    assert not torch.allclose(together["policy"][:2], together["policy"][2:])


def test_lpg_can_be_meta_trained_by_evolution_and_by_gradients():
    lpg = LPG(targets=4, width=6)
    from heredity.search.vector import FlatParams

    flat = FlatParams(lpg)

    def rule(vectors):
        states = [flat.state(vector) for vector in vectors]
        return LPGRule(lpg, {name: torch.stack([s[name] for s in states]) for name in states[0]}, lr=5.0)

    def task(generation):
        seeds = [s for pair in range(2) for s in 2 * [100 * generation + pair]]
        return Task(world(seeds), world(seeds, 8, stream=1), 3, 12)

    es = OpenES(flat, 2, 0.1, 0.01, shaping="pair")
    returns = MetaTrainer(es, task, rule, steps=5).step()
    assert returns.shape == (1, 4) and es.generation == 1 and not np.allclose(es.center, flat.start.numpy())
    play = world()
    states = play.reset()
    tables = LPGRule(lpg, lr=5.0).begin(6, play.states, 5, torch.Generator().manual_seed(0))
    losses, after, _, _ = meta_gradient_loss(
        LPGRule(lpg, lr=5.0), play, tables, torch.zeros(6, 16), states, 0, 10, updates=2, steps=5
    )
    losses.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in lpg.parameters())
    assert not after["policy"].requires_grad and not torch.equal(after["policy"], tables["policy"])


def test_meta_gradients_are_those_of_finite_differences():
    def loss(lr):
        play = world(workers=16)
        rule = ActorCritic(lambda frac, lifetime: (lr, 0.1))
        # lr is small, so that no drawn action changes with it
        tables = {"policy": torch.zeros(6, 16, 5), "value": torch.zeros(6, 16)}
        found = meta_gradient_loss(rule, play, tables, torch.zeros(6, 16), play.reset(), 0, 10, updates=1, steps=5)
        return found[0].sum()

    lr = torch.tensor(1e-3, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(lr), lr)
    step = 1e-3
    with torch.no_grad():
        slope = (loss(torch.tensor(1e-3 + step)) - loss(torch.tensor(1e-3 - step))) / (2 * step)
    assert float(gradient) == pytest.approx(float(slope), rel=0.05) and abs(float(slope)) > 1e-4


class Broken(UpdateRule):
    def __init__(self, bad):
        self.bad = bad

    def begin(self, agents, states, actions, generator):
        return {"policy": torch.zeros(agents, states, actions)}

    def update(self, tables, rollout, n, lifetime, *, graph=False):
        policy = tables["policy"].clone()
        policy[: self.bad] = torch.nan
        return {"policy": policy}


def test_members_whose_agents_break_lose_to_all_others():
    def task(generation):
        seeds = [1, 1, 2, 2]
        return Task(world(seeds), world(seeds, 8, stream=1), 2, 12)

    es = OpenES(3, 2, 0.1, 0.01, shaping="pair")
    returns = MetaTrainer(es, task, lambda vectors: Broken(1), steps=2).step()
    assert np.isnan(returns[0, 0]) and np.isfinite(returns[0, 1:]).all() and es.best is not None
    with pytest.raises(EvaluationFailed):
        MetaTrainer(es, task, lambda vectors: Broken(4), steps=2).step()


class Told(UpdateRule):
    """Policies that are the vector itself: five logits for all states."""

    def __init__(self, vectors):
        self.vectors = vectors

    def begin(self, agents, states, actions, generator):
        rows = self.vectors.repeat_interleave(agents // len(self.vectors), 0)
        return {"policy": rows[:, None, :].expand(-1, states, -1).clone()}

    def update(self, tables, rollout, n, lifetime, *, graph=False):
        return tables


def test_evolution_climbs_and_searches_side_by_side_are_those_alone():
    level = map_levels("S..\n..0\n...", rewards=[1.0], ends=[1.0], horizon=4)

    def task(count):
        return lambda generation: Task(
            VecGridworld(level.take([0] * count), 2), VecGridworld(level.take([0] * count), 32, stream=generation), 1, 4
        )

    def search(seeds):
        searchers = [OpenES(5, 6, 0.3, 0.3, shaping="pair", seed=seed) for seed in seeds]
        trainer = MetaTrainer(searchers, task(12 * len(seeds)), Told, steps=1)
        returns = [trainer.step().mean(1) for _ in range(25)]
        return searchers, np.stack(returns)

    (one, two), returns = search([3, 4])
    assert (returns[-5:].mean(0) > returns[:5].mean(0) + 0.2).all()
    assert one.center[3] > one.center[2] + 1  # the object lies to the right, not to the left
    (alone,), _ = search([4])
    assert np.array_equal(alone.center, two.center)
