"""Rollouts of populations: what one member gets alone it gets in a crowd; ends, failures, seeds, statistics."""

import numpy as np
import pytest
import torch
from torch import nn

from heredity.environments.observation_norm import ObservationNorm
from heredity.environments.policy import PopulationPolicy
from heredity.environments.rollout import Rollout
from heredity.environments.world import Actions, World
from heredity.evaluation.outcome import Failed, Ok


class Countdown(World):
    """Episode of seed s terminates after s steps; each step k pays k; its observation is the steps left."""

    name, observation, actions, limit, frame_skip = "Countdown", (1,), Actions(low=(-1.0,), high=(1.0,)), 6, 4

    def reset(self, seeds):
        self.left, self.taken = seeds.astype(float).copy(), np.zeros(len(seeds))
        self.seen_actions = []
        return self.left[:, None].copy()

    def step(self, actions, alive):
        self.seen_actions.append(actions.copy())
        self.left, self.taken = self.left - 1, self.taken + 1
        return self.left[:, None].copy(), self.taken.copy(), self.left <= 0

    def restart(self, rows, seeds):
        raise NotImplementedError

    def keep(self, rows):
        self.left, self.taken = self.left[rows], self.taken[rows]

    def behaviour(self):
        return self.taken[:, None].copy()


def linear(*weights: float) -> tuple[PopulationPolicy, torch.Tensor]:
    """Members that answer w · observation."""
    return PopulationPolicy(nn.Linear(1, 1, bias=False)), torch.tensor(weights)[:, None]


def test_ends_returns_and_steps():
    policy, vectors = linear(0.0, 0.0, 0.0)
    seeds = np.array([[1, 3], [9, 6], [2, 2]])
    found = Rollout(Countdown(), policy, episodes=2)(vectors, seeds)
    # An episode of s steps pays 1 + … + s; the limit is 6.
    assert found.returns.tolist() == [[1, 6], [21, 21], [3, 3]]
    assert found.steps.tolist() == [[1, 3], [6, 6], [2, 2]]
    assert found.terminated.tolist() == [[True, True], [False, True], [True, True]]
    assert found.truncated.tolist() == [[False, False], [True, False], [False, False]]
    assert found.frames.sum() == 4 * found.total_steps == 80
    assert found.behaviour[:, :, 0].tolist() == [[1, 3], [6, 6], [2, 2]]
    assert found.fitness().tolist() == [3.5, 21, 3]
    assert found.outcomes()[1] == Ok({"return": 21.0, "steps": 6.0, "truncated": 0.5, "b0": 6.0})


def test_a_cap_truncates():
    policy, vectors = linear(0.0)
    rollout = Rollout(Countdown(), policy, cap=2)
    found = rollout(vectors, np.array([2]))
    assert (found.returns.item(), found.terminated.item(), found.truncated.item()) == (3, True, False)
    found = rollout(vectors, np.array([3]))
    assert (found.returns.item(), found.terminated.item(), found.truncated.item()) == (3, False, True)
    rollout.cap = None
    assert rollout(vectors, np.array([3])).returns.item() == 6


def test_actions_are_clipped_and_a_nan_is_a_failure_of_that_member_alone():
    policy, vectors = linear(0.25, float("nan"), 9.0)
    world = Countdown()
    found = Rollout(world, policy)(vectors, np.array([[3], [3], [3]]))
    assert world.seen_actions[0][:, 0].tolist() == [0.75, 0, 1]
    assert found.failed[:, 0].tolist() == [False, True, False]
    assert np.isnan(found.fitness()).tolist() == [False, True, False]
    assert found.outcomes()[1] == Failed("an action of episode 0 is not finite after 0 steps")
    assert found.steps[1, 0] == 0
    assert not (found.terminated | found.truncated)[1, 0]
    assert found.returns[[0, 2], 0].tolist() == [6, 6]


