"""HalfCheetah and Humanoid with all episodes at once: one simulation state per row, stepped by threads.

Models, rewards, observations and draws of first states are those of gymnasium's v5 environments, which tests compare
step by step; its assets are read from the installed package. `mujoco.rollout` has threads of its own, but begins every
call without the solver's warm start and hands back no contact forces, so that its steps would not be those.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import util
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from heredity.environments.world import Actions, Array, Floats, Mask, Step, World
from heredity.errors import MissingExtra


class _MujocoWorld(World):
    """One `MjData` per row; while MuJoCo steps, Python's lock is free for other threads."""

    asset: ClassVar[str]
    noise: ClassVar[float]
    limit, frame_skip = 1000, 5

    def __init__(self, *, threads: int = 1) -> None:
        try:
            import mujoco
        except ImportError as error:
            raise MissingExtra(self.name, "environments") from error
        found = util.find_spec("gymnasium")
        if found is None or found.origin is None:
            raise MissingExtra(f"the model of {self.name}", "environments")
        path = Path(found.origin).parent / "envs" / "mujoco" / "assets" / self.asset
        self._mujoco: Any = mujoco
        self.model: Any = _quietly(mujoco, lambda: mujoco.MjModel.from_xml_path(str(path)))
        self._first = mujoco.MjData(self.model)
        self._qpos, self._qvel = self._first.qpos.copy(), self._first.qvel.copy()
        self._dt = self.model.opt.timestep * self.frame_skip
        bounds = self.model.actuator_ctrlrange.astype(np.float32)
        self.actions = Actions(low=tuple(bounds[:, 0].tolist()), high=tuple(bounds[:, 1].tolist()))
        self._views: list[tuple[Any, tuple[Floats, ...]]] = []
        self._spare: list[tuple[Any, tuple[Floats, ...]]] = []
        self.observation = (sum(view.size for view in self._visible(self._first)),)
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def reset(self, seeds: NDArray[np.int64]) -> Array:
        """Begin; simulation states are made as needed and used again."""
        self._spare = [*self._views, *self._spare]
        while len(self._spare) < len(seeds):
            data = self._mujoco.MjData(self.model)
            self._spare.append((data, self._visible(data)))
        self._views, self._spare = self._spare[: len(seeds)], self._spare[len(seeds) :]
        self._seen = np.empty((len(seeds), *self.observation))
        self._rewards, self._ended = np.zeros(len(seeds)), np.zeros(len(seeds), dtype=bool)

        return self.restart(np.arange(len(seeds)), seeds)

    def restart(self, rows: NDArray[np.int64], seeds: NDArray[np.int64]) -> Array:
        """Begin these anew."""
        of_row = dict(zip(rows.tolist(), seeds.tolist(), strict=True))
        self._each(lambda row: self._begin(row, of_row[row]), rows)
        return self._seen[rows]

    def _begin(self, row: int, seed: int) -> None:
        data, _ = self._views[row]
        rng = np.random.default_rng(seed)
        self._mujoco.mj_resetData(self.model, data)
        data.qpos[:] = self._qpos + rng.uniform(-self.noise, self.noise, size=self.model.nq)
        data.qvel[:] = self._qvel + self._speeds(rng)
        self._mujoco.mj_forward(self.model, data)
        self._look(row)

    def step(self, actions: Array, alive: Mask) -> Step:
        """One step of those alive."""
        rows = np.flatnonzero(alive)
        self._each(lambda row: self._act(row, actions[row]), rows)
        self._rewards[rows] -= self._effort(actions[rows])
        return self._seen.copy(), self._rewards.copy(), self._ended.copy()

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Go on with these."""
        kept = set(rows.tolist())
        self._spare += [view for row, view in enumerate(self._views) if row not in kept]
        self._views = [self._views[row] for row in rows]
        self._seen, self._rewards, self._ended = self._seen[rows], self._rewards[rows], self._ended[rows]

    def close(self) -> None:
        """Free the simulation states."""
        self._views, self._spare = [], []
        if self._pool is not None:
            self._pool.shutdown()

    def _each(self, work: Callable[[int], None], rows: NDArray[np.int64]) -> None:
        if self._pool is None:
            for row in rows:
                work(int(row))
        else:

            def several(part: NDArray[np.int64]) -> None:
                for row in part:
                    work(int(row))

            list(self._pool.map(several, np.array_split(rows, self.threads)))

    def _look(self, row: int) -> None:
        np.concatenate(self._views[row][1], out=self._seen[row])

    def _speeds(self, rng: np.random.Generator) -> Floats:
        return np.asarray(rng.uniform(-self.noise, self.noise, size=self.model.nv))

    @abstractmethod
    def _visible(self, data: Any) -> tuple[Floats, ...]:
        """Views into a simulation state that make up the observation."""

    @abstractmethod
    def _act(self, row: int, action: Array) -> None:
        """Step one row: simulate, look, reward but for the effort."""

    def _effort(self, actions: Array) -> Floats | float:
        """What actions [n, a] cost; of all rows at once, for a thread that computes holds up the others."""
        return 0.0


def _quietly(mujoco: Any, load: Callable[[], Any]) -> Any:
    """Load a model of gymnasium's without MuJoCo's notes on it, which would go to a file in the working directory."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: None)
    try:
        return load()
    finally:
        mujoco.set_mju_user_warning(before)


