"""MAP-Elites: the best candidate of every kind, where a descriptor says what kind a candidate is.

Sources: Mouret & Clune, arXiv 1504.04909; the variation of vectors by a random step and a step along the line to
another elite is that of Vassiliades & Mouret, Discovering the Elite Hypervolume by Leveraging Interspecies Correlation,
arXiv 1804.03906. QD score: Pugh et al., Confronting the Challenge of Quality Diversity (2015).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Ok
from heredity.search.archives import Archive, Cells, CVTArchive, GridArchive
from heredity.search.base import Candidate, Example, Searcher, Space, Told, check_config, fitness_of
from heredity.search.box import Box, Vectors, as_box
from heredity.search.crossover import Line
from heredity.search.herd import Herd, Items, Rows
from heredity.search.mutation import Gaussian
from heredity.search.permutations import Permutations
from heredity.search.rounds import Round

X = TypeVar("X")
Vector: TypeAlias = NDArray[np.float64]
Measured: TypeAlias = "tuple[float, ArrayLike] | Told"
Judged: TypeAlias = tuple[float, list[float]]  # fitness and descriptor


class MAPElites(Searcher[X]):
    """Ask and tell over any space, with a fitness and a descriptor [d] for each candidate.

    Args:
        space: a `Box` (or what makes one), where whole generations are arrays, or any space with its own crossover and
            mutation.
        archive: cells of the descriptor.
        batch: candidates per generation.
        describe: candidate → descriptor [d], where the candidate alone says it; fitness is told as a number then.
        descriptors: names of the descriptor's values in an `Ok`, in order; default those beside `metric`, as they come.
        metric: name of the fitness in an `Ok`.
        founders: candidates drawn from the space before elites vary; default one batch.
        step: of vectors, standard deviation of the random step in every coordinate, in units of the range (of
            `Box.scale` / 0.3).
        line: of vectors, standard deviation of the step along the line to another elite, in units of their distance.
        rate: in other spaces, probability that a child has two parents; every child is mutated.
        floor: fitness from which the QD score counts.
        seed, dtype: of everything drawn, of vectors.

    Parents are drawn uniformly from the elites. Outcomes are told as `Ok({metric: fitness, descriptor names…})`, as
    pairs (fitness, descriptor), or as a fitness where there is `describe`. A descriptor that is not finite is a
    failure, and changes nothing.
    """

    def __init__(
        self,
        space: Space[X] | Vectors,
        archive: Archive,
        batch: int = 64,
        *,
        describe: Callable[[X], ArrayLike] | None = None,
        descriptors: Sequence[str] | None = None,
        metric: str = "fitness",
        founders: int | None = None,
        step: float = 0.01,
        line: float = 0.2,
        rate: float = 0.5,
        floor: float = 0.0,
        seed: int = 0,
        dtype: DTypeLike = np.float64,
    ) -> None:
        self.archive, self.batch, self.describe, self.floor, self.seed = archive, batch, describe, floor, seed
        self.founders, self.step, self.line, self.rate = batch if founders is None else founders, step, line, rate
        if batch < 1 or self.founders < 1 or not 0 <= rate <= 1:
            raise ValueError(
                f"needs batch, founders ≥ 1 and rate in [0, 1], got {batch}, {self.founders} and {self.rate}"
            )
        if min(step, line) < 0 or step == line == 0:
            raise ValueError(f"needs step, line ≥ 0, not both 0, got {step} and {line}")
        if descriptors is not None and len(descriptors) != archive.dim:
            raise ValueError(f"the archive's descriptors have {archive.dim} values, {len(descriptors)} are named")
        self.metric, self.descriptors = metric, None if descriptors is None else list(descriptors)
        self._box: Box | None = None
        self._herd: Herd[Any]
        if isinstance(space, Space) and not isinstance(space, Box):
            self._herd = Items(space, seed, rate=rate)
        else:
            self._box = as_box(space)
            iso = Gaussian(step / 0.3) if step else Gaussian(rate=0.0)
            self._herd = Rows(self._box, Line(line), iso, 1.0, np.dtype(dtype), fresh=False)
        self.generation = 0  # how many have been told
        self._round: Round[Judged] = Round()
        self._place: NDArray[np.intp] = np.full(archive.cells, -1)  # of each cell's elite among the members
        self._fitness: Vector = np.empty(0)  # of the members, as are the following
        self._descriptor: Vector = np.empty((0, archive.dim))
        self._best: tuple[int, float] | None = None

    @property
    def coverage(self) -> float:
        """Share of the cells that have an elite."""
        return len(self._fitness) / self.archive.cells

    @property
    def qd_score(self) -> float:
        """Sum over elites of fitness above `floor`; what lies below counts as it is, negative."""
        return float((self._fitness - self.floor).sum())

    @property
    def elites(self) -> tuple[Cells, Any, Vector, Vector]:
        """Cells [e], candidates, fitness [e] and descriptors [e, d] of the elites, by cell; copies.

        Candidates are an array [e, dim] of vectors, or a list.
        """
        cells = np.flatnonzero(self._place >= 0)
        places = self._place[cells]
        values = [self._herd.member(place) for place in places.tolist()]
        found = values if self._box is None else np.array(values).reshape(-1, self._box.dim)
        return cells, found, self._fitness[places], self._descriptor[places]

    def ask(self, n: int | None = None) -> list[Candidate[X]]:
        """At most `n` candidates of the present generation; none while all are out."""
        self._begin()
        return [Candidate(self._round.first + place, self._herd.value(place)) for place in self._round.take(n)]

    def tell(self, candidates: Sequence[Candidate[X]], outcomes: Sequence[Measured]) -> None:
        """Report fitness and descriptors, in any order and in parts; elites change when the generation is complete."""
        if len(candidates) != len(outcomes):
            raise ValueError(f"{len(candidates)} candidates were told with {len(outcomes)} outcomes")
        told: dict[int, Judged | None] = {}
        out = self._round.out
        for candidate, outcome in zip(candidates, outcomes, strict=True):
            if candidate.id not in out or candidate.id in told:
                raise ValueError(f"candidate {candidate.id} was never asked, or has been told before")
            told[candidate.id] = self._read(candidate.id - self._round.first, outcome)
        if self._round.note(told):
            self._finish()

    def ask_array(self) -> NDArray[Any]:
        """The whole present generation of vectors [batch, dim], read only.

        Raises:
            TypeError: the candidates are no vectors.
            ValueError: some of it was asked or told one by one.
        """
        if not isinstance(self._herd, Rows):
            raise TypeError("only vectors make an array; use ask and tell")
        self._begin()
        if not self._round.whole:
            raise ValueError("part of this generation was asked one by one; tell it so, too")
        return self._herd.shown

    def tell_array(self, fitness: ArrayLike, descriptors: ArrayLike | None = None) -> None:
        """Report fitness [n] and descriptors [n, d] of the generation that `ask_array` gave."""
        if not self._round.whole:
            raise ValueError("no whole generation is out; ask with ask_array first")
        n = self._round.size
        if descriptors is None:
            if self.describe is None:
                raise ValueError("tell_array needs descriptors where the searcher has no describe")
            descriptors = [np.asarray(self.describe(self._herd.value(place))) for place in range(n)]
        worth, kinds = np.asarray(fitness, dtype=np.float64), np.asarray(descriptors, dtype=np.float64)
        if worth.shape != (n,):
            raise ValueError(f"fitness should have shape ({n},), it has {worth.shape}")
        if kinds.shape != (n, self.archive.dim):
            raise ValueError(f"descriptors should have shape {(n, self.archive.dim)}, not {kinds.shape}")
        good = np.isfinite(kinds).all(axis=1) & np.isfinite(worth)
        rows = zip(good.tolist(), worth.tolist(), kinds.tolist(), strict=True)
        self._round.note({self._round.first + k: (w, d) if ok else None for k, (ok, w, d) in enumerate(rows)})
        self._finish()

    @property
    def best(self) -> tuple[Candidate[X], float] | None:
        """The best candidate told so far with its fitness; the earlier of equals."""
        found = None if self._best is None else (Candidate(self._best[0], self._herd.best()), self._best[1])
        for place, judged in sorted(self._round.told.items()):
            if judged is not None and (found is None or judged[0] > found[1]):
                found = (Candidate(self._round.first + place, self._herd.value(place)), judged[0])
        return found

    def state_dict(self) -> Mapping[str, Any]:
        """Configuration, elites and the partly told generation: numbers and arrays, of other spaces genealogies."""
        return {
            "config": self._config(),
            "generation": self.generation,
            "round": self._round.state(),
            "place": self._place.copy(),
            "fitness": self._fitness.copy(),
            "descriptor": self._descriptor.copy(),
            "best": None if self._best is None else list(self._best),
            "herd": dict(self._herd.state()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue; the untold candidates of a begun generation are handed out again.

        Raises:
            ValueError: the configuration differs.
        """
        check_config(state["config"], self._config(), self)
        self.generation = int(state["generation"])
        self._place = np.array(state["place"], dtype=np.intp)
        self._fitness = np.array(state["fitness"], dtype=np.float64)
        self._descriptor = np.array(state["descriptor"], dtype=np.float64).reshape(-1, self.archive.dim)
        self._best = None if state["best"] is None else (int(state["best"][0]), float(state["best"][1]))
        self._herd.load(state["herd"])
        self._round.load(state["round"], self._begin, lambda judged: (float(judged[0]), list(judged[1])))

    def _read(self, place: int, outcome: Measured) -> Judged | None:
        """Fitness and descriptor; None of a failure."""
        fitness: float | None
        descriptor: ArrayLike | None = None
        if isinstance(outcome, (tuple, list)):
            fitness, descriptor = fitness_of(float(outcome[0])), outcome[1]
        elif isinstance(outcome, Ok) and (self.describe is None or len(outcome.values) > 1):
            names = self.descriptors or [name for name in outcome.values if name != self.metric]
            fitness, descriptor = outcome[self.metric], [outcome[name] for name in names]
        else:
            fitness = fitness_of(outcome)
        if fitness is None:
            return None
        if self.describe is not None and not isinstance(outcome, (tuple, list)):
            descriptor = self.describe(self._herd.value(place))
        if descriptor is None:
            raise ValueError("a fitness without a descriptor was told; tell (fitness, descriptor) or pass describe")
        values = np.atleast_1d(np.asarray(descriptor, dtype=np.float64))
        if values.shape != (self.archive.dim,):
            raise ValueError(f"a descriptor should have shape ({self.archive.dim},), it has {values.shape}")
        return (fitness, values.tolist()) if np.isfinite(values).all() else None

    def _begin(self) -> None:
        if self._round.size:
            return
        rng, first, n = (
            np.random.Generator(np.random.SFC64([self.seed, self.generation])),
            self._round.first,
            self.batch,
        )
        if not len(self._fitness) or first < self.founders:
            self._herd.found(first, n, rng)
        else:
            # By cell, so that the order in which cells were found means nothing.
            elites = self._place[self._place >= 0]
            self._herd.breed(first, n, elites[rng.integers(0, len(elites), size=(-(-n // 2), 2))], rng)
        self._round.begin(n)

    def _finish(self) -> None:
        told, first, number = self._round.in_order(), self._round.first, self.generation
        good = np.array([place for place, judged in enumerate(told) if judged is not None], dtype=np.intp)
        self._round.end()
        self.generation = number + 1
        if not len(good):
            raise EvaluationFailed(f"all {len(told)} candidates of generation {number} failed; none has a place")
        alive = [judged for judged in told if judged is not None]
        fitness, kinds = np.array([f for f, _ in alive]), np.array([d for _, d in alive])
        top = int(np.argmax(fitness))
        if self._best is None or fitness[top] > self._best[1]:
            self._best = (first + int(good[top]), float(fitness[top]))
            self._herd.remember(int(good[top]))
        cells = self.archive.cell(kinds)
        # The best of the batch in each cell, the earlier of equals: sorted by cell, then worth, the first of each.
        order = np.lexsort((-fitness, cells))
        winners = order[np.diff(cells[order], prepend=-1) != 0]
        held = self._place[cells[winners]]
        winners = winners[(held < 0) | (fitness[winners] > np.append(self._fitness, -np.inf)[held])]
        places = self._place[cells[winners]]
        found = np.flatnonzero(places < 0)
        places[found] = len(self._fitness) + np.arange(len(found))
        self._place[cells[winners]] = places
        self._fitness = np.append(self._fitness, np.empty(len(found)))
        self._descriptor = np.concatenate([self._descriptor, np.empty((len(found), self.archive.dim))])
        self._fitness[places], self._descriptor[places] = fitness[winners], kinds[winners]
        self._herd.adopt(places, good[winners])

    def _config(self) -> dict[str, Any]:
        own = {f"archive_{name}": value for name, value in self.archive.config().items()}
        names = ("batch", "founders", "step", "line", "rate", "seed")
        bounds = {} if self._box is None else {"low": self._box.low, "high": self._box.high}
        return {**own, **{name: getattr(self, name) for name in names}, **bounds}

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """A small sphere on a grid and on centroids, described and told in pairs, and orders of numbers."""
        low, high = [-2.0, -2.0], [3.0, 3.0]
        grid, box = GridArchive(low, high, [5, 5]), Box(-2.0, 3.0, dim=3)

        def sphere(x: Any) -> float:
            return -float(np.sum(np.square(x - 1.0)))

        for archive in (grid, CVTArchive(low, high, 20)):

            def make(seed: int, archive: Archive = archive) -> MAPElites[Any]:
                return cls(box, archive, 12, describe=lambda x: x[:2], seed=seed)  # type: ignore[index]

            yield f"{cls.__name__}-{type(archive).__name__}", Example(make, sphere, names=["fitness"])

        def first(told: Any) -> float:
            return float(told[0])

        pairs: Example[Any] = Example(
            lambda seed: cls(box, grid, 12, seed=seed),
            lambda x: (sphere(x), (float(x[0]), float(x[1]))),
            names=["fitness", "left", "right"],
            worth=first,
        )
        yield f"{cls.__name__}-pairs", pairs
        orders: Space[Any] = Permutations(6)
        ends = GridArchive([0], [5], [6])
        yield (
            f"{cls.__name__}-orders",
            Example(
                lambda seed: cls(orders, ends, 8, seed=seed),
                lambda order: (-float(sum(abs(v - k) for k, v in enumerate(order[1:]))), (float(order[0]),)),
                names=["fitness", "head"],
                worth=first,
            ),
        )
