"""Many independent searches at once, on tensors [runs, population, dim] of any device.

Run r of a batch is the run of its seed: the same bits whatever else is in the batch and however many threads work. For
that, sums are taken by halves with additions of single entries (`halved_sum`), never by a kernel that may choose its
order by the shape; all else works entry by entry. The methods are in `heredity.search.batched_es`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heredity.errors import EvaluationFailed
from heredity.search.box import Vectors, as_box

BLOCK = 4096  # entries of noise of a run that are drawn at once: small runs draw several generations together


class BatchedSearcher(ABC):
    """Ask and tell for all runs together; fitness is maximised.

    Args:
        space: as of the single searchers; the same for all runs.
        seeds: one per run.
        population: candidates per generation and run.
        dtype: of the candidates. Noise is drawn in float32 and widened, which is several times faster on a processor.
        device: of all tensors.

    Attributes:
        generation: how many have been told.
        learned: [runs] generations that taught a run something: in a generation whose candidates all failed a run
            stays what it is.

    A method defines `_draw` and `_learn`, and keeps what it learns in `_state`, tensors [runs, ...].
    """

    draws: int  # rows of noise per run and generation, as the method says

    def __init__(
        self,
        space: Vectors,
        seeds: Sequence[int],
        population: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.space = as_box(space)
        self.seeds = [int(seed) for seed in seeds]
        if not self.seeds:
            raise ValueError("a batch needs at least one seed, one for each run")
        if population < 2:
            raise ValueError(f"a generation needs at least two candidates, got population={population}")
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype must be float32 or float64, got {dtype}")
        self.population, self.dtype, self.device = population, dtype, torch.device(device)
        self.runs, self.dim, self.generation = len(self.seeds), self.space.dim, 0
        self.learned = torch.zeros(self.runs, dtype=torch.int64, device=self.device)
        self._low, self._high = self._tensor(self.space.low), self._tensor(self.space.high)
        self._bounded = bool(np.isfinite(self.space.low).any() or np.isfinite(self.space.high).any())
        self._state: dict[str, Tensor] = {}
        self._best_x = self._rows(self.space.start)
        self._best_fitness = torch.full((self.runs,), -torch.inf, dtype=torch.float64, device=self.device)
        self._x: Tensor | None = None
        self._buffer: Tensor | None = None  # noise of the present block [runs, generations, draws, dim]
        self._block = -1
        self._generator = torch.Generator(device=self.device)

    @abstractmethod
    def _draw(self, noise: Tensor) -> Tensor:
        """Candidates [runs, population, dim] from noise [runs, draws, dim]; a new tensor."""

    @abstractmethod
    def _learn(self, x: Tensor, noise: Tensor, fitness: Tensor, order: Tensor) -> None:
        """Change `_state` in place, of every run by itself.

        `fitness` [runs, population] is −∞ for failures; `order` lists places from best to worst, the earlier of
        equals first. What a run without any success learns is undone.
        """

    @property
    @abstractmethod
    def center(self) -> Tensor:
        """What each run has settled on [runs, dim], a copy."""

    @property
    def best(self) -> tuple[Tensor, Tensor]:
        """Each run's best candidate told [runs, dim] and its fitness [runs] float64, −∞ before the first success."""
        return self._best_x.clone(), self._best_fitness.clone()

    def ask(self) -> Tensor:
        """The present generation [runs, population, dim]; a copy."""
        return self._generation().clone()

    def tell(self, fitness: Tensor | Sequence[Sequence[float]]) -> None:
        """Report the fitness [runs, population] of what `ask` gave; NaN and ±∞ are failures.

        Raises:
            ValueError: it has another shape, or nothing was asked.
            EvaluationFailed: everything failed, in all runs.
        """
        if self._x is None:
            raise ValueError("no generation is out; ask first")
        told = torch.as_tensor(fitness, dtype=torch.float64, device=self.device)
        if told.shape != (self.runs, self.population):
            raise ValueError(f"fitness should have shape {(self.runs, self.population)}, it has {tuple(told.shape)}")
        told = torch.where(torch.isfinite(told), told, -torch.inf)
        order = torch.argsort(told, dim=1, descending=True, stable=True)
        top = told.gather(1, order[:, :1])[:, 0]
        found = self._x[torch.arange(self.runs, device=self.device), order[:, 0]]
        better = top > self._best_fitness
        self._best_x = torch.where(better[:, None], found, self._best_x)
        self._best_fitness = torch.where(better, top, self._best_fitness)
        alive = top > -torch.inf
        lost = ~alive
        before = {name: tensor[lost] for name, tensor in self._state.items()} if bool(lost.any()) else {}
        if bool(alive.any()):
            self._learn(self._x, self._noise(), told, order)
        for name, tensor in before.items():
            self._state[name][lost] = tensor
        self.learned += alive
        self._x = None
        self.generation += 1
        if not bool(alive.any()):
            raise EvaluationFailed(f"all candidates of all {self.runs} runs failed in generation {self.generation - 1}")

    def state_dict(self) -> dict[str, Any]:
        """Configuration, progress and tensors, copied. Noise is not in it: seed and generation give it again."""
        return {
            "config": self._config(),
            "generation": self.generation,
            "learned": self.learned.clone(),
            "best_x": self._best_x.clone(),
            "best_fitness": self._best_fitness.clone(),
            "method": {name: tensor.clone() for name, tensor in self._state.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue; a generation that was asked and not told is asked again.

        Raises:
            ValueError: the configuration differs.
        """
        for name, value in self._config().items():
            if name not in state["config"] or state["config"][name] != value:
                saved = state["config"].get(name)
                raise ValueError(f"the state was saved with {name}={saved}, this {type(self).__name__} has {value}")
        self.generation = int(state["generation"])
        self.learned = state["learned"].to(self.device, copy=True)
        self._best_x = state["best_x"].to(self.device, copy=True)
        self._best_fitness = state["best_fitness"].to(self.device, copy=True)
        for name, tensor in self._state.items():
            tensor.copy_(state["method"][name])  # in place: a method's step may hold the same tensors
        self._x, self._block = None, -1

    def fold(self, x: Tensor) -> Tensor:
        """Vectors [..., dim] mirrored at the bounds they cross, as `Box.fold`."""
        if not self._bounded:
            return x
        low, high = self._low, self._high
        both = torch.isfinite(low) & torch.isfinite(high)
        base = torch.where(both, low, 0.0)
        span = torch.where(both, high - base, 1.0)
        phase = torch.remainder(x - base, 2 * span)
        folded = base + torch.where(phase > span, 2 * span - phase, phase)
        one_low = torch.where(x < low, 2 * low - x, x)
        one_side = torch.where(one_low > high, 2 * high - one_low, one_low)
        inside = (x >= low) & (x <= high)
        return torch.where(inside, x, torch.where(both, folded, one_side)).clamp(low, high)

    def _config(self) -> dict[str, Any]:
        return {
            "method": type(self).__name__,
            "seeds": list(self.seeds),
            "dim": self.dim,
            "population": self.population,
            "dtype": str(self.dtype),
            "low": self.space.low.tolist(),
            "high": self.space.high.tolist(),
        }

    def _generation(self) -> Tensor:
        if self._x is None:
            self._x = self.fold(self._draw(self._noise()))
        return self._x

    def _noise(self) -> Tensor:
        """Standard normal [runs, draws, dim] of the present generation: a function of seed and generation."""
        size = max(1, BLOCK // (self.draws * self.dim))
        block, place = divmod(self.generation, size)
        if block != self._block or self._buffer is None:
            if self._buffer is None:
                self._buffer = torch.empty((self.runs, size, self.draws, self.dim), device=self.device)
            # A generator's seed has 32 bits; within a run no two blocks share one.
            for row, seed in zip(self._buffer.view(self.runs, -1), self.seeds, strict=True):
                row.normal_(generator=self._generator.manual_seed((scattered(seed) + block * 0x9E3779B1) & 0xFFFFFFFF))
            self._block = block
        return self._buffer[:, place].to(self.dtype)

    def _tensor(self, value: Any) -> Tensor:
        return torch.as_tensor(value, dtype=self.dtype, device=self.device)

    def _rows(self, vector: Any) -> Tensor:
        """A vector [dim] for every run [runs, dim]."""
        return self._tensor(vector).expand(self.runs, -1).clone()


def halved_sum(rows: Tensor) -> Tensor:
    """Sum over axis 1: [runs, n, dim] → [runs, dim]; overwrites `rows`.

    The second half is added to the first until one row is left: an order that depends on n alone.
    """
    while (n := rows.shape[1]) > 1:
        keep = (n + 1) // 2
        rows[:, : n - keep] += rows[:, keep:]
        rows = rows[:, :keep]
    return rows[:, 0]


def scattered(seed: int) -> int:
    """32 bits that differ in half of them for neighbouring seeds.

    Source: the finaliser of SplitMix64; Steele, Lea & Flood, Fast Splittable Pseudorandom Number Generators (2014).
    """
    mask = 0xFFFFFFFFFFFFFFFF
    z = (seed + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return (z ^ (z >> 31)) >> 32
