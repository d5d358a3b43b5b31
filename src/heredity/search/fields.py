"""What one hyperparameter may be: a number on a linear or logarithmic scale, a whole number, one of several options.

`perturb` is the exploration of population based training: a factor, rounded for whole numbers and clipped to the range;
options move to a neighbour. Source: Jaderberg et al., Population Based Training, arXiv 1711.09846.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float64]
Factors: TypeAlias = tuple[float, ...]
FACTORS = (0.8, 1.2)
NEAR = 0.1  # standard deviation of a mutation, as a share of the range on the field's own scale
RESET = 0.1  # probability that a mutation forgets the old value


class Field(ABC):
    """One hyperparameter, as `width` coordinates in [0, 1]."""

    width: int = 1

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> Any:
        """Draw a value."""

    @abstractmethod
    def perturb(self, value: Any, rng: np.random.Generator, factors: Factors = FACTORS) -> Any:
        """The value times one of `factors`, drawn uniformly; always inside the range. 0 stays 0."""

    @abstractmethod
    def problem(self, value: Any) -> str | None:
        """What is wrong with a value, as the end of a sentence; None where nothing is."""

    @abstractmethod
    def coordinates(self, value: Any) -> Vector:
        """A valid value as coordinates [width]."""

    @abstractmethod
    def decode(self, v: Vector) -> Any:
        """The value at coordinates [width] in [0, 1]."""

    def mutate(self, value: Any, rng: np.random.Generator) -> Any:
        """Another value, by a normal step on the field's scale, or now and then a new draw."""
        if rng.random() < RESET:
            return self.sample(rng)
        step = self.coordinates(value) + NEAR * rng.standard_normal(self.width)
        return self.decode(1 - np.abs(1 - np.abs(step) % 2))  # mirrored at 0 and 1


@dataclass(frozen=True)
class Real(Field):
    """A number in [low, high], on a scale that the subclass says."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"a range needs finite low < high, got {self.low} and {self.high}")

    def sample(self, rng: np.random.Generator) -> float:
        """Uniform, on the field's scale."""
        return self.decode(rng.random(1))

    def perturb(self, value: float, rng: np.random.Generator, factors: Factors = FACTORS) -> float:
        """The value times a factor, clipped to the range."""
        return min(max(value * _factor(factors, rng), float(self.low)), float(self.high))

    def problem(self, value: Any) -> str | None:
        """Whether it is a number in the range."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return f"should be a number, not {type(value).__name__}"
        return None if self.low <= value <= self.high else f"should lie in [{self.low}, {self.high}], it is {value}"

    @abstractmethod
    def decode(self, v: Vector) -> float:
        """The value at a coordinate."""


@dataclass(frozen=True)
class Uniform(Real):
    """A number in [low, high]."""

    def coordinates(self, value: float) -> Vector:
        """The share of the range below it."""
        return np.array([(value - self.low) / (self.high - self.low)])

    def decode(self, v: Vector) -> float:
        """The value at a share of the range."""
        return min(max(float(self.low + v[0] * (self.high - self.low)), float(self.low)), float(self.high))


@dataclass(frozen=True)
class LogUniform(Real):
    """A number in [low, high], whose logarithm is uniform; low is positive."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low <= 0:
            raise ValueError(f"a logarithmic range needs low > 0, got {self.low}")

    def coordinates(self, value: float) -> Vector:
        """The share of the logarithmic range below it."""
        return np.array([math.log(value / self.low) / math.log(self.high / self.low)])

    def decode(self, v: Vector) -> float:
        """The value at a share of the logarithmic range."""
        found = self.low * (self.high / self.low) ** float(v[0])
        return min(max(float(found), float(self.low)), float(self.high))


@dataclass(frozen=True)
class Int(Field):
    """A whole number, low ≤ value ≤ high.

    Args:
        log: equal chances for equal ratios instead of equal steps; low is positive then.
    """

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        if not (isinstance(self.low, int) and isinstance(self.high, int) and self.low < self.high):
            raise ValueError(f"a range needs whole numbers low < high, got {self.low} and {self.high}")
        if self.log and self.low < 1:
            raise ValueError(f"a logarithmic range needs low ≥ 1, got {self.low}")

    def sample(self, rng: np.random.Generator) -> int:
        """Uniform, on the field's scale."""
        return self.decode(rng.random(1))

    def perturb(self, value: int, rng: np.random.Generator, factors: Factors = FACTORS) -> int:
        """The value times a factor, rounded and clipped; by one where rounding would leave it, unless it is 0."""
        factor = _factor(factors, rng)
        new = round(value * factor)
        if new == value and value != 0 and factor != 1:
            new += 1 if (factor > 1) == (value > 0) else -1
        return min(max(new, self.low), self.high)

    def problem(self, value: Any) -> str | None:
        """Whether it is a whole number in the range."""
        if isinstance(value, bool) or not isinstance(value, int):
            return f"should be a whole number, it is {value!r}"
        return None if self.low <= value <= self.high else f"should lie in {self.low}…{self.high}, it is {value}"

    def coordinates(self, value: int) -> Vector:
        """The middle of the value's bin."""
        if self.log:
            low, high = self.low - 0.5, self.high + 0.5
            return np.array([math.log(value / low) / math.log(high / low)])
        return np.array([(value - self.low + 0.5) / (self.high - self.low + 1)])

    def decode(self, v: Vector) -> int:
        """The value whose bin it is."""
        if self.log:
            low, high = self.low - 0.5, self.high + 0.5
            found = round(float(low * (high / low) ** float(v[0])))
        else:
            found = self.low + int(float(v[0]) * (self.high - self.low + 1))
        return min(max(found, self.low), self.high)

    def mutate(self, value: int, rng: np.random.Generator) -> int:
        """As `Field.mutate`, or a step of one where that changes nothing."""
        new: int = super().mutate(value, rng)
        return new if new != value else _neighbour(value, self.low, self.high, rng)


