"""The hard maze as an environment of gymnasium, for one robot and for learners that expect one.

Written apart from `heredity.environments.maze_world`, which steps many robots at once and is tested against this.
Sources: as there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from heredity.environments.maze_world import (
    CHANGE,
    FINDERS,
    GOAL,
    RADIUS,
    RANGE,
    SOLVED,
    START,
    STEPS,
    TOP,
    WALLS,
)
from heredity.errors import MissingExtra

try:
    import gymnasium
    from gymnasium.spaces import Box
except ImportError as error:
    raise MissingExtra("HardMaze as an environment of gymnasium", "environments") from error


class HardMaze(gymnasium.Env[np.ndarray, np.ndarray]):
    """Observations [11]: 1, six ranges in 0 … 1, four radar quadrants (front, left, back, right).

    Actions [2] in −½ … ½: turn and speed, as shares of ±3 degrees and units per step, approached by at most 0.2 a
    step. The reward is minus the distance to the goal at step 400, which truncates the episode, and 0 before.

    Args:
        solved: distance from the goal at which `info["solved"]` says so.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - gymnasium's own

    def __init__(self, solved: float = SOLVED) -> None:
        self.observation_space = Box(0.0, 1.0, (11,), np.float32)
        self.action_space = Box(-0.5, 0.5, (2,), np.float32)
        self.solved = solved
        self._x, self._y = START
        self._heading, self._turn, self._speed = 0.0, 0.0, 0.0
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Back to the start; every seed begins equally."""
        super().reset(seed=seed)
        self._place()
        return self._observe(), self._info()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step.

        Raises:
            ValueError: the action is not finite.
        """
        wanted = [6.0 * min(max(float(a) + 0.5, 0.0), 1.0) - 3.0 for a in action]
        if not all(map(math.isfinite, wanted)) or not np.isfinite(action).all():
            raise ValueError(f"an action of HardMaze is two finite numbers, got {action}")
        self._turn = _approach(self._turn, wanted[0])
        self._speed = _approach(self._speed, wanted[1])
        x = self._x + math.cos(math.radians(self._heading)) * self._speed
        y = self._y + math.sin(math.radians(self._heading)) * self._speed
        self._heading += self._turn
        if self._heading > 360:
            self._heading -= 360
        if self._heading < 0:
            self._heading += 360
        if all(_distance(wall, x, y) >= RADIUS for wall in WALLS):
            self._x, self._y = x, y
        self._steps += 1
        last = self._steps >= STEPS
        info = self._info()
        return self._observe(), -info["distance"] if last else 0.0, False, last, info

    def _place(self) -> None:
        self._x, self._y = START
        self._heading, self._turn, self._speed = 0.0, 0.0, 0.0
        self._steps = 0

    def _info(self) -> dict[str, Any]:
        distance = math.hypot(self._x - GOAL[0], self._y - GOAL[1])
        return {"distance": distance, "place": (self._x, self._y), "solved": distance < self.solved}

    def _observe(self) -> np.ndarray:
        seen = [1.0]
        for finder in FINDERS:
            angle = math.radians(self._heading + finder)
            ray = (RANGE * math.cos(angle), RANGE * math.sin(angle))
            seen.append(min(_reach(wall, self._x, self._y, ray) for wall in WALLS))
        bearing = math.degrees(math.atan2(GOAL[1] - self._y, GOAL[0] - self._x)) - self._heading
        quadrants = [0.0] * 4
        quadrants[math.floor((bearing + 45.0) / 90.0) % 4] = 1.0
        return np.array([*seen, *quadrants], dtype=np.float32)


def _approach(value: float, wanted: float) -> float:
    step = min(max(wanted - value, -CHANGE), CHANGE)
    return min(max(value + step, -TOP), TOP)


def _distance(wall: tuple[int, int, int, int], x: float, y: float) -> float:
    """Of a point from a wall."""
    ax, ay, bx, by = wall
    along = ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2)
    along = min(max(along, 0.0), 1.0)
    return math.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay))


def _reach(wall: tuple[int, int, int, int], x: float, y: float, ray: tuple[float, float]) -> float:
    """Share of a ray up to a wall, 1 where it does not meet it."""
    ax, ay, bx, by = wall
    cross = (bx - ax) * ray[1] - (by - ay) * ray[0]
    if cross == 0:
        return 1.0
    along = ((ay - y) * ray[0] - (ax - x) * ray[1]) / cross
    away = ((ay - y) * (bx - ax) - (ax - x) * (by - ay)) / cross
    return away if 0 < along < 1 and 0 < away < 1 else 1.0
