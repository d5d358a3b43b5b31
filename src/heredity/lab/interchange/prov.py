"""A lineage as W3C PROV-JSON: models are entities, births are activities, versions of Heredity are agents.

An activity used each parent (prov:role says as what), generated the child, and was associated with the version of
Heredity that ran it; the child was derived from each parent. That a population let a model go is an attribute: PROV's
invalidation would say that the model cannot be used any more, which is not so.

Source: W3C, PROV-DM (recommendation, 2013) and the PROV-JSON serialization (member submission, 2013).
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import quote

from heredity.lab.interchange.lineage import Birth, Lineage, printable

if TYPE_CHECKING:
    from heredity.lab.lab import Lab

PREFIXES = {
    "heredity": "urn:heredity:",
    "model": "urn:heredity:model:",
    "birth": "urn:heredity:birth:",
    "metric": "urn:heredity:metric:",
    "link": "urn:heredity:link:",
    "agent": "urn:heredity:agent:",
}
_RELATIONS = ("used", "wasGeneratedBy", "wasDerivedFrom", "wasAssociatedWith")


def prov_document(lineage: Lineage) -> dict[str, Any]:
    """The document as plain values; it is held in memory whole, about 4 kB a birth."""
    document: dict[str, Any] = {"prefix": dict(PREFIXES), "entity": {}, "activity": {}, "agent": {}}
    document |= {relation: {} for relation in _RELATIONS}
    agents: dict[str | None, str] = {}
    for missing in sorted(lineage.missing):
        document["entity"][f"model:{missing}"] = {"prov:type": _name("heredity:Model"), "heredity:recorded": False}
    for birth in lineage:
        environment = birth.record.get("environment")
        if environment not in agents:
            agents[environment] = _agent(lineage.lab, environment)
            document["agent"].setdefault(agents[environment], _described(agents[environment]))
        _add(document, birth, agents[environment])
    return document


def write_prov(lineage: Lineage, file: TextIO) -> None:
    """Write the document; letters beyond ASCII are escaped."""
    json.dump(prov_document(lineage), file, allow_nan=False, indent=1)
    file.write("\n")


def _agent(lab: Lab, environment: str | None) -> str:
    """The version that ran the birth, as its environment recorded it."""
    versions = (lab.index.spec(environment) or {}).get("versions") if environment else None
    version = str((versions or {}).get("heredity") or "unknown")
    return f"agent:heredity-{_local(version)}"


def _described(agent: str) -> dict[str, Any]:
    return {"prov:type": _name("prov:SoftwareAgent"), "prov:label": agent.removeprefix("agent:").replace("-", " ", 1)}


def _add(document: dict[str, Any], birth: Birth, agent: str) -> None:
    record, model, activity = birth.record, f"model:{birth.id}", f"birth:{birth.id}"
    ended = record["time"]
    document["entity"][model] = _entity(birth)
    document["activity"][activity] = {
        "prov:startTime": _time(ended - (record.get("wall") or 0.0)),
        "prov:endTime": _time(ended),
        "prov:type": _name(f"heredity:{_local(record['kind'])}"),
        "prov:label": printable(birth.operator),
        "heredity:operator": record["operator"]["type"],
        "heredity:operatorVersion": record["operator"]["version"],
        "heredity:configuration": _json(record["operator"].get("config")),
        "heredity:seed": str(record["seed"]),
    }
    generation = f"link:{birth.id}-generation"
    document["wasGeneratedBy"][generation] = {
        "prov:entity": model,
        "prov:activity": activity,
        "prov:time": _time(ended),
    }
    document["wasAssociatedWith"][f"link:{birth.id}-association"] = {"prov:activity": activity, "prov:agent": agent}
    derived: dict[str, dict[str, Any]] = {}
    for place, (role, parent) in enumerate(birth.edges):
        usage = f"link:{birth.id}-use{place}"
        document["used"][usage] = {"prov:activity": activity, "prov:entity": f"model:{parent}", "prov:role": role}
        if parent in derived:  # the same model in a second role: one derivation, both roles
            derived[parent]["heredity:role"] = [*_listed(derived[parent]["heredity:role"]), role]
            continue
        derived[parent] = document["wasDerivedFrom"][f"link:{birth.id}-from{place}"] = {
            "prov:generatedEntity": model,
            "prov:usedEntity": f"model:{parent}",
            "prov:activity": activity,
            "prov:generation": generation,
            "prov:usage": usage,
            "heredity:role": role,
            "heredity:primary": place == 0,
        }


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _entity(birth: Birth) -> dict[str, Any]:
    record = birth.record
    entity: dict[str, Any] = {
        "prov:type": _name("heredity:Model"),
        "prov:label": birth.label,
        "heredity:kind": record["kind"],
        "heredity:key": record["key"],
        "heredity:weightsSha256": record["weights"],
    }
    if birth.names:
        entity["heredity:name"] = birth.names if len(birth.names) > 1 else birth.names[0]
    if record.get("labels"):
        entity["heredity:labels"] = _json(record["labels"])
    if birth.death:
        entity["heredity:diedAt"] = _time(birth.death[0])
    return entity | {f"metric:{_local(metric)}": value for metric, value in sorted(birth.metrics.items())}


def _name(qualified: str) -> dict[str, str]:
    return {"$": qualified, "type": "prov:QUALIFIED_NAME"}


def _local(text: str) -> str:
    """Any text as the local part of a qualified name: what may not stand there is percent-encoded."""
    return re.sub(r"[.~]", lambda mark: f"%{ord(mark[0]):02X}", quote(text, safe=""))


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
