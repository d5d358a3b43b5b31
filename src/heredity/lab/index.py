"""The index: a disposable SQLite view of a lab's journals, in the user's cache directory.

It is never the truth and never on the lab's own (possibly shared) disk; deleting it costs one re-reading. It knows how
far each journal was read, and checks the last line it read, so that a replaced journal is noticed and read again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from heredity.lab.journal import Damage, read_lines

SCHEMA = """
PRAGMA user_version = 3;
CREATE TABLE journals (name TEXT PRIMARY KEY, offset INTEGER, tail BLOB);
CREATE TABLE births (
  n INTEGER PRIMARY KEY, id TEXT UNIQUE, time REAL, type TEXT, kind TEXT, parent TEXT, weights TEXT, line TEXT);
CREATE TABLE edges (child TEXT, place INTEGER, parent TEXT, role TEXT, PRIMARY KEY (child, place)) WITHOUT ROWID;
CREATE TABLE measurements (key TEXT PRIMARY KEY, id TEXT, probe TEXT, ok INTEGER, time REAL, line TEXT);
CREATE TABLE metrics (id TEXT, metric TEXT, value REAL, time REAL, PRIMARY KEY (id, metric)) WITHOUT ROWID;
CREATE TABLE names (name TEXT PRIMARY KEY, id TEXT, time REAL) WITHOUT ROWID;
CREATE TABLE deaths (id TEXT PRIMARY KEY, time REAL, reason TEXT) WITHOUT ROWID;
CREATE TABLE events (id TEXT, t TEXT, time REAL, line TEXT);
CREATE TABLE specs (id TEXT PRIMARY KEY, line TEXT) WITHOUT ROWID;
CREATE TABLE damages (journal TEXT, offset INTEGER, reason TEXT, PRIMARY KEY (journal, offset)) WITHOUT ROWID;
CREATE INDEX births_parent ON births (parent);
CREATE INDEX births_weights ON births (weights);
CREATE INDEX births_time ON births (time);
CREATE INDEX edges_parent ON edges (parent);
CREATE INDEX measurements_id ON measurements (id);
CREATE INDEX metrics_metric ON metrics (metric, value);
CREATE INDEX names_id ON names (id);
CREATE INDEX events_id ON events (id);
"""
VERSION = 3
TAIL = 64  # bytes before the offset that must still be the same for the offset to be believed


def cache_folder() -> Path:
    """Where indexes live: $XDG_CACHE_HOME/heredity, by default ~/.cache/heredity."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "heredity"


