"""What the page is told: a lab's record as chunks of compact JSON, each saying only what the ones before did not.

A report holds one chunk; a live page gets the first one and then whatever was recorded since. Equal values (operators
with their configuration, labels, environments, …) are said once, in a pool that grows with the chunks; the page refers
to them by position. Births are referred to by their position in the order in which they were told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import heredity

if TYPE_CHECKING:
    from heredity.lab import Lab

FORMAT = 1
_EXACT = 2**53  # beyond it a number is no longer exact in JavaScript
KEPT, DETERMINISTIC = 1, 2
_ENVELOPE = ("id", "ids", "t", "time")  # of an event, said beside what it holds


class LabReader:
    """Reads a lab in steps.

    Args:
        lab: opened in any mode; nothing is written.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._places: dict[str, int] = {}
        self._last: tuple[int, str] | None = None
        self._pool: dict[str, int] = {"null": 0}
        self._new: list[Any] = [None]
        self._values: dict[str, dict[str, float]] = {}
        self._failures: dict[str, float] = {}
        self._right: dict[str, float] = {}
        self._deaths: set[str] = set()
        self._names: dict[str, str] = {}
        self._event = 0

    def replaced(self) -> bool:
        """Whether the lab was exchanged under the reader (a journal was removed or replaced): begin with a new one."""
        if self._last is None:
            return False
        place, birth = self._last
        rows = self.lab.index.query("SELECT id FROM births WHERE n = ?", (place,))
        return not rows or rows[0][0] != birth or len(self.lab) < len(self._places)

    def read(self) -> dict[str, Any] | None:
        """What was recorded since the last reading; None when that is nothing."""
        first = not self._places and self._last is None and self._event == 0
        births = self._births()
        found = {
            "births": births,
            "values": self._new_values(),
            "failures": self._new_failures(),
            "right": self._new_right(),
            "deaths": self._new_deaths(),
            "names": self._new_names(),
            "events": self._new_events(),
        }
        told = {name: content for name, content in found.items() if content}
        pool, self._new = self._new, []
        if not told and not first:
            return None
        return {"format": FORMAT, "pool": pool, **told}

    def about(self) -> dict[str, Any]:
        """The lab's name, the path to give to commands, and the version that reads it."""
        path = self.lab.path
        return {"name": path.resolve().name, "path": str(path), "version": heredity.__version__}

    def _intern(self, value: Any) -> int:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        place = self._pool.get(text)
        if place is None:
            place = self._pool[text] = len(self._pool)
            self._new.append(value)
        return place

    def _spec(self, name: str | None) -> int:
        """An environment or architecture, said once; its bare id where its record is missing."""
        if name is None:
            return 0
        place = self._pool.get(f"spec {name}")
        if place is None:
            record = self.lab.index.spec(name) or {"id": name}
            place = self._pool[f"spec {name}"] = len(self._pool)
            self._new.append({key: value for key, value in record.items() if key not in ("t", "time")})
        return place

    def _births(self) -> list[list[Any]]:
        after = self._last[0] if self._last else 0
        rows = self.lab.index.query("SELECT n, id, line FROM births WHERE n > ? ORDER BY time, id", (after,))
        for _, birth, _ in rows:
            self._places[birth] = len(self._places)
        if rows:
            self._last = max((row[0], row[1]) for row in rows)
        return [self._birth(json.loads(line)) for _, _, line in rows]

    def _birth(self, record: Mapping[str, Any]) -> list[Any]:
        seed = record["seed"]
        parents: list[int | str] = []
        for edge in record["parents"]:
            parents += [self._places.get(edge["id"], edge["id"]), self._intern(edge["role"])]
        return [
            record["id"],
            record["time"],
            self._intern(record["kind"]),
            self._intern(record["operator"]),
            parents,
            seed if not isinstance(seed, int) or abs(seed) < _EXACT else str(seed),
            self._intern(record.get("labels") or None),
            self._intern(record.get("notes") or None),
            self._spec(record.get("environment")),
            self._spec(record.get("architecture")),
            record["weights"][:16],
            record.get("bytes"),
            record.get("wall"),
            record.get("cpu"),
            record.get("peak_rss"),
            (KEPT if record.get("kept") else 0) | (DETERMINISTIC if record.get("deterministic") else 0),
            record.get("threads"),
        ]

    def _new_values(self) -> dict[str, list[float]]:
        """Metric → position of a birth, value, position, value, …"""
        found: dict[str, list[float]] = {}
        for birth, metric, value in self.lab.index.query("SELECT id, metric, value FROM metrics ORDER BY metric"):
            known = self._values.setdefault(metric, {})
            if birth in self._places and known.get(birth) != value:
                known[birth] = value
                found.setdefault(metric, []).extend((self._places[birth], value))
        return found

    def _new_failures(self) -> list[list[Any]]:
        found = []
        sql = "SELECT key, id, probe, time, line FROM measurements WHERE ok = 0"
        for key, birth, probe, time, line in self.lab.index.query(sql):
            if birth in self._places and self._failures.get(key) != time:
                self._failures[key] = time
                found.append([self._places[birth], probe, json.loads(line).get("failed", "")])
        return found

    def _new_right(self) -> list[list[Any]]:
        """Position of a birth, [metric, probe, seed] in the pool, which examples were right as they are recorded."""
        found: list[list[Any]] = []
        sql = "SELECT key, id, time FROM measurements WHERE ok = 1 AND instr(line, '\"right\"') ORDER BY time, key"
        for key, birth, time in self.lab.index.query(sql):
            if birth not in self._places or self._right.get(key) == time:
                continue
            self._right[key] = time
            record = self.lab.index.measurement(key) or {}
            if "right" in record:
                probe = [next(iter(record["values"])), record["probe"]["id"], record["seed"]]
                found.append([self._places[birth], self._intern(probe), record["right"]])
        return found

    def _new_deaths(self) -> list[Any]:
        """Position, time, reason (in the pool), …"""
        found: list[Any] = []
        for birth, time, reason in self.lab.index.query("SELECT id, time, reason FROM deaths ORDER BY time"):
            if birth in self._places and birth not in self._deaths:
                self._deaths.add(birth)
                found += [self._places[birth], time, self._intern(reason or None)]
        return found

    def _new_names(self) -> list[list[Any]]:
        """All names when any has changed: they move."""
        rows = self.lab.index.query("SELECT name, id FROM names ORDER BY time, name")
        names = {name: birth for name, birth in rows if birth in self._places}
        if names == self._names:
            return []
        self._names = names
        return [[name, self._places[birth]] for name, birth in names.items()]

    def _new_events(self) -> list[list[Any]]:
        found = []
        # What searches were told is for searches alone.
        sql = "SELECT rowid, id, t, time, line FROM events WHERE rowid > ? AND t <> 'told' ORDER BY rowid"
        for row, birth, kind, time, line in self.lab.index.query(sql, (self._event,)):
            self._event = row
            content = {} if kind == "conflict" else json.loads(line)
            held = {key: value for key, value in content.items() if key not in _ENVELOPE}
            found.append([birth, kind, time, self._intern(held or None)])
        return found


def to_json(value: Any) -> str:
    """JSON that may stand inside an HTML script element: plain ASCII without <, > or &.

    >>> to_json("</script><!--\\u2028")
    '"\\\\u003c/script\\\\u003e\\\\u003c!--\\\\u2028"'
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
