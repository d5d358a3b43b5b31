"""What a rollout needs of an environment: many episodes of it, stepped together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]
Step: TypeAlias = "tuple[Array, Floats, Mask]"


@dataclass(frozen=True)
class Actions:
    """What can be done: one of `count` choices, or a vector between `low` and `high`.

    Args:
        count: of choices; 0 for vectors.
        low, high: bounds [d] of vectors.
    """

    count: int = 0
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @property
    def size(self) -> int:
        """How many numbers a policy has to put out."""
        return self.count or len(self.low)


class World(ABC):
    """Episodes of one environment, side by side; rows are episodes.

    Attributes:
        name: gymnasium's id, or our own.
        observation: shape of one observation.
        actions: what a policy decides.
        limit: steps after which an episode is truncated; that is the rollout's business, not the world's.
        frame_skip: frames that one step takes.
    """

    name: str
    observation: tuple[int, ...]
    actions: Actions
    limit: int
    frame_skip: int = 1

    @abstractmethod
    def reset(self, seeds: NDArray[np.int64]) -> Array:
        """Begin an episode per seed [N]; the first observations [N, …]. Equal seeds begin equally."""

    @abstractmethod
    def restart(self, rows: NDArray[np.int64], seeds: NDArray[np.int64]) -> Array:
        """Begin these rows anew beside the others, for learners that never stop; their first observations."""

    @abstractmethod
    def step(self, actions: Array, alive: Mask) -> Step:
        """One step of every episode.

        Args:
            actions: [N] integers, or [N, d] float32 within bounds.
            alive: [N]; episodes that have ended need not be stepped, and what is said of them does not count.

        Returns:
            Observations [N, …], rewards [N], and whether episodes terminated [N].
        """

    @abstractmethod
    def keep(self, rows: NDArray[np.int64]) -> None:
        """Go on with these rows only, in this order."""

    def behaviour(self) -> Floats | None:
        """What episodes did so far [N, d], for novelty; None where the world has no such description."""
        return None

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Free what the world holds."""


def make_world(name: str, *, threads: int = 1) -> World:
    """The fastest world there is of that name.

    Args:
        name: an id of gymnasium. Our own batched dynamics for classic control, threads over MuJoCo for
            HalfCheetah-v5 and Humanoid-v5, ALE's vector environment for ALE/…-v5, "HardMaze" for the deceptive maze,
            and for all others gymnasium's own environments, one after another.
        threads: for those that have any.

    Raises:
        MissingExtra: gymnasium, mujoco or ale-py is needed and not installed.
    """
    from heredity.environments import classic

    if name in classic.WORLDS:
        return classic.WORLDS[name]()
    if name == "HardMaze":
        from heredity.environments.maze_world import MazeWorld

        return MazeWorld()
    if name in ("HalfCheetah-v5", "Humanoid-v5"):
        from heredity.environments import mujoco_worlds

        kind = mujoco_worlds.HalfCheetahWorld if name.startswith("Half") else mujoco_worlds.HumanoidWorld
        return kind(threads=threads)
    if name.startswith("ALE/"):
        from heredity.environments.atari_world import AtariWorld

        return AtariWorld(name, threads=threads)
    from heredity.environments.gym_world import GymWorld

    return GymWorld(name)
