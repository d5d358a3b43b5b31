"""How an evaluation ends: `Ok` with named numbers, `Failed` with a reason, or `Pending`.

A NaN or an infinity is a failure with a name, never a number.
Source: the searcher contract of `heredity.search.base`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from heredity.errors import EvaluationFailed


@dataclass(frozen=True, slots=True)
class Ok:
    """A finished evaluation.

    Args:
        values: finite numbers by name; the names are the probe's.
        right: which examples were answered rightly, one character each: "1" right, "0" wrong; None where it is unknown.
    """

    values: Mapping[str, float]
    right: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name, value in self.values.items():
            if not math.isfinite(value):
                raise ValueError(f"Ok value {name!r} is {value}; use outcome_of() to turn it into Failed")
        if self.right is not None and (not self.right or set(self.right) - set("01")):
            raise ValueError("Ok.right has one character for each example, 1 or 0, and at least one")
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))

    def __getitem__(self, name: str) -> float:
        try:
            return self.values[name]
        except KeyError:
            raise KeyError(f"no value {name!r}; this evaluation measured {sorted(self.values)}") from None

    def __reduce__(self) -> tuple[type[Ok], tuple[dict[str, float], str | None]]:
        return (Ok, (dict(self.values), self.right))


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


@dataclass(frozen=True, slots=True)
class Graded:
    """What a probe returns that says which examples were right, so that models can be compared example by example.

    Args:
        values: numbers by name.
        right: for each example, in an order that depends on the probe alone, whether it was answered rightly.
    """

    values: Mapping[str, float]
    right: Sequence[bool]

    def __post_init__(self) -> None:
        marks = tuple(self.right)
        if not marks or any(mark not in (0, 1) for mark in marks):
            raise ValueError("Graded.right holds True or False for each example, and at least one")
        object.__setattr__(self, "right", tuple(map(bool, marks)))


def outcome_of(values: float | Mapping[str, float] | Graded) -> Ok | Failed:
    """Turn a number (named "value"), named numbers or `Graded` into an outcome; NaN and infinity become `Failed`.

    >>> outcome_of({"accuracy": float("nan")})
    Failed(reason='accuracy is nan')
    >>> outcome_of(0.5)["value"]
    0.5
    """
    right = None
    if isinstance(values, Graded):
        right = "".join("1" if mark else "0" for mark in values.right)
        values = values.values
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
    return Ok(numbers, right)


def pack(right: str) -> str:
    """`Ok.right` in a quarter of its length: the number of examples, then four of them in each hexadecimal digit.

    >>> pack("10101")
    '5:a8'
    """
    width = -(-len(right) // 4)
    return f"{len(right)}:{int(right.ljust(4 * width, '0'), 2):0{width}x}"


def unpack(text: str) -> str:
    """What `pack` packed.

    Raises:
        ValueError: the text is not of its form.

    >>> unpack("5:a8")
    '10101'
    """
    count, _, digits = text.partition(":")
    size = int(count)
    if size < 1 or len(digits) != -(-size // 4):
        raise ValueError(f"{text[:40]!r} is not a number of examples with a hexadecimal digit for every four")
    return f"{int(digits, 16):0{4 * len(digits)}b}"[:size]
