"""Running a claim: every cell a recorded trial, so that a run that was stopped goes on and seeds can be added later."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from heredity.errors import BirthFailed
from heredity.evaluation.outcome import Ok, outcome_of
from heredity.lab import Lab, Model, Probe, Request
from heredity.lab.canonical import dumps
from heredity.papers.card import Paper
from heredity.papers.claim import Cell, Claim, Scale, Steps, Trial
from heredity.papers.errors import ClaimError
from heredity.papers.result import Result
from heredity.papers.verdict import CellResult, judge

# (what, done, total): called whenever something ended.
Report: TypeAlias = Callable[[str, int, int], None]


def _silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Args:
        paper, claim, scale: what.
        cells: every trial; seeds: those of them.
        complete: whether all arms and at least the card's number of seeds are among them.
    """

    paper: Paper
    claim: Claim
    scale: Scale
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    complete: bool


def plan(paper: Paper, scale: str = "small", *, seeds: int | None = None, arms: Sequence[str] | None = None) -> Plan:
    """The cells of a run, checked.

    Args:
        scale: one of the card's.
        seeds: another number than the card's.
        arms: some arms only.

    Raises:
        ClaimError: the paper has no claim, the scale needs what is not here, or a name is unknown.
    """
    claim = paper.claim
    if claim is None:
        raise ClaimError(f"{paper.slug} has a card but no claim to run yet")
    known = [size.name for size in claim.scales]
    if scale not in known:
        raise ClaimError(f"{paper.slug} has no scale {scale!r}; its card has {', '.join(known)}")
    size = claim.scale(scale)
    if size.needs:
        raise ClaimError(f"{paper.slug} at scale {scale} does not run by itself; it needs {size.needs}")
    if seeds is not None and seeds < 1:
        raise ClaimError(f"a run needs at least one seed, got {seeds}")
    names = [arm.name for arm in claim.arms if size.arms is None or arm.name in size.arms]
    for arm in arms or ():
        if arm not in names:
            raise ClaimError(f"{paper.slug} has no arm {arm!r} at scale {scale}; it has {', '.join(names)}")
    cells = tuple(claim.cells(scale, seeds=seeds, arms=arms))
    used = tuple(sorted({cell.seed for cell in cells}))
    spent = set(used) & {seed for pilot in claim.pilots for seed in pilot.seeds}
    if spent:
        raise ClaimError(f"--seeds {seeds} reaches seed {min(spent)}, which a pilot has used; ask for fewer")
    complete = len(used) >= size.seeds and {cell.arm for cell in cells} == set(names)
    return Plan(paper, claim, size, cells, used, complete)


def run(plan: Plan, lab: Lab, *, report: Report = _silent) -> Result:
    """Run what is not recorded yet, and judge.

    Raises:
        ClaimError: the trial's code cannot be imported or is no trial.
    """
    from heredity.lab.environment import environment

    started = time.perf_counter()
    cells = run_cells(plan.paper, plan.claim, plan.cells, lab, scale=plan.scale.name, report=report)
    judgement = judge(plan.claim, cells)
    seconds = {
        "cells": round(sum(cell.seconds for cell in cells), 3),
        "cpu": round(_cpu(lab, cells), 3),
        "run": round(time.perf_counter() - started, 3),
    }
    here = {
        name: value for name, value in environment().items() if name in ("versions", "python", "system", "cpu", "git")
    }
    return Result(
        plan.paper.slug,
        plan.paper.family,
        plan.scale.name,
        plan.claim.hash,
        judgement,
        plan.seeds,
        plan.complete,
        tuple(cells),
        seconds,
        {**here, "threads": lab.threads},
    )


def _cpu(lab: Lab, cells: Sequence[CellResult]) -> float:
    """CPU seconds of the cells' births and of all births that they descend from."""
    born: dict[str, Model] = {}
    for cell in cells:
        waiting = [lab[cell.model]] if cell.model is not None else []
        while waiting:
            model = waiting.pop()
            if model.id not in born:
                born[model.id] = model
                waiting += model.parents
    return sum(float(model.record.get("cpu") or 0.0) for model in born.values())


