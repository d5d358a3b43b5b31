"""The figure of a result: arms with their cells, sub-claims with their intervals; equal numbers give equal bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from heredity.errors import MissingExtra
from heredity.papers.card import Paper
from heredity.papers.claim import Claim
from heredity.papers.result import Result
from heredity.papers.verdict import SubVerdict

# Okabe and Ito's palette: told apart without red and green.
_ROLES = {"tested": "#0072B2", "baseline": "#000000", "ablation": "#CC79A7", "information": "#999999"}
_VERDICTS = {"confirmed": "#009E73", "not confirmed": "#D55E00", "inconclusive": "#999999"}


def draw(paper: Paper, claim: Claim, result: Result, path: Path) -> None:
    """Write a PNG.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("drawing a claim's figure", "figures") from error
    shown = [sub for sub in result.judgement.subs if sub.estimate is not None]
    rows = max(len(result.judgement.arms), len(shown) + 1)
    style: dict[Any, Any] = {"font.size": 9, "font.family": "DejaVu Sans"}
    style |= {"axes.spines.top": False, "axes.spines.right": False}
    with mpl.rc_context(style):
        figure = Figure(figsize=(13, 1.8 + 0.34 * rows), dpi=110, layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=(1, 0.8))
        _arms(left, claim, result)
        _subs(right, shown)
        verdict = result.verdict
        title = f"{paper.family}/{paper.slug} · {result.scale} scale, {len(result.seeds)} seeds · {verdict}"
        figure.suptitle(title, color=_VERDICTS[verdict], fontweight="bold")
        figure.savefig(path, format="png", metadata={"Software": None})


def _arms(axes: Any, claim: Claim, result: Result) -> None:
    names = [summary.arm for summary in result.judgement.arms]
    for row, summary in enumerate(result.judgement.arms):
        colour = _ROLES[claim.arm(summary.arm).role]
        values = [cell.values[summary.metric] for cell in result.cells if cell.arm == summary.arm and cell.values]
        # Cells of one arm spread over its row in the order of the run, so that equal ones can be seen.
        heights = [row + 0.5 * (k / max(1, len(values) - 1) - 0.5) for k in range(len(values))]
        axes.plot(values, heights, ".", color=colour, alpha=0.3, markersize=4)
        if summary.estimate is not None:
            axes.plot([summary.estimate.low, summary.estimate.high], [row, row], color=colour, linewidth=2)
            axes.plot(summary.estimate.mean, row, "o", color=colour, markersize=6)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.locator_params(axis="x", nbins=5)
    axes.grid(axis="x", alpha=0.2)
    axes.set_xlabel(f"{claim.metric} ({claim.direction} is better): cells, mean, {claim.level:.0%} interval")
    roles = [role for role in _ROLES if any(claim.arm(name).role == role for name in names)]
    handles = [axes.plot([], [], "o", color=_ROLES[role], label=role)[0] for role in roles]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=4, frameon=False, fontsize=8)


def _subs(axes: Any, subs: list[SubVerdict]) -> None:
    for row, sub in enumerate(subs):
        estimate, colour = sub.estimate, _VERDICTS[sub.verdict]
        assert estimate is not None
        axes.plot([sub.bound, sub.bound], [row - 0.3, row + 0.3], color="#000000", linewidth=1)
        axes.plot([estimate.low, estimate.high], [row, row], color=colour, linewidth=2)
        axes.plot(estimate.mean, row, "o" if sub.weight != "reported" else "D", color=colour, markersize=6)
    labels = [f"{sub.name}{'' if sub.weight != 'reported' else ' (reported)'}" for sub in subs]
    axes.set_yticks(range(len(subs)), labels)
    axes.invert_yaxis()
    axes.locator_params(axis="x", nbins=5)
    axes.grid(axis="x", alpha=0.2)
    axes.set_xlabel("difference (better to the right) or level")
    handles = [axes.plot([], [], "o", color=colour, label=word)[0] for word, colour in _VERDICTS.items()]
    axes.legend(handles=handles, loc="upper right", bbox_to_anchor=(1, -0.1), ncols=3, frameon=False, fontsize=8)