class HalfCheetahWorld(_MujocoWorld):
    """Run forward: reward is speed less a tenth of the squared action; never terminates."""

    name, asset, noise = "HalfCheetah-v5", "half_cheetah.xml", 0.1

    def _speeds(self, rng: np.random.Generator) -> Floats:
        return np.asarray(self.noise * rng.standard_normal(self.model.nv))

    def _visible(self, data: Any) -> tuple[Floats, ...]:
        return data.qpos[1:], data.qvel[:]

    def _act(self, row: int, action: Array) -> None:
        data = self._views[row][0]
        before = data.qpos[0]
        data.ctrl[:] = action
        self._mujoco.mj_step(self.model, data, nstep=self.frame_skip)
        self._look(row)
        self._rewards[row] = (data.qpos[0] - before) / self._dt

    def _effort(self, actions: Array) -> Floats | float:
        return np.asarray(0.1 * np.square(actions).sum(axis=1))

    def behaviour(self) -> Floats:
        """How far each has come [N, 1]."""
        return np.array([[data.qpos[0]] for data, _ in self._views])


class HumanoidWorld(_MujocoWorld):
    """Walk forward and do not fall: 5 for each step upright, 1.25 times the speed, less effort and contact forces."""

    name, asset, noise = "Humanoid-v5", "humanoid.xml", 1e-2

    def _visible(self, data: Any) -> tuple[Floats, ...]:
        flat = (data.cinert[1:], data.cvel[1:], data.qfrc_actuator[6:], data.cfrc_ext[1:])
        return data.qpos[2:], data.qvel[:], *(view.reshape(-1) for view in flat)

    def _act(self, row: int, action: Array) -> None:
        data = self._views[row][0]
        before = self._centre(data)
        data.ctrl[:] = action
        self._mujoco.mj_step(self.model, data, nstep=self.frame_skip)
        self._mujoco.mj_rnePostConstraint(self.model, data)
        self._look(row)
        upright = 1.0 < data.qpos[2] < 2.0
        effort = 0.1 * np.sum(np.square(data.ctrl)) + min(5e-7 * np.sum(np.square(data.cfrc_ext)), 10.0)
        self._rewards[row] = 1.25 * ((self._centre(data) - before) / self._dt) + 5.0 * upright - effort
        self._ended[row] = not upright

    def _centre(self, data: Any) -> float:
        """The x of the centre of mass."""
        mass = self.model.body_mass[:, None]
        return float((np.sum(mass * data.xipos, axis=0) / np.sum(mass))[0])

    def behaviour(self) -> Floats:
        """Where each stands [N, 2]."""
        return np.array([data.qpos[:2] for data, _ in self._views])
