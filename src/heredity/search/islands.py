"""Islands: several searchers at once, whose best now and then move to a neighbour.

Sources: Cantú-Paz, A Survey of Parallel Genetic Algorithms (1998); Tanese, Distributed Genetic Algorithms (1989).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar, cast, get_args

import numpy as np

from heredity.errors import EvaluationFailed
from heredity.search.base import Candidate, Example, Searcher, Space, check_config, told_pairs
from heredity.search.box import Box
from heredity.search.cma_es import CMAES
from heredity.search.differential_evolution import DifferentialEvolution
from heredity.search.evolution import ElitistEvolution, RegularizedEvolution
from heredity.search.genetic import GeneticAlgorithm
from heredity.search.multiobjective import ParetoSearcher
from heredity.search.nsga2 import NSGA2
from heredity.search.objectives import ManyTold, told_objectives
from heredity.search.particle_swarm import PSO
from heredity.search.rounds import Round
from heredity.search.snes import SNES

X = TypeVar("X")
Topology: TypeAlias = Literal["ring", "full", "random", "none"]


class Islands(Searcher[X]):
    """Ask and tell over several searchers of the same space, a round at a time: one natural batch of each island.

    Args:
        searchers: the islands, at least two, all for one objective or all for the same several ones; each can take in
            candidates (`Searcher.hosts`). Give them seeds of their own.
        every: rounds between migrations.
        migrants: how many of the best of an island travel.
        topology: where they travel: "ring" to the next island, "full" to all others, "random" to one other drawn anew
            each time, "none" nowhere, which is the control.
        seed: of the random topology.
        metric: the value of an outcome to maximise, where it has several; islands of several objectives know theirs.

    Raises:
        TypeError: an island cannot take in candidates.
        ValueError: islands have different objectives or constraints, or share a searcher.

    An island all of whose candidates failed goes on with its next batch; the round is an error only if all islands
    failed. Candidates are numbered over all islands.
    """

    def __init__(
        self,
        searchers: Sequence[Searcher[X]],
        every: int = 10,
        migrants: int = 1,
        topology: Topology = "ring",
        *,
        seed: int = 0,
        metric: str | None = None,
    ) -> None:
        if len(searchers) < 2 or every < 1 or migrants < 1:
            raise ValueError(
                f"needs two islands, every ≥ 1 and migrants ≥ 1, got {len(searchers)}, {every} and {migrants}"
            )
        if topology not in get_args(Topology):
            raise ValueError(f"topology must be one of {get_args(Topology)}, got {topology!r}")
        for place, searcher in enumerate(searchers):
            if not searcher.hosts:
                raise TypeError(f"island {place}, a {type(searcher).__name__}, cannot take in others' candidates")
        if len({id(searcher) for searcher in searchers}) < len(searchers):
            raise ValueError("every island needs a searcher of its own")
        aims = {(s.metrics, s.constraints) if isinstance(s, ParetoSearcher) else None for s in searchers}
        if len(aims) > 1:
            raise ValueError("all islands need the same objectives and constraints, or a single objective")
        self.searchers = list(searchers)
        self.every, self.migrants, self.topology = every, migrants, topology
        self.seed, self.metric = seed, metric
        self.round = 0  # how many have been told
        self.births = [0] * len(searchers)
        self.failures = [0] * len(searchers)
        self.arrivals = [0] * len(searchers)
        self._best_ids: list[int | None] = [None] * len(searchers)
        self._before: list[Mapping[str, Any]] = []  # states of the islands as the round began
        self._members: list[tuple[int, Candidate[X]]] = []  # (island, its candidate) by place
        self._round: Round[Any] = Round()

    def ask(self, n: int | None = None) -> list[Candidate[X]]:
        """At most `n` candidates of the present round; none while all are out."""
        self._begin()
        return [Candidate(self._round.first + place, self._copy(place)) for place in self._round.take(n)]

    def island(self, candidate: Candidate[X]) -> int:
        """Which island a candidate of the present round was born on.

        Raises:
            ValueError: it is not of this round.
        """
        if not 0 <= candidate.id - self._round.first < self._round.size:
            raise ValueError(f"candidate {candidate.id} is not of the present round")
        return self._members[candidate.id - self._round.first][0]

    def tell(self, candidates: Sequence[Candidate[X]], outcomes: Sequence[ManyTold]) -> None:
        """Report outcomes, in any order and in parts; the islands learn of them when the round is complete."""
        told: Mapping[int, Any]
        first, out = self.searchers[0], self._round.out
        if isinstance(first, ParetoSearcher):
            known = next((len(seen[0]) for seen in self._round.told.values() if seen is not None), None)
            told = told_objectives(
                candidates, outcomes, out, metrics=first.metrics, constraints=first.constraints, count=known
            )
        else:
            told = told_pairs(candidates, cast("Sequence[Any]", outcomes), out, self.metric)
        if self._round.note(dict(told)):
            self._finish()

    @property
    def best(self) -> tuple[Candidate[X], Any] | None:
        """The best candidate told so far on any island with its fitness or objectives; the earlier of equals."""
        found: tuple[Candidate[X], Any] | None = None
        for i, searcher in zip(self._best_ids, self.searchers, strict=True):
            best = searcher.best
            if i is not None and best is not None:
                known = (Candidate(i, best[0].value), best[1])
                found = known if found is None or (known[1], -i) > (found[1], -found[0].id) else found
        for place, told in sorted(self._round.told.items()):
            fitness = told
            if isinstance(told, tuple):  # objectives, of the feasible ones
                fitness = told[0] if told[1] == 0 else None
            if fitness is not None and (found is None or fitness > found[1]):
                found = (Candidate(self._round.first + place, self._copy(place)), fitness)
        return found

    def state_dict(self) -> Mapping[str, Any]:
        """The islands' states as the present round began, counters, and what has been told of the round."""
        begun = self._round.size > 0
        return {
            "config": self._config(),
            "round": self.round,
            "out": self._round.state(),
            "births": list(self.births),
            "failures": list(self.failures),
            "arrivals": list(self.arrivals),
            "best": list(self._best_ids),
            "islands": list(self._before) if begun else [dict(searcher.state_dict()) for searcher in self.searchers],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue; the untold candidates of a begun round are handed out again.

        Raises:
            ValueError: the configuration differs.
        """
        check_config(state["config"], self._config(), self)
        for searcher, inner in zip(self.searchers, state["islands"], strict=True):
            searcher.load_state_dict(inner)
        self.round = int(state["round"])
        self.births, self.failures = [int(n) for n in state["births"]], [int(n) for n in state["failures"]]
        self.arrivals = [int(n) for n in state["arrivals"]]
        self._best_ids = [None if i is None else int(i) for i in state["best"]]
        self._members = []
        self._round.load(
            state["out"],
            self._begin,
            lambda told: (tuple(told[0]), told[1]) if isinstance(told, (list, tuple)) else told,
        )

    def _begin(self) -> None:
        """Ask every island for its batch unless a round is open.

        Raises:
            ValueError: an island has nothing to propose, which would leave it inert.
        """
        if self._round.size:
            return
        self._before = [dict(searcher.state_dict()) for searcher in self.searchers]
        self._members = []
        for place, searcher in enumerate(self.searchers):
            batch = searcher.ask()
            if not batch:
                raise ValueError(f"island {place}, a {type(searcher).__name__}, has nothing left to propose")
            self._members += [(place, candidate) for candidate in batch]
        self._round.begin(len(self._members))

    def _finish(self) -> None:
        whole, told, first = self._members, self._round.in_order(), self._round.first
        self._members, self.round = [], self.round + 1
        self._round.end()
        lost = 0
        for island, searcher in enumerate(self.searchers):
            places = [place for place, (home, _) in enumerate(whole) if home == island]
            outcomes = [told[place] for place in places]
            self.births[island] += len(places)
            self.failures[island] += sum(fitness is None for fitness in outcomes)
            try:
                searcher.tell([whole[place][1] for place in places], [self._outcome(f) for f in outcomes])
            except EvaluationFailed:
                lost += 1
            best = searcher.best
            for place in places:
                if best is not None and whole[place][1].id == best[0].id:
                    self._best_ids[island] = first + place
        if lost == len(self.searchers):
            raise EvaluationFailed(f"every island failed in round {self.round - 1}; there is nothing to select")
        if self.round % self.every == 0:
            self._migrate()

    def _migrate(self) -> None:
        """All leave before anybody arrives, so that the order of islands means nothing."""
        n = len(self.searchers)
        rng = np.random.default_rng([self.seed, self.round])
        leaving = [searcher.emigrants(self.migrants) for searcher in self.searchers]
        for home, (values, worth) in enumerate(leaving):
            away = {
                "ring": [(home + 1) % n],
                "full": [place for place in range(n) if place != home],
                "random": [(home + int(rng.integers(1, n))) % n],
                "none": [],
            }[self.topology]
            for place in away:
                self.searchers[place].receive(values, worth)
                self.arrivals[place] += len(worth)

    def _outcome(self, told: Any) -> Any:
        """What an island is told: the sum of the violations stands for all constraints."""
        if not isinstance(told, tuple):
            return float("nan") if told is None else told
        count = len(cast("ParetoSearcher[X]", self.searchers[0]).constraints)
        return (*told[0], *[told[1], *[0.0] * count][:count])

    def _copy(self, place: int) -> X:
        return deepcopy(self._members[place][1].value)

    def _config(self) -> dict[str, Any]:
        kinds = [type(searcher).__name__ for searcher in self.searchers]
        own = {"islands": kinds, "every": self.every, "migrants": self.migrants, "topology": self.topology}
        return {**own, "seed": self.seed}

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """Small spheres: four kinds of searchers in every topology, other kinds, and islands of two objectives."""
        box, any_box = Box(-2.0, 3.0, dim=3), cast("Space[Any]", Box(-2.0, 3.0, dim=3))

        def make(seed: int, topology: Topology) -> Islands[Any]:
            kinds: list[Searcher[Any]] = [DifferentialEvolution(box, 8, seed=seed), PSO(box, 6, seed=seed)]
            return Islands([*kinds, GeneticAlgorithm[Any](box, 7, seed=seed)], 2, 2, topology, seed=seed)

        def others(seed: int) -> Islands[Any]:
            kinds: list[Searcher[Any]] = [CMAES(box, 7, seed=seed), SNES(box, 8, seed=seed)]
            kinds.append(RegularizedEvolution(any_box, 6, 3, seed=seed))
            kinds.append(ElitistEvolution(any_box, 9, 3, 5, 3, key=lambda x: np.asarray(x).tobytes(), seed=seed))
            return Islands(kinds, 2, seed=seed)

        def several(seed: int) -> Islands[Any]:
            return Islands([NSGA2(box, 8, seed=seed), NSGA2(box, 10, seed=seed + 100)], 2, 2, seed=seed)

        for topology in get_args(Topology):
            yield f"{cls.__name__}-{topology}", Example(partial(make, topology=topology), _near(1.0))
        yield f"{cls.__name__}-others", Example(others, _near(1.0))
        near, far = _near(1.0), _near(-1.0)
        yield f"{cls.__name__}-several", Example(several, lambda x: (near(x), far(x)))


def _near(center: float) -> Callable[[Any], float]:
    return lambda x: -float(np.sum(np.square(x - center)))
