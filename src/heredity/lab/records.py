"""What the record says about one model: its parents, children, names, measurements, later events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from heredity.errors import DamagedRecord, UnknownModel
from heredity.evaluation.outcome import Failed, Ok, unpack

if TYPE_CHECKING:
    from heredity.lab.lab import Lab
    from heredity.lab.model import Model


def edges_of(lab: Lab, model: Model) -> list[tuple[str, Model]]:
    """(role, parent), the primary parent first.

    Raises:
        UnknownModel: a parent is in no journal.
    """
    return [(edge["role"], _parent(lab, model.id, edge["id"])) for edge in model.record["parents"]]


def _parent(lab: Lab, child: str, parent: str) -> Model:
    record = lab.index.birth(parent)
    if record is None:
        raise UnknownModel(f"parent {parent} of {child} is in no journal; was a journal not copied?")
    return lab.handle(record)


def path_of(lab: Lab, model: Model) -> list[Model]:
    """From the root to a model along primary parents; see `Model.path`."""
    records = lab.index.line_of_descent(model.id)
    if len({record["id"] for record in records}) < len(records):
        raise DamagedRecord(f"{records[-1]['id']} is recorded as its own ancestor; heredity verify names the cycle")
    if records[-1]["parents"]:
        _parent(lab, records[-1]["id"], records[-1]["parents"][0]["id"])
    return [lab.handle(record) for record in reversed(records)]


def children_of(lab: Lab, model: Model) -> list[Model]:
    """Births that have this model as a parent, in any role, in the order of their time."""
    rows = lab.index.query(
        "SELECT DISTINCT b.time, b.id, b.line FROM edges e JOIN births b ON b.id = e.child WHERE e.parent = ? "
        "ORDER BY b.time, b.id",
        (model.id,),
    )
    return [lab.handle(json.loads(row[2])) for row in rows]


def names_of(lab: Lab, model: Model) -> list[str]:
    """Names that point to a model now."""
    return [row[0] for row in lab.index.query("SELECT name FROM names WHERE id = ? ORDER BY time, name", (model.id,))]


def measurements_of(lab: Lab, model: Model) -> dict[str, Ok | Failed]:
    """The newest outcome of each probe on a model, by the probe's short name."""
    rows = lab.index.query("SELECT line FROM measurements WHERE id = ? ORDER BY time, key", (model.id,))
    records = [json.loads(row[0]) for row in rows]
    return {record["probe"]["type"].rpartition(":")[2]: outcome_in(record) for record in records}


def value_of(lab: Lab, model: Model, metric: str) -> float | None:
    """The newest value of a metric of a model, or None."""
    rows = lab.index.query("SELECT value FROM metrics WHERE id = ? AND metric = ?", (model.id, metric))
    return rows[0][0] if rows else None


def events_of(lab: Lab, model: Model, kind: str) -> list[dict[str, Any]]:
    """Later lines of a kind (note, tag, drop) about a model, oldest first."""
    rows = lab.index.query("SELECT line FROM events WHERE id = ? AND t = ? ORDER BY time, line", (model.id, kind))
    return [json.loads(row[0]) for row in rows]


def outcome_in(record: Mapping[str, Any]) -> Ok | Failed:
    """The outcome in a measurement's line."""
    if "values" not in record:
        return Failed(record["failed"])
    return Ok(record["values"], unpack(record["right"]) if "right" in record else None)
