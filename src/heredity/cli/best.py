"""`heredity best` and `heredity children`: models as a table."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heredity.cli.labs import (
    JsonOption,
    LabOption,
    MetricOption,
    RefArgument,
    check_metric,
    choose_metric,
    model_of,
    open_lab,
)

if TYPE_CHECKING:
    from heredity.cli.lineage import Facts

PANEL = "Look at a lineage"


def best_command(
    *,
    metric: Annotated[
        str | None, typer.Option("--metric", "-m", help="What to rank by; by default fitness, or the only metric.")
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many models.")] = 10,
    lowest: Annotated[
        bool | None,
        typer.Option("--min/--max", help="Lowest or highest first; by default as the births' searches say."),
    ] = None,
    lab_path: LabOption = None,
    as_json: JsonOption = False,
) -> None:
    """Models with the best values of a metric.

    Best is what the searches aimed at that made them; where none did, the highest.

    JSON: {metric, direction, models}; a model is a birth as in log with rank and value.

    Example: heredity best --metric loss --min -n 3
    """
    from heredity.cli.console import Out, number, print_json
    from heredity.cli.lineage import Facts
    from heredity.lab.refs import default_metric, direction_of

    with open_lab(lab_path) as lab:
        chosen = check_metric(lab, metric) if metric is not None else default_metric(lab.index)
        if lowest is None:
            lowest = direction_of(lab.index, chosen) == "min"
        rows = lab.index.query(
            "SELECT m.id, m.value FROM metrics m JOIN births b ON b.id = m.id WHERE m.metric = ? "
            f"ORDER BY m.value {'ASC' if lowest else 'DESC'}, b.time, b.id LIMIT ?",
            (chosen, count),
        )
        facts = Facts.of(lab, [row[0] for row in rows])
        if as_json:
            models = [
                {"rank": rank, "value": value, **facts.as_json(birth)} for rank, (birth, value) in enumerate(rows, 1)
            ]
            print_json({"metric": chosen, "direction": "min" if lowest else "max", "models": models})
            return
        cells = [[str(rank), number(value), *_cells(facts, birth)] for rank, (birth, value) in enumerate(rows, 1)]
        Out().rows(cells, header=["", chosen, "id", "age", "kind", "model"], right=[0, 1, 3], stretch=5)


def children_command(
    ref: RefArgument, *, metric: MetricOption = None, lab_path: LabOption = None, as_json: JsonOption = False
) -> None:
    """Births that have this model as a parent, oldest first.

    In any role: mates, bases and teachers are parents, too.

    JSON: {parent, children}; a child is a birth as in log with role.

    Example: heredity children ancestor
    """
    from heredity.cli.console import Out, number, print_json, styled
    from heredity.cli.lineage import Facts, children_of

    with open_lab(lab_path) as lab:
        chosen = choose_metric(lab, metric)
        parent = model_of(lab, ref, metric).id
        found = children_of(lab, parent)
        facts = Facts.of(lab, [child for child, _ in found])
        if as_json:
            print_json(
                {"parent": parent, "children": [{"role": role, **facts.as_json(child)} for child, role in found]}
            )
            return
        out = Out()
        if not found:
            out.line(f"{parent} has no children")
            return
        rows = []
        for child, role in found:
            value = facts.values.get(child, {}).get(chosen) if chosen is not None else None
            measured = number(value) if value is not None else ""
            rows.append([*_cells(facts, child), styled(f"as {role}", "dim"), measured])
        header = ["id", "age", "kind", "model", "", chosen or ""]
        out.rows(rows, header=header, right=[1, 5], stretch=3)


def _cells(facts: Facts, birth: str) -> list[Any]:
    from heredity.cli.console import ago, joined, kind_text, names_text, styled

    record = facts.records[birth]
    return [
        styled(facts.short(birth), "yellow"),
        styled(ago(record["time"], time.time()), "dim"),
        kind_text(record["kind"]),
        joined([names_text(facts.names.get(birth, ())), facts.description(birth)], " "),
    ]
