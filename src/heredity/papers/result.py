"""The result of a run of a claim, as JSON that is committed: cells, intervals, verdicts, environment, protocol hash."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from heredity.evaluation.stats import Estimate
from heredity.papers.card import Paper
from heredity.papers.claim import Claim
from heredity.papers.errors import ClaimError
from heredity.papers.verdict import ArmSummary, CellResult, Judgement, SubVerdict, Verdict

FORMAT = 1


@dataclass(frozen=True)
class Result:
    """A run.

    Args:
        paper, family, scale: which claim at what size.
        card: the protocol's hash.
        verdict, reason, judgement: of the rule.
        seeds: those used.
        complete: whether all arms and at least the card's number of seeds ran; only then it may be committed.
        cells: every trial.
        seconds: "cells", wall time of the cells' own births and measurements, added up; "cpu", processor time of all
            births; "run", wall time of the last call, which recalls what is recorded.
        environment: versions, processor, system, commit.
    """

    paper: str
    family: str
    scale: str
    card: str
    judgement: Judgement
    seeds: tuple[int, ...]
    complete: bool
    cells: tuple[CellResult, ...]
    seconds: Mapping[str, float]
    environment: Mapping[str, Any]

    @property
    def verdict(self) -> Verdict:
        """Of the whole."""
        return self.judgement.verdict

    def to_json(self) -> dict[str, Any]:
        """Plain values; a machine's name and the command stay out."""
        judged = asdict(self.judgement)
        return {
            "format": FORMAT,
            "paper": self.paper,
            "family": self.family,
            "scale": self.scale,
            "verdict": judged.pop("verdict"),
            "reason": judged.pop("reason"),
            "card": self.card,
            "complete": self.complete,
            "seeds": list(self.seeds),
            **judged,
            "seconds": dict(self.seconds),
            "environment": dict(self.environment),
            "cells": [asdict(cell) for cell in self.cells],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], where: str) -> Result:
        """The result that `to_json` wrote.

        Raises:
            ClaimError: it is none, or of a newer format.
        """
        try:
            if content["format"] > FORMAT:
                raise ClaimError(f"{where} has format {content['format']}; this version reads {FORMAT}: upgrade")
            judgement = Judgement(
                content["verdict"],
                content["reason"],
                tuple(_sub(sub) for sub in content["subs"]),
                tuple(_sub(sub) for sub in content["preconditions"]),
                tuple(ArmSummary(**{**arm, "estimate": _estimate(arm["estimate"])}) for arm in content["arms"]),
            )
            names = ("paper", "family", "scale", "card", "complete", "seconds", "environment")
            return cls(
                **{name: content[name] for name in names},
                judgement=judgement,
                seeds=tuple(content["seeds"]),
                cells=tuple(CellResult(**cell) for cell in content["cells"]),
            )
        except (KeyError, TypeError) as error:
            raise ClaimError(f"{where} is no result of a claim: {type(error).__name__}: {error}") from error


def _estimate(content: Mapping[str, Any] | None) -> Estimate | None:
    return None if content is None else Estimate(**content)


def _sub(content: Mapping[str, Any]) -> SubVerdict:
    return SubVerdict(**{**content, "estimate": _estimate(content["estimate"])})


def results_folder() -> Path:
    """`results` of the source checkout that this package is imported from, else ./results."""
    root = Path(__file__).resolve().parents[3]
    return root / "results" if (root / "pyproject.toml").is_file() and (root / "results").is_dir() else Path("results")


def result_path(paper: Paper, scale: str, folder: Path | None = None) -> Path:
    """`<folder>/<family>/<slug>.json`; scales other than small are part of the name."""
    name = paper.slug if scale == "small" else f"{paper.slug}.{scale}"
    return (results_folder() if folder is None else folder) / paper.family / f"{name}.json"


def write_result(result: Result, path: Path) -> None:
    """Write to a temporary file, then rename: a reader sees the old result or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(json.dumps(result.to_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_result(path: Path) -> Result:
    """A committed result.

    Raises:
        ClaimError: it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ClaimError(f"{path} cannot be read as a result: {error}") from error
    return Result.from_json(content, str(path))


def committed_result(paper: Paper, scale: str = "small", folder: Path | None = None) -> Result | None:
    """The result that lies in the results folder, or None."""
    path = result_path(paper, scale, folder)
    return read_result(path) if path.is_file() else None


def moved(claim: Claim, result: Result) -> bool:
    """Whether a result was made by another protocol than the card's."""
    return result.card != claim.hash
