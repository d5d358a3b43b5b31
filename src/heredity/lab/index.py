"""The index: a disposable SQLite view of a lab's journals, in the user's cache directory.

It is never the truth and never on the lab's own (possibly shared) disk; deleting it costs one re-reading. It knows how
far each journal was read, and checks the last bytes it read, so that a replaced journal is noticed and read again. A
damaged or unwritable index is replaced, if need be by one in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from heredity.errors import LabError
from heredity.folders import cache_folder
from heredity.lab.journal import Damage, decode_line, read_lines, strip_crc

TABLES = """
CREATE TABLE journals (name TEXT PRIMARY KEY, offset INTEGER, tail BLOB) WITHOUT ROWID;
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
CREATE INDEX births_time ON births (time, id);
CREATE INDEX edges_parent ON edges (parent);
CREATE INDEX measurements_id ON measurements (id);
CREATE INDEX metrics_metric ON metrics (metric, value);
CREATE INDEX names_id ON names (id);
CREATE INDEX events_id ON events (id);
CREATE INDEX events_t ON events (t);
"""
VERSION = 6
TAIL = 64  # bytes before the offset that must still be the same for the offset to be believed


class Index:
    """Queries over everything the journals say."""

    def __init__(self, lab: Path) -> None:
        self.journals = lab / "births"
        name = hashlib.sha256(str(lab.resolve()).encode()).hexdigest()[:24]
        self._path = cache_folder() / f"{name}.sqlite"
        self._lock = threading.RLock()
        # Sizes of the journals when they were last read to their ends; None before the first look, when the database
        # may know of journals that are gone.
        self._sizes: dict[str, int] | None = None
        self._specs: set[str] = set()
        self._connection: sqlite3.Connection | None = None
        self._owner = 0
        self.refresh()

    # The database

    def _database(self) -> sqlite3.Connection:
        if self._owner != os.getpid():  # opened now, or inherited by a forked child, which must not use it
            self._connection, self._owner, self._sizes = self._open(), os.getpid(), None
        if self._connection is None:
            raise LabError(f"the lab at {self.journals.parent} was closed; open it again")
        return self._connection

    def _open(self) -> sqlite3.Connection:
        for _ in range(2):
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                return self._connect(str(self._path))
            except sqlite3.OperationalError:
                break  # the folder cannot be written, or the file is locked for good
            except sqlite3.DatabaseError:
                with contextlib.suppress(OSError):
                    self._remove()
            except OSError:
                break
        # An unreadable or unwritable cache must not keep anybody from the lab: read it into memory instead.
        return self._connect(":memory:")

    def _connect(self, target: str) -> sqlite3.Connection:
        connection = sqlite3.connect(target, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA cache_size = -65536")
            connection.execute("BEGIN IMMEDIATE")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in filter(str.strip, TABLES.split(";")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
            if version not in (0, VERSION):
                raise sqlite3.DatabaseError(f"index version {version}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)

    def _start_again(self, error: sqlite3.DatabaseError) -> None:
        """Replace a database that turned out to be damaged; do without its file where that cannot be written."""
        if self._connection is not None:
            self._connection.close()
        self._sizes = None
        if isinstance(error, sqlite3.OperationalError):  # the disk of the cache is full, or it stays locked
            self._connection = self._connect(":memory:")
            return
        with contextlib.suppress(OSError):
            self._remove()
        self._connection = self._open()

    def close(self) -> None:
        """Close the database."""
        if self._connection is not None and self._owner == os.getpid():
            self._connection.close()
        self._connection, self._owner = None, os.getpid()

    # Reading journals

    def refresh(self) -> None:
        """Read what was appended to any journal since the last time."""
        with self._lock:
            self._database()
            sizes = self._journal_sizes()
            before = self._sizes
            grown = [name for name, size in sizes.items() if before is None or before.get(name) != size]
            if before is None or grown or not sizes.keys() >= before.keys():
                self._safely(sorted(grown), sizes)

    def read_again(self) -> None:
        """Read all journals from their beginnings: also what was damaged after it was read is noticed."""
        with self._lock:
            self._safely([], self._journal_sizes(), again=True)

    def _journal_sizes(self) -> dict[str, int]:
        try:
            with os.scandir(self.journals) as entries:
                return {entry.name: entry.stat().st_size for entry in entries if entry.name.endswith(".jsonl")}
        except FileNotFoundError:
            return {}

    def add_own(self, name: str, start: int, lines: Sequence[bytes]) -> None:
        """Take in lines that this process has just appended to its journal at byte `start`."""
        with self._lock:
            connection = self._database()
            end = start + sum(map(len, lines))
            try:
                connection.execute("BEGIN IMMEDIATE")
                row = connection.execute("SELECT offset FROM journals WHERE name = ?", (name,)).fetchone()
                if row is not None and row[0] == start:
                    place = start
                    for line in lines:
                        self._add(decode_line(line.rstrip(b"\n")), strip_crc(line), name, place)
                        place += len(line)
                    tail = b"".join(lines)[-TAIL:]
                    connection.execute("UPDATE journals SET offset = ?, tail = ? WHERE name = ?", (end, tail, name))
                    connection.execute("COMMIT")
                    if self._sizes is not None:
                        self._sizes[name] = end
                    return
                connection.execute("ROLLBACK")
            except sqlite3.DatabaseError as error:
                self._start_again(error)
            # the journal is new here, or another process has already read these lines, or the index was lost
            self.refresh()

    def _safely(self, names: list[str], sizes: dict[str, int], *, again: bool = False) -> None:
        try:
            self._ingest(names, sizes, again=again)
        except sqlite3.DatabaseError as error:
            self._start_again(error)
            self._ingest(sorted(sizes), sizes)

    def _ingest(self, names: list[str], sizes: dict[str, int], *, again: bool = False) -> None:
        connection = self._database()
        connection.execute("BEGIN IMMEDIATE")
        try:
            known = dict(connection.execute("SELECT name, offset FROM journals"))
            # A journal that another process made and read meanwhile is not in `sizes`, but is there.
            gone = [name for name in known if name not in sizes and not (self.journals / name).exists()]
            if again or gone or any(self._replaced(name, known.get(name, 0)) for name in names):
                self._clear()
                known = {}
                names = sorted(sizes)
            for name in names:
                offset = known.get(name, 0)
                for after, record, text in read_lines(self.journals / name, offset):
                    self._add(record, text, name, offset)
                    offset = after
                tail = self._tail(name, offset)
                connection.execute("REPLACE INTO journals VALUES (?, ?, ?)", (name, offset, tail))
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        self._sizes = dict(sizes)

    def _tail(self, name: str, offset: int) -> bytes:
        with (self.journals / name).open("rb") as file:
            file.seek(max(0, offset - TAIL))
            return file.read(min(TAIL, offset))

    def _replaced(self, name: str, offset: int) -> bool:
        if offset == 0:
            return False
        row = self._database().execute("SELECT tail FROM journals WHERE name = ?", (name,)).fetchone()
        return row is not None and self._tail(name, offset)[-TAIL:] != row[0][-TAIL:]

    def _clear(self) -> None:
        connection = self._database()
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            connection.execute(f"DELETE FROM {table}")
        self._specs.clear()

    def _add(self, record: dict[str, Any] | Damage, line: str, journal: str, start: int) -> None:
        if isinstance(record, dict):
            try:
                self._add_record(record, line)
                return
            except (KeyError, TypeError, AttributeError) as error:
                # A whole line of unknown shape must not keep anybody from the rest.
                record = Damage(journal, start, f"a {record.get('t')!r} record of unknown shape: {error!r}")
        self._database().execute(
            "REPLACE INTO damages VALUES (?, ?, ?)", (record.journal, record.offset, record.reason)
        )

    def _add_record(self, record: dict[str, Any], line: str) -> None:
        connection = self._database()
        kind, time = record["t"], float(record.get("time", 0.0))
        if kind == "birth":
            self._add_birth(record, time, line)
        elif kind == "measurement":
            self._add_measurement(record, time, line)
        elif kind in ("environment", "architecture", "probe"):
            connection.execute("INSERT OR IGNORE INTO specs VALUES (?, ?)", (record["id"], line))
        elif kind == "name":
            connection.execute(
                "INSERT INTO names VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET id = excluded.id, "
                "time = excluded.time WHERE excluded.time >= names.time",
                (record["name"], record["id"], time),
            )
        elif kind == "death":
            rows = [(birth, time, record.get("reason", "")) for birth in record["ids"]]
            connection.executemany("INSERT OR IGNORE INTO deaths VALUES (?, ?, ?)", rows)
        elif kind != "journal":
            ids = record.get("ids") or [record.get("id")]
            connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", [(i, kind, time, line) for i in ids])

    def _add_birth(self, record: dict[str, Any], time: float, line: str) -> None:
        connection = self._database()
        birth, parents = record["id"], record["parents"]
        edges = [(birth, place, edge["id"], edge["role"]) for place, edge in enumerate(parents)]
        primary = parents[0]["id"] if parents else None
        row = (time, record["operator"]["type"], record["kind"], primary, record["weights"], line)
        found = connection.execute("SELECT time, weights, line FROM births WHERE id = ?", (birth,)).fetchone()
        if found is None:
            connection.execute(
                "INSERT INTO births (time, type, kind, parent, weights, line, id) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*row, birth),
            )
            connection.executemany("INSERT OR IGNORE INTO edges VALUES (?, ?, ?, ?)", edges)
            return
        if found[1] != record["weights"]:
            # Two writers recorded the same birth with other weights: both lines stay, verify reports it.
            connection.execute("INSERT INTO events VALUES (?, 'conflict', ?, ?)", (birth, time, line))
        if (time, line) < (found[0], found[2]):  # the earliest counts, in whatever order journals are read
            connection.execute(
                "UPDATE births SET time = ?, type = ?, kind = ?, parent = ?, weights = ?, line = ? WHERE id = ?",
                (*row, birth),
            )

    def _add_measurement(self, record: dict[str, Any], time: float, line: str) -> None:
        connection = self._database()
        connection.execute(
            "INSERT INTO measurements VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET ok = excluded.ok, "
            "time = excluded.time, line = excluded.line WHERE excluded.time >= measurements.time",
            (record["key"], record["id"], record["probe"]["type"], "values" in record, time, line),
        )
        connection.executemany(
            "INSERT INTO metrics VALUES (?, ?, ?, ?) ON CONFLICT (id, metric) DO UPDATE SET value = excluded.value, "
            "time = excluded.time WHERE excluded.time >= metrics.time",
            [(record["id"], metric, value, time) for metric, value in record.get("values", {}).items()],
        )

    # Queries

    def query(self, sql: str, arguments: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a read-only statement over the tables above."""
        values = tuple(arguments)
        with self._lock:
            try:
                return self._database().execute(sql, values).fetchall()
            except sqlite3.OperationalError:
                raise  # a wrong statement
            except sqlite3.DatabaseError as error:
                self._start_again(error)
                self.refresh()
                return self._database().execute(sql, values).fetchall()

    def line(self, birth: str) -> str | None:
        """The recorded line of a birth, or None."""
        rows = self.query("SELECT line FROM births WHERE id = ?", (birth,))
        return rows[0][0] if rows else None

    def birth(self, birth: str) -> dict[str, Any] | None:
        """The record of a birth, or None."""
        line = self.line(birth)
        return json.loads(line) if line else None

    def births(self) -> Iterator[dict[str, Any]]:
        """All births in the order of their time; those born while reading may or may not be among them."""
        after: tuple[float, str] = (float("-inf"), "")
        while rows := self.query(
            "SELECT time, id, line FROM births WHERE (time, id) > (?, ?) ORDER BY time, id LIMIT 1000", after
        ):
            for time, birth, line in rows:
                after = (time, birth)
                yield json.loads(line)

    def line_of_descent(self, birth: str) -> list[dict[str, Any]]:
        """A birth and its primary ancestors, the birth first, as far up as they are recorded.

        A record that is its own ancestor comes twice, at the end: there the walk stops.
        """
        rows = self.query(
            "WITH RECURSIVE up (id, step) AS (SELECT ?, 0 UNION ALL SELECT b.parent, up.step + 1 FROM up "
            "JOIN births b ON b.id = up.id WHERE b.parent IS NOT NULL AND up.step < (SELECT count(*) FROM births)) "
            "SELECT b.line FROM up JOIN births b ON b.id = up.id ORDER BY step",
            (birth,),
        )
        return [json.loads(row[0]) for row in rows]

    def has_spec(self, spec: str) -> bool:
        """Whether an environment, architecture or probe of this id is recorded."""
        if spec not in self._specs and self.query("SELECT 1 FROM specs WHERE id = ?", (spec,)):
            self._specs.add(spec)
        return spec in self._specs

    def spec(self, spec: str) -> dict[str, Any] | None:
        """An environment, architecture or probe by its id."""
        rows = self.query("SELECT line FROM specs WHERE id = ?", (spec,))
        return json.loads(rows[0][0]) if rows else None

    def measurement(self, key: str) -> dict[str, Any] | None:
        """The newest record of one evaluation, or None."""
        rows = self.query("SELECT line FROM measurements WHERE key = ?", (key,))
        return json.loads(rows[0][0]) if rows else None
