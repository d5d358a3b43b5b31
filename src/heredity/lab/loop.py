"""One run of a search: asks, tells in the order that the mode demands, and keeps the result up to date."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from heredity.errors import BirthFailed, EvaluationFailed, LabError, WorkerLost
from heredity.evaluation.outcome import Failed, Ok
from heredity.lab import records
from heredity.lab.dispatch import Dispatch
from heredity.lab.flow import Flow
from heredity.lab.model import Model
from heredity.lab.operator import Request
from heredity.lab.told import Entry, Told

if TYPE_CHECKING:
    from heredity.lab.engine import Evolution

WINDOW = 16  # candidates in flight of a steady search: a constant, for it is part of the result
TRIES = 100  # asks without an answer, while nothing is in flight, after which a searcher has nothing left


@dataclass(frozen=True, slots=True)
class _Out:
    """A candidate in flight."""

    candidate: Any
    birth: str
    seed: int  # of its evaluations


class Loop:
    """One run: who is in flight, who is done, who may be told."""

    def __init__(self, evolution: Evolution, dispatch: Dispatch, flow: Flow, told: Told) -> None:
        self.evolution, self.dispatch, self.flow, self.told = evolution, dispatch, flow, told
        self.lab, self.searcher, self.result = evolution.lab, evolution.searcher, evolution.result
        self.mode, self.window = evolution.mode, self.result.in_flight
        self.failures = told.failures  # of earlier runs
        self.script = self._script() if self.mode == "asynchronous" else []
        self.scripted = {entry.candidate for entry in self.script}
        self.place = 0  # in the recorded order
        self.asked = self.round = 0
        self.out: dict[int, _Out] = {}  # by position, in the order of asking
        self.position: dict[int, int] = {}  # of candidates
        self.done: dict[int, tuple[Ok | Failed, str | None]] = {}  # outcome and model, in the order of completion
        self.surplus = False
        self.failed: list[int] = []  # candidates, since the last success
        self.last_word: EvaluationFailed | None = None  # of the searcher, when it was told last
        self.best: int | None = None

    def _script(self) -> list[Entry]:
        """The recorded order, and births that failed where another lab holds it."""
        replay = self.evolution.replay
        entries = list(self.told.entries)
        if not isinstance(replay, bool):
            source = Told(replay, self.told.search)
            entries = source.entries
            others = source.failures.items()
            self.failures |= {birth: reason for birth, reason in others if birth.partition("@")[0] not in replay}
        if replay is not False and not entries:
            raise LabError(f"no order of a search {self.result.name!r} with this searcher and probe is recorded")
        return entries

    def run(self) -> None:
        self.evolution.report(self.result)
        if self.script:
            self.window = self.script[0].window
        self._ask()
        while self.out and not (self.evolution.replay and self.place == len(self.script)):
            chosen = self._next()
            while not chosen:
                for position, answer in self.flow.wait():
                    self._end(position, answer)
                chosen = self._next()
            self._tell(chosen)
            self._ask()
        if self.result.told and len(self.failed) == self.result.told:
            self.told.forgive(self.failed)
            reason = self.result.failures[self.failed[0]]
            raise EvaluationFailed(
                f"none of the {self.result.told} candidates of {self.result.name!r} has a value; the first: {reason}"
            )

    # Asking

    def _ask(self) -> None:
        """Start what the searcher proposes and there is room for."""
        left = math.inf if self.result.evaluations is None else self.result.evaluations - self.asked
        if self.mode != "generational":
            candidates = self._some(int(min(self.window - len(self.out), left)))
        else:
            candidates = self._batch(left) if left and not self.out else []
        for candidate in candidates:
            self._bear(candidate)
        if left and not self.out:
            if self.last_word is not None:
                self.told.forgive(self.failed)
                raise self.last_word
            self.result.exhausted = True
            self.evolution.report(self.result)

    def _batch(self, left: float) -> list[Any]:
        """The natural batch, or what the budget allows of it."""
        candidates = list(self.searcher.ask())
        if not candidates and left < math.inf:
            candidates = list(self.searcher.ask(int(left)))
        self.round += 1
        self.surplus = len(candidates) > left
        return candidates[: int(left)] if self.surplus else candidates

    def _some(self, count: int) -> list[Any]:
        for _ in range(1 if self.out else TRIES):
            candidates = list(self.searcher.ask(count)) if count > 0 else []
            if candidates or count < 1:
                return candidates
        return []

    def _bear(self, candidate: Any) -> None:
        position, self.asked = self.asked, self.asked + 1
        wanted, seed = self.evolution.birth(candidate), self.evolution.seed
        seed = seed if isinstance(seed, int) else seed(candidate)
        if isinstance(wanted, Model):
            (job,) = self.dispatch.evaluations([wanted], position, seed)
        else:
            request = wanted if isinstance(wanted, Request) else Request(wanted[0], wanted[1:])
            (job,) = self.dispatch.births([replace(request, labels=self._labels(candidate, request))], position, seed)
        self.out[position], self.position[candidate.id] = _Out(candidate, job.token, seed), position
        if job.token in self.failures:
            self.done[position] = (Failed(self.failures[job.token]), job.id if job.id in self.lab else None)
        elif not self.evolution.replay or candidate.id in self.scripted:
            for place, answer in self.flow.add(job):
                self._end(place, answer)

    def _labels(self, candidate: Any, request: Request) -> dict[str, Any]:
        """What the page shows and colours by, and the aim; `generation` and `island` where there are any."""
        generation = getattr(self.searcher, "generation", None)
        if not isinstance(generation, int):
            generation = self.round - 1 if self.mode == "generational" else None
        island = getattr(candidate, "island", getattr(candidate.value, "island", None))
        aims = zip(self.evolution.directions, self.evolution.metrics, strict=True)
        found = {
            "search": self.result.name,
            "aim": ", ".join(f"{direction} {metric}" for direction, metric in aims),
            "candidate": candidate.id,
            "generation": generation,
            "island": island,
        }
        return {**{name: value for name, value in found.items() if value is not None}, **request.labels}

    # Telling

    def _end(self, position: int, answer: Model | Exception) -> None:
        """Take in how a birth and its evaluations ended."""
        if isinstance(answer, Model):
            self.done[position] = (self._outcome(answer, self.out[position].seed), answer.id)
        elif isinstance(answer, (BirthFailed, WorkerLost)):
            self.done[position] = (Failed(str(answer)), None)
        else:
            raise answer

    def _outcome(self, model: Model, seed: int) -> Ok | Failed:
        """What the searcher is told: the metrics, to be maximised, and what else was asked for."""
        values: dict[str, float] = {}
        right = None
        for form in self.dispatch.forms:
            record = self.lab.index.measurement(self.lab.evaluation_key(form, model.id, seed))
            assert record is not None
            outcome = records.outcome_in(record)
            if isinstance(outcome, Failed):
                return outcome
            if twice := values.keys() & outcome.values.keys():
                raise LabError(f"two probes measure {min(twice)!r}; a search takes each value from one")
            values |= outcome.values
            right = right or outcome.right
        wanted = [*self.evolution.metrics, *self.evolution.also]
        if missing := [name for name in wanted if name not in values]:
            raise LabError(
                f"the probes of {self.result.name!r} measure {', '.join(sorted(values))}, not {missing[0]!r}"
            )
        aims = dict(zip(self.evolution.metrics, self.evolution.directions, strict=True))
        return Ok({name: -values[name] if aims.get(name) == "minimize" else values[name] for name in wanted}, right)

    def _next(self) -> list[int]:
        """Positions to tell now; none while that has to wait."""
        if self.mode == "generational":
            return list(self.out) if len(self.done) == len(self.out) else []
        if self.mode == "steady":
            first = next(iter(self.out))
            return [first] if first in self.done else []
        while self.place < len(self.script):
            entry = self.script[self.place]
            self._widen(entry.window)
            position = self.position.get(entry.candidate)
            if position is not None:
                self._check(entry, position)
                return [position] if position in self.done else []
            if self.asked != self.result.evaluations:
                raise LabError(f"{self._recorded} candidate {entry.candidate}, which this searcher has not proposed")
            self.place += 1  # the recorded search had a larger budget
        self._widen(self.result.in_flight)
        return [next(iter(self.done))] if self.done else []

    def _widen(self, window: int) -> None:
        if window != self.window:
            self.window = window
            self._ask()

    @property
    def _recorded(self) -> str:
        return f"the search {self.result.name!r} was recorded with other candidates (give this one another name):"

    def _check(self, entry: Entry, position: int) -> None:
        birth = self.out[position].birth
        if birth != entry.birth:
            raise LabError(f"{self._recorded} candidate {entry.candidate} was {entry.birth} and is {birth}")

    def _tell(self, positions: Sequence[int]) -> None:
        """Record what needs to be, tell, and bring the result up to date."""
        told = [(self.out.pop(position), *self.done.pop(position)) for position in positions]
        self._record([Entry(out.candidate.id, out.birth, self.window, _reason(outcome)) for out, outcome, _ in told])
        for out, outcome, model in told:
            self._count(out.candidate.id, outcome, model)
        try:
            self.searcher.tell([out.candidate for out, _, _ in told], [outcome for _, outcome, _ in told])
        except EvaluationFailed as error:
            # To some searchers one candidate told alone is a batch of which all failed; a window of them is the end.
            self.last_word = error
            if len(told) > 1 or len(self.failed) >= (self.window or WINDOW):
                self.told.forgive(self.failed)
                raise
        else:
            self.last_word = None
        if self.surplus:  # what was asked beyond the budget is handed out again if the search goes on
            self.searcher.load_state_dict(self.searcher.state_dict())
        self._find_best()
        self.result.idle = self.flow.idle
        self.evolution.report(self.result)

    def _record(self, entries: Sequence[Entry]) -> None:
        if self.mode != "asynchronous":
            failed = [entry for entry in entries if entry.failed is not None and entry.birth not in self.failures]
            self.told.write(failed)
            return
        (entry,) = entries
        if self.place == len(self.told.entries):
            self.told.write([entry])
        elif (known := self.told.entries[self.place]).birth != entry.birth:
            raise LabError(f"{self._recorded} candidate {known.candidate} was told where {entry.candidate} is now")
        self.place += 1

    def _count(self, candidate: int, outcome: Ok | Failed, model: str | None) -> None:
        result = self.result
        result.told += 1
        if model is not None:
            result.births[candidate] = model
        if isinstance(outcome, Failed):
            result.failures[candidate] = outcome.reason
            self.failed.append(candidate)
            return
        self.failed.clear()
        if isinstance(result.metric, tuple):
            signs = [1.0 if direction == "maximize" else -1.0 for direction in self.evolution.directions]
            values = zip(signs, result.metric, strict=True)
            result.meet(candidate, [sign * outcome[metric] for sign, metric in values])

    def _find_best(self) -> None:
        result, best = self.result, self.searcher.best
        if isinstance(result.metric, tuple) or best is None:
            return
        result.value = float(best[1]) if result.direction == "maximize" else -float(best[1])
        result.history.append((result.told, result.value))
        if best[0].id != self.best:
            self.best = best[0].id
            if self.best in result.births:
                result.best = self.evolution.model(best[0].id)
            else:  # of the time before the searcher came here
                wanted = self.evolution.birth(best[0])
                result.best = wanted if isinstance(wanted, Model) else self.lab.derive_all([wanted])[0]


def _reason(outcome: Ok | Failed) -> str | None:
    return outcome.reason if isinstance(outcome, Failed) else None
