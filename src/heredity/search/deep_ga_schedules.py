"""What may change while a Deep GA runs: the power of its mutations, and how long its episodes may last.

Source: the released code of Such et al. (arXiv 1712.06567).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class PowerSchedule:
    """A mutation power that changes: σ from `start` to `end` over so many generations, then `end`.

    Args:
        shape: "linear", or "exponential" (equal factors; both ends positive).
    """

    start: float
    end: float
    generations: int
    shape: Literal["linear", "exponential"] = "linear"

    def __post_init__(self) -> None:
        lowest = min(self.start, self.end)
        if self.shape not in ("linear", "exponential") or self.generations < 1:
            raise ValueError(f"a schedule is linear or exponential over at least one generation, got {self}")
        if lowest < 0 or (self.shape == "exponential" and lowest == 0):
            raise ValueError(f"powers must be positive (linear ones may be 0), got {self.start} and {self.end}")

    def __call__(self, generation: int) -> float:
        """σ of the mutations that make this generation."""
        share = min(1.0, generation / self.generations)
        if self.shape == "linear":
            return self.start + share * (self.end - self.start)
        return float(self.start * (self.end / self.start) ** share)


@dataclass(frozen=True, slots=True)
class EpisodeCap:
    """A limit on the steps of an episode that grows once many members reach it.

    Args:
        start: the first limit; highest: the last.
        share: more than this share of a generation must have been cut for the limit to grow.
        factor: by which.
    """

    start: int
    share: float
    factor: float
    highest: int

    def __post_init__(self) -> None:
        if not 1 <= self.start <= self.highest or not 0 <= self.share <= 1 or self.factor <= 1:
            raise ValueError(f"a cap needs 1 ≤ start ≤ highest, a share in [0, 1] and a factor above 1, got {self}")

    def after(self, cap: int, cut: float) -> int:
        """The next limit, where a share `cut` of a generation reached the present one."""
        return min(int(cap * self.factor), self.highest) if cut > self.share else cap
