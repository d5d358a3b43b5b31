"""Atari games through ALE's own vector environment: threads in C++, four grey 84 × 84 frames, no-op starts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heredity.environments.world import Actions, Array, Mask, Step, World
from heredity.errors import MissingExtra


class AtariWorld(World):
    """A game as Deep GA plays it: frame skip 4, up to 30 no-ops at the start, the true score as reward.

    Args:
        name: "ALE/Pong-v5"; the part between "/" and "-" names the game.
        threads: 0 lets ALE decide.
        repeat: probability that the emulator repeats the last action; the v5 environments of ALE say 0.25, the
            paper's had none.

    Observations are bytes [4, 84, 84]. A row that has ended is stepped along by the emulator all the same. Beginning an
    episode takes about a tenth of a second, since ALE loads the game anew for every seed.
    """

    observation, limit, frame_skip = (4, 84, 84), 27_000, 4

    def __init__(self, name: str, *, threads: int = 1, repeat: float = 0.0) -> None:
        try:
            import ale_py
            from ale_py.vector_env import AtariVectorEnv
        except ImportError as error:
            raise MissingExtra(f"the game {name}", "environments") from error
        title = name.partition("/")[2].rpartition("-")[0]
        game = re.sub(r"(?<!^)(?=[A-Z])", "_", title).lower()
        self.name, self._rows = name, np.empty(0, dtype=np.int64)
        self._env: Any = None
        self._make: Callable[[int], Any] = lambda count: AtariVectorEnv(
            game,
            count,
            num_threads=threads,
            repeat_action_probability=repeat,
            reward_clipping=False,
            use_fire_reset=False,
            max_num_frames_per_episode=4 * self.limit + 1000,
            noop_max=30,
        )
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        one = self._make(1)
        space: Any = one.single_action_space
        self.actions = Actions(int(space.n))
        one.close()

    def reset(self, seeds: NDArray[np.int64]) -> Array:
        """Begin; as many emulators as seeds."""
        if self._env is None or self._env.num_envs != len(seeds):
            self.close()
            self._env = self._make(len(seeds))
        self._rows = np.arange(len(seeds))
        seen, _ = self._env.reset(seed=_seeds(seeds))
        return np.asarray(seen)

    def restart(self, rows: NDArray[np.int64], seeds: NDArray[np.int64]) -> Array:
        """Begin these anew."""
        mask = np.zeros(self._env.num_envs, dtype=bool)
        mask[self._rows[rows]] = True
        order = np.argsort(self._rows[rows])  # seeds go to emulators in the order of these
        seen, _ = self._env.reset(seed=_seeds(seeds[order]), options={"reset_mask": mask})
        return np.asarray(seen)[self._rows[rows]]

    def step(self, actions: Array, alive: Mask) -> Step:
        """One step of all emulators; those of ended rows do nothing of interest."""
        whole = np.zeros(self._env.num_envs, dtype=np.int64)
        whole[self._rows] = np.where(alive, actions, 0)
        seen, rewards, terminated, _, _ = self._env.step(whole)
        rows = self._rows
        return np.asarray(seen)[rows], np.asarray(rewards, dtype=np.float64)[rows], np.asarray(terminated)[rows]

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Go on with these; the emulators of the others idle."""
        self._rows = self._rows[rows]

    def close(self) -> None:
        """Free the emulators."""
        if self._env is not None:
            self._env.close()
            self._env = None


def _seeds(seeds: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(seeds, dtype=np.int64) % 2**31
