"""Gridworlds with objects to collect, many levels times many workers at once, in tensors.

    >>> world = VecGridworld(deceptive_levels([1, 2, 3]), workers=4)
    >>> states = world.reset()
    >>> states, rewards, dones = world.step(torch.zeros(3, 4, dtype=torch.long))
    >>> states.shape
    torch.Size([3, 4])

Everything random is a function of a level's own seed, the worker and the step: a level behaves the same whatever other
levels stand beside it, and two agents that act alike on the same level see the same.
Source: Oh et al., Discovering Reinforcement Learning Algorithms (arXiv 2007.08794), appendix; the distribution of
levels is that of Jackson et al. (arXiv 2402.05828) as its released code draws it ("all", tabular).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

ACTIONS = 5  # up, down, left, right, stay
_ROW = torch.tensor([-1, 1, 0, 0, 0])
_COLUMN = torch.tensor([0, 0, -1, 1, 0])
_GOLDEN, _MIX1, _MIX2 = -7046029254386353131, -4658895280553007687, -7723592293110705685  # SplitMix64's, signed


@dataclass(frozen=True)
class Levels:
    """B levels; a cell is row · side + column with one `side` for all, smaller levels stand in the corner.

    Attributes:
        side: of the largest level.
        size: [B] sides of the levels.
        walls: [B, side²] cells that cannot be entered.
        start: [B] cell of the agent.
        places: [B, objects] cells of objects; −1 where a level has fewer.
        rewards, ends, returns: [B, objects] reward of collecting one, probability that the episode then ends, and
            probability per step that a collected one is back.
        horizon: [B] steps after which an episode ends.
        seeds: [B] of everything random in the level.
    """

    side: int
    size: Tensor
    walls: Tensor
    start: Tensor
    places: Tensor
    rewards: Tensor
    ends: Tensor
    returns: Tensor
    horizon: Tensor
    seeds: Tensor

    def __len__(self) -> int:
        return len(self.seeds)

    def take(self, rows: Tensor | Sequence[int]) -> Levels:
        """Some of them, in this order; a level may come several times."""
        index = torch.as_tensor(rows, dtype=torch.long)
        chosen = {item.name: getattr(self, item.name)[index] for item in fields(self) if item.name != "side"}
        return Levels(self.side, **chosen)

    def to(self, device: torch.device | str) -> Levels:
        """On a device."""
        moved = {item.name: getattr(self, item.name).to(device) for item in fields(self) if item.name != "side"}
        return Levels(self.side, **moved)


def move(position: Tensor, action: Tensor, walls: Tensor, size: Tensor, side: int) -> Tensor:
    """Where agents stand after an action: the next cell, or the old one before a wall or the border.

    Args:
        position, action: [B, W] cells and actions 0 … 4.
        walls: [B, side²]; size: [B]; side: how many cells a row of the layout has.
    """
    row = position // side + _ROW.to(position.device)[action]
    column = position % side + _COLUMN.to(position.device)[action]
    last = size[:, None] - 1
    inside = (row >= 0) & (row <= last) & (column >= 0) & (column <= last)
    goal = torch.where(inside, row * side + column, position)
    return torch.where(walls.gather(1, goal), position, goal)


def uniform(keys: Tensor, *parts: Tensor | int) -> Tensor:
    """Numbers in [0, 1) that depend on integer keys and parts alone; shapes are broadcast.

    Source: the finaliser of SplitMix64; Steele, Lea & Flood, Fast Splittable Pseudorandom Number Generators (2014).
    """
    z = _mixed(keys)
    for part in parts:
        z = _mixed(z + (_wrapped(part * _GOLDEN) if isinstance(part, int) else part * _GOLDEN))
    return ((z >> 40) & 0xFFFFFF).float() * 2.0**-24


def _wrapped(number: int) -> int:
    """As 64 signed bits."""
    return ((number + 2**63) % 2**64) - 2**63


def _mixed(z: Tensor) -> Tensor:
    z = (z ^ ((z >> 30) & 0x3FFFFFFFF)) * _MIX1
    z = (z ^ ((z >> 27) & 0x1FFFFFFFFF)) * _MIX2
    return z ^ ((z >> 31) & 0x1FFFFFFFF)


class VecGridworld:
    """Levels times workers, stepped together; an episode that ends begins anew at once.

    A state is a number: cell + side² · (which objects are there, as bits). Where collecting any object always ends the
    episode the bits never change, and are left out.

    Args:
        levels: B of them.
        workers: W agents in each that see nothing of each other.
        device: of all tensors.
        stream: another one gives the same levels another future.

    Attributes:
        states: how many states there are. actions: how many actions.
    """

    actions = ACTIONS

    def __init__(self, levels: Levels, workers: int, device: torch.device | str = "cpu", *, stream: int = 0) -> None:
        if workers < 1 or not len(levels):
            raise ValueError(f"a gridworld needs levels and workers, got {len(levels)} and {workers}")
        self.levels, self.workers, self.device = levels.to(device), workers, torch.device(device)
        used = self.levels.places >= 0
        self._fixed = bool((self.levels.ends[used] >= 1).all())  # every object ends the episode: nothing to draw
        self._objects = self.levels.places.shape[1]
        self.states = levels.side**2 * (1 if self._fixed else 2**self._objects)
        self._used = used[:, None, :].expand(-1, workers, -1)
        self._bits = 2 ** torch.arange(self._objects, device=self.device)
        # One key per level and worker; levels with equal seeds share it.
        who = torch.arange(workers, device=self.device)[None, :]
        self._keys = ((self.levels.seeds[:, None] ^ _GOLDEN) * _MIX2) ^ ((who + 1) * _MIX1) ^ _wrapped(stream * _GOLDEN)
        self.clock = 0  # steps since the beginning, over episodes

    def reset(self) -> Tensor:
        """Begin episodes; first states [B, W]. The clock goes on, so that the next episodes are others."""
        self._position = self.levels.start[:, None].expand(-1, self.workers).clone()
        self._there = self._used.clone()
        self._time = torch.zeros_like(self._position)
        return self.state

    @property
    def state(self) -> Tensor:
        """The present states [B, W]."""
        if self._fixed:
            return self._position
        return self._position + self.levels.side**2 * (self._there * self._bits).sum(-1)

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One step of all.

        Args:
            actions: [B, W] of 0 … 4.

        Returns:
            The states [B, W] afterwards (of a new episode where one has ended), rewards [B, W] float32, and whether
            the episode ended [B, W].
        """
        levels = self.levels
        position = move(self._position, actions, levels.walls, levels.size, levels.side)
        found = self._there & (levels.places[:, None, :] == position[..., None])
        rewards = (found * levels.rewards[:, None, :]).sum(-1)
        self._time = self._time + 1
        over = self._time >= levels.horizon[:, None]
        if self._fixed:
            over = over | found.any(-1)
        else:
            numbers = torch.arange(self._objects, device=self.device)
            draws = uniform(self._keys[..., None], self.clock, numbers + 1)
            back = draws < levels.returns[:, None, :]
            self._there = (self._there | (back & self._used)) & ~found
            over = over | (uniform(self._keys, self.clock, 0) < (found * levels.ends[:, None, :]).sum(-1))
            self._there = self._there | (over[..., None] & self._used)
        self._position = torch.where(over, levels.start[:, None], position)
        self._time = self._time * ~over
        self.clock += 1
        return self.state, rewards, over

    def noise(self) -> Tensor:
        """Numbers in [0, 1) for this step [B, W], the same for the same level and worker: for drawing actions."""
        return uniform(self._keys, self.clock, -1)


