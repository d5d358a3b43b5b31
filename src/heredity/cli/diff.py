"""`heredity diff`: what two models have in common, and where they part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heredity.cli.labs import JsonOption, LabOption, RefArgument, choose_metric, open_lab

if TYPE_CHECKING:
    from heredity.cli.changes import Change
    from heredity.cli.console import Out
    from heredity.cli.flips import Flips
    from heredity.cli.lineage import Facts
    from heredity.lab import Lab, Model

PANEL = "Look at a lineage"


@dataclass(frozen=True)
class Difference:
    """Two births compared.

    Args:
        one, other: ids.
        ancestor: the most recent common ancestor along any parents; None for strangers.
        paths: ids from the root along primary parents, of each; what both share at the beginning is left out.
        shared: how many births both paths begin with.
        changes: settings that differ, with operator and seed.
        metrics: name → (of one, of the other).
        flips: for every probe that recorded it, which examples only one of them got right.
        same_weights: whether their tensors are equal.
        layers: per tensor, see `layer_changes`; None when not asked for.
    """

    one: str
    other: str
    ancestor: str | None
    paths: tuple[list[str], list[str]]
    shared: int
    changes: list[Change]
    metrics: dict[str, tuple[float | None, float | None]]
    flips: list[Flips]
    same_weights: bool
    layers: list[dict[str, Any]] | None


def diff_command(
    one: RefArgument,
    other: RefArgument,
    *,
    weights: Annotated[bool, typer.Option("--weights", help="Also compare the weights, tensor by tensor.")] = False,
    lab_path: LabOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two models: common ancestor, ways, settings, values, examples that only one got right.

    JSON: {first, second, common_ancestor, shared_steps, paths, configuration [{key, before, after}], metrics,
    flips [{probe, seed, both_right, only_first, only_second, both_wrong, examples_first, examples_second}],
    same_weights, layers [{tensor, shape, change}]}.

    Example: heredity diff best best~3 --weights
    """
    from heredity.cli.console import Out, print_json
    from heredity.cli.lineage import Facts

    with open_lab(lab_path) as lab:
        first, second = lab[one], lab[other]
        paths = _paths(lab, first.id, second.id)
        facts = Facts.of(lab, {first.id, second.id, *paths[0], *paths[1]})
        difference = _compare(lab, facts, (first, second), paths, weights=weights)
        if as_json:
            print_json(_as_json(facts, difference))
        else:
            _print(Out(), lab, facts, difference)


def _paths(lab: Lab, one: str, other: str) -> tuple[list[str], list[str], int]:
    from heredity.cli.lineage import path_to_root

    first, second = path_to_root(lab, one), path_to_root(lab, other)
    shared = 0
    while shared < min(len(first), len(second)) and first[shared] == second[shared]:
        shared += 1
    return first[shared:], second[shared:], shared


def _compare(
    lab: Lab, facts: Facts, models: tuple[Model, Model], paths: tuple[list[str], list[str], int], *, weights: bool
) -> Difference:
    from heredity.cli.changes import differences, settings
    from heredity.cli.flips import flips_of
    from heredity.cli.lineage import common_ancestor

    one, other = models
    described = [
        {"operator": model.operator["type"], "seed": model.seed, **settings(facts.records[model.id])}
        for model in models
    ]
    mine, theirs = (facts.values.get(model.id, {}) for model in models)
    return Difference(
        one.id,
        other.id,
        common_ancestor(lab, one.id, other.id),
        paths[:2],
        paths[2],
        differences(described[0], described[1]),
        {name: (mine.get(name), theirs.get(name)) for name in sorted({*mine, *theirs})},
        flips_of(lab, one, other),
        one.weights_sha256 == other.weights_sha256,
        layer_changes(one, other) if weights else None,
    )


def layer_changes(one: Model, other: Model) -> list[dict[str, Any]]:
    """For each tensor its name, shape and relative change ‖b - a‖ / ‖a‖ (L2, in float64), largest change first.

    The change is None where only one model has the tensor ("only" says which), where shapes differ ("shapes"), or where
    a is zero and b is not.
    """
    import torch

    mine, theirs = one.weights(), other.weights()
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys([*mine, *theirs]):
        if name not in mine or name not in theirs:
            rows.append({"tensor": name, "change": None, "only": "first" if name in mine else "second"})
            continue
        a, b = mine[name], theirs[name]
        if a.shape != b.shape:
            rows.append({"tensor": name, "change": None, "shapes": [list(a.shape), list(b.shape)]})
            continue
        before, moved = a.to(torch.float64), b.to(torch.float64).sub(a.to(torch.float64))
        base, distance = float(before.norm()), float(moved.norm())
        relative = 0.0 if distance == 0 else distance / base if base else None
        rows.append({"tensor": name, "shape": list(a.shape), "change": relative})
    return sorted(rows, key=lambda row: (row["change"] is not None, -(row["change"] or 0.0)))


