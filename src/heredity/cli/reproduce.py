"""`heredity reproduce`: run the check of what a paper says."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heredity.cli.labs import JsonOption

if TYPE_CHECKING:
    from heredity.cli.console import Out
    from heredity.papers.card import Paper
    from heredity.papers.result import Result
    from heredity.papers.runner import Plan, Report
    from heredity.papers.verdict import SubVerdict

PANEL = "Papers"
QUIET_SECONDS = 10.0  # between lines of progress where there is no terminal


def reproduce_command(
    paper: Annotated[str, typer.Argument(help="A slug from `heredity papers`, or an arXiv number.")],
    *,
    scale: Annotated[str, typer.Option(help="small: 5 minutes on 2 cores; medium: an evening; full: the paper's.")] = (
        "small"
    ),
    seeds: Annotated[
        int | None, typer.Option(help="Another number of seeds than the card's.", show_default=False)
    ] = None,
    arms: Annotated[str, typer.Option(help="Names of arms, comma-separated, or all.")] = "all",
    executor: Annotated[str, typer.Option(help="inline, processes, processes:N, ray or ray:ADDRESS.")] = "processes",
    lab: Annotated[
        Path | None,
        typer.Option("--lab", help="Where trials are recorded; by default reproduce/PAPER.", show_default=False),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Where the result goes; by default results.", show_default=False),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Run a few cells of the stored result again and compare.")
    ] = False,
    lm: Annotated[
        str | None,
        typer.Option(
            "--lm",
            help="A language model for parts that ask one: folder or name for transformers, or URL#name.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the check of what a paper says, and give the verdict.

    Every trial is recorded in a lab: a run that was stopped goes on where it
    was, and more seeds reuse the old ones. Arms, metric, rule and seeds stand
    in the paper's card; the result keeps the card's hash. Only a run with all
    arms and seeds of the card is written as a result.

    JSON: the result as it is written: verdict, reason, subs, preconditions,
    arms, cells, environment, card.

    Example: heredity reproduce genome --seeds 3 --arms genome_plus,best_expert
    """
    from heredity.papers.catalogue import find_paper

    card = find_paper(paper)
    if lm is not None:
        os.environ["HEREDITY_LM"] = lm  # workers inherit it
    if check:
        _check(card, scale, results, as_json)
        return
    from heredity.cli.console import Out, print_json
    from heredity.lab import Lab
    from heredity.papers.result import result_path, write_result
    from heredity.papers.runner import plan, run

    chosen = None if arms == "all" else [arm.strip() for arm in arms.split(",") if arm.strip()]
    planned = plan(card, scale, seeds=seeds, arms=chosen)
    folder = lab or Path("reproduce") / card.slug
    out = Out()
    if not as_json:
        _announce(out, planned, folder)
    with Lab(folder, executor) as opened, _progress(quiet=as_json) as report:
        result = run(planned, opened, report=report)
    path = result_path(card, scale, results)
    notes: list[str] = []
    if result.complete:
        write_result(result, path)
        notes = [f"written to {path}", _draw(planned, result, path.with_suffix(".png"))]
    else:
        notes = ["not written: the card asks for all its arms and seeds"]
    if as_json:
        print_json(result.to_json())
        return
    print_judgement(out, card, result)
    out.line()
    for note in notes:
        out.line(note)
    option = shlex.join(["--lab", str(folder)])
    out.next_steps(
        f"heredity reproduce {card.slug} --check",
        f"heredity cite {card.slug}",
        f"heredity log {option}",
    )


def _announce(out: Out, planned: Plan, folder: Path) -> None:
    from heredity.cli.console import plural

    claim = planned.claim
    out.paragraph(f"{planned.paper.family}/{planned.paper.slug}: {claim.says}")
    arms, worlds = len({cell.arm for cell in planned.cells}), len({cell.world for cell in planned.cells})
    shape = f"{plural(arms, 'arm')} × " + (f"{plural(worlds, 'world')} × " if worlds > 1 else "")
    cells = f"{shape}{plural(len(planned.seeds), 'seed')} = {plural(len(planned.cells), 'cell')}"
    out.pairs([("scale", f"{planned.scale.name}, {planned.scale.budget}"), ("cells", cells), ("lab", str(folder))])


def _draw(planned: Plan, result: Result, path: Path) -> str:
    from heredity.errors import MissingExtra
    from heredity.papers.figure import draw

    try:
        draw(planned.paper, planned.claim, result, path)
    except MissingExtra as error:
        return f"no figure: {error}"
    return f"figure in {path}"


