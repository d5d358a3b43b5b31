"""How an evaluation ends: `Ok` with named numbers, `Failed` with a reason, or `Pending`.

A NaN or an infinity is a failure with a name, never a number.
Source: the searcher contract of `heredity.search.base`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from heredity.errors import EvaluationFailed


@dataclass(frozen=True, slots=True)
class Ok:
    """A finished evaluation.

    Args:
        values: finite numbers by name; the names are the probe's.
    """

    values: Mapping[str, float]

    def __post_init__(self) -> None:
        for name, value in self.values.items():
            if not math.isfinite(value):
                raise ValueError(f"Ok value {name!r} is {value}; use outcome_of() to turn it into Failed")
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))

    def __getitem__(self, name: str) -> float:
        try:
            return self.values[name]
        except KeyError:
            raise KeyError(f"no value {name!r}; this evaluation measured {sorted(self.values)}") from None

    def __reduce__(self) -> tuple[type[Ok], tuple[dict[str, float]]]:
        return (Ok, (dict(self.values),))


@dataclass(frozen=True, slots=True)
class Failed:
    """An evaluation without a usable value.

    Args:
        reason: one sentence that names the cause, e.g. "accuracy is nan".
    """

    reason: str

    def __getitem__(self, name: str) -> float:
        raise EvaluationFailed(f"cannot read {name!r}: the evaluation failed ({self.reason})")


@dataclass(frozen=True, slots=True)
class Pending:
    """An evaluation that has not ended."""

    def __getitem__(self, name: str) -> float:
        raise EvaluationFailed(f"cannot read {name!r}: the evaluation has not ended")


Outcome: TypeAlias = Ok | Failed | Pending


def outcome_of(values: float | Mapping[str, float]) -> Ok | Failed:
    """Turn a number (named "value") or named numbers into an outcome; NaN and infinity become `Failed`.

    >>> outcome_of({"accuracy": float("nan")})
    Failed(reason='accuracy is nan')
    >>> outcome_of(0.5)["value"]
    0.5
    """
    named = values if isinstance(values, Mapping) else {"value": values}
    numbers: dict[str, float] = {}
    for name, value in named.items():
        try:
            numbers[name] = float(value)
        except (TypeError, ValueError):
            return Failed(f"{name} is {type(value).__name__}, not a number")
        if not math.isfinite(numbers[name]):
            return Failed(f"{name} is {numbers[name]}")
    if not numbers:
        return Failed("the evaluation returned no values")
    return Ok(numbers)
