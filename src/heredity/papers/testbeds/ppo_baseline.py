"""PPO of stable-baselines3 in our worlds, as a baseline of policy searches.

Source: Schulman et al. (arXiv 1707.06347); settings of CartPole and Acrobot are those tuned in RL Baselines3 Zoo, but
for Acrobot's normalisation, and the policies' widths.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heredity.environments.world import make_world
from heredity.errors import MissingExtra

if TYPE_CHECKING:
    from heredity.papers.testbeds.policy_search import Counted


def _falling(first: float) -> Callable[[float], float]:
    return lambda left: left * first


SETTINGS: dict[str, tuple[int, dict[str, Any]]] = {  # copies of the world, and PPO's arguments
    "CartPole-v1": (
        8,
        {
            "n_steps": 32,
            "batch_size": 256,
            "n_epochs": 20,
            "learning_rate": _falling(1e-3),
            "clip_range": _falling(0.2),
            "gamma": 0.98,
            "gae_lambda": 0.8,
        },
    ),
    "Acrobot-v1": (16, {"n_steps": 256, "n_epochs": 4, "gamma": 0.99, "gae_lambda": 0.94}),
    "LunarLander-v3": (
        16,
        {"n_steps": 1024, "batch_size": 64, "n_epochs": 4, "gamma": 0.999, "gae_lambda": 0.98, "ent_coef": 0.01},
    ),
    # Not from the zoo: whole episodes, hardly discounted, since the only reward comes with the last step.
    "HardMaze": (
        25,
        {"n_steps": 400, "batch_size": 1000, "n_epochs": 4, "gamma": 0.999, "gae_lambda": 0.98, "ent_coef": 0.01},
    ),
}


def learn(run: Counted, steps: int, seed: int) -> tuple[Tensor, int, float]:
    """Train for so many environment steps.

    Returns:
        The actor's weights in the layout of the searches' policies, the steps taken, and the least distance from the
        maze's goal at the end of an episode (infinite elsewhere).

    Raises:
        MissingExtra: stable-baselines3 is not installed.
    """
    try:
        from stable_baselines3 import PPO
    except ImportError as error:
        raise MissingExtra("the baseline PPO", "baselines") from error
    name = run.rollout.world.name
    copies, settings = SETTINGS[name]
    with _global_generators_kept():
        envs = vec_env(name, copies, seed)
        widths = list(run.widths[1:-1])
        model = PPO("MlpPolicy", envs, seed=seed, device="cpu", policy_kwargs={"net_arch": widths}, **settings)
        model.learn(steps)
    return actor(model), int(model.num_timesteps), envs.nearest


def actor(model: Any) -> Tensor:
    """The weights [P] of a PPO's policy network, layer after layer."""
    layers: list[Any] = [*model.policy.mlp_extractor.policy_net, model.policy.action_net]
    linear = [layer for layer in layers if isinstance(layer, torch.nn.Linear)]
    return torch.cat([part.detach().reshape(-1) for layer in linear for part in (layer.weight, layer.bias)])


@contextlib.contextmanager
def _global_generators_kept() -> Iterator[None]:
    """stable-baselines3 seeds all three of them."""
    kept = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one is what is kept
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002


def vec_env(name: str, copies: int, seed: int) -> Any:
    """A world as stable-baselines3 sees it; `nearest` is the least distance from the maze's goal."""
    from gymnasium.spaces import Box, Discrete, Space
    from stable_baselines3.common.vec_env import VecEnv

    class Worlds(VecEnv):
        """A world whose rows begin anew as they end."""

        def __init__(self) -> None:
            self.world = make_world(name)
            done = self.world.actions
            low, high = np.array(done.low, np.float32), np.array(done.high, np.float32)
            space: Space[Any] = Discrete(done.count) if done.count else Box(low, high)
            self.rng, self.nearest, self.all = np.random.default_rng(seed), float("inf"), np.ones(copies, dtype=bool)
            super().__init__(copies, Box(-np.inf, np.inf, self.world.observation, np.float32), space)

        def reset(self) -> NDArray[Any]:
            """All anew."""
            self.steps = np.zeros(copies, dtype=int)
            return self.world.reset(self.rng.integers(2**31, size=copies))

        def step_async(self, actions: NDArray[Any]) -> None:
            """Remember the actions."""
            self._wanted = actions

        def step_wait(self) -> Any:
            """One step of each; those that end begin anew."""
            seen, rewards, terminated = self.world.step(self._wanted, self.all)
            self.steps += 1
            cut = (self.steps >= self.world.limit) & ~terminated
            infos: list[dict[str, Any]] = [{} for _ in range(copies)]
            rows = np.flatnonzero(cut | terminated)
            if len(rows):
                seen = seen.copy()
                for row in rows:
                    infos[row] = {"terminal_observation": seen[row].copy(), "TimeLimit.truncated": bool(cut[row])}
                if name == "HardMaze":
                    self.nearest = min(self.nearest, -float(rewards[rows].max()))
                seen[rows] = self.world.restart(rows, self.rng.integers(2**31, size=len(rows)))
                self.steps[rows] = 0
            return seen, rewards.astype(np.float32), cut | terminated, infos

        def close(self) -> None:
            """Nothing is held."""

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            """Of the world."""
            return [getattr(self.world, attr_name, None)] * copies

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
            """Of the world."""
            setattr(self.world, attr_name, value)

        def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
            """Of the world."""
            return [getattr(self.world, method_name)(*args, **kwargs)] * copies

        def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
            """None is."""
            return [False] * copies

        def get_images(self) -> Sequence[None]:
            """None are drawn."""
            return [None] * copies

    return Worlds()