def print_judgement(out: Out, paper: Paper, result: Result) -> None:
    """Arms, sub-claims, verdict, time and environment of a result."""
    from heredity.cli.console import duration, styled
    from heredity.cli.papers import VERDICT_STYLES, is_moved

    judged = result.judgement
    metric = judged.arms[0].metric if judged.arms else ""
    out.title(f"Arms ({metric}, 95 % interval over seeds)" if judged.arms else "Arms")
    rows = [
        [
            arm.arm,
            "failed" if arm.estimate is None else str(arm.estimate),
            str(arm.cells),
            f"{arm.failed} failed" if arm.failed else "",
        ]
        for arm in judged.arms
    ]
    out.rows(rows, header=("", "mean [interval]", "cells", ""), right=(2,), indent=2)
    out.title("Sub-claims (differences with their intervals)")
    out.rows([_sub(sub) for sub in judged.subs], indent=2, stretch=0)
    if judged.preconditions:
        out.title("Preconditions")
        out.rows([_sub(sub) for sub in judged.preconditions], indent=2, stretch=0)
    out.line()
    out.line(styled(f"{result.verdict.upper()}: {judged.reason}", VERDICT_STYLES[result.verdict]))
    for figure in paper.figures:
        out.paragraph(f"the paper: {figure.value} ({figure.source})")
    if is_moved(paper, result):
        out.line(styled("this result was made by another card than today's", "red"))
    machine = result.environment
    versions = ", ".join(
        f"{name} {machine['versions'][name]}" for name in ("heredity", "torch") if name in machine["versions"]
    )
    spent = f"{duration(result.seconds['run'])}, {duration(result.seconds['cpu'])} of processor time"
    out.line(f"{spent}; {machine['cpu']['model']}, {versions}, commit {str(machine['git'])[:12]}")


def _sub(sub: SubVerdict) -> list[Any]:
    from heredity.cli.console import styled
    from heredity.cli.papers import VERDICT_STYLES

    weight = "" if sub.weight == "required" else f" ({sub.weight})"
    against = f" {'over' if sub.direction == 'higher' else 'under'} {sub.bound:g}" if sub.bound else ""
    number = (
        "" if sub.estimate is None else f"{sub.estimate.mean:+.3f} [{sub.estimate.low:+.3f}, {sub.estimate.high:+.3f}]"
    )
    p = "" if sub.p is None else "p < .001" if sub.p < 0.001 else f"p {sub.p:.3f}"
    note = "; ".join(text for text in (f"hardest: {sub.against}" if sub.against else "", sub.note, sub.doubt) if text)
    return [sub.name + weight, number + against, p, styled(sub.verdict, VERDICT_STYLES[sub.verdict]), note]


def _check(paper: Paper, scale: str, results: Path | None, as_json: bool) -> None:
    from heredity.cli.console import Out, number, print_json, styled
    from heredity.cli.papers import is_moved
    from heredity.papers.checking import check
    from heredity.papers.errors import ClaimError
    from heredity.papers.result import committed_result, result_path

    result = committed_result(paper, scale, results)
    if result is None:
        path = result_path(paper, scale, results)
        raise ClaimError(f"there is no result {path} to check; heredity reproduce {paper.slug} makes it")
    out = Out()
    if is_moved(paper, result):
        if as_json:
            print_json({"paper": paper.slug, "moved": True, "same_machine": None, "cells": []})
        else:
            out.line(
                styled("the stored result was made by another card than today's: its numbers are not compared", "red")
            )
            out.next_steps(f"heredity reproduce {paper.slug}")
        raise typer.Exit(1)
    with _progress(quiet=as_json) as report:
        checks, same = check(paper, result, report=report)
    good = all(item.agrees for item in checks)
    if as_json:
        cells = [
            {
                "arm": item.cell.arm,
                "world": item.cell.world,
                "seed": item.cell.seed,
                "metric": item.metric,
                "stored": item.committed,
                "found": item.found,
                "agrees": item.agrees,
            }
            for item in checks
        ]
        print_json({"paper": paper.slug, "moved": False, "same_machine": same, "cells": cells})
    else:
        rows = [
            [
                f"{item.cell.arm} {item.cell.world}".strip(),
                str(item.cell.seed),
                item.metric,
                number(item.committed),
                "failed" if item.found is None else number(item.found),
                "agrees" if item.agrees else styled("differs", "bold red"),
            ]
            for item in checks
        ]
        out.rows(rows, header=("cell", "seed", "metric", "stored", "found", ""), right=(1, 3, 4), stretch=0)
        claim = paper.claim
        rule = (
            "equal numbers: the same kind of machine"
            if same
            else f"within {claim.tolerance if claim else 0}: another machine"
        )
        out.line()
        out.line(f"{sum(item.agrees for item in checks)} of {len(checks)} agree ({rule})")
    if not good:
        raise typer.Exit(1)


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Iterator[Report]:
    """Live bars in a terminal, a line now and then elsewhere, nothing for programs."""
    if quiet:
        yield lambda what, done, total: None
    elif not sys.stderr.isatty():
        yield _lines()
    else:
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True)) as bars:
            tasks: dict[str, Any] = {}

            def report(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bars.add_task(what, total=total)
                bars.update(tasks[what], completed=done, total=total)

            yield report


def _lines() -> Report:
    last: dict[str, float] = {}

    def report(what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done >= total or now - last.get(what, float("-inf")) > QUIET_SECONDS:
            last[what] = now
            typer.echo(f"{what} {done}/{total}", err=True)

    return report