@dataclass(frozen=True, init=False)
class Choice(Field):
    """One of several options, which are compared by type and value.

    Args:
        options: at least two, distinct.
        ordered: whether neighbours are alike; vectors give them neighbouring bins of one coordinate then, or else, for
            more than two, a coordinate each, of which the largest wins.
    """

    options: tuple[Any, ...]
    ordered: bool

    def __init__(self, options: Sequence[Any], ordered: bool = False) -> None:
        object.__setattr__(self, "options", tuple(options))
        object.__setattr__(self, "ordered", ordered)
        if len(self.options) < 2:
            raise ValueError(f"a choice needs at least two options, got {self.options}")
        for place, option in enumerate(self.options):
            if self._place(option) != place:
                raise ValueError(f"the options of a choice must differ, {option!r} is repeated")

    @property
    def width(self) -> int:  # type: ignore[override]
        """Coordinates: one where options are binned, else one for each."""
        return 1 if self.ordered or len(self.options) == 2 else len(self.options)

    def sample(self, rng: np.random.Generator) -> Any:
        """Uniform."""
        return self.options[int(rng.integers(len(self.options)))]

    def perturb(self, value: Any, rng: np.random.Generator, factors: Factors = FACTORS) -> Any:
        """A neighbour in the order of the options; factors mean nothing."""
        return self.options[_neighbour(self._index(value), 0, len(self.options) - 1, rng)]

    def problem(self, value: Any) -> str | None:
        """Whether it is an option."""
        return None if self._place(value) is not None else f"should be one of {list(self.options)}, it is {value!r}"

    def coordinates(self, value: Any) -> Vector:
        """The middle of its bin, or 1 at its own coordinate and 0 elsewhere."""
        place = self._index(value)
        if self.width == 1:
            return np.array([(place + 0.5) / len(self.options)])
        return np.asarray(np.eye(len(self.options))[place])

    def decode(self, v: Vector) -> Any:
        """The option of a bin, or of the largest coordinate, the first of equals."""
        if self.width == 1:
            return self.options[min(int(float(v[0]) * len(self.options)), len(self.options) - 1)]
        return self.options[int(np.argmax(v))]

    def mutate(self, value: Any, rng: np.random.Generator) -> Any:
        """A neighbour where options are ordered, else any other option."""
        if self.ordered:
            return self.perturb(value, rng)
        return self.options[(self._index(value) + int(rng.integers(1, len(self.options)))) % len(self.options)]

    def _index(self, value: Any) -> int:
        place = self._place(value)
        if place is None:
            raise ValueError(f"{value!r} is none of the options {list(self.options)}")
        return place

    def _place(self, value: Any) -> int | None:
        """Where an option stands: True is not 1 here, and 1 is not 1.0."""
        return next((i for i, o in enumerate(self.options) if type(o) is type(value) and o == value), None)


@dataclass(frozen=True)
class When:
    """A field that exists only while another field has a certain value.

    Args:
        name: the other field.
        values: one value, or a list of several.
        field: what the hyperparameter may be then.
    """

    name: str
    values: Any
    field: Field

    def __post_init__(self) -> None:
        if not isinstance(self.field, Field):
            raise TypeError(f"When takes a field such as Uniform(0, 1), got {type(self.field).__name__}")
        object.__setattr__(self, "values", tuple(self.values) if isinstance(self.values, list) else (self.values,))

    def met(self, value: Any) -> bool:
        """Whether the other field's value is one of those."""
        return any(type(value) is type(own) and value == own for own in self.values)


def _factor(factors: Factors, rng: np.random.Generator) -> float:
    if not factors or not all(math.isfinite(f) and f > 0 for f in factors):
        raise ValueError(f"factors must be positive numbers, got {factors}")
    return float(factors[int(rng.integers(len(factors)))])


def _neighbour(value: int, low: int, high: int, rng: np.random.Generator) -> int:
    """One more or one less, with equal chances inside; the only neighbour at an end."""
    step = 1 if rng.random() < 0.5 else -1
    return value + step if low <= value + step <= high else value - step