def general_levels(seeds: Sequence[int]) -> Levels:
    """Levels of the paper's kind, one for each seed.

    Sides 4 to 10, up to 15 walls, 1 to 5 objects; rewards uniform in (−1, 1), of the first in (0, 1); probability of an
    end log-uniform in (.01, 1), of a return in (.001, .1); horizons log-uniform in 20 … 750.
    """
    side, most = 10, 5
    rows = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        size, count = int(rng.integers(4, side + 1)), int(rng.integers(1, most + 1))
        walls = np.zeros((side, side), dtype=bool)
        walls.flat[rng.choice(side**2, 15, replace=False)] = True  # those outside of a small level do nothing
        free = np.flatnonzero(~walls[:size, :size])
        free = (free // size) * side + free % size
        if len(free) <= count:  # 15 walls can fill a level of 16 cells
            walls[:] = False
            free = np.array([r * side + c for r in range(size) for c in range(size)])
        cells = rng.choice(free, count + 1, replace=False)
        rewards = rng.uniform(-1, 1, most)
        rewards[0] = rng.uniform(0, 1)
        ends, returns = np.exp(rng.uniform(np.log(0.01), 0, most)), np.exp(rng.uniform(np.log(1e-3), np.log(0.1), most))
        places = np.concatenate([cells[1:], np.full(most - count, -1)])
        horizon = round(float(np.exp(rng.uniform(np.log(20), np.log(750)))))
        rows.append((size, walls.reshape(-1), cells[0], places, rewards, ends, returns, horizon))
    return _stacked(side, rows, seeds)


def deceptive_levels(seeds: Sequence[int]) -> Levels:
    """4 × 4 cells without walls: a reward of .3 one or two steps from the start and one of 1 at one of the three cells
    farthest from it, either of which ends the episode, as the 12th step does."""
    side = 4
    rows = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        start = int(rng.integers(side**2))
        distance = np.array([abs(c // side - start // side) + abs(c % side - start % side) for c in range(side**2)])
        near = int(rng.choice(np.flatnonzero((distance == 1) | (distance == 2))))
        far = int(rng.choice(np.argsort(-distance, kind="stable")[:3]))
        walls = np.zeros(side**2, dtype=bool)
        ones = np.ones(2)
        rows.append((side, walls, start, np.array([near, far]), np.array([0.3, 1.0]), ones, 0 * ones, 12))
    return _stacked(side, rows, seeds)


def map_levels(text: str, *, rewards: Sequence[float], ends: Sequence[float], horizon: int, seed: int = 0) -> Levels:
    """One square level from a drawing: `#` walls, `S` the start, digits the objects, anything else is free.

    Args:
        rewards, ends: of the objects 0, 1, …; collected ones do not come back.

    Raises:
        ValueError: the drawing is not square, has no start, or lacks an object.
    """
    lines = [line.strip() for line in text.strip().splitlines()]
    side = len(lines)
    drawn = "".join(lines)
    if any(len(line) != side for line in lines) or drawn.count("S") != 1:
        raise ValueError("a map is a square of characters with one S")
    missing = [k for k in range(len(rewards)) if drawn.count(str(k)) != 1]
    if missing or len(ends) != len(rewards):
        raise ValueError(f"the map needs each of its {len(rewards)} objects once, and an end for each; see {missing}")
    places = np.array([drawn.index(str(k)) for k in range(len(rewards))])
    walls = np.array([c == "#" for c in drawn])
    row = (side, walls, drawn.index("S"), places, np.array(rewards), np.array(ends), 0 * np.array(ends), horizon)
    return _stacked(side, [row], [seed])


def _stacked(side: int, rows: Sequence[tuple[Any, ...]], seeds: Sequence[int]) -> Levels:
    if not rows:
        raise ValueError("levels need at least one seed")
    kinds = (torch.long, torch.bool, torch.long, torch.long, torch.float32, torch.float32, torch.float32, torch.long)
    columns = [torch.as_tensor(np.stack([np.asarray(row[k]) for row in rows])).to(kind) for k, kind in enumerate(kinds)]
    size, walls, start, places, rewards, ends, returns, horizon = columns
    keys = torch.as_tensor(np.asarray(seeds, dtype=np.int64))
    return Levels(side, size, walls, start, places, rewards, ends, returns, horizon, keys)
