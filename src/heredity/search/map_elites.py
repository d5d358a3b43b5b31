"""MAP-Elites: the best candidate of every kind, where a descriptor says what kind a candidate is.

Sources: Mouret & Clune, arXiv 1504.04909; the variation by a random step and a step along the line to another elite is
that of Vassiliades & Mouret, Discovering the Elite Hypervolume by Leveraging Interspecies Correlation,
arXiv 1804.03906. QD score: Pugh et al., Confronting the Challenge of Quality Diversity (2015).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from heredity.evaluation.outcome import Failed, Ok, Pending
from heredity.search.archives import Archive, Cells, CVTArchive, GridArchive
from heredity.search.base import Candidate, Example, Told
from heredity.search.box import Box, Vectors
from heredity.search.generations import Array, Vector, VectorSearcher

Measured: TypeAlias = "tuple[float, ArrayLike] | Told"


class MAPElites(VectorSearcher):
    """Ask and tell over vectors [dim], with a fitness and a descriptor [d] for each.

    Args:
        space: where.
        archive: cells of the descriptor.
        batch: candidates per generation.
        describe: candidate → descriptor [d], where the candidate alone says it; fitness is told as a number then.
        descriptors: names of the descriptor's values in an `Ok`, in order; default those beside `metric`, as they come.
        metric: name of the fitness in an `Ok`.
        founders: candidates drawn from the space before elites vary; default one batch.
        step: standard deviation of the random step in every coordinate, in units of the range (of `Box.scale` / 0.3).
        line: standard deviation of the step along the line to another elite, in units of their distance.
        floor: fitness from which the QD score counts.
        seed, dtype: as in `VectorSearcher`.

    Outcomes are told as `Ok({metric: fitness, descriptor names…})`, as pairs (fitness, descriptor), or as a fitness
    where there is `describe`. A descriptor that is not finite is a failure, and changes nothing.
    """

    def __init__(
        self,
        space: Vectors,
        archive: Archive,
        batch: int = 64,
        *,
        describe: Callable[[Array], ArrayLike] | None = None,
        descriptors: Sequence[str] | None = None,
        metric: str = "fitness",
        founders: int | None = None,
        step: float = 0.01,
        line: float = 0.2,
        floor: float = 0.0,
        seed: int = 0,
        dtype: DTypeLike = np.float64,
    ) -> None:
        super().__init__(space, batch, seed=seed, dtype=dtype)
        self.archive, self.describe, self.floor = archive, describe, floor
        self.founders = batch if founders is None else founders
        self.step, self.line = step, line
        if min(step, line) < 0 or step == line == 0 or self.founders < 1:
            raise ValueError(f"needs step, line ≥ 0, not both 0, and founders ≥ 1, got {step}, {line} and {founders}")
        if descriptors is not None and len(descriptors) != archive.dim:
            raise ValueError(f"the archive's descriptors have {archive.dim} values, {len(descriptors)} are named")
        self._metric, self._names = metric, None if descriptors is None else list(descriptors)
        self._x_of: Array = np.zeros((archive.cells, self.dim), self.dtype)
        self._fitness: Vector = np.full(archive.cells, -np.inf)  # of the elite of each cell, −∞ where there is none
        self._descriptor: Vector = np.full((archive.cells, archive.dim), np.nan)
        self._described: dict[int, list[float]] = {}  # descriptors told of the present generation, by place

    @property
    def coverage(self) -> float:
        """Share of the cells that have an elite."""
        return float((self._fitness > -np.inf).mean())

    @property
    def qd_score(self) -> float:
        """Sum over elites of fitness above `floor`; what lies below counts as it is, negative."""
        return float((self._fitness[self._fitness > -np.inf] - self.floor).sum())

    @property
    def elites(self) -> tuple[Cells, Array, Vector, Vector]:
        """Cells [e], candidates [e, dim], fitness [e] and descriptors [e, d] of the elites; copies."""
        cells = np.flatnonzero(self._fitness > -np.inf)
        return cells, self._x_of[cells], self._fitness[cells], self._descriptor[cells]

    def tell(self, candidates: Sequence[Candidate[Array]], outcomes: Sequence[Measured]) -> None:
        """Report fitness and descriptors, in any order and in parts; elites change when the generation is complete."""
        if len(candidates) != len(outcomes):
            raise ValueError(f"{len(candidates)} candidates were told with {len(outcomes)} outcomes")
        first, before = self.generation * self.population, dict(self._described)
        told: list[Told] = []
        new: dict[int, list[float]] = {}
        for candidate, outcome in zip(candidates, outcomes, strict=True):
            fitness, descriptor = self._read(outcome)
            place = candidate.id - first
            if descriptor is None and not isinstance(fitness, Failed) and self.describe is not None:
                if not (self._begun and 0 <= place < self.population):
                    raise ValueError(f"candidate {candidate.id} was never asked, or has been told before")
                descriptor = self._finite(self.describe(self._generation()[place].copy()))
            if descriptor is None and not isinstance(fitness, Failed):
                fitness = Failed("its descriptor is not finite")
            new[place] = descriptor or [float("nan")] * self.archive.dim
            told.append(fitness)
        self._described |= new
        try:
            super().tell(candidates, told)
        except ValueError:
            self._described = before
            raise

    def tell_array(self, fitness: Sequence[float] | Array, descriptors: ArrayLike | None = None) -> None:
        """Report fitness [n] and descriptors [n, d] of the generation that `ask_array` gave."""
        if descriptors is None:
            if self.describe is None:
                raise ValueError("tell_array needs descriptors where the searcher has no describe")
            descriptors = [
                np.asarray(self.describe(self._generation()[place].copy())) for place in range(self.population)
            ]
        kinds = np.asarray(descriptors, dtype=np.float64)
        if kinds.shape != (self.population, self.archive.dim):
            raise ValueError(f"descriptors should have shape {(self.population, self.archive.dim)}, not {kinds.shape}")
        worth = np.where(np.isfinite(kinds).all(axis=1), np.asarray(fitness, dtype=np.float64), np.nan)
        self._described = dict(enumerate(kinds.tolist()))
        super().tell_array(worth)

    def state_dict(self) -> Mapping[str, Any]:
        """As `VectorSearcher`, with the descriptors told of the present generation."""
        return {**super().state_dict(), "described": [[place, *d] for place, d in sorted(self._described.items())]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue; the untold candidates of a begun generation are handed out again."""
        super().load_state_dict(state)
        self._described = {int(place): [float(v) for v in d] for place, *d in state["described"]}

    def _read(self, outcome: Measured) -> tuple[float | Failed, list[float] | None]:
        """Fitness and finite descriptor, which is None where it is not said or not finite."""
        if isinstance(outcome, Pending):
            raise ValueError("a pending evaluation cannot be told; tell it when it has ended")
        if isinstance(outcome, Failed):
            return outcome, None
        if isinstance(outcome, Ok):
            if self.describe is not None and len(outcome.values) == 1:
                return next(iter(outcome.values.values())), None
            names = self._names or [name for name in outcome.values if name != self._metric]
            return outcome[self._metric], None if self.describe else self._finite([outcome[name] for name in names])
        if isinstance(outcome, (tuple, list)):
            fitness, descriptor = outcome
            return float(fitness), self._finite(descriptor)
        if self.describe is None and np.isfinite(outcome):
            raise ValueError("a fitness without a descriptor was told; tell (fitness, descriptor) or pass describe")
        return float(outcome), None

    def _finite(self, descriptor: ArrayLike) -> list[float] | None:
        values = np.atleast_1d(np.asarray(descriptor, dtype=np.float64))
        if values.shape != (self.archive.dim,):
            raise ValueError(f"a descriptor should have shape ({self.archive.dim},), it has {values.shape}")
        return cast("list[float]", values.tolist()) if np.isfinite(values).all() else None

    def _draw(self, rng: np.random.Generator) -> Array:
        n = self.population
        cells = np.flatnonzero(self._fitness > -np.inf)
        if not len(cells) or self.generation * n < self.founders:
            return self.space.samples(n, rng).astype(self.dtype, copy=False)
        own, other = cells[rng.integers(0, len(cells), size=(2, n))]
        x = self._x_of[own]
        along = (self.line * rng.standard_normal((n, 1))).astype(self.dtype)
        sigma = (self.step * self.space.scale / 0.3).astype(self.dtype)
        varied: Array = x + along * (self._x_of[other] - x) + self._normal(rng, (n, self.dim)) * sigma
        return varied

    def _learn(self, x: Array, fitness: Vector) -> None:
        good = np.flatnonzero(fitness > -np.inf)
        kinds = np.array([self._described[int(place)] for place in good])
        self._described = {}
        cells = self.archive.cell(kinds)
        # The best of the batch in each cell, the earlier of equals: sorted by cell, then worth, the first of each.
        order = np.lexsort((-fitness[good], cells))
        first = order[np.diff(cells[order], prepend=-1) != 0]
        first = first[fitness[good[first]] > self._fitness[cells[first]]]
        self._x_of[cells[first]] = x[good[first]]
        self._fitness[cells[first]] = fitness[good[first]]
        self._descriptor[cells[first]] = kinds[first]

    def _close(self) -> None:
        super()._close()
        self._described = {}

    def _method_state(self) -> Mapping[str, Any]:
        cells, x, fitness, descriptors = self.elites
        return {"cells": cells, "elites": x, "fitness": fitness, "descriptors": descriptors}

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        cells = np.asarray(state["cells"], dtype=np.intp)
        self._fitness[:], self._descriptor[:], self._x_of[:] = -np.inf, np.nan, 0
        self._x_of[cells] = np.asarray(state["elites"], dtype=self.dtype).reshape(len(cells), self.dim)
        self._fitness[cells] = state["fitness"]
        self._descriptor[cells] = np.asarray(state["descriptors"]).reshape(len(cells), self.archive.dim)

    def _config(self) -> dict[str, Any]:
        own = {f"archive_{name}": value for name, value in self.archive.config().items()}
        return {**super()._config(), **own, "founders": self.founders, "step": self.step, "line": self.line}

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """A small sphere whose first two coordinates are the descriptor, on a grid and on centroids."""
        archives = (GridArchive([-2, -2], [3, 3], [5, 5]), CVTArchive([-2, -2], [3, 3], 20))
        for archive in archives:

            def make(seed: int, archive: Archive = archive) -> MAPElites:
                return cls(Box(-2.0, 3.0, dim=3), archive, 12, describe=lambda x: x[:2], seed=seed)

            yield (
                f"{cls.__name__}-{type(archive).__name__}",
                Example(make, lambda x: -float(np.sum(np.square(x - 1.0)))),
            )
