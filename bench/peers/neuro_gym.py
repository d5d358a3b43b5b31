"""Populations of policies in gymnasium, by EvoTorch and by a process pool; run by bench/neuroevolution.py.

Runs in an environment with torch, gymnasium[mujoco], ale-py, opencv and evotorch. Reads the weights [n, P] from a .npy
file; prints one JSON object a round.

Usage: python bench/peers/neuro_gym.py ARM WORLD CAP WEIGHTS ROUNDS
ARM: pool, evotorch_gymne, evotorch_vecgymne or raw (one environment, random actions, no policy).
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from functools import partial
from importlib import metadata
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import nn

WORKERS = 2


class Flat(gymnasium.ObservationWrapper):
    """Frames [4, 84, 84] as one vector of floats, which EvoTorch's policies take."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.observation_space = gymnasium.spaces.Box(0, 255, (4 * 84 * 84,), np.float32)

    def observation(self, observation: Any) -> Any:
        """Reshape."""
        return np.asarray(observation, np.float32).reshape(-1)


def make(world: str, cap: int, **_: Any) -> gymnasium.Env:
    """The environment with its usual wrappers."""
    if not world.startswith("ALE/"):
        return gymnasium.make(world, max_episode_steps=cap)
    import ale_py
    from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation, TimeLimit

    gymnasium.register_envs(ale_py)
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    env = gymnasium.make(world, frameskip=1, repeat_action_probability=0.0)
    return TimeLimit(Flat(FrameStackObservation(AtariPreprocessing(env, noop_max=30), 4)), cap)


def network(world: str) -> nn.Module:
    """The policy: two hidden layers of 64, or a small convolutional one; as in bench/neuroevolution.py."""
    if world.startswith("ALE/"):
        return nn.Sequential(
            nn.Unflatten(-1, (4, 84, 84)),
            nn.Conv2d(4, 8, 8, 4),
            nn.ReLU(),
            nn.Conv2d(8, 16, 4, 4),
            nn.ReLU(),
            nn.Flatten(-3),
            nn.Linear(16 * 5 * 5, 6),
        )
    inner, outer = {"CartPole-v1": (4, 2), "HalfCheetah-v5": (17, 6), "Humanoid-v5": (348, 17)}[world]
    return nn.Sequential(nn.Linear(inner, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outer))


_made: dict[str, Any] = {}


def episode(job: tuple[str, int, int, np.ndarray]) -> tuple[float, int]:
    """One member's episode in a worker that keeps its environment: return and steps."""
    world, cap, seed, weights = job
    if world not in _made:
        torch.set_num_threads(1)
        _made[world] = make(world, cap), network(world)
    env, net = _made[world]
    nn.utils.vector_to_parameters(torch.from_numpy(weights), net.parameters())
    discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
    seen, total, steps, done = env.reset(seed=seed)[0], 0.0, 0, False
    with torch.inference_mode():
        while not done:
            out = net(torch.from_numpy(np.asarray(seen, np.float32)))
            action = int(out.argmax()) if discrete else out.clamp(-1, 1).numpy() * env.action_space.high
            seen, reward, terminated, truncated, _ = env.step(action)
            total, steps, done = total + float(reward), steps + 1, terminated or truncated
    return total, steps


def pool(world: str, cap: int, weights: np.ndarray, rounds: int) -> None:
    """A task per member."""
    with multiprocessing.get_context("spawn").Pool(WORKERS) as workers:
        workers.map(episode, [(world, cap, 0, weights[k]) for k in range(2 * WORKERS)], 1)  # imports
        for r in range(rounds):
            started = time.perf_counter()
            found = workers.map(episode, [(world, cap, 1000 * r + k, row) for k, row in enumerate(weights)])
            say(started, sum(steps for _, steps in found), float(np.mean([total for total, _ in found])))


def evotorch(kind: str, world: str, cap: int, weights: np.ndarray, rounds: int) -> None:
    """A population evaluated by EvoTorch: GymNE with Ray actors, or VecGymNE in this process."""
    from evotorch.neuroevolution import GymNE, VecGymNE

    torch.set_num_threads(1)
    env = partial(make, world, cap)
    if kind == "gymne":
        problem: Any = GymNE(env, network(world), num_actors=WORKERS)
    else:
        envs = partial(gymnasium.vector.SyncVectorEnv, autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP)
        problem = VecGymNE(lambda num_envs, **_: envs([env] * num_envs), network(world))
    values = torch.from_numpy(weights)
    for r in range(rounds + 1):  # the first makes actors and environments
        batch = problem.generate_batch(len(weights))
        batch.set_values(values)
        before = int(problem.status.get("total_interaction_count", 0)) if r else 0
        started = time.perf_counter()
        problem.evaluate(batch)
        if r:
            steps = int(problem.status["total_interaction_count"]) - before
            say(started, steps, float(batch.evals[:, 0].mean()))


def raw(world: str, cap: int, weights: np.ndarray, rounds: int) -> None:
    """One environment and random actions, for as many steps as there are members times 20."""
    env = make(world, cap)
    env.action_space.seed(0)
    for _ in range(rounds):
        started, wanted, total = time.perf_counter(), 20 * len(weights), 0.0
        env.reset(seed=0)
        for _ in range(wanted):
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            total += float(reward)
            if terminated or truncated:
                env.reset()
        say(started, wanted, total)


def say(started: float, steps: int, mean: float) -> None:
    """One round."""
    seconds = time.perf_counter() - started
    versions = {name: metadata.version(name) for name in ("gymnasium", "mujoco", "ale-py")}
    if "evotorch" in sys.modules:
        versions["evotorch"] = metadata.version("evotorch")
    print(json.dumps({"seconds": seconds, "steps": steps, "mean": mean, "versions": versions}), flush=True)


def main() -> None:
    """Do one arm."""
    arm, world, cap, path, rounds = sys.argv[1:]
    weights = np.load(path)
    if arm == "pool":
        pool(world, int(cap), weights, int(rounds))
    elif arm == "raw":
        raw(world, int(cap), weights, int(rounds))
    else:
        evotorch(arm.removeprefix("evotorch_"), world, int(cap), weights, int(rounds))


if __name__ == "__main__":
    main()
