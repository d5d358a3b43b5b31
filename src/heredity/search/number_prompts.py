"""Histories of a search as patterns of whole numbers that a language model can continue, and its answers read back.

    >>> codec = PromptCodec(-3, 3, levels=1000)
    >>> print(codec.encode([Generation(np.array([[0.0, 3.0], [-3.0, 1.5]]), np.array([2.0, 1.0]))]))
    2;0000,0750
    1;0500,1000
    <BLANKLINE>
    0;
    >>> codec.decode("0498,0997\\n", 2)
    array([-0.012,  2.982])

No words of a task: one line per solution, its rank before its coordinates, generations apart by an empty line, from
the worst to the best; the last line begins with the rank 0, which none has reached, and is left open.
Source: Lange, Tian & Tang, Large Language Models As Evolution Strategies (arXiv 2402.18381), section 3; the format of
lines is ours, as its code is not public.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heredity.errors import HeredityError

Vector: TypeAlias = NDArray[np.float64]
Order: TypeAlias = Literal["worst_to_best", "best_to_worst", "unsorted"]
Shown: TypeAlias = Literal["rank", "raw", "none"]


class ParseError(HeredityError, ValueError):
    """An answer does not hold the coordinates that it should."""


@dataclass(frozen=True, eq=False)
class Generation:
    """Solutions and what they were worth.

    Attributes:
        x: [n, D]. fitness: [n], finite, higher is better.
    """

    x: Vector
    fitness: Vector

    @property
    def top(self) -> float:
        """The highest fitness."""
        return float(self.fitness.max())

    def best(self, count: int) -> Generation:
        """The best members, in the order they have; of equals the earlier."""
        places = np.sort(np.argsort(-self.fitness, kind="stable")[:count])
        return Generation(self.x[places], self.fitness[places])

    def columns(self, block: slice) -> Generation:
        """Some coordinates of all members."""
        return Generation(self.x[:, block], self.fitness)


class PromptCodec:
    """Writes histories and reads answers.

    Args:
        lo, hi: bounds of coordinates, numbers; what lies outside is clipped.
        levels: R, coordinates are written as 0 … R.
        fitness: what stands before coordinates: "rank" (1 for the best of all that is shown; equals share the better
            rank, so that the order of members does not matter), "raw" numbers, or "none".
        order: of generations by their best member and of members inside: "unsorted" leaves both as they came.
        spaced: digits apart from each other, for tokenisers that join them.
    """

    def __init__(
        self,
        lo: float = -3.0,
        hi: float = 3.0,
        levels: int = 1000,
        *,
        fitness: Shown = "rank",
        order: Order = "worst_to_best",
        spaced: bool = False,
    ) -> None:
        if not (np.isfinite(lo) and np.isfinite(hi) and lo < hi):
            raise ValueError(f"a codec needs finite bounds, lo below hi, got {lo} and {hi}")
        if levels < 1:
            raise ValueError(f"a codec needs at least one step between its bounds, got levels={levels}")
        self.lo, self.hi, self.levels = float(lo), float(hi), int(levels)
        self.fitness, self.order, self.spaced = fitness, order, spaced
        self.digits = len(str(self.levels))

    @property
    def settings(self) -> dict[str, str | float | bool]:
        """All arguments, plain."""
        names = ("lo", "hi", "levels", "fitness", "order", "spaced")
        return {name: getattr(self, name) for name in names}

    def integers(self, x: ArrayLike) -> NDArray[np.int64]:
        """Levels 0 … R of coordinates."""
        share = (np.clip(np.asarray(x, dtype=np.float64), self.lo, self.hi) - self.lo) / (self.hi - self.lo)
        return np.rint(share * self.levels).astype(np.int64)

    def values(self, integers: ArrayLike) -> Vector:
        """Coordinates of levels; `values(integers(x))` is off by half a level at most."""
        return self.lo + np.asarray(integers, dtype=np.float64) / self.levels * (self.hi - self.lo)

    def answer(self, x: ArrayLike) -> str:
        """Coordinates [D] as a model should write them."""
        return ",".join(self._number(int(value)) for value in self.integers(x))

    def encode(self, history: Sequence[Generation], target: str | None = None) -> str:
        """The prompt.

        Args:
            history: generations, without failures.
            target: the fitness wished for, as `target` writes it; None is the default of it.

        Raises:
            ValueError: there is nothing to show.
        """
        shown = [generation for generation in history if len(generation.fitness)]
        if not shown:
            raise ValueError("a prompt needs at least one solution that did not fail")
        worth = np.sort(np.concatenate([generation.fitness for generation in shown]))
        sign = -1 if self.order == "best_to_worst" else 1
        if self.order != "unsorted":
            shown = [shown[i] for i in np.argsort([sign * g.top for g in shown], kind="stable")]
        blocks = []
        for generation in shown:
            lines = [
                self._label(value, worth) + self.answer(x) for x, value in zip(*self._sorted(generation), strict=True)
            ]
            blocks.append("\n".join(lines))
        if self.fitness == "none":
            return "\n\n".join(blocks) + "\n\n"
        wish = self.target(float(worth[-1])) if target is None else target
        return "\n\n".join(blocks) + f"\n\n{wish};"

    def target(self, best: float) -> str:
        """The fitness that a query wishes for: rank 0, or half of |best| above the best (1 above zero)."""
        return "0" if self.fitness != "raw" else f"{best + (abs(best) / 2 or 1.0):.4g}"

    def decode(self, text: str, dim: int) -> Vector:
        """Coordinates [dim] of an answer's first line.

        Raises:
            ParseError: it holds another number of numbers, something else, or a number above R.
        """
        line = text.lstrip(" ").split("\n", 1)[0]
        parts = [part.replace(" ", "") for part in line.strip().split(",")]
        if len(parts) != dim:
            raise ParseError(f"an answer should hold {dim} numbers with commas, got {line[:60]!r}")
        if not all(re.fullmatch(r"[0-9]{1,18}", part) for part in parts):
            raise ParseError(f"an answer should hold whole numbers and commas only, got {line[:60]!r}")
        numbers = [int(part) for part in parts]
        if max(numbers) > self.levels:
            raise ParseError(f"an answer's numbers should lie in 0 … {self.levels}, got {max(numbers)}")
        return self.values(numbers)

    def _number(self, value: int) -> str:
        text = f"{value:0{self.digits}d}"
        return " ".join(text) if self.spaced else text

    def _label(self, value: float, worth: Vector) -> str:
        if self.fitness == "none":
            return ""
        if self.fitness == "raw":
            return f"{value:.4g};"
        return f"{1 + int((worth > value).sum())};"

    def _sorted(self, generation: Generation) -> tuple[Vector, Vector]:
        """Members in the order of the prompt; of equals in that of their coordinates, so that it is one order."""
        if self.order == "unsorted":
            return generation.x, generation.fitness
        keys = (*generation.x.T[::-1], generation.fitness)
        places = np.lexsort(keys)
        if self.order == "best_to_worst":
            places = places[::-1]
        return generation.x[places], generation.fitness[places]
