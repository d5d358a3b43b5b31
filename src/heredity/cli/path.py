"""`heredity path`: how a model came to be, from the root on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heredity.cli.labs import JsonOption, LabOption, MetricOption, RefArgument, choose_metric, model_of, open_lab

if TYPE_CHECKING:
    from heredity.cli.console import Out
    from heredity.cli.lineage import Facts

PANEL = "Look at a lineage"


@dataclass(frozen=True, slots=True)
class Step:
    """One birth on the way.

    Args:
        birth: the id.
        value: the metric, where it was measured.
        gain: difference to the last step that was measured.
        wall: seconds the birth took; None where that was not recorded.
        total: seconds of all births up to this one.
    """

    birth: str
    value: float | None
    gain: float | None
    wall: float | None
    total: float


def story(facts: Facts, births: list[str], metric: str | None) -> list[Step]:
    """The steps of a path with gains and cumulative time."""
    steps: list[Step] = []
    last: float | None = None
    total = 0.0
    for birth in births:
        value = facts.values.get(birth, {}).get(metric) if metric is not None else None
        wall = facts.records[birth].get("wall")
        total += wall or 0.0
        gain = value - last if value is not None and last is not None else None
        steps.append(Step(birth, value, gain, wall, total))
        last = value if value is not None else last
    return steps


def path_command(
    ref: RefArgument, *, metric: MetricOption = None, lab_path: LabOption = None, as_json: JsonOption = False
) -> None:
    """The story of a model: its births from the root on.

    What each step changed, what it gained, and the time of computing so far.

    JSON: {metric, steps}; a step is a birth as in log with step, value, gain, wall, total_wall.

    Example: heredity path best --metric accuracy
    """
    from heredity.cli.console import Out, print_json
    from heredity.cli.lineage import Facts, path_to_root

    with open_lab(lab_path) as lab:
        chosen = choose_metric(lab, metric)
        births = path_to_root(lab, model_of(lab, ref, metric).id)
        facts = Facts.of(lab, births)
        steps = story(facts, births, chosen)
        if as_json:
            print_json(
                {"metric": chosen, "steps": [_step_json(facts, place, step) for place, step in enumerate(steps)]}
            )
        else:
            _print(Out(), facts, steps, chosen)


def _step_json(facts: Facts, place: int, step: Step) -> dict[str, Any]:
    return {
        "step": place,
        **facts.as_json(step.birth),
        "value": step.value,
        "gain": step.gain,
        "wall": step.wall,
        "total_wall": step.total,
    }


def step_rows(facts: Facts, steps: list[Step]) -> list[list[Any]]:
    """Cells of a story: number, id, kind, what was done, value, gain, cumulative time."""
    from heredity.cli.console import change, duration, joined, kind_text, names_text, number, styled

    rows: list[list[Any]] = []
    for place, step in enumerate(steps):
        names = names_text(facts.names.get(step.birth, ()))
        rows.append(
            [
                styled(str(place), "dim"),
                styled(facts.short(step.birth), "yellow"),
                kind_text(facts.records[step.birth]["kind"]),
                joined([names, facts.description(step.birth)], " "),
                number(step.value) if step.value is not None else "",
                change(0.0, step.gain),
                styled(duration(step.total), "dim"),
            ]
        )
    return rows


def _print(out: Out, facts: Facts, steps: list[Step], metric: str | None) -> None:
    from heredity.cli.console import duration, number, plural, styled

    header = ["", "id", "kind", "what changed", metric or "", "Δ", "time so far"]
    out.rows(step_rows(facts, steps), header=header, right=[0, 4, 5, 6], stretch=3)
    measured = [step.value for step in steps if step.value is not None]
    end = f"{plural(len(steps) - 1, 'step')} from {facts.short(steps[0].birth)} to {facts.short(steps[-1].birth)}"
    if len(measured) > 1:
        end += f": {metric} {number(measured[0])} → {number(measured[-1])}"
    out.line()
    out.line(styled(f"{end}, {duration(steps[-1].total)} of computing", "bold"))
