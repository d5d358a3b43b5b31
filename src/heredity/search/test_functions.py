"""Test functions with random shift and rotation: losses whose optimum is known, on arrays of vectors.

    >>> problem = TEST_FUNCTIONS["rastrigin"](10, seed=1)
    >>> float(problem(problem.optimum))
    0.0
    >>> problem(np.zeros((3, 5, 10))).shape
    (3, 5)

An optimum in the middle of the box would reward every search that shrinks towards it, so it never lies there by itself.
Source: Hansen, Finck, Ros & Auger, Real-Parameter Black-Box Optimization Benchmarking 2009: Noiseless Functions
Definitions (RR-6829), for ellipsoid, rastrigin, sharp_ridge, different_powers, discus and bent_cigar, without its
distortions; Ackley (1987), Griewank (1981), Schwefel (1981), Rosenbrock (1960); Schwefel's is continued outside of its
domain as in Liang, Qu & Suganthan, Problem Definitions for the CEC 2014 Special Session (2013).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector: TypeAlias = NDArray[np.float64]
Formula: TypeAlias = Callable[[Vector], Vector]

SCHWEFEL = 420.96874635998199  # where z sin √|z| is largest in [−500, 500]


@dataclass(frozen=True, eq=False)
class Problem:
    """A loss to minimise; vectorised over all but the last axis.

    Attributes:
        name: of the test function.
        optimum: where the loss is lowest [n].
        rotation: orthogonal [n, n], or None.
        value: the loss at the optimum.
        radius: the problem is meant for the box [−radius, radius]ⁿ.
    """

    name: str
    optimum: Vector
    rotation: Vector | None
    value: float
    radius: float
    formula: Formula
    stretch: float
    origin: float

    @property
    def dim(self) -> int:
        """n."""
        return len(self.optimum)

    def __call__(self, x: ArrayLike) -> Any:
        """Loss [...] of vectors [..., n].

        Raises:
            ValueError: the last axis is not n long.
        """
        points = np.asarray(x, dtype=np.float64)
        if points.shape[-1:] != (self.dim,):
            raise ValueError(f"{self.name} is a function of {self.dim} numbers, got shape {points.shape}")
        z = points - self.optimum
        if self.rotation is not None:
            z = z @ self.rotation.T
        return self.formula(z * self.stretch + self.origin) + self.value


@dataclass(frozen=True)
class Family:
    """A family of problems; calling it makes one.

    Attributes:
        name: key in `TEST_FUNCTIONS`.
        formula: loss of z [..., n], 0 at its lowest.
        origin: every coordinate of z where it is lowest.
        domain: half the width of the usual box of z, stretched to the problem's.
        least: dimensions it needs.
    """

    name: str
    formula: Formula
    origin: float = 0.0
    domain: float = 5.0
    least: int = 1

    def __call__(
        self,
        dim: int,
        *,
        seed: int = 0,
        optimum: ArrayLike | None = None,
        rotate: bool = True,
        radius: float = 5.0,
        value: float = 0.0,
    ) -> Problem:
        """A problem of `dim` dimensions.

        Args:
            seed: of the optimum and the rotation.
            optimum: a number or [dim]; default uniform in 0.8 of the box.
            rotate: by a uniformly drawn rotation; without, the axes stay as they are.
            radius: half the width of the box around 0.
            value: the loss at the optimum.

        Raises:
            ValueError: too few dimensions, the radius is not positive, or the optimum is no such vector.
        """
        if dim < self.least:
            raise ValueError(f"{self.name} needs at least {self.least} dimensions, got {dim}")
        if not (np.isfinite(radius) and radius > 0):
            raise ValueError(f"the radius must be positive, got {radius}")
        rng = np.random.default_rng(seed)
        shift = 0.8 * radius * rng.uniform(-1, 1, dim)
        if optimum is not None:
            given = np.asarray(optimum, dtype=np.float64)
            if given.shape not in ((), (dim,)) or not np.isfinite(given).all():
                raise ValueError(f"the optimum should be a number or {dim} finite numbers, got shape {given.shape}")
            shift = np.broadcast_to(given, (dim,)).copy()
        rotation = random_rotation(dim, rng) if rotate else None
        stretch = self.domain / radius
        return Problem(self.name, shift, rotation, float(value), radius, self.formula, stretch, self.origin)


def random_rotation(dim: int, rng: np.random.Generator) -> Vector:
    """An orthogonal matrix [dim, dim], uniform. Source: Mezzadri, arXiv math-ph/0609050."""
    q, r = np.linalg.qr(rng.standard_normal((dim, dim)))
    return np.asarray(q * np.sign(np.diagonal(r)))


def _grades(n: int) -> Vector:
    """0 for the first coordinate to 1 for the last."""
    return np.arange(n) / max(1, n - 1)


def _sphere(z: Vector) -> Any:
    return np.square(z).sum(-1)


def _ellipsoid(z: Vector) -> Any:
    return np.square(z) @ 10.0 ** (6 * _grades(z.shape[-1]))


def _discus(z: Vector) -> Any:
    return 1e6 * np.square(z[..., 0]) + np.square(z[..., 1:]).sum(-1)


def _bent_cigar(z: Vector) -> Any:
    return np.square(z[..., 0]) + 1e6 * np.square(z[..., 1:]).sum(-1)


def _rosenbrock(z: Vector) -> Any:
    a, b = z[..., :-1], z[..., 1:]
    return (100 * np.square(b - np.square(a)) + np.square(1 - a)).sum(-1)


def _rastrigin(z: Vector) -> Any:
    return (np.square(z) + 10 - 10 * np.cos(2 * np.pi * z)).sum(-1)


def _ackley(z: Vector) -> Any:
    # expm1 keeps the digits near the optimum: 20 − 20 e⁻ᵃ is −20 expm1(−a), e − eᵇ is −e expm1(b − 1).
    root = 0.2 * np.sqrt(np.square(z).mean(-1))
    waves = -2 * np.square(np.sin(np.pi * z)).mean(-1)  # the mean of cos 2πz, less 1
    return -20 * np.expm1(-root) - np.e * np.expm1(waves)


def _griewank(z: Vector) -> Any:
    roots = np.sqrt(np.arange(1, z.shape[-1] + 1))
    return np.square(z).sum(-1) / 4000 + 1 - np.cos(z / roots).prod(-1)


def _schwefel12(z: Vector) -> Any:
    return np.square(np.cumsum(z, axis=-1)).sum(-1)


def _schwefel(z: Vector) -> Any:
    far = np.abs(z) > 500
    inner = np.where(far, np.sign(z) * (500 - np.mod(np.abs(z), 500)), z)
    gain = inner * np.sin(np.sqrt(np.abs(inner)))
    gain -= np.where(far, np.square(np.abs(z) - 500) / (10_000 * z.shape[-1]), 0.0)
    return (SCHWEFEL * np.sin(np.sqrt(SCHWEFEL)) - gain).sum(-1)


def _sharp_ridge(z: Vector) -> Any:
    return np.square(z[..., 0]) + 100 * np.sqrt(np.square(z[..., 1:]).sum(-1))


def _different_powers(z: Vector) -> Any:
    return np.sqrt((np.abs(z) ** (2 + 4 * _grades(z.shape[-1]))).sum(-1))


_FAMILIES = (
    Family("sphere", _sphere),
    Family("ellipsoid", _ellipsoid, least=2),
    Family("discus", _discus, least=2),
    Family("bent_cigar", _bent_cigar, least=2),
    Family("rosenbrock", _rosenbrock, origin=1.0, least=2),
    Family("rastrigin", _rastrigin),
    Family("ackley", _ackley, domain=32.0),
    Family("griewank", _griewank, domain=600.0),
    Family("schwefel12", _schwefel12, least=2),
    Family("schwefel", _schwefel, origin=SCHWEFEL, domain=500.0),
    Family("sharp_ridge", _sharp_ridge, least=2),
    Family("different_powers", _different_powers, least=2),
)
TEST_FUNCTIONS: Mapping[str, Family] = MappingProxyType({family.name: family for family in _FAMILIES})
