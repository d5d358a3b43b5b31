"""Our batched classic control is gymnasium's, step by step."""

import numpy as np
import pytest

from heredity.environments.classic import WORLDS
from heredity.environments.world import make_world

gymnasium = pytest.importorskip("gymnasium")
SEEDS = np.array([3, 14, 15, 92, 65])


@pytest.mark.parametrize("name", sorted(WORLDS))
def test_steps_are_gymnasiums(name):
    world = make_world(name)
    envs = [gymnasium.make(name) for _ in SEEDS]
    rng = np.random.default_rng(0)
    seen = world.reset(SEEDS)
    theirs = np.stack([env.reset(seed=int(seed))[0] for env, seed in zip(envs, SEEDS, strict=True)])
    np.testing.assert_array_equal(seen, theirs)
    assert seen.dtype == theirs.dtype
    alive = np.ones(len(SEEDS), dtype=bool)
    # Swings of the acrobot amplify the last bit of a cosine; 60 steps keep that far below the tolerance.
    for _ in range(60):
        if world.actions.count:
            actions = rng.integers(world.actions.count, size=len(SEEDS))
        else:
            actions = rng.uniform(world.actions.low, world.actions.high, (len(SEEDS), 1)).astype(np.float32)
        seen, rewards, ended = world.step(actions, alive)
        for row in np.flatnonzero(alive):
            theirs, reward, terminated, _, _ = envs[row].step(actions[row])
            np.testing.assert_allclose(seen[row], theirs, rtol=1e-5, atol=1e-6)
            assert rewards[row] == pytest.approx(reward, rel=1e-6)
            assert ended[row] == terminated
            alive[row] = not terminated
        if not alive.any():
            break
    assert world.limit == envs[0].spec.max_episode_steps


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        # Balancing for a while, pumping energy, and full throttle along the speed end by the rules of each world.
        ("CartPole-v1", lambda seen: int(seen[2] + 0.2 * seen[3] > 0)),
        ("MountainCar-v0", lambda seen: 2 * int(seen[1] >= 0)),
        ("MountainCarContinuous-v0", lambda seen: np.float32([1.0 if seen[1] >= 0 else -1.0])),
    ],
)
def test_whole_episodes_end_as_gymnasiums(name, policy):
    world, env = make_world(name), gymnasium.make(name)
    ours, (theirs, _) = world.reset(np.array([7]))[0], env.reset(seed=7)
    total, steps, done = np.zeros(2), 0, False
    while not done:
        action = policy(theirs)
        seen, reward, ended = world.step(np.array([action]), np.array([True]))
        theirs, other, terminated, truncated, _ = env.step(action)
        total, steps, ours = total + np.array([reward[0], other]), steps + 1, seen[0]
        done = terminated or truncated
        assert bool(ended[0]) == terminated
    assert steps > 50
    assert total[0] == pytest.approx(total[1])
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(WORLDS))
def test_rows_that_are_kept_go_on_as_before(name):
    whole, part = make_world(name), make_world(name)
    whole.reset(SEEDS)
    part.reset(SEEDS)
    part.keep(np.array([4, 1]))
    actions = np.ones(5, dtype=int) if whole.actions.count else np.full((5, 1), 0.5, np.float32)
    for _ in range(5):
        all_seen = whole.step(actions, np.ones(5, dtype=bool))[0]
        seen = part.step(actions[:2], np.ones(2, dtype=bool))[0]
    np.testing.assert_array_equal(seen, all_seen[[4, 1]])
