"""Classic control with all episodes in one array: CartPole, MountainCar, MountainCarContinuous, Pendulum, Acrobot.

The dynamics, the draws of first states and the order of operations are those of gymnasium 1.x, which tests compare
step by step; gymnasium itself is not needed.
Sources: Barto, Sutton & Anderson (1983); Moore (1990); Sutton (1996); gymnasium's classic_control.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from heredity.environments.world import Actions, Array, Floats, Mask, Step, World


class _Classic(World):
    """Numbers of the state in rows [d, N], episodes in columns."""

    low: ClassVar[tuple[float, ...]]  # of the first state, drawn uniformly
    high: ClassVar[tuple[float, ...]]
    state: Floats

    def reset(self, seeds: NDArray[np.int64]) -> Array:
        """Begin."""
        drawn = [np.random.default_rng(int(seed)).uniform(self.low, self.high) for seed in seeds]
        self.state = self._first(np.stack(drawn, axis=1))
        return self._observe()

    def restart(self, rows: NDArray[np.int64], seeds: NDArray[np.int64]) -> Array:
        """Begin these anew."""
        others = self.state
        seen = self.reset(seeds)
        others[:, rows] = self.state
        self.state = others
        return seen

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Go on with these."""
        self.state = self.state[:, rows]

    def step(self, actions: Array, alive: Mask) -> Step:
        """One step; ended episodes are stepped along, which costs nothing, and may leave the finite numbers."""
        with np.errstate(over="ignore", invalid="ignore"):
            rewards, terminated = self._move(actions)
            return self._observe(), rewards, terminated

    def behaviour(self) -> Floats:
        """The state [N, d]."""
        return self.state.T.copy()

    def _first(self, drawn: Floats) -> Floats:
        return drawn

    @abstractmethod
    def _move(self, actions: Array) -> tuple[Floats, Mask]: ...

    @abstractmethod
    def _observe(self) -> Array: ...


class CartPole(_Classic):
    """Balance a pole on a cart: 500 steps of reward 1 at most."""

    name, observation, actions, limit = "CartPole-v1", (4,), Actions(2), 500
    low, high = (-0.05,) * 4, (0.05,) * 4

    def _move(self, actions: Array) -> tuple[Floats, Mask]:
        x, speed, angle, spin = self.state
        force = np.where(actions == 1, 10.0, -10.0)
        cosine, sine = np.cos(angle), np.sin(angle)
        inner = (force + 0.05 * np.square(spin) * sine) / 1.1
        turn = (9.8 * sine - cosine * inner) / (0.5 * (4.0 / 3.0 - 0.1 * np.square(cosine) / 1.1))
        push = inner - 0.05 * turn * cosine / 1.1
        self.state = np.stack([x + 0.02 * speed, speed + 0.02 * push, angle + 0.02 * spin, spin + 0.02 * turn])
        x, _, angle, _ = self.state
        bound = 12 * 2 * np.pi / 360
        return np.ones(len(x)), (x < -2.4) | (x > 2.4) | (angle < -bound) | (angle > bound)

    def _observe(self) -> Array:
        return self.state.T.astype(np.float32)


class MountainCar(_Classic):
    """Leave a valley with a weak engine: reward −1 for each of at most 200 steps."""

    name, observation, actions, limit = "MountainCar-v0", (2,), Actions(3), 200
    low, high = (-0.6,), (-0.4,)

    def _first(self, drawn: Floats) -> Floats:
        return np.concatenate([drawn, np.zeros_like(drawn)])

    def _move(self, actions: Array) -> tuple[Floats, Mask]:
        place, speed = self.state
        speed = np.clip(speed + ((actions - 1) * 0.001 + np.cos(3 * place) * -0.0025), -0.07, 0.07)
        place = np.clip(place + speed, -1.2, 0.6)
        speed = np.where((place == -1.2) & (speed < 0), 0.0, speed)
        self.state = np.stack([place, speed])
        return np.full(len(place), -1.0), (place >= 0.5) & (speed >= 0)

    def _observe(self) -> Array:
        return self.state.T.astype(np.float32)


