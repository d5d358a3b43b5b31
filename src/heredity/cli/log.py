"""`heredity log`: births, newest first."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heredity.cli.labs import JsonOption, LabOption, check_metric, choose_metric, metrics_of, open_lab
from heredity.errors import LabError

if TYPE_CHECKING:
    from heredity.lab import Lab

PANEL = "Look at a lineage"

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_since(text: str, now: float) -> float:
    """The moment that "90s", "10m", "2h", "3d", "1w" ago or an ISO date and time means, in seconds since 1970.

    >>> parse_since("2h", 10_000)
    2800.0

    Raises:
        LabError: it is neither.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text.strip())
    if match:
        return now - float(match[1]) * _UNITS[match[2]]
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        raise LabError(f"--since {text!r} is no time; use 90s, 10m, 2h, 3d, 1w, or a date as 2026-11-24") from None


def log_command(
    *,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many births.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="All births.")] = False,
    kind: Annotated[str | None, typer.Option(help="Only births of this kind: train, merge, mutate, …")] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", help="Measured values to show; may be repeated.", show_default=False),
    ] = None,
    since: Annotated[str | None, typer.Option(help="Only births after: 90s, 10m, 2h, 3d, 1w, or 2026-11-24.")] = None,
    lab_path: LabOption = None,
    as_json: JsonOption = False,
) -> None:
    """Births, newest first, with their line of descent.

    JSON: a list of births: id, time, kind, operator, type, change, seed, parents [{id, role}], names, metrics,
    failures, labels.

    Example: heredity log -n 5 --kind merge --metric accuracy
    """
    from heredity.cli.console import Out, plural, print_json, styled
    from heredity.cli.lineage import Facts

    with open_lab(lab_path) as lab:
        metrics = [check_metric(lab, name) for name in metric or ()]
        conditions, arguments = _conditions(lab, kind, since)
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        rows = lab.index.query(
            f"SELECT id, parent FROM births {where} ORDER BY time DESC, id DESC LIMIT ?",
            (*arguments, -1 if everything else count),
        )
        facts = Facts.of(lab, [row[0] for row in rows])
        if as_json:
            print_json([facts.as_json(row[0]) for row in rows])
            return
        out = Out()
        if not rows:
            out.line("no births" + (" match" if conditions else " yet"))
            return
        drawn = _drawn_parents(lab, rows, filtered=bool(conditions))
        usual = _usual_metrics(lab)[: 1 if out.width is not None and out.width < 100 else 3]
        _print(out, drawn, facts, metrics or usual)
        total = lab.index.query(f"SELECT count(*) FROM births {where}", arguments)[0][0]
        if total > len(rows):
            out.line(styled(f"… {plural(total - len(rows), 'older birth')}: --all, or -n {2 * len(rows)}", "dim"))


def _conditions(lab: Lab, kind: str | None, since: str | None) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    arguments: list[Any] = []
    if kind is not None:
        known = [row[0] for row in lab.index.query("SELECT DISTINCT kind FROM births ORDER BY kind")]
        if kind not in known:
            raise LabError(f"no birth is of kind {kind!r}; kinds here: {', '.join(known) or 'none'}")
        conditions.append("kind = ?")
        arguments.append(kind)
    if since is not None:
        conditions.append("time >= ?")
        arguments.append(parse_since(since, time.time()))
    return conditions, arguments


def _usual_metrics(lab: Lab) -> list[str]:
    """All metrics, the default one first."""
    first = choose_metric(lab, None)
    return [] if first is None else [first, *(name for name in metrics_of(lab) if name != first)]


def _drawn_parents(lab: Lab, rows: list[tuple[Any, ...]], *, filtered: bool) -> list[tuple[str, str | None]]:
    """Each birth with its primary parent; where a filter hides that one, with the nearest ancestor in view."""
    shown = {row[0] for row in rows}
    up: Mapping[str, str | None] = dict(lab.index.query("SELECT id, parent FROM births")) if filtered else {}
    drawn = []
    for birth, parent in rows:
        steps = len(up)
        while filtered and parent is not None and parent not in shown and steps:
            parent, steps = up.get(parent), steps - 1  # noqa: PLW2901 - walking up
        drawn.append((birth, parent if parent in shown else None))
    return drawn


def _print(out: Any, drawn: list[tuple[str, str | None]], facts: Any, metrics: list[str]) -> None:
    from rich.text import Text

    from heredity.cli.console import ago, joined, kind_text, names_text, styled
    from heredity.cli.graph import draw

    now = time.time()
    marks = {birth: "◆" if birth in facts.mates else "●" for birth, _ in drawn}
    rows = []
    for (birth, _), graph in zip(drawn, draw(drawn, marks), strict=True):
        record = facts.records[birth]
        rows.append(
            [
                Text(graph, "blue"),
                styled(facts.short(birth), "yellow"),
                styled(ago(record["time"], now), "dim"),
                kind_text(record["kind"]),
                joined([names_text(facts.names.get(birth, ())), facts.description(birth)], " "),
                facts.measured(birth, metrics),
            ]
        )
    out.rows(rows, right=[2], stretch=4)
