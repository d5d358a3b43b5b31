"""Any environment of gymnasium as a world: as many copies as there are rows, stepped one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heredity.environments.world import Actions, Array, Mask, Step, World
from heredity.errors import MissingExtra


class GymWorld(World):
    """Copies of `gymnasium.make(name, **settings)`.

    Args:
        name: an id; its time limit is taken off and becomes `limit`.
        settings: of the environment.

    Raises:
        MissingExtra: gymnasium is not installed.
        ValueError: the environment has no limit, or spaces other than boxes and choices.
    """

    def __init__(self, name: str, **settings: Any) -> None:
        try:
            import gymnasium
            from gymnasium.spaces import Box, Discrete
        except ImportError as error:
            raise MissingExtra(f"the environment {name}", "environments") from error
        self._make: Callable[[], Any] = lambda: gymnasium.make(name, max_episode_steps=-1, **settings)
        spec = gymnasium.spec(name)
        if spec.max_episode_steps is None:
            raise ValueError(f"{name} has no limit on the steps of an episode; register it with max_episode_steps")
        self.name, self.limit = name, spec.max_episode_steps
        self._spare: list[Any] = [self._make()]
        self._envs: list[Any] = []
        seen, done = self._spare[0].observation_space, self._spare[0].action_space
        if not isinstance(seen, Box) or not isinstance(done, (Box, Discrete)):
            raise ValueError(f"{name} has the spaces {seen} and {done}; worlds see boxes and act by boxes or choices")
        self.observation = tuple(seen.shape)
        if isinstance(done, Discrete):
            self.actions, self._first = Actions(int(done.n)), int(done.start)
        else:
            self.actions = Actions(low=tuple(done.low.ravel().tolist()), high=tuple(done.high.ravel().tolist()))

    def reset(self, seeds: NDArray[np.int64]) -> Array:
        """Begin; copies are made as needed and used again."""
        self._spare = [*self._envs, *self._spare]
        while len(self._spare) < len(seeds):
            self._spare.append(self._make())
        self._envs, self._spare = self._spare[: len(seeds)], self._spare[len(seeds) :]
        seen = [env.reset(seed=int(seed))[0] for env, seed in zip(self._envs, seeds, strict=True)]
        self._seen = np.stack(seen)
        return self._seen.copy()

    def restart(self, rows: NDArray[np.int64], seeds: NDArray[np.int64]) -> Array:
        """Begin these anew."""
        for row, seed in zip(rows, seeds, strict=True):
            self._seen[row] = self._envs[row].reset(seed=int(seed))[0]
        return self._seen[rows]

    def step(self, actions: Array, alive: Mask) -> Step:
        """One step of those alive."""
        rewards, terminated = np.zeros(len(alive)), np.zeros(len(alive), dtype=bool)
        for row in np.flatnonzero(alive):
            env = self._envs[row]
            action = (
                self._first + int(actions[row]) if self.actions.count else actions[row].reshape(env.action_space.shape)
            )
            self._seen[row], rewards[row], ended, cut, _ = env.step(action)
            terminated[row] = ended or cut  # a cut before the limit is the environment's own rule
        return self._seen.copy(), rewards, terminated

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Go on with these."""
        kept = set(rows.tolist())
        self._spare += [env for row, env in enumerate(self._envs) if row not in kept]
        self._envs, self._seen = [self._envs[row] for row in rows], self._seen[rows]

    def close(self) -> None:
        """Close all copies."""
        for env in (*self._envs, *self._spare):
            env.close()
        self._envs, self._spare = [], []
