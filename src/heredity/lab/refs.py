"""References to models, as people type them: ids and their prefixes, names, best, latest, and ancestors by ~n."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from heredity.errors import AmbiguousModel, UnknownModel

if TYPE_CHECKING:
    from heredity.lab.index import Index

HELP = (
    "an id or its first characters, a name, best, best:METRIC, best:METRIC:min or :max, latest, or any of these with ~N"
)


def resolve(index: Index, reference: str) -> str:
    """The id that a reference means.

    Raises:
        UnknownModel: nothing matches; the message lists what would.
        AmbiguousModel: several births match.
    """
    match = re.fullmatch(r"(.+?)((?:~\d*)*)", reference)
    if match is None:
        raise UnknownModel(f"an empty reference names no model; use {HELP}")
    birth = _base(index, match[1])
    for step in re.findall(r"~(\d*)", match[2]):
        birth = _up(index, birth, int(step or 1), reference)
    return birth


def _up(index: Index, birth: str, generations: int, reference: str) -> str:
    for _ in range(generations):
        rows = index.query("SELECT parent FROM births WHERE id = ?", (birth,))
        if not rows:
            raise UnknownModel(f"{reference!r} leads to {birth}, which is in no journal; was a journal not copied?")
        if rows[0][0] is None:
            raise UnknownModel(f"{reference!r} goes above {birth}, which has no parents")
        birth = rows[0][0]
    return birth


def _base(index: Index, reference: str) -> str:
    rows = index.query("SELECT id FROM names WHERE name = ?", (reference,))
    if rows:
        return rows[0][0]
    if reference == "latest":
        rows = index.query("SELECT id FROM births ORDER BY time DESC, id DESC LIMIT 1")
        if not rows:
            raise UnknownModel("the lab is empty: there is no latest birth")
        return rows[0][0]
    if reference == "best" or reference.startswith("best:"):
        return best(index, *reference.split(":")[1:])
    if re.fullmatch(r"[0-9a-f]{2,64}", reference):
        return _by_prefix(index, reference)
    raise UnknownModel(_nothing(index, reference))


def _by_prefix(index: Index, prefix: str) -> str:
    short = prefix[:16]
    rows = index.query("SELECT id FROM births WHERE id >= ? AND id < ? LIMIT 6", (short, short + "g"))
    if len(prefix) > 16:  # of a key
        rows = [row for row in rows if str((index.birth(row[0]) or {}).get("key", "")).startswith(prefix)]
    if not rows:
        raise UnknownModel(_nothing(index, prefix))
    if len(rows) > 1:
        found = ", ".join(row[0] for row in rows[:5]) + (", …" if len(rows) > 5 else "")
        raise AmbiguousModel(f"{prefix!r} begins several ids: {found}; type more characters")
    return rows[0][0]


def _nothing(index: Index, reference: str) -> str:
    names = [row[0] for row in index.query("SELECT name FROM names ORDER BY name LIMIT 8")]
    known = f"; names here: {', '.join(names)}" if names else ""
    return f"no model is called {reference!r}; use {HELP}{known}"


def default_metric(index: Index) -> str:
    """The metric that "best" means: fitness where there is one, else the only metric there is.

    Raises:
        UnknownModel: nothing was measured, or several metrics were and none is called fitness.
    """
    metrics = [row[0] for row in index.query("SELECT DISTINCT metric FROM metrics ORDER BY metric")]
    if "fitness" in metrics:
        return "fitness"
    if len(metrics) == 1:
        return metrics[0]
    if not metrics:
        raise UnknownModel("nothing was measured in this lab yet, so there is no best model")
    raise UnknownModel(f"say which metric: {', '.join('best:' + metric for metric in metrics)}")


def direction_of(index: Index, metric: str) -> str:
    """ "min" where all searches that aim at a metric minimise it, else "max"."""
    rows = index.query(
        "SELECT DISTINCT json_extract(b.line, '$.labels.aim') FROM metrics m JOIN births b ON b.id = m.id "
        "WHERE m.metric = ? AND instr(b.line, '\"aim\":')",
        (metric,),
    )
    aims = {aim for row in rows if isinstance(row[0], str) for aim in row[0].split(", ")}
    return "min" if f"minimize {metric}" in aims and f"maximize {metric}" not in aims else "max"


def best(index: Index, metric: str | None = None, direction: str | None = None) -> str:
    """The id with the best value of a metric; of equals the first born.

    Args:
        index: of the lab.
        metric: by default that of `default_metric`.
        direction: "max" or "min"; by default that of `direction_of`.
    """
    metric = metric or default_metric(index)
    direction = direction or direction_of(index, metric)
    if direction not in ("max", "min"):
        raise UnknownModel(f"best:{metric}:{direction}: the direction is max or min")
    order = "DESC" if direction == "max" else "ASC"
    rows = index.query(
        f"SELECT m.id FROM metrics m JOIN births b ON b.id = m.id WHERE m.metric = ? "
        f"ORDER BY m.value {order}, b.time, b.id LIMIT 1",
        (metric,),
    )
    if not rows:
        known = [row[0] for row in index.query("SELECT DISTINCT metric FROM metrics ORDER BY metric")]
        raise UnknownModel(f"no model was measured by {metric!r}; measured here: {', '.join(known) or 'nothing'}")
    return rows[0][0]
