"""MuJoCo, Atari and plain gymnasium environments as worlds."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from heredity.environments.policy import PopulationPolicy
from heredity.environments.rollout import Rollout
from heredity.environments.world import make_world
from heredity.errors import MissingExtra

SEEDS = np.array([5, 6, 7])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["HalfCheetah-v5", "Humanoid-v5"])
def test_mujoco_steps_are_gymnasiums(name, threads):
    pytest.importorskip("mujoco")
    pytest.importorskip("imageio")  # which gymnasium's own environments import
    gymnasium = pytest.importorskip("gymnasium")
    world, envs = make_world(name, threads=threads), [gymnasium.make(name) for _ in SEEDS]
    seen = world.reset(SEEDS)
    for row, env in enumerate(envs):
        np.testing.assert_array_equal(seen[row], env.reset(seed=int(SEEDS[row]))[0])
    assert envs[0].action_space.shape == (world.actions.size,)
    np.testing.assert_array_equal(envs[0].action_space.high, np.float32(world.actions.high))
    rng, alive, ends = np.random.default_rng(0), np.ones(3, dtype=bool), 0
    for _ in range(60):
        actions = rng.uniform(world.actions.low, world.actions.high, (3, world.actions.size)).astype(np.float32)
        seen, rewards, ended = world.step(actions, alive)
        for row in np.flatnonzero(alive):
            theirs, reward, terminated, _, _ = envs[row].step(actions[row])
            np.testing.assert_array_equal(seen[row], theirs)
            assert rewards[row] == pytest.approx(reward, rel=1e-12)
            assert ended[row] == terminated
            alive[row] = not terminated
            ends += terminated
    assert ends == (3 if name == "Humanoid-v5" else 0)  # random actions make a humanoid fall within 60 steps
    # States are used again, and begin as new ones.
    np.testing.assert_array_equal(world.reset(SEEDS[1:])[0], envs[1].reset(seed=6)[0])
    world.close()


@pytest.mark.parametrize("name", ["Acrobot-v1", "HardMaze", "HalfCheetah-v5", "InvertedPendulum-v5", "ALE/Pong-v5"])
def test_rows_begin_anew_beside_others(name):
    for module in ("mujoco", "imageio", "ale_py", "gymnasium"):
        pytest.importorskip(module)
    world, other = make_world(name), make_world(name)
    world.reset(np.array([1, 2, 3]))
    fresh = other.reset(np.array([9, 2, 8]))
    last = world.actions.count - 1  # Pong's moves the bat
    actions = np.full(3, last) if last > 0 else np.full((3, world.actions.size), 0.3, np.float32)
    alive = np.ones(3, dtype=bool)
    for _ in range(9):
        before = world.step(actions, alive)[0]
    rows = np.array([2, 0])
    seen = world.restart(rows, np.array([8, 9]))
    np.testing.assert_array_equal(seen, fresh[rows])
    ours, theirs = world.step(actions, alive)[0], other.step(actions, alive)[0]
    np.testing.assert_array_equal(ours[rows], theirs[rows])
    assert (ours[1] != before[1]).any()  # and the other goes on
    if name != "HardMaze":
        assert (ours[1] != theirs[1]).any()


def test_a_population_in_mujoco():
    pytest.importorskip("mujoco")
    policy = PopulationPolicy(nn.Sequential(nn.Linear(348, 4), nn.Tanh(), nn.Linear(4, 17)))
    vectors = torch.randn(5, policy.size, generator=torch.Generator().manual_seed(0)) * 0.1
    one, two = (Rollout(make_world("Humanoid-v5", threads=threads), policy)(vectors, 1) for threads in (1, 2))
    np.testing.assert_array_equal(one.returns, two.returns)
    assert one.terminated.all()
    assert (one.returns > 4 * one.steps).all()  # 5 for every step upright
    assert one.behaviour.shape == (5, 1, 2)
    one = Rollout("HalfCheetah-v5", PopulationPolicy(nn.Linear(17, 6)), cap=5)(torch.zeros(2, 108), 1)
    assert one.truncated.all()


def test_any_environment_of_gymnasium_is_a_world():
    gymnasium = pytest.importorskip("gymnasium")
    world, env = make_world("InvertedPendulum-v5"), gymnasium.make("InvertedPendulum-v5")
    assert world.limit == env.spec.max_episode_steps
    seen = world.reset(SEEDS)
    np.testing.assert_array_equal(seen[2], env.reset(seed=7)[0])
    world.keep(np.array([2, 0]))
    for _ in range(9):
        seen, rewards, ended = world.step(np.full((2, 1), 0.5, np.float32), np.array([True, False]))
        theirs, reward, terminated, _, _ = env.step(np.float32([0.5]))
        np.testing.assert_array_equal(seen[0], theirs)
        assert (rewards[0], ended[0]) == (reward, terminated)
    found = Rollout(world, PopulationPolicy(nn.Linear(4, 1)))(torch.zeros(3, 5), 0)
    assert found.terminated.all()
    world.close()


def test_a_game_repeats_and_a_row_does_not_depend_on_the_others():
    pytest.importorskip("ale_py")
    world = make_world("ALE/Pong-v5")
    assert world.actions.count == 6
    first = world.reset(SEEDS)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(make_world("ALE/Pong-v5").reset(SEEDS), first)
    again, scores = make_world("ALE/Pong-v5"), np.zeros(3)
    again.reset(SEEDS)
    again.keep(np.array([2]))
    for step in range(120):
        seen, rewards, ended = world.step(np.full(3, step % 6), np.ones(3, dtype=bool))
        alone, reward, _ = again.step(np.array([step % 6]), np.array([True]))
        np.testing.assert_array_equal(alone[0], seen[2])
        assert reward[0] == rewards[2]
        scores += rewards
    assert (scores <= -1).all()  # in 480 frames somebody who plays at random loses a point or two of 21
    assert not ended.any()
    world.close()


def test_a_population_plays_a_game_to_its_end():
    pytest.importorskip("ale_py")
    net = nn.Sequential(nn.Conv2d(4, 4, 8, stride=8), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 100, 6))
    policy = PopulationPolicy(net, scale=1 / 255)
    found = Rollout("ALE/Pong-v5", policy)(torch.zeros(2, policy.size), 1)
    assert found.terminated.all()
    assert (found.returns == -21).all()  # who never moves loses every point
    assert (found.frames == 4 * found.steps).all()


@pytest.mark.parametrize("name", ["LunarLander-v3", "HalfCheetah-v5", "ALE/Pong-v5"])
def test_what_is_not_installed_is_named(name, monkeypatch):
    for module in ("gymnasium", "mujoco", "ale_py"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"heredity\[environments\]"):
        make_world(name)


def test_the_maze_needs_gymnasium_only_as_an_environment(monkeypatch):
    import importlib

    monkeypatch.setitem(sys.modules, "gymnasium", None)
    monkeypatch.delitem(sys.modules, "heredity.environments.hard_maze", raising=False)
    assert make_world("HardMaze").name == "HardMaze"
    with pytest.raises(MissingExtra, match=r"heredity\[environments\]"):
        importlib.import_module("heredity.environments.hard_maze")


def test_loading_a_model_leaves_no_file_behind_and_the_users_handler_in_place(tmp_path, monkeypatch):
    mujoco = pytest.importorskip("mujoco")
    monkeypatch.chdir(tmp_path)
    heard = []
    mujoco.set_mju_user_warning(heard.append)
    try:
        make_world("HalfCheetah-v5").close()
        assert mujoco.get_mju_user_warning() == heard.append
    finally:
        mujoco.set_mju_user_warning(None)
    assert heard == [] and list(tmp_path.iterdir()) == []
