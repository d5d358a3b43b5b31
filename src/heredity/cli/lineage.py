"""Light reading of the index: plain rows and dictionaries for many births at once, no handle per birth."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.text import Text

from heredity.cli.changes import title, what_changed
from heredity.cli.console import joined, number, styled

if TYPE_CHECKING:
    from heredity.lab import Lab

_CHUNK = 500  # SQLite builds allow at least 999 variables in a statement
MOST_MATES = 2  # of more second parents the number is said, not the ids


def select_in(lab: Lab, sql: str, ids: Collection[str]) -> Iterator[tuple[Any, ...]]:
    """Rows of a statement that ends in `IN {}`, over any number of ids."""
    listed = list(ids)
    for start in range(0, len(listed), _CHUNK):
        chunk = listed[start : start + _CHUNK]
        yield from lab.index.query(sql.format(f"({','.join('?' * len(chunk))})"), chunk)


def id_length(lab: Lab) -> int:
    """How many first characters tell every id in the lab from every other, at least 6."""
    length = 6
    previous = ""
    for (birth,) in lab.index.query("SELECT id FROM births ORDER BY id"):
        while birth[:length] == previous[:length]:
            length += 1
        previous = birth
    return length


@dataclass
class Facts:
    """What is known of some births beside their place in the lineage, by id.

    Args:
        records: the birth's record, and those of primary parents.
        names: names that point to it now.
        values: metric → value.
        failures: reasons of failed measurements.
        mates: further parents as (id, role).
    """

    length: int
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)
    mates: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    @classmethod
    def of(cls, lab: Lab, ids: Collection[str]) -> Facts:
        """Read what is known of these births; one statement per table for every few hundred ids."""
        facts = cls(id_length(lab))
        facts._read_records(lab, ids)
        parents = {record["parents"][0]["id"] for record in facts.records.values() if record["parents"]}
        facts._read_records(lab, parents - facts.records.keys())
        for birth, name in select_in(lab, "SELECT id, name FROM names WHERE id IN {}", ids):
            facts.names.setdefault(birth, []).append(name)
        for birth, metric, value in select_in(lab, "SELECT id, metric, value FROM metrics WHERE id IN {}", ids):
            facts.values.setdefault(birth, {})[metric] = value
        for birth, line in select_in(lab, "SELECT id, line FROM measurements WHERE ok = 0 AND id IN {}", ids):
            facts.failures.setdefault(birth, []).append(json.loads(line)["failed"])
        sql = "SELECT child, parent, role FROM edges WHERE place > 0 AND child IN {}"
        for child, parent, role in select_in(lab, sql, ids):
            facts.mates.setdefault(child, []).append((parent, role))
        return facts

    def _read_records(self, lab: Lab, ids: Collection[str]) -> None:
        for birth, line in select_in(lab, "SELECT id, line FROM births WHERE id IN {}", ids):
            self.records[birth] = json.loads(line)

    def short(self, birth: str) -> str:
        """The id's first characters."""
        return birth[: self.length]

    def parent(self, birth: str) -> dict[str, Any] | None:
        """The record of the primary parent."""
        parents = self.records[birth]["parents"]
        return self.records.get(parents[0]["id"]) if parents else None

    def change(self, birth: str) -> str:
        """What differs from the primary parent, on one line."""
        return what_changed(self.records[birth], self.parent(birth))

    def description(self, birth: str) -> Text:
        """Operator, what it changed, and second parents as `+ id`."""
        others = self.mates.get(birth, ())
        mates = [styled(f"+ {self.short(parent)}", "magenta") for parent, _ in others]
        if len(mates) > MOST_MATES:
            mates = [styled(f"+ {len(others)} others", "magenta")]
        return joined([title(self.records[birth]), *mates, styled(self.change(birth), "dim")], " ")

    def measured(self, birth: str, metrics: Sequence[str]) -> Text:
        """Values of the metrics that were measured, and whether a measurement failed."""
        values = self.values.get(birth, {})
        parts = [joined([styled(name, "dim"), number(values[name])], " ") for name in metrics if name in values]
        if birth in self.failures:
            parts.append(styled("✗ failed", "red"))
        return joined(parts)

    def as_json(self, birth: str) -> dict[str, Any]:
        """The stable JSON shape of one birth in a list."""
        record = self.records[birth]
        return {
            "id": birth,
            "time": record["time"],
            "kind": record["kind"],
            "operator": title(record),
            "type": record["operator"]["type"],
            "change": self.change(birth),
            "seed": record["seed"],
            "parents": [dict(edge) for edge in record["parents"]],
            "names": sorted(self.names.get(birth, [])),
            "metrics": self.values.get(birth, {}),
            "failures": self.failures.get(birth, []),
            "labels": record.get("labels", {}),
        }


def path_to_root(lab: Lab, birth: str) -> list[str]:
    """Ids from the root to a birth along primary parents, in one statement."""
    rows = lab.index.query(
        "WITH RECURSIVE up (id, step) AS (SELECT ?, 0 UNION ALL "
        "SELECT b.parent, up.step + 1 FROM up JOIN births b ON b.id = up.id WHERE b.parent IS NOT NULL "
        "AND up.step < (SELECT count(*) FROM births)) "
        "SELECT up.id FROM up JOIN births b ON b.id = up.id ORDER BY step DESC",
        (birth,),
    )
    return [row[0] for row in rows]


def ancestors(lab: Lab, birth: str) -> set[str]:
    """Ids of a birth and all its ancestors, along any parents."""
    rows = lab.index.query(
        "WITH RECURSIVE up (id) AS (SELECT ? UNION SELECT e.parent FROM up JOIN edges e ON e.child = up.id) "
        "SELECT id FROM up",
        (birth,),
    )
    return {row[0] for row in rows}


def common_ancestor(lab: Lab, one: str, other: str) -> str | None:
    """The most recent common ancestor along any parents; a birth counts as its own."""
    common = ancestors(lab, one) & ancestors(lab, other)
    times: list[tuple[float, str]] = [
        (row[0], row[1]) for row in select_in(lab, "SELECT time, id FROM births WHERE id IN {}", common)
    ]
    return max(times)[1] if times else None


def children_of(lab: Lab, birth: str) -> list[tuple[str, str]]:
    """(id, role of the birth) of its children, oldest first."""
    return lab.index.query(
        "SELECT e.child, min(e.role) FROM edges e JOIN births b ON b.id = e.child WHERE e.parent = ? "
        "GROUP BY e.child ORDER BY b.time, b.id",
        (birth,),
    )


def count_by_kind(facts: Facts, births: Sequence[str]) -> Mapping[str, int]:
    """How many births of each kind, the most frequent first."""
    counts: dict[str, int] = {}
    for birth in births:
        kind = facts.records[birth]["kind"]
        counts[kind] = counts.get(kind, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