def _as_json(facts: Facts, difference: Difference) -> dict[str, Any]:
    return {
        "first": facts.as_json(difference.one),
        "second": facts.as_json(difference.other),
        "common_ancestor": difference.ancestor,
        "shared_steps": difference.shared,
        "paths": [list(path) for path in difference.paths],
        "configuration": [change.as_json() for change in difference.changes],
        "metrics": {name: {"first": mine, "second": theirs} for name, (mine, theirs) in difference.metrics.items()},
        "flips": [flips.as_json() for flips in difference.flips],
        "same_weights": difference.same_weights,
        "layers": difference.layers,
    }


def _print(out: Out, lab: Lab, facts: Facts, difference: Difference) -> None:
    from heredity.cli.changes import plain
    from heredity.cli.console import change, joined, names_text, number, styled
    from heredity.cli.path import step_rows, story

    one, other = difference.one, difference.other
    titles = [joined([styled(facts.short(i), "yellow"), names_text(facts.names.get(i, ()))], " ") for i in (one, other)]
    out.line(titles[0] + " and " + titles[1])
    out.pairs(
        [
            ("common ancestor", _ancestor_line(lab, difference, facts.length)),
            ("weights", "equal" if difference.same_weights else "differ"),
        ]
    )
    metric = choose_metric(lab, None)
    for title, path in zip(titles, difference.paths, strict=True):
        if path:
            out.title(f"The way to {title.plain}")
            out.rows(step_rows(facts, story(facts, path, metric)), right=[0, 4, 5, 6], stretch=3, indent=2)
    short = [facts.short(one), facts.short(other)]
    if difference.changes:
        out.title("Configuration")
        rows: list[list[Any]] = [
            [styled(item.key, "dim"), *("–" if value is None else plain(value) for value in (item.before, item.after))]
            for item in difference.changes
        ]
        out.rows(rows, header=["", *short], stretch=2, indent=2)
    if difference.metrics:
        out.title("Measurements")
        rows = [
            [styled(name, "dim"), *("" if value is None else number(value) for value in pair), change(*pair)]
            for name, pair in difference.metrics.items()
        ]
        out.rows(rows, header=["", *short, "Δ"], right=[1, 2, 3], indent=2)
    if difference.flips:
        _print_flips(out, difference.flips, short)
    if difference.layers is not None:
        _print_layers(out, difference.layers)


def _print_flips(out: Out, all_flips: list[Flips], short: list[str]) -> None:
    from heredity.cli.console import styled
    from heredity.cli.flips import FIRST_FEW

    out.title("Examples that were answered rightly")
    header = ["", "both", *(f"only {model}" for model in short), "neither"]
    rows: list[list[Any]] = [
        [styled(flips.probe, "dim"), *map(str, (flips.both, len(flips.one), len(flips.other), flips.neither))]
        for flips in all_flips
    ]
    out.rows(rows, header=header, right=[1, 2, 3, 4], indent=2)
    for flips in all_flips:
        for model, only in zip(short, (flips.one, flips.other), strict=True):
            if only:
                listed = ", ".join(map(str, only[:FIRST_FEW])) + (", …" if len(only) > FIRST_FEW else "")
                out.line(styled(f"  only {model}, counted from 0: {listed}", "dim"))


def _ancestor_line(lab: Lab, difference: Difference, length: int) -> str:
    from heredity.cli.console import plural

    if difference.ancestor is None:
        return "none: they come from different roots"
    if difference.ancestor in (difference.one, difference.other):
        which = "the first" if difference.ancestor == difference.one else "the second"
        return f"{which} itself: {difference.ancestor[:length]} is an ancestor of the other"
    names = lab.names_of(lab[difference.ancestor])
    called = f" ({', '.join(names)})" if names else ""
    return f"{difference.ancestor[:length]}{called}; {plural(difference.shared, 'step')} of the way shared"


def _print_layers(out: Out, layers: list[dict[str, Any]]) -> None:
    from heredity.cli.console import styled

    out.title("Weights, relative change ‖b - a‖ / ‖a‖")
    largest = max((row["change"] or 0.0 for row in layers), default=0.0)
    rows: list[list[Any]] = []
    for row in layers:
        if row.get("only"):
            rows.append([row["tensor"], "", styled(f"only in the {row['only']}", "red"), ""])
        elif row.get("shapes"):
            before, after = ("×".join(map(str, shape)) or "scalar" for shape in row["shapes"])
            rows.append([row["tensor"], "", styled(f"{before} and {after}", "red"), ""])
        else:
            shape = "×".join(map(str, row["shape"])) or "scalar"
            ratio = row["change"]
            bar = "" if not ratio else "█" * max(1, round(20 * ratio / largest))
            rows.append([row["tensor"], styled(shape, "dim"), "from zero" if ratio is None else f"{ratio:.3%}", bar])
    out.rows(rows, right=[2], stretch=0, indent=2)
