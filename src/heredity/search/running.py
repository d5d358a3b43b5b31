"""A searcher on a plain function: the loop of ask and tell, written once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Failed
from heredity.search.base import Candidate, Direction, Searcher
from heredity.search.multiobjective import ParetoSearcher

X = TypeVar("X")


@dataclass
class Run(Generic[X]):
    """What a run has found, in the sign of the user's function.

    Attributes:
        direction: "maximize" or "minimize", as the caller said; a tuple of these for several objectives.
        best: the best candidate's value, None before the first success; with several objectives the feasible one that
            is best in the first.
        value: what the function gave for it: a number, or a tuple of the objectives.
        evaluations: how often the function was called.
        failures: how many of these gave no finite number.
        history: (evaluations, value of the best so far) after each round.
        front: with several objectives, (candidate's value, tuple of the objectives) of all that the searcher keeps and
            no other dominates; otherwise empty.
    """

    direction: Direction | tuple[Direction, ...]
    best: X | None = None
    value: Any = float("nan")
    evaluations: int = 0
    failures: int = 0
    history: list[tuple[int, Any]] = field(default_factory=list)
    front: list[tuple[X, tuple[float, ...]]] = field(default_factory=list)

    def __str__(self) -> str:
        if isinstance(self.direction, tuple):
            kept = f"a front of {len(self.front)}"
            return f"{kept} after {self.evaluations} evaluations ({self.failures} failed)"
        aim = "highest" if self.direction == "maximize" else "lowest"
        return f"{aim} value {self.value:.6g} after {self.evaluations} evaluations ({self.failures} failed)"


def run(
    searcher: Searcher[X],
    function: Callable[..., Any],
    evaluations: int,
    *,
    direction: Direction | Sequence[Direction],
    vectorized: bool = False,
    map: Callable[..., Any] | None = None,
    report: Callable[[Run[X]], None] | None = None,
) -> Run[X]:
    """Search until the function has been called `evaluations` times; the last round may be a part of one.

    Args:
        searcher: goes on from where it is.
        function: candidate → number; with `vectorized`, the array of a whole round [n, dim] → numbers [n]. It may raise
            `EvaluationFailed`; a number that is not finite is a failure, too.
        direction: what is wanted of the function's value; there is no default, for half of all functions are losses. A
            searcher for several objectives takes one direction for each: then the function gives a vector, or with
            `vectorized` an array [n, m], of the objectives and after them the searcher's constraints.
        map: where the calls happen, for instance `map` of a process pool; results must come in the order of the calls,
            and so the number of workers changes nothing.
        report: called after each round.

    Raises:
        ValueError: another direction, no evaluations, or a vectorized function gave another shape.
        EvaluationFailed: a whole round failed.
    """
    several = isinstance(searcher, ParetoSearcher)
    directions = (direction,) if isinstance(direction, str) else tuple(direction)
    if not directions or any(one not in get_args(Direction) for one in directions):
        raise ValueError(f'direction must be "maximize" or "minimize", got {direction!r}')
    if several == isinstance(direction, str):
        wanted = "one direction for each objective, in a sequence" if several else "a single direction"
        raise ValueError(f"{type(searcher).__name__} takes {wanted}, got {direction!r}")
    if evaluations < 1:
        raise ValueError(f"a run needs at least one evaluation, got {evaluations}")
    signs = np.array([1.0 if one == "maximize" else -1.0 for one in directions])
    if isinstance(searcher, ParetoSearcher):
        signs = np.append(signs, np.ones(len(searcher.constraints)))
    result: Run[X] = Run(direction if isinstance(direction, str) else tuple(direction))
    while result.evaluations < evaluations:
        left = evaluations - result.evaluations
        candidates = searcher.ask()
        if not candidates:
            candidates = searcher.ask(left)
        if not candidates:
            raise ValueError(f"{type(searcher).__name__} has nothing left to propose: its space is exhausted")
        candidates, surplus = candidates[:left], candidates[left:]
        values = _values(function, candidates, vectorized, map, len(signs) if several else None)
        told = [value if isinstance(value, Failed) else _signed(value, signs) for value in values]
        result.evaluations += len(candidates)
        result.failures += sum(isinstance(t, Failed) or not np.isfinite(t).all() for t in told)
        searcher.tell(candidates, told)
        if surplus:  # what was asked beyond the budget is handed out again if the search goes on
            searcher.load_state_dict(searcher.state_dict())
        if searcher.best is not None:
            result.best, result.value = searcher.best[0].value, _signed(searcher.best[1], signs)
            result.history.append((result.evaluations, result.value))
        if report is not None:
            result.front = _front(searcher, signs)
            report(result)
    result.front = _front(searcher, signs)
    return result


def _front(searcher: Searcher[X], signs: NDArray[np.float64]) -> list[tuple[X, tuple[float, ...]]]:
    if not isinstance(searcher, ParetoSearcher):
        return []
    return [(candidate.value, _signed(values, signs)) for candidate, values in searcher.front]


def _signed(value: Any, signs: NDArray[np.float64]) -> Any:
    """In the sign of the searcher, or back: a number, or a tuple, which may lack the constraints."""
    if isinstance(value, float):
        return float(signs[0]) * value
    return tuple(one if sign > 0 else -one for one, sign in zip(value, signs.tolist(), strict=False))


def _values(
    function: Callable[..., Any],
    candidates: list[Candidate[Any]],
    vectorized: bool,
    map: Callable[..., Any] | None,
    width: int | None,
) -> list[Any]:
    """For each candidate a number, or with a `width` a tuple of so many; or `Failed`."""
    if vectorized:
        shape = (len(candidates),) if width is None else (len(candidates), width)
        values = np.asarray(function(np.stack([candidate.value for candidate in candidates])), dtype=np.float64)
        if values.shape != shape:
            raise ValueError(f"a vectorized function should give shape {shape}, it gave {values.shape}")
        return list(values.tolist())
    call = _Guarded(function, width)
    inputs: Iterable[Any] = [candidate.value for candidate in candidates]
    return list(map(call, inputs)) if map is not None else [call(value) for value in inputs]


@dataclass(frozen=True)
class _Guarded:
    """A function whose declared failures come back as outcomes, also from another process."""

    function: Callable[..., Any]
    width: int | None

    def __call__(self, value: Any) -> float | tuple[float, ...] | Failed:
        try:
            given = self.function(value)
        except EvaluationFailed as error:
            return Failed(str(error))
        if self.width is None:
            return float(given)
        numbers = tuple(float(one) for one in given)
        if len(numbers) != self.width:
            raise ValueError(
                f"the function should give {self.width} objectives and constraints, it gave {len(numbers)}"
            )
        return numbers
