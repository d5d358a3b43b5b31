"""Islands: several searchers at once, whose best now and then move to a neighbour.

Sources: Cantú-Paz, A Survey of Parallel Genetic Algorithms (1998); Tanese, Distributed Genetic Algorithms (1989).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar, get_args

import numpy as np

from heredity.errors import EvaluationFailed
from heredity.search.base import Candidate, Example, Searcher, Told, told_pairs
from heredity.search.box import Box
from heredity.search.differential_evolution import DifferentialEvolution
from heredity.search.genetic import GeneticAlgorithm
from heredity.search.migration import Host
from heredity.search.particle_swarm import PSO

X = TypeVar("X")
Topology: TypeAlias = Literal["ring", "full", "random", "none"]


class Islands(Searcher[X]):
    """Ask and tell over several searchers of the same space, a round at a time: one natural batch of each island.

    Args:
        searchers: the islands, at least two; each takes in and sends away candidates (`migration.Host`). Give them
            seeds of their own.
        every: rounds between migrations.
        migrants: how many of the best of an island travel.
        topology: where they travel: "ring" to the next island, "full" to all others, "random" to one other drawn anew
            each time, "none" nowhere, which is the control.
        seed: of the random topology.
        metric: the value of an outcome to maximise, where it has several.

    Raises:
        TypeError: an island cannot take in candidates.

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
            if not isinstance(searcher, Host):
                raise TypeError(f"island {place}, a {type(searcher).__name__}, has no emigrants() and receive()")
        if len({id(searcher) for searcher in searchers}) < len(searchers):
            raise ValueError("every island needs a searcher of its own")
        self.searchers = list(searchers)
        self.every, self.migrants, self.topology = every, migrants, topology
        self.seed, self.metric = seed, metric
        self.round = 0  # how many have been told
        self.births = [0] * len(searchers)
        self.failures = [0] * len(searchers)
        self.arrivals = [0] * len(searchers)
        self._next = 0
        self._best_ids: list[int | None] = [None] * len(searchers)
        self._before: list[Mapping[str, Any]] = []  # states of the islands as the round began
        self._round: list[tuple[int, Candidate[X]]] = []  # (island, its candidate) by place
        self._waiting: list[int] = []
        self._told: dict[int, float | None] = {}

    def ask(self, n: int | None = None) -> list[Candidate[X]]:
        """At most `n` candidates of the present round; none while all are out."""
        self._begin()
        count = len(self._waiting) if n is None else max(0, min(n, len(self._waiting)))
        places, self._waiting = self._waiting[:count], self._waiting[count:]
        return [Candidate(self._next + place, self._copy(place)) for place in places]

    def island(self, candidate: Candidate[X]) -> int:
        """Which island a candidate of the present round was born on.

        Raises:
            ValueError: it is not of this round.
        """
        if not 0 <= candidate.id - self._next < len(self._round):
            raise ValueError(f"candidate {candidate.id} is not of the present round")
        return self._round[candidate.id - self._next][0]

    def tell(self, candidates: Sequence[Candidate[X]], outcomes: Sequence[Told]) -> None:
        """Report outcomes, in any order and in parts; the islands learn of them when the round is complete."""
        waiting = set(self._waiting)
        places = range(len(self._round))
        out = {self._next + p for p in places if p not in waiting and p not in self._told}
        told = told_pairs(candidates, outcomes, out, self.metric)
        self._told.update((i - self._next, fitness) for i, fitness in told.items())
        if self._round and len(self._told) == len(self._round):
            self._finish()

    @property
    def best(self) -> tuple[Candidate[X], float] | None:
        """The best candidate told so far on any island with its fitness; the earlier of equals."""
        found: tuple[Candidate[X], float] | None = None
        for i, searcher in zip(self._best_ids, self.searchers, strict=True):
            best = searcher.best
            if i is not None and best is not None:
                known = (Candidate(i, best[0].value), best[1])
                found = known if found is None or (known[1], -i) > (found[1], -found[0].id) else found
        for place, fitness in sorted(self._told.items()):
            if fitness is not None and (found is None or fitness > found[1]):
                found = (Candidate(self._next + place, self._copy(place)), fitness)
        return found

    def state_dict(self) -> Mapping[str, Any]:
        """The islands' states as the present round began, counters, and what has been told of the round."""
        begun = bool(self._round)
        return {
            "config": self._config(),
            "round": self.round,
            "next": self._next,
            "births": list(self.births),
            "failures": list(self.failures),
            "arrivals": list(self.arrivals),
            "best": list(self._best_ids),
            "islands": list(self._before) if begun else [dict(searcher.state_dict()) for searcher in self.searchers],
            "begun": begun,
            "told": [[place, fitness] for place, fitness in sorted(self._told.items())],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue; the untold candidates of a begun round are handed out again.

        Raises:
            ValueError: the configuration differs.
        """
        for name, value in self._config().items():
            if state["config"].get(name) != value:
                raise ValueError(f"the state was saved with {name}={state['config'].get(name)}, this has {value}")
        for searcher, inner in zip(self.searchers, state["islands"], strict=True):
            searcher.load_state_dict(inner)
        self.round, self._next = int(state["round"]), int(state["next"])
        self.births, self.failures = [int(n) for n in state["births"]], [int(n) for n in state["failures"]]
        self.arrivals = [int(n) for n in state["arrivals"]]
        self._best_ids = [None if i is None else int(i) for i in state["best"]]
        self._round, self._waiting, self._told = [], [], {}
        if state["begun"]:
            self._begin()
            self._told = {int(place): fitness for place, fitness in state["told"]}
            self._waiting = [place for place in self._waiting if place not in self._told]

    def _begin(self) -> None:
        """Ask every island for its batch unless a round is open.

        Raises:
            ValueError: an island has nothing to propose, which would leave it inert.
        """
        if self._round:
            return
        self._before = [dict(searcher.state_dict()) for searcher in self.searchers]
        for place, searcher in enumerate(self.searchers):
            batch = searcher.ask()
            if not batch:
                raise ValueError(f"island {place}, a {type(searcher).__name__}, has nothing left to propose")
            self._round += [(place, candidate) for candidate in batch]
        self._waiting = list(range(len(self._round)))

    def _finish(self) -> None:
        whole, told, first = self._round, self._told, self._next
        self._round, self._waiting, self._told = [], [], {}
        self._next, self.round = first + len(whole), self.round + 1
        lost = 0
        for island, searcher in enumerate(self.searchers):
            places = [place for place, (home, _) in enumerate(whole) if home == island]
            outcomes = [told[place] for place in places]
            self.births[island] += len(places)
            self.failures[island] += sum(fitness is None for fitness in outcomes)
            try:
                searcher.tell(
                    [whole[place][1] for place in places], [float("nan") if f is None else f for f in outcomes]
                )
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
        leaving = [searcher.emigrants(self.migrants) for searcher in self.searchers if isinstance(searcher, Host)]
        for home, (values, fitness) in enumerate(leaving):
            away = {
                "ring": [(home + 1) % n],
                "full": [place for place in range(n) if place != home],
                "random": [(home + int(rng.integers(1, n))) % n],
                "none": [],
            }[self.topology]
            for place in away:
                host = self.searchers[place]
                assert isinstance(host, Host)
                host.receive(values, fitness)
                self.arrivals[place] += len(fitness)

    def _copy(self, place: int) -> X:
        return deepcopy(self._round[place][1].value)

    def _config(self) -> dict[str, Any]:
        kinds = [type(searcher).__name__ for searcher in self.searchers]
        own = {"islands": kinds, "every": self.every, "migrants": self.migrants, "topology": self.topology}
        return {**own, "seed": self.seed}

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """Three kinds of searchers on a small sphere, by ring and by chance."""
        box = Box(-2.0, 3.0, dim=3)

        def make(seed: int, topology: Topology) -> Islands[Any]:
            kinds: list[Searcher[Any]] = [DifferentialEvolution(box, 8, seed=seed), PSO(box, 6, seed=seed)]
            return Islands([*kinds, GeneticAlgorithm[Any](box, 7, seed=seed)], 2, 2, topology, seed=seed)

        def sphere(x: Any) -> float:
            return -float(np.sum(np.square(x - 1.0)))

        for topology in get_args(Topology):
            yield f"{cls.__name__}-{topology}", Example(partial(make, topology=topology), sphere)
