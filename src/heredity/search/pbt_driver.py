"""Population based training of plain PyTorch: the loop around a script's own functions, with checkpoints.

A round is: make, load the parent's state, apply the hyperparameters and read them back, step, evaluate, save. As every
round begins from a saved state, a run that was killed and resumed is the run that was not, bit for bit.
Source: Jaderberg et al., Population Based Training of Neural Networks (arXiv 1711.09846), algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Failed
from heredity.search.base import Candidate
from heredity.search.checkpoints import Checkpoints
from heredity.search.pbt import PBT
from heredity.search.pbt_rounds import Hyper, Schedule, Task
from heredity.search.training_script import Ended, Make, Score, Script, Step
from heredity.search.training_state import load_training, save_training


@dataclass
class PBTResult:
    """What a run has found.

    Attributes:
        pbt: the searcher: schedules, lineage, events.
        best: the best round ever, its score and state; another member may lead at the end: `final`.
        final: the same of the best member at the end.
        checkpoints: the states that are still needed.
        failures: candidate → why it has no score, as far as this call has seen them.
    """

    pbt: PBT
    best: tuple[Candidate[Task], float, Any]
    final: tuple[Candidate[Task], float, Any]
    checkpoints: Checkpoints
    failures: dict[int, str] = field(default_factory=dict)


def run_pbt(
    pbt: PBT,
    make: Make,
    step: Step,
    evaluate: Callable[[Any], Score],
    rounds: int,
    *,
    save: Callable[[Any], Any] = save_training,
    load: Callable[[Any, Any], None] = load_training,
    apply: Step | None = None,
    read: Callable[[Any], Mapping[str, Any]] | None = None,
    reseed: Callable[[Any, int], None] | None = None,
    folder: str | Path | Checkpoints | None = None,
    executor: Executor | None = None,
    replay: Sequence[int] | None = None,
    report: Callable[[Candidate[Task], Score], None] | None = None,
) -> PBTResult:
    """Train a population; `make`, `step` and `evaluate` are the whole script where `make` gives a `Training`.

    Args:
        make, step, evaluate, save, load, apply, read, reseed: as in `Script`.
        rounds: of each member in all.
        folder: where checkpoints and the search's state are written, and resumed from after a kill; None for memory; or
            the `checkpoints` of an earlier result, to train that population on.
        executor: of processes, in which rounds run at once; functions must be picklable then.
        replay: candidates in the order in which an asynchronous run was told (`pbt.events`): goes the same way.
        report: called with each round that has ended.

    Raises:
        EvaluationFailed: all members have failed.
        HyperparameterLost: an explored value is not in force after a state was loaded.
        LookupError: the checkpoint of a parent is gone.
        ValueError: the replayed order is another search's.
    """
    if isinstance(executor, ThreadPoolExecutor):
        raise TypeError("threads would share the global random generators: give an executor of processes, or None")
    script = Script(make, step, evaluate, save, load, apply, read, reseed)
    store = folder if isinstance(folder, Checkpoints) else Checkpoints(folder)
    store.resume(pbt)
    pbt.load_state_dict(pbt.state_dict())  # what an earlier call asked beyond its rounds is handed out again
    waiting: list[Candidate[Task]] = []
    running: dict[int, tuple[Candidate[Task], Future[Ended]]] = {}
    failures: dict[int, str] = {}
    while True:
        waiting += [candidate for candidate in pbt.ask() if candidate.value.round < rounds]
        if not waiting and not running:
            break
        while executor is not None and waiting:
            candidate = waiting.pop(0)
            job = executor.submit(script.round, candidate.value, *_parent(pbt, store, candidate.value))
            running[candidate.id] = candidate, job
        candidate = _next(pbt, waiting, running, replay)
        if executor is None:
            waiting.remove(candidate)
            state, score = script.round(candidate.value, *_parent(pbt, store, candidate.value))
        else:
            state, score = running.pop(candidate.id)[1].result()
        if isinstance(score, Failed):
            failures[candidate.id] = score.reason
        store.put(candidate.id, state)
        pbt.tell([candidate], [score])
        store.write(pbt)
        if report is not None:
            report(candidate, score)
    found = []
    for one in (pbt.best, pbt.leader):
        if one is None:
            raise EvaluationFailed(f"no member has a score after {rounds} rounds")
        found.append((*one, store.get(one[0].id)))
    return PBTResult(pbt, found[0], found[1], store, failures)


def replay_schedule(
    schedule: Schedule | Sequence[Task],
    make: Make,
    step: Step,
    evaluate: Callable[[Any], Score],
    rounds: int | None = None,
    *,
    seed: int = 0,
    save: Callable[[Any], Any] = save_training,
    load: Callable[[Any, Any], None] = load_training,
    apply: Step | None = None,
    read: Callable[[Any], Mapping[str, Any]] | None = None,
    reseed: Callable[[Any, int], None] | None = None,
) -> tuple[Any, list[Score]]:
    """Train one model by a schedule: the last state, and the score after each round.

    Args:
        schedule: `pbt.schedule()`, for a new model with this seed; or the rounds of `pbt.path(candidate)`, which give
            that candidate again bit for bit.
        rounds: how many; needed for a schedule.
    """
    script = Script(make, step, evaluate, save, load, apply, read, reseed)
    state, before = None, None
    scores: list[Score] = []
    for task in _tasks(schedule, rounds, seed):
        state, score = script.round(task, state, before)
        if isinstance(score, Failed):
            raise EvaluationFailed(f"the replayed training fails in round {task.step}: {score.reason}")
        scores.append(score)
        before = task.hyper
    return state, scores


def _parent(pbt: PBT, store: Checkpoints, task: Task) -> tuple[Any, Hyper | None]:
    """State and hyperparameters of who trained before."""
    if task.parent is None:
        return None, None
    return store.get(task.parent), pbt.path(task.parent)[-1].hyper


def _next(
    pbt: PBT,
    waiting: list[Candidate[Task]],
    running: Mapping[int, tuple[Candidate[Task], Future[Ended]]],
    replay: Sequence[int] | None,
) -> Candidate[Task]:
    """Whom to tell now: the recorded one, the first asked, or without a barrier the first that ended."""
    open_ = {candidate.id: candidate for candidate in waiting} | {i: candidate for i, (candidate, _) in running.items()}
    told = len(pbt.events)
    if replay is not None and told < len(replay):
        if replay[told] not in open_ or [i for i, _ in pbt.events] != list(replay[:told]):
            raise ValueError(f"the replayed order tells candidate {replay[told]} in place {told}; this search cannot")
        return open_[replay[told]]
    if pbt.synchronous or not running:
        return open_[min(open_)]
    ended, _ = wait([job for _, job in running.values()], return_when=FIRST_COMPLETED)
    return next(candidate for candidate, job in running.values() if job in ended)


def _tasks(schedule: Schedule | Sequence[Task], rounds: int | None, seed: int) -> Iterator[Task]:
    rows = [row for row in schedule if not isinstance(row, Task)]
    if len(rows) < len(schedule):
        yield from [row for row in schedule if isinstance(row, Task)]
        return
    if rounds is None or not rows or rows[0][0] != 0:
        raise ValueError("a schedule begins at step 0, and needs the number of rounds to train")
    for step in range(rounds):
        hyper = [hyper for since, hyper in rows if since <= step][-1]
        drawn = int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
        yield Task(0, step, step, dict(hyper), step - 1 if step else None, None, drawn)
