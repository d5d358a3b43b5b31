"""Families of learning curves, each fitted to observations by least squares: the power law and those it is compared to.

Every family but the logarithm tends to an asymptote c. Sizes are divided by the first before a fit, so that all
parameters are of ordinary size; the fit is scipy's trust-region reflective method, which keeps the signs of parameters.
Sources: the power law of arXiv 2402.02515; the others as listed by Domhan, Springenberg and Hutter (IJCAI 2015).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from types import MappingProxyType
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from heredity.errors import EvaluationFailed

Vector: TypeAlias = NDArray[np.float64]
Values: TypeAlias = Sequence[float] | Vector
C = TypeVar("C", bound="Curve")
EVALUATIONS = 100  # of a fit; one that needs more has not converged: its asymptote is far off and still moves
LOWEST_RATE = 1e-4  # of exponents, whose lower bound is 0


class Curve(ABC):
    """Accuracy as a function of how much was trained on; its last parameter is the asymptote."""

    @abstractmethod
    def values(self, x: Vector) -> Vector:
        """Accuracy at sizes [n] > 0."""

    @property
    def asymptote(self) -> float:
        """The value at infinity; infinite where there is none."""
        return float(astuple(self)[-1])  # type: ignore[call-overload]

    def __call__(self, x: float) -> float:
        """Accuracy at a size; `asymptote` at infinity."""
        return self.asymptote if math.isinf(x) else float(self.values(np.array([x], dtype=np.float64))[0])

    @classmethod
    @abstractmethod
    def start(cls, u: Vector, y: Vector) -> tuple[Vector, Vector]:
        """Where a fit begins, and lower bounds of the parameters [p]; `u` are sizes relative to the first."""

    @classmethod
    @abstractmethod
    def scaled(cls: type[C], parameters: Vector, first: float) -> C:
        """The curve of parameters that were fitted to sizes divided by `first`."""

    @classmethod
    def gradient(cls, parameters: Vector, u: Vector) -> Vector | None:
        """Derivatives [n, p] of the values by the parameters; None to have them estimated."""
        return None

    @classmethod
    def fit(
        cls: type[C],
        x: Values,
        y: Values,
        weights: Values | None = None,
        anchor: float | None = None,
        limit: float | None = None,
    ) -> C:
        """The curve of least squares.

        Args:
            x: sizes [n] > 0, n ≥ 3, strictly increasing.
            y: accuracies [n].
            weights: of the squared residuals [n], positive; default 1.
            anchor: one more observation, of weight 1, at infinity: a residual of the asymptote alone.
            limit: upper bound of the asymptote; default none.

        Raises:
            ValueError: lengths differ, fewer than three observations, sizes do not increase, or a value is not finite.
            EvaluationFailed: the fit does not converge, or is steeper than numbers can say: a power law whose first
                step is everything has a factor beyond 10^308.
        """
        from scipy.optimize import least_squares

        sizes, observed, roots = _checked(x, y, weights)
        u = sizes / sizes[0]
        first, low = cls.start(u, observed)
        high = np.full(len(first), np.inf)
        if limit is not None:
            high[-1] = limit
            first[-1] = min(first[-1], limit - 1e-6 * max(1.0, abs(limit)))

        def residuals(p: Vector) -> Vector:
            found = roots * (cls.scaled(p, 1.0).values(u) - observed)
            return found if anchor is None else np.append(found, p[-1] - anchor)

        def jacobian(p: Vector) -> Vector:
            given = cls.gradient(p, u)
            assert given is not None
            rows = roots[:, None] * given
            return rows if anchor is None else np.vstack([rows, np.eye(len(p))[-1]])

        exact = cls.gradient(first, u) is not None
        tolerance = 1e-12 if exact else 1e-8  # differences cannot tell less
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            try:
                found = least_squares(
                    residuals,
                    first,
                    jac=jacobian if exact else "2-point",
                    bounds=(low, high),
                    method="trf",
                    x_scale="jac",
                    ftol=tolerance,
                    xtol=tolerance,
                    gtol=tolerance,
                    max_nfev=EVALUATIONS,
                )
            except (ValueError, np.linalg.LinAlgError) as error:  # residuals that overflow
                raise EvaluationFailed(f"{cls.__name__} cannot be fitted to {len(sizes)} observations") from error
        if not found.success or not np.isfinite(found.x).all():
            raise EvaluationFailed(f"the fit of {cls.__name__} to {len(sizes)} observations does not converge")
        try:
            return cls.scaled(found.x, float(sizes[0]))
        except OverflowError:
            raise EvaluationFailed(
                f"the {cls.__name__} of {len(sizes)} observations is too steep for sizes such as {sizes[0]:g}"
            ) from None


@dataclass(frozen=True, slots=True)
class PowerLaw(Curve):
    """A(x) = −a·x^(−b) + c with a, b > 0; a = 0 for observations that are all equal."""

    a: float
    b: float
    c: float

    def values(self, x: Vector) -> Vector:
        """Accuracy at sizes [n]."""
        return np.asarray(self.c - self.a * x**-self.b)

    @classmethod
    def fit(
        cls,
        x: Values,
        y: Values,
        weights: Values | None = None,
        anchor: float | None = None,
        limit: float | None = None,
    ) -> PowerLaw:
        """As `Curve.fit`; observations that are all equal have their value as asymptote."""
        _, observed, _ = _checked(x, y, weights)
        level = float(observed[0])
        if np.ptp(observed) == 0 and anchor in (None, level) and (limit is None or level <= limit):
            return cls(0.0, 0.5, level)
        return super(PowerLaw, cls).fit(x, y, weights, anchor, limit)

    @classmethod
    def start(cls, u: Vector, y: Vector) -> tuple[Vector, Vector]:
        """A square-root law over the range of the observations."""
        return np.array([max(np.ptp(y), 1e-3), 0.5, y.max()]), np.array([0.0, LOWEST_RATE, -np.inf])

    @classmethod
    def scaled(cls, parameters: Vector, first: float) -> PowerLaw:
        """a grows by first^b."""
        a, b, c = (float(p) for p in parameters)
        return cls(a * first**b, b, c)

    @classmethod
    def gradient(cls, parameters: Vector, u: Vector) -> Vector:
        """By a, b and c."""
        a, b, _ = parameters
        decay = u**-b
        return np.stack([-decay, a * decay * np.log(u), np.ones_like(u)], 1)


@dataclass(frozen=True, slots=True)
class Exponential(Curve):
    """A(x) = c − a·e^(−b·x) with a, b > 0."""

    a: float
    b: float
    c: float

    def values(self, x: Vector) -> Vector:
        """Accuracy at sizes [n]."""
        return np.asarray(self.c - self.a * np.exp(-self.b * x))

    @classmethod
    def start(cls, u: Vector, y: Vector) -> tuple[Vector, Vector]:
        """A decay over a third of the sizes seen."""
        return np.array([max(np.ptp(y), 1e-3), 3 / u[-1], y.max()]), np.array([0.0, 1e-6, -np.inf])

    @classmethod
    def scaled(cls, parameters: Vector, first: float) -> Exponential:
        """b is a rate per size."""
        a, b, c = (float(p) for p in parameters)
        return cls(a, b / first, c)

    @classmethod
    def gradient(cls, parameters: Vector, u: Vector) -> Vector:
        """By a, b and c."""
        a, b, _ = parameters
        decay = np.exp(-b * u)
        return np.stack([-decay, a * u * decay, np.ones_like(u)], 1)


@dataclass(frozen=True, slots=True)
class Weibull(Curve):
    """A(x) = c − a·e^(−b·x^d) with a, b, d > 0: the exponential where d = 1."""

    a: float
    b: float
    d: float
    c: float

    def values(self, x: Vector) -> Vector:
        """Accuracy at sizes [n]."""
        return np.asarray(self.c - self.a * np.exp(-self.b * x**self.d))

    @classmethod
    def start(cls, u: Vector, y: Vector) -> tuple[Vector, Vector]:
        """A stretched decay."""
        low = np.array([0.0, 1e-6, LOWEST_RATE, -np.inf])
        return np.array([max(np.ptp(y), 1e-3), 0.5, 0.5, y.max()]), low

    @classmethod
    def scaled(cls, parameters: Vector, first: float) -> Weibull:
        """b is a rate per size to the power d."""
        a, b, d, c = (float(p) for p in parameters)
        return cls(a, b / first**d, d, c)


@dataclass(frozen=True, slots=True)
class MMF(Curve):
    """Morgan, Mercer and Flodin: A(x) = c − (c − a) / (1 + (b·x)^d) with b, d > 0, from a at 0 to c."""

    a: float
    b: float
    d: float
    c: float

    def values(self, x: Vector) -> Vector:
        """Accuracy at sizes [n]."""
        return np.asarray(self.c - (self.c - self.a) / (1 + (self.b * x) ** self.d))

    @classmethod
    def start(cls, u: Vector, y: Vector) -> tuple[Vector, Vector]:
        """Half way at the first size."""
        return np.array([y.min(), 1.0, 0.7, y.max()]), np.array([-np.inf, 1e-6, LOWEST_RATE, -np.inf])

    @classmethod
    def scaled(cls, parameters: Vector, first: float) -> MMF:
        """b is a rate per size."""
        a, b, d, c = (float(p) for p in parameters)
        return cls(a, b / first, d, c)


@dataclass(frozen=True, slots=True)
class Logarithm(Curve):
    """A(x) = a·log x + b: grows for ever, so that it has no asymptote."""

    a: float
    b: float

    def values(self, x: Vector) -> Vector:
        """Accuracy at sizes [n]."""
        return np.asarray(self.a * np.log(x) + self.b)

    @property
    def asymptote(self) -> float:
        """Infinite, or b where nothing is learnt."""
        return self.b if self.a == 0 else math.copysign(math.inf, self.a)

    @classmethod
    def start(cls, u: Vector, y: Vector) -> tuple[Vector, Vector]:
        """The line through the ends."""
        return np.array([np.ptp(y) / np.log(u[-1]), y[0]]), np.array([-np.inf, -np.inf])

    @classmethod
    def scaled(cls, parameters: Vector, first: float) -> Logarithm:
        """b moves by a·log first."""
        a, b = (float(p) for p in parameters)
        return cls(a, b - a * math.log(first))


@dataclass(frozen=True, slots=True)
class LastValue(Curve):
    """The last observation, for ever: the simplest forecast."""

    c: float

    def values(self, x: Vector) -> Vector:
        """Accuracy at sizes [n]."""
        return np.full_like(x, self.c)

    @classmethod
    def fit(
        cls,
        x: Values,
        y: Values,
        weights: Values | None = None,
        anchor: float | None = None,
        limit: float | None = None,
    ) -> LastValue:
        """The last of the observations, whatever the rest."""
        _, observed, _ = _checked(x, y, weights)
        return cls(float(observed[-1]))

    @classmethod
    def start(cls, u: Vector, y: Vector) -> tuple[Vector, Vector]:
        """The last observation."""
        return y[-1:].copy(), np.array([-np.inf])

    @classmethod
    def scaled(cls, parameters: Vector, first: float) -> LastValue:
        """Sizes do not matter."""
        return cls(float(parameters[0]))


FAMILIES: Mapping[str, type[Curve]] = MappingProxyType(
    {
        "power": PowerLaw,
        "exponential": Exponential,
        "weibull": Weibull,
        "mmf": MMF,
        "log": Logarithm,
        "last": LastValue,
    }
)


def _checked(x: Values, y: Values, weights: Values | None) -> tuple[Vector, Vector, Vector]:
    """Sizes, accuracies and the roots of weights, as vectors."""
    sizes, observed = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    roots = np.ones_like(sizes) if weights is None else np.asarray(weights, dtype=np.float64)
    if sizes.ndim != 1 or sizes.shape != observed.shape or sizes.shape != roots.shape or len(sizes) < 3:
        raise ValueError(
            f"a curve needs three or more sizes with as many accuracies and weights, got shapes "
            f"{sizes.shape}, {observed.shape} and {roots.shape}"
        )
    if not (np.isfinite(sizes).all() and np.isfinite(observed).all() and np.isfinite(roots).all()):
        raise ValueError("sizes, accuracies and weights of a curve must be finite")
    if sizes[0] <= 0 or not (np.diff(sizes) > 0).all() or not (roots > 0).all():
        raise ValueError("sizes must be positive and increase from one observation to the next, weights be positive")
    return sizes, observed, np.sqrt(roots)
