"""Running some cells of a committed result again, to see whether its numbers come out here too."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heredity.lab import Lab
from heredity.papers.card import Paper
from heredity.papers.result import Result
from heredity.papers.runner import Report, plan, run_cells
from heredity.papers.verdict import CellResult


def _silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Check:
    """One value of a cell that was run again.

    Args:
        cell: as committed.
        metric, committed, found: found is None where the cell failed.
        agrees: equal, or on another kind of machine within the card's tolerance.
    """

    cell: CellResult
    metric: str
    committed: float
    found: float | None
    agrees: bool


def check(paper: Paper, result: Result, *, count: int = 3, report: Report = _silent) -> tuple[list[Check], bool]:
    """Run some cells of a committed result again in a lab of their own.

    Args:
        count: how many; spread over the arms, the cheapest seed's worth of shared parents: all of the first seed.

    Returns:
        The values, and whether this machine is of the result's kind, so that they must be equal.
    """
    from heredity.lab.environment import environment

    claim = plan(paper, result.scale).claim
    known = {(cell.arm, cell.world, cell.seed): cell for cell in result.cells if cell.failed is None}
    first = [cell for cell in claim.cells(result.scale) if (cell.arm, cell.world, cell.seed) in known]
    first = [cell for cell in first if cell.seed == first[0].seed]
    stride = max(1, len(first) // count)
    chosen = first[::stride][:count]
    same = same_kind(environment(), result.environment)
    with (
        tempfile.TemporaryDirectory() as folder,
        Lab(Path(folder) / "lab", threads=result.environment["threads"]) as lab,
    ):
        again = run_cells(paper, claim, chosen, lab, scale=result.scale, report=report)
    checks = []
    for found in again:
        committed = known[found.arm, found.world, found.seed]
        for metric in sorted(committed.values.keys() - set(claim.clocked)):
            value, expected = found.values.get(metric), committed.values[metric]
            near = value is not None and (value == expected if same else abs(value - expected) <= claim.tolerance)
            checks.append(Check(committed, metric, expected, value, near))
    return checks, same


def same_kind(here: Mapping[str, Any], there: Mapping[str, Any]) -> bool:
    """Whether two environments promise the same bits: equal processor, system and numerical packages."""

    def kind(environment: Mapping[str, Any]) -> list[Any]:
        versions, cpu = environment.get("versions", {}), environment.get("cpu", {})
        packages = [versions.get(name) for name in ("torch", "numpy", "scikit-learn")]
        return [*packages, cpu.get("model"), cpu.get("capability"), environment.get("system")]

    return kind(here) == kind(there)
