"""The hard maze with all members at once; `heredity.environments.hard_maze` is the same maze for one.

Sources: Lehman & Stanley, Abandoning Objectives (2011); walls, sensors and motion as in the released code of Such et
al. (arXiv 1712.06567).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heredity.environments.world import Actions, Array, Floats, Mask, Step, World

# x and y of both ends. The first seven are the outer wall.
WALLS = (
    (41, 5, 3, 8),
    (3, 8, 4, 49),
    (4, 49, 57, 53),
    (4, 49, 7, 202),
    (7, 202, 195, 198),
    (195, 198, 186, 8),
    (186, 8, 39, 5),
    (56, 54, 56, 157),
    (57, 106, 158, 162),
    (77, 201, 108, 164),
    (6, 80, 33, 121),
    (192, 146, 87, 91),
    (56, 55, 133, 30),
)
START, GOAL = (36.0, 184.0), (31.0, 20.0)
RADIUS = 8.0  # of the robot
RANGE = 100.0  # of its range finders
FINDERS = (-90.0, -45.0, 0.0, 45.0, 90.0, 180.0)  # degrees from the heading
STEPS = 400
TOP, CHANGE = 3.0, 0.2  # of speed (units) and turn (degrees) per step
SOLVED = 10.0  # distance from the goal; the released code's, while its comment says 5

_WALLS = np.array(WALLS, dtype=np.float64).T[:, :, None]  # [4, 13, 1]
_WX, _WY = _WALLS[2] - _WALLS[0], _WALLS[3] - _WALLS[1]
_SX, _SY = _WX / (_WX**2 + _WY**2), _WY / (_WX**2 + _WY**2)
_AX, _AY, _EX, _EY = (part.astype(np.float32) for part in (_WALLS[0], _WALLS[1], _WX, _WY))
_LINES = np.radians([-90.0, 0.0, -45.0, 45.0])[:, None]
_STATE = ("_x", "_y", "_heading", "_turn", "_speed", "_steps")
_HALF, _ONE = np.float32(0.5), np.float32(1)


class MazeWorld(World):
    """A robot with six range finders and four radar quadrants that should find a goal behind dead ends.

    Actions (turn, speed) lie in −½ … ½ and mean shares of ±3. The only reward is minus the distance to the goal, at
    step 400. The maze is the same for every seed. The behaviour is the place (x, y).
    """

    name, observation, limit = "HardMaze", (11,), STEPS
    actions = Actions(low=(-0.5, -0.5), high=(0.5, 0.5))

    def reset(self, seeds: NDArray[np.int64]) -> Array:
        """Everybody at the start."""
        n = len(seeds)
        self._x, self._y = np.full(n, START[0]), np.full(n, START[1])
        self._heading, self._turn, self._speed = np.zeros(n), np.zeros(n), np.zeros(n)
        self._steps = np.zeros(n, dtype=np.int64)
        return self._observe()

    def restart(self, rows: NDArray[np.int64], seeds: NDArray[np.int64]) -> Array:
        """Put these back to the start."""
        self._x[rows], self._y[rows] = START
        for name in _STATE[2:]:
            getattr(self, name)[rows] = 0
        return self._observe()[rows]

    def step(self, actions: Array, alive: Mask) -> Step:
        """One step of everybody."""
        wanted = 6.0 * np.clip(actions.astype(np.float64) + 0.5, 0.0, 1.0) - 3.0
        self._turn = np.clip(self._turn + np.clip(wanted[:, 0] - self._turn, -CHANGE, CHANGE), -TOP, TOP)
        self._speed = np.clip(self._speed + np.clip(wanted[:, 1] - self._speed, -CHANGE, CHANGE), -TOP, TOP)
        angle = np.radians(self._heading)
        x, y = self._x + np.cos(angle) * self._speed, self._y + np.sin(angle) * self._speed
        heading = self._heading + self._turn
        heading = np.where(heading > 360, heading - 360, heading)
        self._heading = np.where(heading < 0, heading + 360, heading)
        free = _wall_distance(x, y) >= RADIUS
        self._x, self._y = np.where(free, x, self._x), np.where(free, y, self._y)
        self._steps += 1
        last = self._steps == STEPS
        rewards = np.where(last, -self.distance(), 0.0) if last.any() else np.zeros(len(x))
        return self._observe(), rewards, np.zeros(len(x), dtype=bool)

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Go on with these."""
        for name in _STATE:
            setattr(self, name, getattr(self, name)[rows])

    def behaviour(self) -> Floats:
        """Places [N, 2]."""
        return np.stack([self._x, self._y], axis=1)

    def distance(self) -> Floats:
        """From the goal [N]."""
        return np.hypot(self._x - GOAL[0], self._y - GOAL[1])

    def _observe(self) -> Array:
        out = np.zeros((len(self._x), 11), dtype=np.float32)
        out[:, 0] = 1.0
        out[:, 1:7] = self._ranges()
        bearing = np.degrees(np.arctan2(GOAL[1] - self._y, GOAL[0] - self._x)) - self._heading
        # Quadrants are centred on front, left, back, right: −45 … 45, 45 … 135, …
        quadrant = (np.floor((bearing + 45.0) / 90.0) % 4).astype(np.int64)
        out[np.arange(len(out)), 7 + quadrant] = 1.0
        return out

    def _ranges(self) -> Array:
        """Share of the range up to the first wall [N, 6]; 1 where there is none.

        Opposite finders share a line. Single precision is enough for what is seen; places are kept in double.
        """
        angle = np.radians(self._heading) + _LINES  # [4, N]
        dx, dy = (RANGE * np.cos(angle)).astype(np.float32), (RANGE * np.sin(angle)).astype(np.float32)
        qx, qy = _AX - self._x.astype(np.float32), _AY - self._y.astype(np.float32)  # [13, N]
        with np.errstate(divide="ignore", invalid="ignore"):  # parallel to a wall
            inverse = 1 / (_EX[:, None] * dy - _EY[:, None] * dx)  # [13, 4, N]
            along = (qy[:, None] * dx - qx[:, None] * dy) * inverse  # where on the wall
            away = (qy * _EX - qx * _EY)[:, None] * inverse  # how far on the line, ahead or behind
            away[~(np.abs(along - _HALF) < _HALF)] = np.inf
        ahead = np.where(away > 0, away, _ONE).min(axis=0)
        back = away[:, :2]
        behind = np.where(back < 0, -back, _ONE).min(axis=0)
        # Lines are −90 (behind: 90), 0 (behind: 180), −45 and 45 degrees; finders −90, −45, 0, 45, 90, 180.
        seen = (ahead[0], ahead[2], ahead[1], ahead[3], behind[0], behind[1])
        return np.asarray(np.minimum(np.stack(seen, axis=1), _ONE))


def _wall_distance(x: Floats, y: Floats) -> Floats:
    """Distance to the nearest wall [N]."""
    qx, qy = x - _WALLS[0], y - _WALLS[1]  # [13, N]
    along = np.minimum(np.maximum(qx * _SX + qy * _SY, 0.0), 1.0)
    qx -= along * _WX
    qy -= along * _WY
    return np.asarray(np.sqrt((qx * qx + qy * qy).min(axis=0)))