@pytest.mark.parametrize("batch", [None, 1, 3])
@pytest.mark.parametrize("name", ["CartPole-v1", "Acrobot-v1", "HardMaze", "Pendulum-v1"])
def test_a_member_gets_in_a_crowd_what_it_gets_alone(name, batch):
    from heredity.environments.world import make_world

    world = make_world(name)
    template = nn.Sequential(nn.Linear(world.observation[0], 8), nn.Tanh(), nn.Linear(8, world.actions.size))
    policy = PopulationPolicy(template)
    vectors = torch.randn(7, policy.size, generator=torch.Generator().manual_seed(2))
    crowd = Rollout(name, policy, episodes=2, cap=120, batch=batch)
    found = crowd(vectors, 5)
    seeds = crowd.seeds(7, 5)
    for member in range(7):
        alone = Rollout(name, policy, episodes=2, cap=120)(vectors[member : member + 1], seeds[member : member + 1])
        # Products of other sizes may round otherwise; 120 steps amplify that little.
        np.testing.assert_allclose(alone.returns[0], found.returns[member], rtol=1e-3, atol=1e-3)
        np.testing.assert_array_equal(alone.steps[0], found.steps[member])


def test_returns_are_gymnasiums():
    """The same policy in gymnasium's own environment, episode for episode."""
    gymnasium = pytest.importorskip("gymnasium")
    env = gymnasium.make("CartPole-v1")
    template = nn.Linear(4, 2, bias=False)
    policy = PopulationPolicy(template)
    vectors = torch.tensor([[0, 0, 0, 0, 0.1, 0.5, 1, 1], [0, 0, 0, 0, 0, 0, 1, 0.1], [1, 0, 0, 0, 0, 0, 0, 0.0]])
    rollout = Rollout("CartPole-v1", policy, episodes=2)
    found = rollout(vectors, 3)
    for member, vector in enumerate(vectors):
        policy.params.load(vector, template)
        for episode, seed in enumerate(rollout.seeds(3, 3)[member]):
            seen, total, done = env.reset(seed=int(seed))[0], 0.0, False
            while not done:
                with torch.no_grad():
                    action = int(template(torch.from_numpy(seen)).argmax())
                seen, reward, terminated, truncated, _ = env.step(action)
                total, done = total + reward, terminated or truncated
            assert found.returns[member, episode] == total
    assert found.returns.max() == 500
    assert found.returns.min() < 100


def test_seeds_of_episodes():
    policy, _ = linear(0.0)
    rollout = Rollout(Countdown(), policy, episodes=3)
    own, common = rollout.seeds(4, 1), rollout.seeds(4, 1, common=True)
    assert len(np.unique(own)) == 12
    assert len(np.unique(common)) == 3
    assert (common == common[0]).all()
    assert (rollout.seeds(4, 2) != own).all()
    np.testing.assert_array_equal(rollout.seeds(4, 1), own)
    np.testing.assert_array_equal(rollout.seeds(2, np.array([1, 2, 3])), [[1, 2, 3]] * 2)
    with pytest.raises(ValueError, match=r"\(4, 3\)"):
        rollout.seeds(4, np.array([1, 2]))


def test_statistics_of_observations():
    """Two episodes of 2 and 3 steps are decided on the observations 2, 1 and 3, 2, 1."""
    norm = ObservationNorm((1,))
    policy, vectors = linear(1.0, 1.0)
    world = Countdown()
    rollout = Rollout(world, policy, norm=norm)
    rollout(vectors, np.array([[2], [3]]))
    assert world.seen_actions[0][:, 0].tolist() == [1, 1]  # before anything was seen nothing is changed, but clipped
    seen = np.array([2, 1, 3, 2, 1])
    assert norm.count == 5
    assert norm.mean.item() == pytest.approx(seen.mean())
    assert norm.std.item() == pytest.approx(seen.std())
    rollout(vectors, np.array([[1], [4]]))
    seen = np.array([2, 1, 3, 2, 1, 1, 4, 3, 2, 1])
    assert norm.mean.item() == pytest.approx(seen.mean())
    assert norm.std.item() == pytest.approx(seen.std())
    again = ObservationNorm((1,))
    again.load_state_dict(norm.state_dict())
    assert again(np.array([[9.0]])).item() == pytest.approx(min((9 - seen.mean()) / seen.std(), 5))


def test_policies_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="cannot see observations"):
        Rollout("CartPole-v1", PopulationPolicy(nn.Linear(5, 2)))
    with pytest.raises(ValueError, match="needs 2 outputs"):
        Rollout("CartPole-v1", PopulationPolicy(nn.Linear(4, 3)))
