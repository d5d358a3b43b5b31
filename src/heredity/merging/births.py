"""The values of a breeding population: births asked for, the succession rule, settings, and what a generation did.

Source: arXiv 2503.01155, section 3 and the defaults of its scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["founder", "init", "crossover", "mutate", "succeed"]
Selection = Literal["roulette", "tournament", "rank", "random"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A birth to make and evaluate; the candidate's id is the child's.

    Attributes:
        kind: "founder" is no birth: the founder itself is to be evaluated. "init" and "crossover" merge two parents,
            "mutate" copies one with noise, "succeed" moves one.
        parents: ids of founders or of earlier candidates, the primary first. One id may stand in several roles.
        roles: one per parent.
        coefficients: init and crossover: the parents' weights, sum 1. succeed: how far the child moves from the first
            parent towards each of the others, child = x + Σ c_k (p_k − x); one fewer than parents.
        method: how init and crossover merge, a name of `heredity.merging.methods` or "linear".
        gene, sigma: mutate: share of entries changed and standard deviation of the noise.
        clip: succeed: bound the move by the distance to the farthest parent.
        seed: of noise and masks.
    """

    kind: Kind
    parents: tuple[int, ...] = ()
    roles: tuple[str, ...] = ()
    coefficients: tuple[float, ...] = ()
    method: str = "linear"
    gene: float = 0.0
    sigma: float = 0.0
    clip: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Succession:
    """The GENOME+ move, one step of particle swarm optimisation.

    v ← (r0 φ_w v + r1 φ_p (own best − x) + r2 φ_g (best − x) − r3 φ_r (worst − x)) / C, then x ← x + λ v, with
    C = Σ r_k φ_k, so that the coefficients are shares; r is uniform in (0, 1)^4.

    Attributes:
        step: λ of the first generation; decay: φ_λ, factor on λ per generation.
        inertia, cognitive, social, repel: φ_w, φ_p, φ_g, φ_r.
        clip: bound every move by the distance to the farthest parent.
    """

    step: float = 0.5
    decay: float = 0.95
    inertia: float = 0.2
    cognitive: float = 0.2
    social: float = 0.2
    repel: float = 0.1
    clip: bool = False

    def __post_init__(self) -> None:
        phi = (self.inertia, self.cognitive, self.social, self.repel)
        if self.step <= 0 or self.decay <= 0 or min(phi) < 0 or max(phi) == 0:
            raise ValueError(f"step and decay must be positive, φ not negative and not all zero, got {self}")

    def coefficients(self, r: Sequence[float], step: float, previous_step: float | None) -> tuple[float, ...]:
        """Coefficients of (previous or other, own best, best, worst) in child = x + Σ c_k (p_k − x).

        Args:
            r: four numbers in [0, 1].
            step: λ now.
            previous_step: λ of the member's last move; None when it never moved, and v = other − x.
        """
        a, b, c, d = (
            r_k * phi for r_k, phi in zip(r, (self.inertia, self.cognitive, self.social, self.repel), strict=True)
        )
        scale = step / max(a + b + c + d, 1e-8)
        # v = (x − previous)/λ' = −(previous − x)/λ'
        towards = scale * a if previous_step is None else -scale * a / previous_step
        return towards, scale * b, scale * c, -scale * d


@dataclass(frozen=True, slots=True)
class Member:
    """A living individual: where it stands, what that is worth, and what its next move needs."""

    id: int
    fitness: float
    own_best: int
    own_best_fitness: float
    previous: int | None = None
    previous_step: float | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """What one generation did.

    Attributes:
        number: 0 is the first population.
        best, mean, worst: fitness in the population after selection.
        members: ids alive after selection.
        deaths: ids that were alive, or were evaluated in this generation, and are not any more.
        evaluations: evaluations in this generation, failed ones included.
        step: λ of its moves.
    """

    number: int
    best: float
    mean: float
    worst: float
    members: tuple[int, ...]
    deaths: tuple[int, ...]
    evaluations: int
    step: float


@dataclass(frozen=True, slots=True)
class GenomeConfig:
    """Settings of a population.

    Attributes:
        population: N; generations: at most so many after the first population.
        init: "pairs" merges N random pairs of founders with random weights; "parents" starts from the founders, filled
            up by such pairs to N.
        crossover: probability of each of ⌊N/2⌋ tries; mutate: probability per member of a mutated copy.
        gene, sigma: share of entries that a mutation changes, and its standard deviation.
        elite: share of N that is kept without a draw, at least one.
        selection: how the others are chosen, without replacement; tournaments are of three.
        merge: method of init and crossover.
        succession: the GENOME+ move, or None for GENOME.
        patience: stop after so many generations without a new best; None never stops early.
        seed: of all draws.
    """

    population: int = 10
    generations: int = 10
    init: Literal["pairs", "parents"] = "pairs"
    crossover: float = 0.3
    mutate: float = 0.3
    gene: float = 0.1
    sigma: float = 1e-3
    elite: float = 0.1
    selection: Selection = "roulette"
    merge: str = "linear"
    succession: Succession | None = None
    patience: int | None = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.population < 2 or self.generations < 0:
            raise ValueError(f"need population ≥ 2 and generations ≥ 0, got {self.population} and {self.generations}")
        for name in ("crossover", "mutate", "gene", "elite"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if self.sigma < 0 or (self.patience is not None and self.patience < 1):
            raise ValueError(f"need sigma ≥ 0 and patience ≥ 1 or None, got {self.sigma} and {self.patience}")
        if self.init not in {"pairs", "parents"} or self.selection not in {"roulette", "tournament", "rank", "random"}:
            raise ValueError(f"unknown init {self.init!r} or selection {self.selection!r}")
        if self.succession is None and self.crossover == self.mutate == 0:
            raise ValueError("nothing would ever be born: crossover and mutate are 0 and there is no succession")
