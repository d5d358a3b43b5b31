"""A searcher on a plain function: the loop of ask and tell, written once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, get_args

import numpy as np

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Failed
from heredity.search.base import Candidate, Direction, Searcher, Told

X = TypeVar("X")


@dataclass
class Run(Generic[X]):
    """What a run has found, in the sign of the user's function.

    Attributes:
        direction: "maximize" or "minimize", as the caller said.
        best: the best candidate's value, None before the first success.
        value: what the function gave for it.
        evaluations: how often the function was called.
        failures: how many of these gave no finite number.
        history: (evaluations, value of the best so far) after each round.
    """

    direction: Direction
    best: X | None = None
    value: float = float("nan")
    evaluations: int = 0
    failures: int = 0
    history: list[tuple[int, float]] = field(default_factory=list)

    def __str__(self) -> str:
        aim = "highest" if self.direction == "maximize" else "lowest"
        return f"{aim} value {self.value:.6g} after {self.evaluations} evaluations ({self.failures} failed)"


def run(
    searcher: Searcher[X],
    function: Callable[..., Any],
    evaluations: int,
    *,
    direction: Direction,
    vectorized: bool = False,
    map: Callable[..., Any] | None = None,
    report: Callable[[Run[X]], None] | None = None,
) -> Run[X]:
    """Search until the function has been called `evaluations` times; the last round may be a part of one.

    Args:
        searcher: goes on from where it is.
        function: candidate → number; with `vectorized`, the array of a whole round [n, dim] → numbers [n]. It may raise
            `EvaluationFailed`; a number that is not finite is a failure, too.
        direction: what is wanted of the function's value; there is no default, for half of all functions are losses.
        map: where the calls happen, for instance `map` of a process pool; results must come in the order of the calls,
            and so the number of workers changes nothing.
        report: called after each round.

    Raises:
        ValueError: another direction, no evaluations, or a vectorized function gave another shape.
        EvaluationFailed: a whole round failed.
    """
    if direction not in get_args(Direction):
        raise ValueError(f'direction must be "maximize" or "minimize", got {direction!r}')
    if evaluations < 1:
        raise ValueError(f"a run needs at least one evaluation, got {evaluations}")
    sign = 1.0 if direction == "maximize" else -1.0
    result: Run[X] = Run(direction)
    while result.evaluations < evaluations:
        left = evaluations - result.evaluations
        candidates = searcher.ask()
        if not candidates:
            candidates = searcher.ask(left)
        if not candidates:
            raise ValueError(f"{type(searcher).__name__} has nothing left to propose: its space is exhausted")
        candidates, surplus = candidates[:left], candidates[left:]
        values = _values(function, candidates, vectorized, map)
        told = [sign * value if isinstance(value, float) else value for value in values]
        result.evaluations += len(candidates)
        result.failures += sum(isinstance(t, Failed) or not np.isfinite(t) for t in told)
        searcher.tell(candidates, told)
        if surplus:  # what was asked beyond the budget is handed out again if the search goes on
            searcher.load_state_dict(searcher.state_dict())
        if searcher.best is not None:
            result.best, result.value = searcher.best[0].value, sign * searcher.best[1]
            result.history.append((result.evaluations, result.value))
        if report is not None:
            report(result)
    return result


def _values(
    function: Callable[..., Any], candidates: list[Candidate[Any]], vectorized: bool, map: Callable[..., Any] | None
) -> list[Told]:
    if vectorized:
        values = np.asarray(function(np.stack([candidate.value for candidate in candidates])), dtype=np.float64)
        if values.shape != (len(candidates),):
            raise ValueError(f"a vectorized function should give shape ({len(candidates)},), it gave {values.shape}")
        return values.tolist()
    call = _Guarded(function)
    inputs: Iterable[Any] = [candidate.value for candidate in candidates]
    return list(map(call, inputs)) if map is not None else [call(value) for value in inputs]


@dataclass(frozen=True)
class _Guarded:
    """A function whose declared failures come back as outcomes, also from another process."""

    function: Callable[..., Any]

    def __call__(self, value: Any) -> Told:
        try:
            return float(self.function(value))
        except EvaluationFailed as error:
            return Failed(str(error))
