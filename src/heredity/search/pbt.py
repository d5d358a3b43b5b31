"""Population based training: models that train at once, of which losers go on from winners with other hyperparameters.

A candidate is one round of one member: train from `parent`'s weights (or new ones) with `hyper`, then tell the score.
No training code is in here; `heredity.search.pbt_driver.run_pbt` is a driver for plain PyTorch.
Source: Jaderberg et al., Population Based Training of Neural Networks (arXiv 1711.09846), algorithm 1 and section 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeAlias, cast, get_args

import numpy as np

from heredity.errors import EvaluationFailed
from heredity.search.base import Candidate, Example, Searcher, Told, told_pairs
from heredity.search.exploit import tournament_donor, truncation_donor, ttest_donor
from heredity.search.fields import LogUniform, Uniform
from heredity.search.hyperparameters import Hyperparameters
from heredity.search.pbt_rounds import Hyper, Schedule, Task, lineage, path, schedule_of

Exploit: TypeAlias = Literal["truncation", "ttest", "tournament", "none"]
Explore: TypeAlias = Literal["perturb", "resample"]
Inherit: TypeAlias = Literal["both", "weights", "hyperparameters"]
# (own place, scores of all, generator) → place of the donor or None; NaN is a member that failed or has not reported.
ExploitRule: TypeAlias = Callable[[int, Sequence[float], np.random.Generator], "int | None"]
ExploreRule: TypeAlias = Callable[[Hyper, np.random.Generator], Hyper]


@dataclass(slots=True)
class _Member:
    """What is known of a member: where its weights are, what they are worth, what comes next."""

    hyper: Hyper
    at: int | None = None  # the candidate that ended with its weights
    step: int = 0
    round: int = 0
    score: float | None = None  # NaN: failed; None: not reported yet
    recent: list[float] = field(default_factory=list)
    ready: int = 0  # the round in which it last might have copied
    donor: int | None = None
    state: Literal["free", "out", "told", "retired"] = "free"


class PBT(Searcher[Task]):
    """Ask and tell over rounds of training; scores are maximised.

    Args:
        space: hyperparameters, or a dict of their fields.
        population: members; 20 or more are advised, fewer than 10 are noisy. One is plain training.
        interval: rounds from one chance of a member to copy to the next.
        exploit: "truncation": one of the worst `fraction` copies one of the best; "ttest": a member copies a random
            other whose recent scores are higher with p < 0.05 (Welch); "tournament": a random other that is better;
            "none": random search; or a rule of yours. Nobody copies an equal, but to a rule of yours.
        fraction: of the population, at least one member; at most a half.
        explore: after a copy, "perturb" multiplies each value by one of `factors`; "resample" draws it from the prior
            with probability `resample_p` and perturbs it otherwise; or a rule of yours, whose values must be valid.
        inherit: what is copied. A failed member takes the donor's weights in any case.
        synchronous: decide for all when a round is complete; otherwise for each as it reports, on the latest scores of
            the others, with no barrier.
        start: hyperparameters of the first members; the rest are samples.
        window: recent scores that the t-test compares; they may be told as a list, too.
        seed: of everything.
        metric: the value of an outcome to maximise, where it has several.

    A failed member is always replaced, interval or not; with "none" it retires. When everybody has failed `tell`
    raises, and the population begins anew. A member that copies has its donor's score until it reports.
    """

    def __init__(
        self,
        space: Hyperparameters | Mapping[str, Any],
        population: int = 20,
        interval: int = 1,
        *,
        exploit: Exploit | ExploitRule = "truncation",
        fraction: float = 0.2,
        explore: Explore | ExploreRule = "perturb",
        resample_p: float = 0.25,
        factors: tuple[float, float] = (0.8, 1.2),
        inherit: Inherit = "both",
        synchronous: bool = True,
        start: Sequence[Hyper] = (),
        window: int = 10,
        seed: int = 0,
        metric: str | None = None,
    ) -> None:
        self.space = space if isinstance(space, Hyperparameters) else Hyperparameters(dict(space))
        for name, value, known in (
            ("exploit", exploit, get_args(Exploit)),
            ("explore", explore, get_args(Explore)),
            ("inherit", inherit, get_args(Inherit)),
        ):
            if not callable(value) and value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        if min(population, interval) < 1 or window < 2 or len(start) > population:
            raise ValueError(
                f"population and interval are at least 1, window at least 2, and at most as many start as there are "
                f"members; got {population}, {interval}, {window} and {len(start)}"
            )
        if not 0 < fraction <= 0.5 or not 0 <= resample_p <= 1 or min(factors) <= 0:
            raise ValueError(
                f"fraction lies in (0, 0.5], resample_p in [0, 1], factors are positive; got {fraction}, {resample_p}, "
                f"{factors}"
            )
        self.population, self.interval, self.exploit, self.fraction = population, interval, exploit, fraction
        self.explore, self.resample_p, self.factors, self.inherit = explore, resample_p, factors, inherit
        self.synchronous, self.window, self.seed, self.metric = synchronous, window, seed, metric
        self._start = [self._checked(dict(hyper), "start") for hyper in start]
        self._members: list[_Member] = []
        self._tasks: list[Task] = []  # by candidate id
        self._scores: dict[int, float | None] = {}  # in the order of telling
        self._open: set[int] = set()
        self._waiting: list[int] = []  # asked by an earlier run and never told
        self._best: tuple[int, float] | None = None
        self._begin()

    # Ask and tell

    def ask(self, n: int | None = None) -> list[Candidate[Task]]:
        """The next rounds of members that are free: of all at the beginning of a synchronous round, none within."""
        free = [i for i, member in enumerate(self._members) if member.state == "free"]
        count = len(self._waiting) + len(free) if n is None else n
        again, self._waiting = self._waiting[:count], self._waiting[count:]
        asked = again + [self._new(i) for i in free[: count - len(again)]]
        return [self._candidate(i) for i in asked]

    def tell(self, candidates: Sequence[Candidate[Task]], outcomes: Sequence[Told | Sequence[float]]) -> None:
        """Report scores; several of one round (episodes) as a list, whose mean counts.

        Raises:
            ValueError: lengths differ, or a candidate was never asked.
            EvaluationFailed: every member has failed.
        """
        lists = [[float(x) for x in o] if isinstance(o, (list, tuple, np.ndarray)) else None for o in outcomes]
        if any(scores == [] for scores in lists):
            raise ValueError("a list of scores needs at least one")
        single = [o if s is None else float(np.mean(s)) for o, s in zip(outcomes, lists, strict=True)]
        told = told_pairs(candidates, cast("Sequence[Told]", single), self._open, self.metric)
        for (i, score), scores in zip(told.items(), lists, strict=True):
            self._report(i, score, scores)
            if not self.synchronous:
                self._decide_after(self._tasks[i].member)
        if self.synchronous and all(member.state in ("told", "retired") for member in self._members):
            then = [replace(member) for member in self._members]
            for i, member in enumerate(self._members):
                if member.state == "told":
                    self._decide(i, then)
        if all(_failed(member) for member in self._members):
            round_ = max(member.round for member in self._members)
            self._begin(round_)
            raise EvaluationFailed(f"all {self.population} members have failed after {round_} rounds")

    @property
    def best(self) -> tuple[Candidate[Task], float] | None:
        """The best round told so far with its score; the earlier of equals. At the end another may lead: `leader`."""
        return None if self._best is None else (self._candidate(self._best[0]), self._best[1])

    @property
    def leader(self) -> tuple[Candidate[Task], float] | None:
        """The round that the weights of the best present member come from, with their score."""
        alive = [member for member in self._members if _alive(member)]
        if not alive:
            return None
        first = max(alive, key=lambda member: cast("float", member.score))
        return self._candidate(cast("int", first.at)), cast("float", first.score)

    @property
    def generation(self) -> int:
        """Rounds that all members have ended, but for those that retired."""
        return min((member.round for member in self._members if member.state != "retired"), default=0)

    @property
    def needed(self) -> set[int]:
        """Candidates whose weights may still be asked for: as parents, as donors, as the best."""
        # A member that is out is still at its parent, and one that is to copy is at its donor's.
        ids = {member.at for member in self._members if member.at is not None}
        return ids | ({self._best[0]} if self._best else set())

    # What happened

    @property
    def events(self) -> list[tuple[int, float | None]]:
        """(candidate, score or None) in the order of telling: with the seed it determines everything."""
        return list(self._scores.items())

    def lineage(self) -> list[tuple[int, int, Literal["train", "exploit"]]]:
        """Edges (parent, child, kind) between candidates: "exploit" where the weights came from another member."""
        return lineage(self._tasks)

    def path(self, candidate: int) -> list[Task]:
        """The rounds that made a candidate's weights, the first one first."""
        return path(self._tasks, candidate)

    def schedule(self, member: int | None = None) -> Schedule:
        """(step, hyperparameters from there on) of what made a member's present weights; by default the best's.

        Raises:
            ValueError: there is no such member, or nothing was told of it.
        """
        if member is not None and not 0 <= member < self.population:
            raise ValueError(f"there are members 0 to {self.population - 1}, not {member}")
        at = self._members[member].at if member is not None else self._best[0] if self._best else None
        if at is None:
            raise ValueError("nothing was told of it yet, so that it has no schedule")
        return schedule_of(self.path(at))

    # State

    def state_dict(self) -> Mapping[str, Any]:
        """Plain numbers, strings, lists and dicts: configuration, members, and every round with its score."""
        return {
            "config": self._config(),
            "members": [
                asdict(m) | {"score": None if _failed(m) else m.score, "failed": _failed(m)} for m in self._members
            ],
            "tasks": [asdict(task) for task in self._tasks],
            "scores": [list(event) for event in self._scores.items()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue; rounds that were out are handed out again.

        Raises:
            ValueError: the configuration differs.
        """
        for name, value in self._config().items():
            saved = state["config"].get(name)
            if saved != value:
                raise ValueError(f"the state was saved with {name}={saved}, this searcher has {value}")
        self._members = [
            _Member(
                **{k: v for k, v in m.items() if k != "failed"}
                | {"hyper": dict(m["hyper"])}
                | {"recent": list(m["recent"])}
                | ({"score": math.nan} if m["failed"] else {})
            )
            for m in state["members"]
        ]
        self._tasks = [Task(**{**task, "hyper": dict(task["hyper"])}) for task in state["tasks"]]
        self._scores = {int(i): score for i, score in state["scores"]}
        self._open = set(range(len(self._tasks))) - set(self._scores)
        self._waiting = sorted(self._open)
        self._best = None
        for i, score in self._scores.items():
            self._meet(i, score)

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """Hyperparameters that are best near 0.01 and 0.3, whatever was trained before."""

        def make(**settings: Any) -> Callable[[int], PBT]:
            fields = {"lr": LogUniform(1e-4, 1.0), "dropout": Uniform(0.0, 0.9)}
            return lambda seed: cls(fields, 10, seed=seed, **settings)

        def fitness(task: Task) -> float:
            return -float((math.log10(task.hyper["lr"]) + 2) ** 2 + (task.hyper["dropout"] - 0.3) ** 2)

        no_order = {
            "order and parts of tells": "without a barrier a member decides on what the others have told so far"
        }
        yield "truncation", Example(make(), fitness, rounds=10)
        yield "ttest", Example(make(exploit="ttest"), fitness, rounds=10)
        yield "tournament", Example(make(exploit="tournament", explore="resample"), fitness, rounds=10)
        yield "asynchronous", Example(make(synchronous=False), fitness, rounds=10, exceptions=no_order)

    # One round

    def _begin(self, round_: int = 0) -> None:
        """New members, with new models."""
        drawn = [self.space.sample(self._rng(i, round_, 0)) for i in range(self.population)]
        given = self._start if round_ == 0 else []
        self._members = [_Member(dict(hyper), round=round_, ready=round_) for hyper in [*given, *drawn[len(given) :]]]

    def _new(self, place: int) -> int:
        """The next round of a member, as a candidate."""
        member, i = self._members[place], len(self._tasks)
        seed = int(np.random.SeedSequence([self.seed, place, member.round, 2]).generate_state(1)[0])
        self._tasks.append(Task(place, member.round, member.step, dict(member.hyper), member.at, member.donor, seed))
        self._open.add(i)
        member.state = "out"
        return i

    def _candidate(self, i: int) -> Candidate[Task]:
        return Candidate(i, self._tasks[i].copy())

    def _report(self, i: int, score: float | None, scores: list[float] | None) -> None:
        task, member = self._tasks[i], self._members[self._tasks[i].member]
        self._open.discard(i)
        self._waiting = [other for other in self._waiting if other != i]
        self._scores[i] = score
        self._meet(i, score)
        member.state, member.at, member.donor = "told", i, None
        member.step, member.round = task.step + 1, task.round + 1
        member.score = math.nan if score is None else score
        member.recent = [] if score is None else [*member.recent, *(scores or [score])][-self.window :]

    def _meet(self, i: int, score: float | None) -> None:
        if score is not None and (self._best is None or (score, -i) > (self._best[1], -self._best[0])):
            self._best = (i, score)

    def _decide_after(self, place: int) -> None:
        """Without a barrier: the member that has reported, then failed ones that were waiting for somebody to copy."""
        waiting = [i for i, member in enumerate(self._members) if member.state == "told" and i != place]
        for i in [place, *waiting]:
            self._decide(i, self._members)

    def _decide(self, place: int, members: Sequence[_Member]) -> None:
        """Exploit and explore; a failed member without anybody to copy waits."""
        member, rng = self._members[place], self._rng(place, self._members[place].round, 1)
        if _failed(member) and self.exploit == "none":
            member.state = "retired"
            return
        donor = self._donor(place, members, rng)
        if donor is None:
            member.state = "told" if _failed(member) else "free"
            return
        other = members[donor]
        hyper = member.hyper if self.inherit == "weights" else other.hyper
        if self.inherit != "hyperparameters" or _failed(member):
            member.at, member.step, member.score, member.recent = other.at, other.step, other.score, list(other.recent)
        member.hyper = self._explored(dict(hyper), rng)
        member.donor, member.state = donor, "free"

    def _donor(self, place: int, members: Sequence[_Member], rng: np.random.Generator) -> int | None:
        own = self._members[place]
        scores = [math.nan if member.score is None else member.score for member in members]
        alive = [i for i, member in enumerate(members) if _alive(member) and i != place]
        if not alive or (not _failed(own) and (own.round - own.ready < self.interval or self.exploit == "none")):
            return None
        self._members[place].ready = own.round
        donor: int | None
        if callable(self.exploit):
            donor = self.exploit(place, scores, rng)
        elif self.exploit == "truncation":
            reported = [i for i, member in enumerate(members) if member.score is not None]
            donor = truncation_donor(place, scores, reported, self.fraction, rng)
        elif self.exploit == "ttest":
            donor = ttest_donor(place, [member.recent for member in members], alive, rng)
        else:
            donor = tournament_donor(place, scores, alive, rng)
        if donor is None and _failed(own):
            donor = alive[int(rng.integers(len(alive)))]
        if donor is not None and donor not in alive:
            raise ValueError(
                f"the exploit rule chose member {donor} for {place}; it may choose one of {alive}, or None"
            )
        return donor

    def _explored(self, hyper: Hyper, rng: np.random.Generator) -> Hyper:
        if callable(self.explore):
            return self._checked(dict(self.explore(hyper, rng)), "the explore rule")
        found = self.space.perturb(hyper, rng, self.factors)
        if self.explore == "resample":
            for name in found:
                if rng.random() < self.resample_p:
                    found[name] = self.space.field(name).sample(rng)
            while missing := [name for name in self.space.active(found) if name not in found]:
                found |= {name: self.space.field(name).sample(rng) for name in missing}
            found = {name: found[name] for name in self.space.fields if name in self.space.active(found)}
        return self._checked(found, "exploring")

    def _checked(self, hyper: Hyper, source: str) -> Hyper:
        if (problem := self.space.problem(hyper)) is not None:
            raise ValueError(f"{source} gave hyperparameters of which {problem}")
        return hyper

    def _rng(self, place: int, round_: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, place, round_, purpose])

    def _config(self) -> dict[str, Any]:
        names = ("population", "interval", "fraction", "resample_p", "inherit", "synchronous", "window", "seed")
        rules = {name: getattr(self, name) for name in ("exploit", "explore")}
        return {
            "space": repr(self.space.fields),
            **{name: getattr(self, name) for name in names},
            **{name: rule.__qualname__ if callable(rule) else rule for name, rule in rules.items()},
            "factors": list(self.factors),
            "start": [dict(hyper) for hyper in self._start],
        }


def _failed(member: _Member) -> bool:
    return member.score is not None and math.isnan(member.score)


def _alive(member: _Member) -> bool:
    return member.score is not None and not math.isnan(member.score)