class Index:
    """Queries over everything the journals say."""

    def __init__(self, lab: Path) -> None:
        self.journals = lab / "births"
        name = hashlib.sha256(str(lab.resolve()).encode()).hexdigest()[:24]
        self._lock = threading.RLock()
        self._offsets: dict[str, int] = {}
        self._connection = self._open(cache_folder() / f"{name}.sqlite")
        self._offsets = dict(self._connection.execute("SELECT name, offset FROM journals"))
        self.refresh()

    def _open(self, path: Path) -> sqlite3.Connection:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = self._connect(str(path))
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, VERSION):
                connection.close()
                self._remove(path)
                connection = self._connect(str(path))
            self._create(connection)
        except (sqlite3.DatabaseError, OSError):
            # An unreadable or unwritable cache must not keep anybody from the lab: read it into memory instead.
            connection = self._connect(":memory:")
            self._create(connection)
        return connection

    @staticmethod
    def _connect(target: str) -> sqlite3.Connection:
        connection = sqlite3.connect(target, timeout=30, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -65536")
        return connection

    @staticmethod
    def _remove(path: Path) -> None:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)

    @staticmethod
    def _create(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
            for statement in filter(str.strip, SCHEMA.split(";")):
                connection.execute(statement)
        connection.execute("COMMIT")

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    # Reading journals

    def refresh(self) -> None:
        """Read what was appended to any journal since the last time."""
        with self._lock:
            grown = []
            present = set()
            try:
                entries = list(os.scandir(self.journals))
            except FileNotFoundError:
                entries = []
            for entry in entries:
                if entry.name.endswith(".jsonl"):
                    present.add(entry.name)
                    if entry.stat().st_size != self._offsets.get(entry.name):
                        grown.append(entry.name)
            vanished = not present.issuperset(self._offsets)
            if grown or vanished:
                self._ingest(sorted(grown), present)

    def refresh_from(self, name: str) -> None:
        """Read what was appended to one journal."""
        with self._lock:
            self._ingest([name], None)

    def _ingest(self, names: list[str], present: set[str] | None) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            known = dict(connection.execute("SELECT name, offset FROM journals"))
            gone = present is not None and not present.issuperset(known)
            if gone or any(self._replaced(name, known.get(name, 0)) for name in names):
                self._clear()
                known = {}
                names = sorted(path.name for path in self.journals.glob("*.jsonl"))
            for name in names:
                offset = known.get(name, 0)
                for after, record in read_lines(self.journals / name, offset):
                    offset = after
                    self._add(record)
                connection.execute("REPLACE INTO journals VALUES (?, ?, ?)", (name, offset, self._tail(name, offset)))
                known[name] = offset
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        self._offsets = known

    def _tail(self, name: str, offset: int) -> bytes:
        with (self.journals / name).open("rb") as file:
            file.seek(max(0, offset - TAIL))
            return file.read(min(TAIL, offset))

    def _replaced(self, name: str, offset: int) -> bool:
        if offset == 0:
            return False
        row = self._connection.execute("SELECT tail FROM journals WHERE name = ?", (name,)).fetchone()
        return row is not None and self._tail(name, offset) != row[0]

    def _clear(self) -> None:
        for table in (
            "journals",
            "births",
            "edges",
            "measurements",
            "metrics",
            "names",
            "deaths",
            "events",
            "specs",
            "damages",
        ):
            self._connection.execute(f"DELETE FROM {table}")

    def _add(self, record: dict[str, Any] | Damage) -> None:
        execute = self._connection.execute
        if isinstance(record, Damage):
            execute("REPLACE INTO damages VALUES (?, ?, ?)", (record.journal, record.offset, record.reason))
            return
        kind, time = record["t"], record.get("time", 0.0)
        line = json.dumps(record, separators=(",", ":"), ensure_ascii=False)
        if kind == "birth":
            self._add_birth(record, time, line)
        elif kind == "measurement":
            self._add_measurement(record, time, line)
        elif kind in ("environment", "architecture"):
            execute("INSERT OR IGNORE INTO specs VALUES (?, ?)", (record["id"], line))
        elif kind == "name":
            execute(
                "INSERT INTO names VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET id = excluded.id, "
                "time = excluded.time WHERE excluded.time >= names.time",
                (record["name"], record["id"], time),
            )
        elif kind == "death":
            rows = [(birth, time, record.get("reason", "")) for birth in record["ids"]]
            self._connection.executemany("INSERT OR IGNORE INTO deaths VALUES (?, ?, ?)", rows)
        elif kind != "journal":
            ids = record.get("ids") or [record.get("id")]
            self._connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", [(i, kind, time, line) for i in ids])

    def _add_birth(self, record: dict[str, Any], time: float, line: str) -> None:
        parents = record["parents"]
        primary = parents[0]["id"] if parents else None
        cursor = self._connection.execute(
            "INSERT OR IGNORE INTO births (id, time, type, kind, parent, weights, line) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (record["id"], time, record["operator"]["type"], record["kind"], primary, record["weights"], line),
        )
        if cursor.rowcount:
            rows = [(record["id"], place, edge["id"], edge["role"]) for place, edge in enumerate(parents)]
            self._connection.executemany("INSERT OR IGNORE INTO edges VALUES (?, ?, ?, ?)", rows)
        elif json.loads(self.line(record["id"]) or "{}")["weights"] != record["weights"]:
            # Two writers recorded the same birth with other weights: both lines stay, verify reports it.
            self._connection.execute("INSERT INTO events VALUES (?, 'conflict', ?, ?)", (record["id"], time, line))

    def _add_measurement(self, record: dict[str, Any], time: float, line: str) -> None:
        ok = "values" in record
        self._connection.execute(
            "INSERT INTO measurements VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET ok = excluded.ok, "
            "time = excluded.time, line = excluded.line WHERE excluded.time >= measurements.time",
            (record["key"], record["id"], record["probe"]["type"], ok, time, line),
        )
        self._connection.executemany(
            "INSERT INTO metrics VALUES (?, ?, ?, ?) ON CONFLICT (id, metric) DO UPDATE SET value = excluded.value, "
            "time = excluded.time WHERE excluded.time >= metrics.time",
            [(record["id"], metric, value, time) for metric, value in record.get("values", {}).items()],
        )

    # Queries

    def query(self, sql: str, arguments: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a read-only statement over the tables above."""
        with self._lock:
            return self._connection.execute(sql, tuple(arguments)).fetchall()

    def line(self, birth: str) -> str | None:
        """The recorded line of a birth, or None."""
        rows = self.query("SELECT line FROM births WHERE id = ?", (birth,))
        return rows[0][0] if rows else None

    def birth(self, birth: str) -> dict[str, Any] | None:
        """The record of a birth, or None."""
        line = self.line(birth)
        return json.loads(line) if line else None

    def births(self) -> Iterator[dict[str, Any]]:
        """All births in the order of their time."""
        for (line,) in self.query("SELECT line FROM births ORDER BY time, id"):
            yield json.loads(line)

    def spec(self, spec: str) -> dict[str, Any] | None:
        """An environment or architecture by its id."""
        rows = self.query("SELECT line FROM specs WHERE id = ?", (spec,))
        return json.loads(rows[0][0]) if rows else None

    def measurement(self, key: str) -> dict[str, Any] | None:
        """The newest record of one evaluation, or None."""
        rows = self.query("SELECT line FROM measurements WHERE key = ?", (key,))
        return json.loads(rows[0][0]) if rows else None
