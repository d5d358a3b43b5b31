"""A lineage as one JSON document of a shape that stays.

    {"format": 1, "program": "heredity 1.2", "lab": "name of its folder", "missing": ["parents that are in no journal"],
     "births": [{"id", "key", "time", "kind", "operator": {"type", "version", "config"},
                 "parents": [{"role", "id"}], "seed", "labels", "notes", "weights", "bytes", "architecture",
                 "environment", "names": [], "metrics": {}, "failures": {}, "death": {"time", "reason"} or null}]}

Parents come before their children; the first of a birth's parents is the primary one; times are seconds since 1970.
Members may be added to later versions of format 1; none of these is removed or changes its meaning.
"""

from __future__ import annotations

import json
from typing import Any, TextIO

import heredity
from heredity.lab.interchange.lineage import Birth, Lineage

FORMAT = 1
_RECORDED = ("id", "key", "time", "kind", "operator", "parents", "seed")
_OPTIONAL = ("labels", "notes", "weights", "bytes", "architecture", "environment")


def as_dict(birth: Birth) -> dict[str, Any]:
    """One birth of the document."""
    death = {"time": birth.death[0], "reason": birth.death[1]} if birth.death else None
    return {
        **{name: birth.record[name] for name in _RECORDED},
        **{name: birth.record.get(name) for name in _OPTIONAL},
        "names": birth.names,
        "metrics": birth.metrics,
        "failures": birth.failures,
        "death": death,
    }


def write_json(lineage: Lineage, file: TextIO) -> None:
    """Write the document, one birth on each line; letters beyond ASCII are escaped."""
    head = {
        "format": FORMAT,
        "program": f"heredity {heredity.__version__}",
        "lab": lineage.lab.root.name,
        "missing": sorted(lineage.missing),
    }
    file.write(f'{json.dumps(head)[:-1]}, "births": [')
    for place, birth in enumerate(lineage):
        file.write(f"{',' if place else ''}\n{json.dumps(as_dict(birth), allow_nan=False)}")
    file.write("\n]}\n")
