"""CMA-ES: evolution strategy with an adapted covariance matrix and active update, in numpy alone.

Use this one to search: it is fast, learns from arrays and goes with `Restarts`; use `heredity.search.cma.CMA` where
the bits of the PyPI package `cma` are wanted.
Source: N. Hansen, The CMA Evolution Strategy: A Tutorial, arXiv 1604.00772 (2023), appendix A; equation numbers are
its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from heredity.errors import NonFinite
from heredity.search.box import Vectors, as_box
from heredity.search.generations import Array, Vector, VectorSearcher
from heredity.search.migration import clipped
from heredity.search.noise import normal

CONDITION = 1e14  # largest ratio of eigenvalues; beyond it float64 cannot tell the smallest from zero
SIGMA = {"float64": (1e-150, 1e150), "float32": (1e-25, 1e25)}  # by the candidates' dtype, far from its limits
DRIFT = 1e-10, 1e10  # where the scale of the matrix lies; beyond, it moves into the step size


@dataclass(frozen=True)
class Rates:
    """The tutorial's default constants of n dimensions and a population λ (table 1).

    Attributes:
        n: dimensions.
        weights: of recombination by rank [λ], best first; the positive ones sum to one.
        mu_eff: how many equal parents the positive weights are worth.
        c_sigma, d_sigma: rate and damping of the step size.
        c_c, c_1, c_mu: rates of the covariance's path, its rank-one and its rank-μ update.
        chi: expected length of a standard normal vector [n].
    """

    n: int
    weights: Vector
    mu_eff: float
    c_sigma: float
    d_sigma: float
    c_c: float
    c_1: float
    c_mu: float
    chi: float

    @classmethod
    def of(cls, n: int, population: int, *, active: bool = True, separable: bool = False) -> Rates:
        """Equations 49 to 58.

        Args:
            active: keep the negative weights; otherwise they are zero.
            separable: learn faster by (n + 2) / 3, as a diagonal can (Ros & Hansen 2008).
        """
        raw = math.log((population + 1) / 2) - np.log(np.arange(1, population + 1))
        good, bad = raw[: population // 2], raw[population // 2 :]
        mu_eff = float(good.sum() ** 2 / np.square(good).sum())
        mu_bad = float(bad.sum() ** 2 / np.square(bad).sum())
        c_1 = 2 / ((n + 1.3) ** 2 + mu_eff)
        c_mu = 2 * (0.25 + mu_eff + 1 / mu_eff - 2) / ((n + 2) ** 2 + mu_eff)
        if separable:
            c_1, c_mu = min(1.0, c_1 * (n + 2) / 3), c_mu * (n + 2) / 3
        c_mu = min(1 - c_1, c_mu)
        c_sigma = (mu_eff + 2) / (n + mu_eff + 5)
        weights = np.where(raw >= 0, raw / good.sum(), 0.0)
        if active and c_mu > 0:
            total = min(1 + c_1 / c_mu, 1 + 2 * mu_bad / (mu_eff + 2), (1 - c_1 - c_mu) / (n * c_mu))
            weights += np.where(raw < 0, raw * (total / -bad.sum()), 0.0)
        return cls(
            n=n,
            weights=weights,
            mu_eff=mu_eff,
            c_sigma=c_sigma,
            d_sigma=1 + 2 * max(0.0, math.sqrt((mu_eff - 1) / (n + 1)) - 1) + c_sigma,
            c_c=(4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n),
            c_1=c_1,
            c_mu=c_mu,
            chi=math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n)),
        )

    def stalled(self, length: float, generation: int) -> bool:
        """Whether the step size's path is so long that the covariance's has to wait: h_σ is 0."""
        grown = math.sqrt(1 - (1 - self.c_sigma) ** (2 * (generation + 1)))
        return length / grown >= (1.4 + 2 / (self.n + 1)) * self.chi

    def step(self, length: float) -> float:
        """The factor of the step size (equation 44), at most e."""
        return math.exp(min(1.0, self.c_sigma / self.d_sigma * (length / self.chi - 1)))


class CMAES(VectorSearcher):
    """Ask and tell over vectors [dim].

    Args:
        space: where, and from where with which first standard deviations (`Box.start`, `Box.scale`).
        population: λ, default 4 + ⌊3 ln dim⌋.
        active: learn also from the worse half, where not to search.
        seed, dtype, metric: as in `VectorSearcher`; the strategy itself computes in float64.

    A generation costs O(λ dim² + dim³); above some thousand dimensions take `SepCMA` or `CRFMNES`. Failures have the
    worst ranks. The search distribution is kept usable: eigenvalues differ by at most 1e14, the deviation of a
    coordinate with two bounds is at most their distance, and equal fitness makes the step size grow.

    Raises:
        NonFinite: the covariance is no longer a matrix of numbers, which these limits should prevent.
    """

    def __init__(
        self,
        space: Vectors,
        population: int | None = None,
        *,
        active: bool = True,
        seed: int = 0,
        dtype: DTypeLike = np.float64,
        metric: str | None = None,
    ) -> None:
        n = as_box(space).dim
        super().__init__(
            space, 4 + int(3 * np.log(n)) if population is None else population, seed=seed, dtype=dtype, metric=metric
        )
        self.active = active
        self.rates = Rates.of(n, self.population, active=active)
        # Generations per decomposition; the tutorial rounds down (appendix B.2), which matters above 180 dimensions.
        self._gap = math.ceil(1 / (10 * n * (self.rates.c_1 + self.rates.c_mu)))
        self._span = self.space.high - self.space.low
        self._mean = self.space.start.copy()
        self._step = 1.0  # the tutorial's σ, in units of Box.scale
        self._C, self._p_c, self._p_sigma = np.eye(n), np.zeros(n), np.zeros(n)
        self._B, self._D, self._age = np.eye(n), np.ones(n), 0  # C ≈ B D² Bᵀ, this many generations ago
        self._BD = self._B * self._D
        self._z = self._y = np.empty((0, n))

    @property
    def center(self) -> Array:
        """The mean, folded into the bounds [dim]."""
        return self.space.fold(self._mean.astype(self.dtype))

    @property
    def sigma(self) -> Array:
        """The standard deviations of the samples [dim]."""
        return (self._step * self.space.scale * np.sqrt(np.diagonal(self._C))).astype(self.dtype)

    def _draw(self, rng: np.random.Generator) -> Array:
        self._z = normal(rng, (self.population, self.dim), np.float64, self._z)
        self._y = self._z @ self._BD.T  # (39), with B and D perhaps some generations old
        return (self._mean + self._step * self.space.scale * self._y).astype(self.dtype, copy=False)

    def _inject(self, x: Array, places: slice) -> None:
        y = (x - self._mean) / (self._step * self.space.scale)
        self._z[places] = clipped((y @ self._B) / self._D)
        self._y[places] = self._z[places] @ self._BD.T

    def _learn(self, x: Array, fitness: Vector) -> None:
        r, z, y = self.rates, self._z, self._y
        order = np.argsort(-fitness, kind="stable")
        w = np.empty(self.population)
        w[order] = r.weights
        z_mean = np.maximum(w, 0.0) @ z
        y_mean = self._BD @ z_mean  # (41)
        self._mean += self._step * self.space.scale * y_mean  # (42)
        # (43): C^-½ y is B z, for the same B and D that made y of z.
        self._p_sigma *= 1 - r.c_sigma
        self._p_sigma += math.sqrt(r.c_sigma * (2 - r.c_sigma) * r.mu_eff) * (self._B @ z_mean)
        length = math.sqrt(self._p_sigma @ self._p_sigma)
        stalled = r.stalled(length, self.generation)
        self._p_c *= 1 - r.c_c  # (45)
        if not stalled:
            self._p_c += math.sqrt(r.c_c * (2 - r.c_c) * r.mu_eff) * y_mean
        if self.active:  # (46)
            w = np.where(w < 0, w * (self.dim / (np.einsum("ij,ij->i", z, z) + 1e-300)), w)
        keep = 1 - r.c_1 - r.c_mu * float(r.weights.sum()) + (r.c_1 * r.c_c * (2 - r.c_c) if stalled else 0.0)
        self._C *= keep  # (47)
        self._C += (y.T * (r.c_mu * w)) @ y
        self._C += np.outer(r.c_1 * self._p_c, self._p_c)
        grow = r.step(length)  # (44)
        if fitness[order[0]] == fitness[order[math.ceil(0.7 * self.population) - 1]]:
            grow *= math.exp(0.2 + r.c_sigma / r.d_sigma)  # a plateau; as in the tutorial's source code, appendix C
        self._step = self._limited(self._step * grow)
        self._age += 1
        if self._age >= self._gap:
            self._decompose()

    def _decompose(self) -> None:
        wide = self._step * self.space.scale * np.sqrt(np.diagonal(self._C)) / self._span
        if (wide > 1).any():
            less = 1 / np.maximum(wide, 1.0)
            self._C *= np.outer(less, less)
            self._p_c *= less
        if not np.isfinite(self._C).all():
            raise NonFinite(f"the covariance of {type(self).__name__} is not finite in generation {self.generation}")
        values, self._B = np.linalg.eigh(self._C)
        top = float(values[-1])
        if not DRIFT[0] < top < DRIFT[1]:
            if top <= 0:
                raise NonFinite(f"the covariance of {type(self).__name__} vanished in generation {self.generation}")
            self._C /= top
            self._p_c /= math.sqrt(top)
            values /= top
            self._step, top = self._limited(self._step * math.sqrt(top)), 1.0
        if (lack := top / CONDITION - float(values[0])) > 0:
            self._C[np.diag_indices(self.dim)] += lack
            values += lack
        self._D, self._age = np.sqrt(values), 0
        self._BD = self._B * self._D

    def _limited(self, step: float) -> float:
        least, most = SIGMA[self.dtype.name]
        return min(max(step, least), most)

    def _method_state(self) -> Mapping[str, Any]:
        arrays = {"mean": self._mean, "C": self._C, "p_c": self._p_c, "p_sigma": self._p_sigma}
        arrays |= {"B": self._B, "D": self._D}
        return {"step": self._step, "age": self._age, **{name: array.copy() for name, array in arrays.items()}}

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._step, self._age = float(state["step"]), int(state["age"])
        names = ("mean", "C", "p_c", "p_sigma", "B", "D")
        self._mean, self._C, self._p_c, self._p_sigma, self._B, self._D = (
            np.array(state[name], dtype=np.float64) for name in names
        )
        self._BD = self._B * self._D

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), "active": self.active}
