"""Differential evolution: a mutant is a member plus scaled differences of others, and replaces whom it beats.

The control parameters may be given or may adapt themselves (jDE). Clu-DE is a row of the same class: its mutants start
from the best member of the best cluster of the population.
Sources: Storn & Price, Differential Evolution (1997); Brest et al., Self-Adapting Control Parameters in Differential
Evolution (2006); Moravvej et al., Clu-DE, arXiv 2109.09351 (2021), as used in arXiv 2305.02374.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from heredity.search.base import Example
from heredity.search.box import Box, Vectors
from heredity.search.generations import Array, Vector, VectorSearcher

Strategy: TypeAlias = Literal["rand1", "best1", "current_to_best1", "clustering"]
Update: TypeAlias = Literal["greedy", "gpba"]
F_RANGE = (0.1, 0.9)  # jDE draws F = 0.1 + 0.9 u and CR = u, each with probability 0.1 (Brest et al., section IV)
RENEW = 0.1
LLOYD_STEPS = 20


class DifferentialEvolution(VectorSearcher):
    """Ask and tell over vectors [dim].

    Args:
        space: where; members begin uniform in its bounds.
        population: NP, at least 5.
        F: scale of the differences; a pair (low, high) draws one for each mutant; None adapts one for each member.
        CR: probability in [0, 1] that a coordinate comes from the mutant; None adapts one for each member.
        strategy: what is mutated, and towards what:
            "rand1": x_r1 + F (x_r2 − x_r3);
            "best1": x_best + F (x_r1 − x_r2);
            "current_to_best1": x_i + F (x_best − x_i) + F (x_r1 − x_r2);
            "clustering": x_win + F (x_r1 − x_r2) for `mutants` members drawn anew in each generation, where x_win is
            the best member of the cluster with the best mean; "rand1" for the others.
        update: "greedy": a trial replaces its own target if it is no worse. "gpba": the clustering mutants are not
            crossed with their targets, and the best of them and of their targets together replace the targets.
        clusters: "sqrt" draws k uniformly from 2…⌊√NP⌋ in each generation; or k.
        mutants: M, how many members get a clustering mutant; default NP / 5.
        seed, dtype, metric: as in `VectorSearcher`.

    The first generation is the population; each later one holds a trial for every member. F = 0.5 and CR = 0.1 are
    what Storn & Price try first; where coordinates have to move together, CR = 0.9, None or `shade.SHADE` is better.
    Differs from paper: a mutant outside the bounds is mirrored back.
    """

    def __init__(
        self,
        space: Vectors,
        population: int = 50,
        *,
        F: float | tuple[float, float] | None = 0.5,
        CR: float | None = 0.1,
        strategy: Strategy = "best1",
        update: Update = "greedy",
        clusters: Literal["sqrt"] | int = "sqrt",
        mutants: int | None = None,
        seed: int = 0,
        dtype: DTypeLike = np.float64,
        metric: str | None = None,
    ) -> None:
        if population < 5:
            raise ValueError(f"differential evolution mutates with four others, so population ≥ 5, got {population}")
        if strategy not in get_args(Strategy) or update not in get_args(Update):
            raise ValueError(
                f"no strategy {strategy!r} with update {update!r}: {get_args(Strategy)}, {get_args(Update)}"
            )
        if update == "gpba" and strategy != "clustering":
            raise ValueError(f'update="gpba" replaces by clustering mutants, strategy {strategy!r} makes none')
        scales = (F,) if isinstance(F, (int, float)) else F or (1.0,)
        if len(scales) > 2 or not all(0 < f <= 2 for f in scales) or scales[0] > scales[-1]:
            raise ValueError(f"F must lie in (0, 2], or be a pair (low, high) of such numbers, got {F}")
        if CR is not None and not 0 <= CR <= 1:
            raise ValueError(f"CR must lie in [0, 1], got {CR}")
        mutants = max(1, population // 5) if mutants is None else mutants
        if not 1 <= mutants <= population:
            raise ValueError(f"mutants must lie between 1 and the population of {population}, got {mutants}")
        if clusters != "sqrt" and not 1 <= clusters <= population:
            raise ValueError(f'clusters must be "sqrt" or between 1 and {population}, got {clusters!r}')
        super().__init__(space, population, seed=seed, dtype=dtype, metric=metric)
        self.F, self.CR, self.strategy, self.update = F, CR, strategy, update
        self.clusters, self.mutants = clusters, mutants
        self._members: Array = np.empty((0, self.dim), self.dtype)
        self._fitness: Vector = np.empty(0)
        self._member_F = np.full(population, 0.5)  # where the members' own parameters begin (Brest et al.)
        self._member_CR = np.full(population, 0.9)
        # Of the present generation, drawn again when a state is loaded:
        self._trial_F, self._trial_CR = self._member_F, self._member_CR
        self._places: NDArray[np.intp] = np.empty(0, np.intp)  # of the clustering mutants

    @property
    def members(self) -> tuple[Array, Vector]:
        """The population [population, dim] and its fitness [population]; copies, empty before the first generation."""
        return self._members.copy(), self._fitness.copy()

    def _living(self) -> tuple[Array, Vector]:
        return self._members, self._fitness

    def _draw(self, rng: np.random.Generator) -> Array:
        if not len(self._members):
            return self.space.samples(self.population, rng).astype(self.dtype, copy=False)
        x, n = self._members, self.population
        self._trial_F, self._trial_CR = self._controls(rng)
        r1, r2, r3 = distinct(n, 3, rng)
        if self.strategy == "clustering":
            self._places = np.sort(rng.permutation(n)[: self.mutants])
            k = int(rng.integers(2, max(2, int(np.sqrt(n))) + 1)) if self.clusters == "sqrt" else self.clusters
            r1[self._places] = winner_cluster(x, self._fitness, k, rng)[2]
        elif self.strategy == "best1":
            r1 = np.full(n, int(np.argmax(self._fitness)))
        scale = self._trial_F[:, None].astype(self.dtype)
        mutant = x[r2]
        mutant -= x[r3]
        if self.strategy == "current_to_best1":
            mutant += x[int(np.argmax(self._fitness))]
            mutant -= x
            mutant *= scale
            mutant += x
        else:
            mutant *= scale
            mutant += x[r1]
        crossed = self._trial_CR.copy()
        if self.update == "gpba":
            crossed[self._places] = 1.0
        return np.where(binomial(crossed, self.dim, rng), mutant, x)

    def _learn(self, x: Array, fitness: Vector) -> None:
        if not len(self._members):
            self._members, self._fitness = x.copy(), fitness.copy()
            return
        won = fitness >= self._fitness
        won &= fitness > -np.inf
        if self.update == "gpba":
            self._replace(x, fitness)
            won[self._places] = False
        self._members[won] = x[won]
        self._fitness[won] = fitness[won]
        self._member_F = np.where(won, self._trial_F, self._member_F)
        self._member_CR = np.where(won, self._trial_CR, self._member_CR)

    def _replace(self, x: Array, fitness: Vector) -> None:
        """The generic population-based update: the best M of the mutants and their targets replace the targets."""
        places = self._places
        both = np.concatenate([self._members[places], x[places]])
        worth = np.concatenate([self._fitness[places], fitness[places]])
        best = np.argsort(-worth, kind="stable")[: len(places)]
        self._members[places], self._fitness[places] = both[best], worth[best]

    def _controls(self, rng: np.random.Generator) -> tuple[Vector, Vector]:
        """F and CR of each trial [population]."""
        u = rng.random((4, self.population))
        if self.F is None:
            scale = np.where(u[0] < RENEW, F_RANGE[0] + F_RANGE[1] * u[1], self._member_F)
        else:
            low, high = self.F if isinstance(self.F, tuple) else (self.F, self.F)
            scale = low + (high - low) * u[1]
        rate = np.where(u[2] < RENEW, u[3], self._member_CR) if self.CR is None else np.full(self.population, self.CR)
        return scale, rate

    def _method_state(self) -> Mapping[str, Any]:
        return {
            "members": self._members.copy(),
            "fitness": self._fitness.copy(),
            "F": self._member_F.copy(),
            "CR": self._member_CR.copy(),
        }

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._members = np.array(state["members"], dtype=self.dtype).reshape(-1, self.dim)
        self._fitness = np.array(state["fitness"], dtype=np.float64)
        self._member_F, self._member_CR = np.array(state["F"]), np.array(state["CR"])

    def _config(self) -> dict[str, Any]:
        F = "adapted" if self.F is None else self.F
        own = {"F": F, "CR": "adapted" if self.CR is None else self.CR, "strategy": self.strategy}
        rest = {"update": self.update, "clusters": self.clusters, "mutants": self.mutants}
        return {**super()._config(), **own, **rest}

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """Every strategy on a small sphere."""

        def sphere(x: Array) -> float:
            return -float(np.sum(np.square(x - 1.0)))

        for strategy in get_args(Strategy):
            make = lambda seed, strategy=strategy: cls(Box(-2.0, 3.0, dim=3), 12, strategy=strategy, seed=seed)  # noqa: E731
            yield f"{cls.__name__}-{strategy}", Example(make, sphere)
        yield f"{cls.__name__}-clu_de", Example(lambda seed: clu_de(Box(-2.0, 3.0, dim=3), 12, seed=seed), sphere)


def clu_de(space: Vectors, population: int = 50, **options: Any) -> DifferentialEvolution:
    """Clu-DE: mutation from the winning cluster, update by the population-based algorithm, F = 0.5, CR = 0.9."""
    row: dict[str, Any] = {"strategy": "clustering", "update": "gpba", "F": 0.5, "CR": 0.9}
    return DifferentialEvolution(space, population, **{**row, **options})


def winner_cluster(x: Array, fitness: Vector, k: int, rng: np.random.Generator) -> tuple[NDArray[np.intp], int, int]:
    """The k-means cluster of the population [n, dim] with the best mean fitness [n], which is maximised.

    Clusters begin at random members; empty ones are ignored, and failures (−∞) count for no mean.

    Returns:
        (label of each member [n], label of the winner, index of the winner's best member)

    Raises:
        ValueError: k is not in 1…n, or every member failed.
    """
    n = len(x)
    if not 1 <= k <= n:
        raise ValueError(f"{n} members make between 1 and {n} clusters, got k={k}")
    alive = np.isfinite(fitness)
    if not alive.any():
        raise ValueError("every member failed; no cluster wins")
    centers = x[np.sort(rng.permutation(n)[:k])]
    labels = np.full(n, -1, np.intp)
    for _ in range(LLOYD_STEPS):
        # |x − c|² less the part that is the same for every centre.
        nearest = np.argmin(np.square(centers).sum(axis=1) - 2 * (x @ centers.T), axis=1)
        if np.array_equal(nearest, labels):
            break
        labels = nearest
        member = (labels == np.arange(k)[:, None]).astype(x.dtype)
        counts = member.sum(axis=1, keepdims=True)
        centers = np.where(counts > 0, (member @ x) / np.maximum(counts, 1), centers)
    counts = np.bincount(labels[alive], minlength=k)
    sums = np.bincount(labels[alive], weights=fitness[alive], minlength=k)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf)
    winner = int(np.argmax(means))
    return labels, winner, int(np.argmax(np.where(labels == winner, fitness, -np.inf)))


def distinct(n: int, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """For each of `n` members `count` others [count, n], uniform, distinct from it and from one another.

    The j-th is drawn from the n − 1 − j indices left, then moved past each excluded one that is not above it.
    """
    if count >= n:
        raise ValueError(f"{n} members do not have {count} distinct others")
    taken = np.arange(n)[None]
    for j in range(count):
        drawn = rng.integers(0, n - 1 - j, size=n)
        for excluded in np.sort(taken, axis=0):
            drawn += drawn >= excluded
        taken = np.concatenate([taken, drawn[None]])
    return taken[1:]


def binomial(rates: Vector, dim: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which coordinates [n, dim] come from the mutant, each with its row's rate [n] and at least one per row.

    Rates are rounded to multiples of 2⁻¹⁶, for a comparison of 16 random bits is three times as fast as of a float.
    """
    n = len(rates)
    bits = rng.integers(0, 2**64, size=-(-n * dim // 4), dtype=np.uint64, endpoint=False).view(np.uint16)
    bits = bits[: n * dim].reshape(n, dim)
    whole = np.rint(np.clip(rates, 0, 1) * 65536).astype(np.int64)
    chosen = bits < np.minimum(whole, 65535).astype(np.uint16)[:, None]
    chosen[whole == 65536] = True
    chosen[np.arange(n), rng.integers(0, dim, size=n)] = True
    return chosen