def run_cells(
    paper: Paper, claim: Claim, cells: Sequence[Cell], lab: Lab, *, scale: str, report: Report = _silent
) -> list[CellResult]:
    """The cells' results, in order. What is recorded in the lab is recalled; a cell whose birth fails is a failed cell.

    All cells go through their births step by step together, so that an executor sees as many births at once as there
    are; births that several cells share are made once.
    """
    function = _trial(claim)
    running: dict[int, Steps] = {i: function(cell) for i, cell in enumerate(cells)}
    sent: dict[int, list[Model]] = {}
    trials: dict[int, Trial] = {}
    failed: dict[int, str] = {}
    step = 0
    while running:
        wanted: dict[int, list[Request]] = {}
        for i, steps in list(running.items()):
            try:
                wanted[i] = list(steps.send(sent[i]) if i in sent else next(steps))
            except StopIteration as end:
                trials[i] = _checked(end.value, claim)
                del running[i]
        step += 1
        answers, errors = _births(lab, wanted, report, f"parents, step {step}")
        for i, error in errors.items():
            failed[i] = error
            running.pop(i).close()
        sent = answers
    labels = {i: {"claim": paper.slug, "scale": scale, "arm": cells[i].arm, "world": cells[i].world} for i in trials}
    made, errors = _finals(lab, trials, labels, report)
    failed |= errors
    return [
        _result(lab, cells[i], trials[i], made[i])
        if i in made
        else CellResult(cells[i].arm, cells[i].world, cells[i].seed, {}, failed[i])
        for i in range(len(cells))
    ]


def _trial(claim: Claim) -> Callable[[Cell], Steps]:
    module, _, name = claim.trial.partition(":")
    try:
        function: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ClaimError(f"the claim's trial {claim.trial!r} cannot be imported: {error}") from error
    return function  # type: ignore[no-any-return]


def _checked(value: Any, claim: Claim) -> Trial:
    if not isinstance(value, Trial):
        raise ClaimError(f"{claim.trial} returned {type(value).__name__}; a trial returns a Trial")
    return value


def _births(
    lab: Lab, wanted: Mapping[int, list[Request]], report: Report, what: str
) -> tuple[dict[int, list[Model]], dict[int, str]]:
    """Births of one step of all cells: children by cell, or why a cell cannot go on."""
    places = [(i, k) for i, requests in wanted.items() for k in range(len(requests))]
    asked = [wanted[i][k] for i, k in places]
    children: dict[tuple[int, int], Model] = {}
    errors: dict[int, str] = {}
    for done, (position, answer) in enumerate(lab.as_completed(asked), 1):
        if isinstance(answer, Model):
            children[places[position]] = answer
        elif isinstance(answer, BirthFailed):
            errors[places[position][0]] = str(answer)
        else:
            raise answer
        report(what, done, len(asked))
    born = {i: [children[i, k] for k in range(len(wanted[i]))] for i in wanted if i not in errors}
    return born, errors


def _finals(
    lab: Lab, trials: Mapping[int, Trial], labels: Mapping[int, dict[str, str]], report: Report
) -> tuple[dict[int, Model], dict[int, str]]:
    """The cells' own births, measured in the same worker; cells with equal probes go together."""
    groups: dict[str, list[int]] = {}
    for i, trial in trials.items():
        groups.setdefault(dumps([lab.form(probe) for probe in trial.measure]), []).append(i)
    made: dict[int, Model] = {}
    failed: dict[int, str] = {}
    for members in groups.values():
        asked = [_labelled(trials[i].request, labels[i]) for i in members]
        for position, answer in lab.as_completed(asked, measure=trials[members[0]].measure):
            if isinstance(answer, Model):
                made[members[position]] = answer
            elif isinstance(answer, BirthFailed):
                failed[members[position]] = str(answer)
            else:
                raise answer
            report("cells", len(made) + len(failed), len(trials))
    return made, failed


def _labelled(request: Request, labels: Mapping[str, str]) -> Request:
    facts = {name: value for name, value in labels.items() if value}
    return Request(
        request.operator,
        request.parents,
        request.roles,
        request.seed,
        {**facts, **request.labels},
        request.keep,
        request.name,
    )


def _result(lab: Lab, cell: Cell, trial: Trial, model: Model) -> CellResult:
    values: dict[str, float] = {}
    failed: str | None = None
    seconds = float(model.record.get("wall") or 0.0)
    for probe in trial.measure:
        outcome, wall = _measured(lab, probe, model)
        seconds += wall
        if isinstance(outcome, Ok):
            values |= outcome.values
        else:
            failed = failed or outcome.reason
    noted = {name: model.notes[name] for name in trial.notes if name in model.notes}
    missing = [name for name in trial.notes if name not in noted]
    if missing:
        failed = failed or f"the birth notes no {missing[0]!r}"
    elif noted:
        outcome = outcome_of(noted)
        if isinstance(outcome, Ok):
            values |= outcome.values
        else:
            failed = failed or outcome.reason
    if failed is not None:
        values = {}
    return CellResult(cell.arm, cell.world, cell.seed, values, failed, round(seconds, 4), model.id)


def _measured(lab: Lab, probe: Probe, model: Model) -> tuple[Any, float]:
    record = lab.index.measurement(lab.evaluation_key(lab.form(probe), model.id, 0)) or {}
    return lab.outcome(probe, model), float(record.get("wall") or 0.0)