class MountainCarContinuous(MountainCar):
    """The same with a continuous force, a reward of 100 at the top and a price on force; at most 999 steps."""

    name, limit = "MountainCarContinuous-v0", 999
    actions = Actions(low=(-1.0,), high=(1.0,))

    def _move(self, actions: Array) -> tuple[Floats, Mask]:
        place, speed = self.state
        action = actions[:, 0].astype(np.float64)
        speed = np.clip(speed + (np.clip(action, -1.0, 1.0) * 0.0015 - 0.0025 * np.cos(3 * place)), -0.07, 0.07)
        place = np.clip(place + speed, -1.2, 0.6)
        speed = np.where((place == -1.2) & (speed < 0), 0.0, speed)
        self.state = np.stack([place, speed]).astype(np.float32).astype(np.float64)  # gymnasium keeps float32
        terminated = (place >= 0.45) & (speed >= 0)
        return np.where(terminated, 100.0, 0.0) - np.square(action) * 0.1, terminated


class Pendulum(_Classic):
    """Swing a pendulum up and hold it: 200 steps, reward minus squared angle, speed and torque."""

    name, observation, limit = "Pendulum-v1", (3,), 200
    actions = Actions(low=(-2.0,), high=(2.0,))
    low, high = (-np.pi, -1.0), (np.pi, 1.0)

    def _move(self, actions: Array) -> tuple[Floats, Mask]:
        angle, spin = self.state
        torque = np.clip(actions[:, 0], -2.0, 2.0)
        costs = (((angle + np.pi) % (2 * np.pi)) - np.pi) ** 2 + 0.1 * spin**2 + 0.001 * (torque**2)
        spin = np.clip(spin + (15.0 * np.sin(angle) + 3.0 * torque) * 0.05, -8, 8)
        self.state = np.stack([angle + spin * 0.05, spin])
        return -costs, np.zeros(len(angle), dtype=bool)

    def _observe(self) -> Array:
        angle, spin = self.state
        return np.stack([np.cos(angle), np.sin(angle), spin], axis=1).astype(np.float32)


class Acrobot(_Classic):
    """Swing two links above a line by their joint: reward −1 for each of at most 500 steps but the last."""

    name, observation, actions, limit = "Acrobot-v1", (6,), Actions(3), 500
    low, high = (-0.1,) * 4, (0.1,) * 4

    def _first(self, drawn: Floats) -> Floats:
        return drawn.astype(np.float32).astype(np.float64)

    def _move(self, actions: Array) -> tuple[Floats, Mask]:
        y, torque, dt = self.state, actions - 1.0, 0.2
        k1 = _links(y, torque)
        k2 = _links(y + dt / 2.0 * k1, torque)
        k3 = _links(y + dt / 2.0 * k2, torque)
        k4 = _links(y + dt * k3, torque)
        y = y + dt / 6.0 * (k1 + 2 * k2 + 2 * k3 + k4)
        y[0], y[1] = _wrap(y[0]), _wrap(y[1])
        y[2] = np.clip(y[2], -4 * np.pi, 4 * np.pi)
        y[3] = np.clip(y[3], -9 * np.pi, 9 * np.pi)
        self.state = y
        terminated = -np.cos(y[0]) - np.cos(y[1] + y[0]) > 1.0
        return np.where(terminated, 0.0, -1.0), terminated

    def _observe(self) -> Array:
        a, b, da, db = self.state
        return np.stack([np.cos(a), np.sin(a), np.cos(b), np.sin(b), da, db], axis=1).astype(np.float32)


def _links(y: Floats, torque: Array) -> Floats:
    """Derivatives of both angles and their speeds, in the form of Sutton & Barto's book; all lengths and masses 1."""
    a, b, da, db = y
    g, cosine, sine = 9.8, np.cos(b), np.sin(b)
    d1 = 0.25 + (1.0 + 0.25 + 2 * 0.5 * cosine) + 1.0 + 1.0
    d2 = (0.25 + 0.5 * cosine) + 1.0
    phi2 = 0.5 * g * np.cos(a + b - np.pi / 2.0)
    phi1 = -0.5 * db**2 * sine - 2 * 0.5 * db * da * sine + 1.5 * g * np.cos(a - np.pi / 2) + phi2
    ddb = (torque + d2 / d1 * phi1 - 0.5 * da**2 * sine - phi2) / (0.25 + 1.0 - d2**2 / d1)
    dda = -(d2 * ddb + phi1) / d1
    return np.stack([da, db, dda, ddb])


def _wrap(x: Floats) -> Floats:
    """Into −π … π by whole turns."""
    while (above := x > np.pi).any():
        x = np.where(above, x - 2 * np.pi, x)
    while (below := x < -np.pi).any():
        x = np.where(below, x + 2 * np.pi, x)
    return x


WORLDS: dict[str, type[_Classic]] = {
    kind.name: kind for kind in (CartPole, MountainCar, MountainCarContinuous, Pendulum, Acrobot)
}
