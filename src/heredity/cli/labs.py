"""Which lab a command means, and the options that reading commands share."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heredity.errors import LabError

if TYPE_CHECKING:
    from heredity.lab import Lab, Model

LabOption = Annotated[
    Path | None,
    typer.Option(
        "--lab",
        envvar="HEREDITY_LAB",
        help="The lab's folder. By default ./lab, this folder, or the nearest lab above.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value, for programs.")]
MetricOption = Annotated[
    str | None,
    typer.Option("--metric", "-m", help="The measured value to show; by default fitness, or the one measured most."),
]
RefArgument = Annotated[
    str, typer.Argument(metavar="REF", help="An id or its first characters, a name, best, latest, or one with ~N.")
]


_COSTS = ("loss", "error", "perplexity", "seconds")


def is_lab(folder: Path) -> bool:
    """Whether a folder is a lab."""
    return (folder / "births").is_dir()


def find_lab(start: Path) -> Path | None:
    """./lab, the folder itself, or the nearest folder above that is a lab or holds one called lab."""
    for folder in (start, *start.absolute().parents):
        for candidate in (folder / "lab", folder):
            if is_lab(candidate):
                return candidate
    return None


def open_lab(path: Path | None, *, mode: str = "r") -> Lab:
    """The lab that was asked for.

    Raises:
        LabError: there is none; the message says how to make one.
    """
    from heredity.lab import Lab

    if path is None:
        path = find_lab(Path()) or (Path("lab") if mode == "a" else None)
        if path is None:
            raise LabError(
                "there is no lab here or above; heredity evolve RECIPE or heredity import MODEL makes one, "
                "--lab PATH (or HEREDITY_LAB) names one elsewhere"
            )
    elif mode != "a" and not is_lab(path):
        what = "is no lab" if path.exists() else "does not exist"
        raise LabError(f"{path} {what}; heredity evolve RECIPE or heredity import MODEL makes a lab")
    return Lab(path, mode=mode)


def metrics_of(lab: Lab) -> dict[str, int]:
    """Metrics measured in the lab, with the number of models that have each."""
    return dict(lab.index.query("SELECT metric, count(*) FROM metrics GROUP BY metric ORDER BY metric"))


def check_metric(lab: Lab, metric: str) -> str:
    """The metric, when any model was measured by it.

    Raises:
        LabError: none was; the message names the nearest and the known ones.
    """
    known = metrics_of(lab)
    if metric in known:
        return metric
    if not known:
        raise LabError(f"no model was measured by {metric!r}: nothing was measured in this lab yet")
    near = difflib.get_close_matches(metric, known, n=1) or [name for name in known if name.startswith(metric)]
    meant = f"; did you mean {near[0]}?" if near else ";"
    raise LabError(f"no model was measured by {metric!r}{meant} measured here: {', '.join(known)}")


def model_of(lab: Lab, ref: str, metric: str | None = None) -> Model:
    """The model a reference means; a plain "best" is the best by `metric`, where one is given."""
    if metric is not None and re.fullmatch(r"best(~\d*)*", ref):
        ref = f"best:{metric}{ref.removeprefix('best')}"
    return lab[ref]


def choose_metric(lab: Lab, metric: str | None) -> str | None:
    """The metric asked for; else fitness, else the one that most models have; None when nothing was measured."""
    if metric is not None:
        return check_metric(lab, metric)
    known = metrics_of(lab)
    if not known or "fitness" in known:
        return "fitness" if known else None
    # Higher is better for a fitness; by the names alone one can only guess which metrics are none.
    return max(known, key=lambda name: (known[name], name == "accuracy", not any(word in name for word in _COSTS)))
