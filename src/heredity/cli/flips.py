"""Which examples one of two models got right and the other wrong, for every probe that recorded it on both."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heredity.lab import Lab, Model

FIRST_FEW = 8


@dataclass(frozen=True)
class Flips:
    """Two models' answers to the same examples.

    Args:
        probe: its short name, with what it measured: "Accuracy (accuracy)".
        seed: of both measurements.
        both, neither: how many examples both models, or none of them, got right.
        one, other: the examples that only this model got right, counted from 0, in order.
    """

    probe: str
    seed: int
    both: int
    neither: int
    one: tuple[int, ...]
    other: tuple[int, ...]

    @classmethod
    def of(cls, probe: str, seed: int, one: str, other: str) -> Flips:
        """Count; `one` and `other` as in `Ok.right`, equally long."""
        pairs = list(zip(one, other, strict=True))
        only = [tuple(at for at, pair in enumerate(pairs) if pair == kind) for kind in (("1", "0"), ("0", "1"))]
        return cls(probe, seed, pairs.count(("1", "1")), pairs.count(("0", "0")), *only)

    def as_json(self) -> dict[str, Any]:
        """Counts, and the first few examples."""
        return {
            "probe": self.probe,
            "seed": self.seed,
            "both_right": self.both,
            "only_first": len(self.one),
            "only_second": len(self.other),
            "both_wrong": self.neither,
            "examples_first": list(self.one[:FIRST_FEW]),
            "examples_second": list(self.other[:FIRST_FEW]),
        }


def flips_of(lab: Lab, one: Model, other: Model) -> list[Flips]:
    """For every measurement of both with the same probe, seed and number of examples, in the order of the first's."""
    mine, theirs = _graded(lab, one), _graded(lab, other)
    return [
        Flips.of(name, key[1], right, theirs[key][1])
        for key, (name, right) in mine.items()
        if key in theirs and len(right) == len(theirs[key][1])
    ]


def _graded(lab: Lab, model: Model) -> dict[tuple[str, int], tuple[str, str]]:
    """(id of the probe's form, seed) → the probe's name and which examples were right."""
    from heredity.evaluation.outcome import Ok
    from heredity.lab.records import outcome_in

    found: dict[tuple[str, int], tuple[str, str]] = {}
    sql = "SELECT line FROM measurements WHERE id = ? AND ok = 1 ORDER BY time, key"
    for (line,) in lab.index.query(sql, (model.id,)):
        record = json.loads(line)
        outcome = outcome_in(record)
        if isinstance(outcome, Ok) and outcome.right is not None:
            probe = record["probe"]
            name = f"{probe['type'].rpartition(':')[2]} ({next(iter(outcome.values))})"
            found[probe["id"], record["seed"]] = (name, outcome.right)
    return found
