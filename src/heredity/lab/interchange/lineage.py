"""What the formats are written from: births with their parents first, read from the index in small portions.

Only ids and edges of the whole lineage are held in memory; records, names and measurements are read as they are
written.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from heredity.errors import DamagedRecord

if TYPE_CHECKING:
    from heredity.lab.lab import Lab

_PORTION = 500  # births read at once; SQLite builds allow at least 999 variables in a statement


@dataclass(slots=True)
class Birth:
    """One birth and what was recorded about it later.

    Args:
        record: the journal's line.
        names: names that point to it now.
        metrics: newest value of each metric.
        failures: probe's import path → why it has no value.
        death: (time, reason) when a population let it go.
    """

    record: Mapping[str, Any]
    names: list[str] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    death: tuple[float, str] | None = None

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the key."""
        return self.record["id"]

    @property
    def edges(self) -> list[tuple[str, str]]:
        """(role, id) of each parent, the primary one first."""
        return [(edge["role"], edge["id"]) for edge in self.record["parents"]]

    @property
    def operator(self) -> str:
        """The operator's short name."""
        return self.record["operator"]["type"].rpartition(":")[2]

    @property
    def label(self) -> str:
        """The first of its names, in printable characters, or its id; no name looks like an id."""
        return printable(self.names[0]) if self.names else self.id


class Lineage:
    """Births in an order in which parents come before their children, else by time.

    Args:
        lab: opened in any mode; nothing is written.
        references: births to take, with all their ancestors; none for all births.

    Raises:
        UnknownModel: a reference means no birth.
        DamagedRecord: a birth is recorded as its own ancestor.
    """

    def __init__(self, lab: Lab, references: Sequence[str] = ()) -> None:
        self.lab = lab
        lab.index.refresh()
        chosen: set[str] | None = None
        if references:
            chosen = set()
            for reference in references:
                chosen |= _with_ancestors(lab, lab[reference].id)
        rows = lab.index.query("SELECT id FROM births ORDER BY time, id")
        by_time = [birth for (birth,) in rows if chosen is None or birth in chosen]
        known = set(by_time)
        self.parents: dict[str, list[str]] = {birth: [] for birth in by_time}
        self.missing: set[str] = set()  # parents that are in no journal
        for child, parent in lab.index.query("SELECT child, parent FROM edges ORDER BY child, place"):
            if child not in known:
                continue
            if parent not in known:
                self.missing.add(parent)
            elif parent not in self.parents[child]:
                self.parents[child].append(parent)
        self.ids = _parents_first(by_time, self.parents)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Birth]:
        return self.births(self.ids)

    def births(self, ids: Collection[str]) -> Iterator[Birth]:
        """These births, in the order given."""
        listed = list(ids)
        for start in range(0, len(listed), _PORTION):
            portion = listed[start : start + _PORTION]
            found = self._read(portion)
            yield from (found[birth] for birth in portion)

    def _read(self, ids: list[str]) -> dict[str, Birth]:
        query, marks = self.lab.index.query, f"({','.join('?' * len(ids))})"
        rows = query(f"SELECT id, line FROM births WHERE id IN {marks}", ids)
        found = {birth: Birth(json.loads(line)) for birth, line in rows}
        for birth, name in query(f"SELECT id, name FROM names WHERE id IN {marks} ORDER BY time, name", ids):
            found[birth].names.append(name)
        for birth, metric, value in query(f"SELECT id, metric, value FROM metrics WHERE id IN {marks}", ids):
            found[birth].metrics[metric] = value
        sql = f"SELECT id, probe, line FROM measurements WHERE ok = 0 AND id IN {marks} ORDER BY time, key"
        for birth, probe, line in query(sql, ids):
            found[birth].failures[probe] = json.loads(line)["failed"]
        for birth, time, reason in query(f"SELECT id, time, reason FROM deaths WHERE id IN {marks}", ids):
            found[birth].death = (time, reason)
        return found

    def primary(self) -> dict[str, str | None]:
        """Each birth's primary parent; None for roots and where that parent is in no journal."""
        rows = self.lab.index.query("SELECT id, parent FROM births")
        wanted = dict(rows)
        return {birth: wanted[birth] if wanted[birth] in self.parents else None for birth in self.ids}


def _with_ancestors(lab: Lab, birth: str) -> set[str]:
    rows = lab.index.query(
        "WITH RECURSIVE up (id) AS (SELECT ? UNION SELECT e.parent FROM up JOIN edges e ON e.child = up.id) "
        "SELECT id FROM up",
        (birth,),
    )
    return {row[0] for row in rows}


def _parents_first(by_time: Sequence[str], parents: Mapping[str, Sequence[str]]) -> list[str]:
    """Clocks of several machines differ: a child may carry an earlier time than its parent."""
    rank = {birth: place for place, birth in enumerate(by_time)}
    waiting = [len(parents[birth]) for birth in by_time]
    children: list[list[int]] = [[] for _ in by_time]
    for child, listed in parents.items():
        for parent in listed:
            children[rank[parent]].append(rank[child])
    ready = [place for place, count in enumerate(waiting) if count == 0]
    ordered: list[str] = []
    while ready:
        place = heapq.heappop(ready)
        ordered.append(by_time[place])
        for below in children[place]:
            waiting[below] -= 1
            if waiting[below] == 0:
                heapq.heappush(ready, below)
    if len(ordered) < len(by_time):
        cyclic = next(birth for birth, count in zip(by_time, waiting, strict=True) if count)
        raise DamagedRecord(f"{cyclic} is recorded among its own ancestors or theirs; heredity verify names the cycle")
    return ordered


def printable(text: str) -> str:
    """Text with control characters (newlines, terminal codes, direction marks) written as escapes.

    >>> printable("a\\nb")
    'a\\\\nb'
    """
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)
