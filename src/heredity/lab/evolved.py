"""What a search over recorded births has found, and how it says so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from heredity.lab.model import Model

Direction: TypeAlias = Literal["maximize", "minimize"]
Mode: TypeAlias = Literal["generational", "steady", "asynchronous"]


@dataclass
class Evolved:
    """What a search has found, in the sign of the user's metric.

    Attributes:
        name, metric, direction, mode, in_flight, evaluations: as asked; `in_flight` is 0 of a generational search.
        best: the model of the searcher's best candidate; None before the first success, and with several metrics.
        value: what the searcher holds it to be worth.
        front: with several metrics, (candidate, values) of those that no other beats in all of them.
        told: candidates told so far.
        births: candidate → the id of its model; failed births have none.
        failures: candidate → why it has no value.
        history: (told, value of the best so far) after each tell.
        idle: share of the workers' time in which they had nothing to do; None when everything was recalled.
        exhausted: whether the searcher had nothing left to propose.
    """

    name: str
    metric: str | tuple[str, ...]
    direction: str | tuple[str, ...]
    mode: Mode
    in_flight: int
    evaluations: int | None
    best: Model | None = None
    value: float = math.nan
    front: list[tuple[int, tuple[float, ...]]] = field(default_factory=list)
    told: int = 0
    births: dict[int, str] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    history: list[tuple[int, float]] = field(default_factory=list)
    idle: float | None = None
    exhausted: bool = False

    def __str__(self) -> str:
        metrics, directions = as_tuple(self.metric), as_tuple(self.direction)
        limit = "" if self.evaluations is None else f" of {self.evaluations}"
        if not self.told:
            aim = ", ".join(f"{direction} {metric}" for metric, direction in zip(metrics, directions, strict=True))
            window = f", {self.in_flight} in flight" if self.in_flight else ""
            return f"{self.name}: {aim}; {self.mode}{window}; 0{limit} evaluations"
        if isinstance(self.metric, tuple):
            found = f"{len(self.front)} on the front"
        else:
            extreme = "highest" if self.direction == "maximize" else "lowest"
            found = f"{extreme} {self.metric} {self.value:.6g}" + (f" ({self.best.id})" if self.best else "")
        idle = "" if self.idle is None else f", workers idle {100 * self.idle:.1f} %"
        end = ", nothing left to propose" if self.exhausted else ""
        return f"{self.name}: {self.told}{limit} evaluations, {found}, {len(self.failures)} failed{idle}{end}"

    def meet(self, candidate: int, values: Sequence[float]) -> None:
        """Take a candidate's values into the front, unless another is at least as good in all of them."""
        signs = [1.0 if direction == "maximize" else -1.0 for direction in self.direction]

        def covers(one: Sequence[float], other: Sequence[float]) -> bool:
            return all(s * a >= s * b for s, a, b in zip(signs, one, other, strict=True))

        if not any(covers(known, values) for _, known in self.front):
            self.front = [(i, known) for i, known in self.front if not covers(values, known)]
            self.front.append((candidate, tuple(values)))


def as_tuple(given: str | Sequence[str]) -> tuple[str, ...]:
    """One name, or several."""
    return (given,) if isinstance(given, str) else tuple(given)
