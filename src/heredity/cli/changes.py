"""An operator's configuration as people read it, and what differs between two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from heredity.lab.operator import short_name
from heredity.lab.steps import IMPORT, STEP


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that differs; None where a side does not have it."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key} {plain(self.before)}→{plain(self.after)}"

    def as_json(self) -> dict[str, Any]:
        """Key, before and after."""
        return {"key": self.key, "before": self.before, "after": self.after}


def title(record: Mapping[str, Any]) -> str:
    """What a birth did: the operator's short name, a step's name, or "added"."""
    form = record["operator"]
    if form["type"] == STEP:
        return str(form["config"]["name"])
    return "added" if form["type"] == IMPORT else short_name(form["type"])


def settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as flat {dotted name: None, bool, number or text}; the source of a model from outside."""
    form = record["operator"]
    if form["type"] == IMPORT:
        source = record.get("labels", {}).get("source")
        return {"source": source} if source else {}
    if form["type"] == STEP:
        return dict(_flat(form["config"]["config"], ""))
    return dict(_flat(form["config"], ""))


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Leaves in order; iterative, since a configuration may be nested deeply."""
    stack = [(path, value)]
    while stack:
        path, value = stack.pop()
        prefix = f"{path}." if path else ""
        if isinstance(value, Mapping):
            if "$type" in value:
                yield path, short_name(value["$type"])
                stack += [(prefix + key, item) for key, item in reversed(list(value["fields"].items()))]
            elif any(key.startswith("$") for key in value):
                yield path, _tagged(value)
            elif value:
                stack += [(prefix + key, item) for key, item in reversed(list(value.items()))]
            else:
                yield path, "{}"
        elif isinstance(value, list):
            if any(isinstance(item, (Mapping, list)) for item in value):
                stack += [(f"{path}[{place}]", item) for place, item in reversed(list(enumerate(value)))]
            else:
                yield path, f"[{', '.join(plain(item) for item in value)}]"
        else:
            yield path, value


def _tagged(value: Mapping[str, Any]) -> str:
    tag, content = next((key, item) for key, item in value.items() if key.startswith("$"))
    if tag == "$enum":
        return str(value["name"])
    if tag == "$code":
        return short_name(content)
    if tag in ("$tensor", "$array"):
        return f"{tag[1:]} {content[:8]}"
    if tag == "$bytes":
        return f"{len(content) // 2} bytes"
    return str(content)


def plain(value: Any) -> str:
    """A setting's value as text."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Settings that differ between two flat configurations, in the order of the second."""
    keys = list(dict.fromkeys([*after, *before]))
    return [Change(key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)]


def what_changed(record: Mapping[str, Any], parent: Mapping[str, Any] | None) -> str:
    """One line: what differs from the parent's operator where it is the same one, else this one's settings."""
    mine = settings(record)
    if parent is not None and _same_operator(record, parent):
        changed = differences(settings(parent), mine)
        if changed:
            return _some(map(str, changed))
        return f"seed {record['seed']}" if record["seed"] != parent["seed"] else ""
    return summary(mine)


def summary(flat: Mapping[str, Any]) -> str:
    """The settings that say something, in one line: tables of numbers by their size, nothing that is not set.

    >>> summary({"method": "ties", "t": None, "weight[0][0]": "[0.5]", "weight[0][1]": "[0.25]"})
    'method=ties, weight=table of 2'
    """
    # A nested configuration's class goes without saying where its fields are shown.
    outer = {key.rpartition(".")[0] for key in flat}
    rows = Counter(key.partition("[")[0] for key in flat if "[" in key)
    parts: dict[str, None] = {}  # an ordered set: the rows of a table say the same
    for key, value in flat.items():
        table = key.partition("[")[0]
        if key in outer or value is None or value in ("[]", "{}"):
            continue
        parts[f"{table}=table of {rows[table]}" if rows[table] > 1 else f"{key}={_short(plain(value))}"] = None
    return _some(parts)


def _short(text: str, most: int = 32) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _some(parts: Iterable[str], most: int = 96) -> str:
    """As many parts as fit into a line, and how many more there are."""
    all_parts = list(parts)
    shown: list[str] = []
    for part in all_parts:
        if shown and len(", ".join([*shown, part])) > most:
            break
        shown.append(part if len(part) <= most else part[: most - 1] + "…")
    more = len(all_parts) - len(shown)
    return ", ".join(shown) + (f", {more} more" if more else "")


def _same_operator(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one["operator"]["type"] == other["operator"]["type"] and title(one) == title(other)
