"""What searches were told: lines of the lab's journals, so that a search that is run again goes the same way.

A line says which candidate was told, and why it failed where it did. An asynchronous search writes one for every
candidate, in the order of the tells; the other modes write failures alone, for only these are not recalled with the
births. Lines are on disk before the searcher is told.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heredity.lab.lab import Lab


@dataclass(frozen=True, slots=True)
class Entry:
    """One tell.

    Args:
        candidate: the searcher's number.
        birth: the id of the birth that it is, or would have been; with "@" and the seed of its evaluations unless 0.
        window: how many candidates were to be in flight then.
        failed: why there was no value.
    """

    candidate: int
    birth: str
    window: int
    failed: str | None = None


class Told:
    """The tells of one search that count.

    Args:
        lab: whose journals hold them.
        search: the search's id.
    """

    def __init__(self, lab: Lab, search: str) -> None:
        self.lab, self.search = lab, search
        rows = lab.index.query("SELECT line FROM events WHERE id = ? AND t = 'told'", (search,))
        lines = sorted((json.loads(row[0]) for row in rows), key=lambda line: (line["place"], line["time"]))
        self._lines = len(lines)
        self.entries: list[Entry] = []
        for line in lines:
            if "forgiven" in line:
                self._forget(line["forgiven"])
            else:
                self.entries.append(Entry(line["candidate"], line["birth"], line["window"], line.get("failed")))

    @property
    def failures(self) -> dict[str, str]:
        """Birth → why it failed."""
        return {entry.birth: entry.failed for entry in self.entries if entry.failed is not None}

    def write(self, entries: Sequence[Entry]) -> None:
        """Record what is about to be told."""
        if entries:
            self._append(
                [
                    {"candidate": e.candidate, "birth": e.birth, "window": e.window}
                    | ({} if e.failed is None else {"failed": e.failed})
                    for e in entries
                ]
            )
            self.entries += entries

    def forgive(self, candidates: Sequence[int]) -> None:
        """Let failures that ended the search count no more: it is run again to try them again."""
        if self.lab.writable:
            self._append([{"forgiven": list(candidates)}])
            self._forget(candidates)

    def _append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        numbered = enumerate(lines, self._lines)
        self.lab.append(*({"t": "told", "id": self.search, "place": place, **line} for place, line in numbered))
        self._lines += len(lines)

    def _forget(self, candidates: Sequence[int]) -> None:
        gone = set(candidates)
        self.entries = [entry for entry in self.entries if entry.failed is None or entry.candidate not in gone]


def fingerprint(state: Any) -> str:
    """A hash of a searcher's state: plain numbers, strings, lists, dicts and arrays."""
    found = hashlib.sha256()
    _feed(state, found.update)
    return found.hexdigest()


def _feed(value: Any, update: Any) -> None:
    if isinstance(value, Mapping):
        update(b"{")
        for key in sorted(value, key=repr):
            _feed(key, update)
            _feed(value[key], update)
    elif isinstance(value, (list, tuple)):
        update(b"[")
        for item in value:
            _feed(item, update)
    elif hasattr(value, "__array__"):
        import numpy as np

        array = np.ascontiguousarray(value)
        update(f"{array.dtype.str}{array.shape}".encode())
        update(array.tobytes())
    elif isinstance(value, (set, frozenset)):
        _feed(sorted(map(repr, value)), update)
    else:
        update(repr(value).encode())
    update(b";")
