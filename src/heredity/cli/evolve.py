"""`heredity evolve`: a population of models, a task, and evolution without a gradient."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heredity.cli.console import Out, duration, plural, print_json, safe, size, styled
from heredity.cli.labs import JsonOption
from heredity.errors import RecipeError

if TYPE_CHECKING:
    from heredity.lab import Model
    from heredity.recipes.evolution import Evolution
    from heredity.recipes.planning import Plan
    from heredity.recipes.rows import Report, Row

QUIET_SECONDS = 10.0  # between lines of progress where there is no terminal


def evolve_command(
    recipe: Annotated[
        Path | None,
        typer.Argument(
            help="A recipe (YAML), or a built-in one's name; without one, the demo on digits.", show_default=False
        ),
    ] = None,
    *,
    lab: Annotated[Path, typer.Option("--lab", envvar="HEREDITY_LAB", help="The lab's folder; made when new.")] = Path(
        "lab"
    ),
    export: Annotated[
        Path | None, typer.Option(help="Write the winner to this folder, as Hugging Face or plain safetensors.")
    ] = None,
    executor: Annotated[
        str | None, typer.Option(help="inline, processes, processes:N, ray or ray:ADDRESS; overrides the recipe.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change one key, e.g. --set population.generations=3; repeatable.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Name the built-in recipes, then stop.")] = False,
    copy: Annotated[
        Path | None, typer.Option(help="Write a built-in recipe and its files to this folder, then stop.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, then stop.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Evolve models, hyperparameters, policies, architectures, functions or code.

    A recipe says what. Founders and a task: models are merged, crossed, mutated
    and selected by their score on a few labelled examples; then the best mixture
    is refined layer by layer. A section search: any other search, by its kind.
    Every child is recorded: a run that is stopped goes on where it was, and the
    lab knows how the winner came to be. A recipe, maths.yaml:

    \b
        founders: [./chat, ./code, ./maths]   # folders, hub names, or adapters
        base: ./ancestor                      # what they descend from
        task: {data: questions.jsonl}         # prompt/answer or text/label lines

    \b
        heredity evolve                        the demo: eight experts on digits
        heredity evolve --list                 built-in recipes, one of each kind
        heredity evolve maths.yaml --dry-run   what would run, and how much
        heredity evolve maths.yaml             run it
    """
    if list_:
        from heredity.cli.builtin_recipes import list_recipes

        list_recipes(as_json=as_json)
        return
    if copy is not None:
        from heredity.cli.builtin_recipes import copy_recipe

        copy_recipe(recipe, copy)
        return
    from heredity.recipes.loading import builtin_recipe, changes_of, find_recipe, load_any
    from heredity.recipes.schema import Recipe

    path = find_recipe(recipe) if recipe else builtin_recipe()
    loaded = load_any(path, changes_of(set_ or []))
    folder = path.parent
    if dry_run:
        if isinstance(loaded, Recipe):
            from heredity.recipes.planning import plan

            _describe(plan(loaded, folder), path, as_json)
        else:
            from heredity.cli.searched import describe_search

            describe_search(loaded, folder, recipe or path, as_json=as_json)
        return
    if export is not None and export.is_dir() and any(export.iterdir()):
        raise RecipeError(f"--export {export} already holds files; choose another folder")
    again = _again(recipe, lab, set_ or [])
    from heredity.lab import Lab

    started = time.perf_counter()
    with Lab(lab, executor or loaded.executor) as opened:
        known = len(opened)
        try:
            with _progress(sys.stderr.isatty(), quiet=as_json) as report:
                if isinstance(loaded, Recipe):
                    from heredity.recipes.evolution import evolve

                    found = evolve(loaded, opened, folder=folder, report=report)
                else:
                    from heredity.recipes.searching import run_search

                    searched = run_search(loaded, opened, folder=folder, report=report)
        except KeyboardInterrupt:
            opened.index.refresh()
            typer.echo(f"\nstopped; {plural(len(opened), 'birth')} recorded in {lab}. Go on with:\n  {again}", err=True)
            raise typer.Exit(130) from None
        seconds = time.perf_counter() - started
        if not isinstance(loaded, Recipe):
            from heredity.cli.searched import finish_search

            births = len(opened) - known
            finish_search(searched, loaded, lab=lab, export=export, seconds=seconds, births=births, as_json=as_json)
            return
        if export is not None:
            from heredity.lab.huggingface import export_model

            export_model(found.winner, export)
        report_found = _report_json if as_json else _report
        report_found(found, lab=lab, export=export, seconds=seconds, births=len(opened) - known)


def _again(recipe: Path | None, lab: Path, changes: list[str]) -> str:
    changed = [part for change in changes for part in ("--set", change)]
    return shlex.join(["heredity", "evolve", *([str(recipe)] if recipe else []), "--lab", str(lab), *changed])


@contextlib.contextmanager
def _progress(terminal: bool, *, quiet: bool) -> Iterator[Report]:
    """Live bars in a terminal, a line now and then elsewhere, nothing for programs."""
    if quiet:
        yield lambda stage, done, total, best: None
    elif terminal:
        with _bars() as report:
            yield report
    else:
        yield _lines()


def _lines() -> Report:
    last: dict[str, float] = {}

    def report(stage: str, done: int, total: int, best: float | None) -> None:
        now = time.monotonic()
        if done >= total or now - last.get(stage, float("-inf")) > QUIET_SECONDS:
            last[stage] = now
            typer.echo(f"{stage} {done}/{total}{'' if best is None else f', best {best:.4f}'}", err=True)

    return report


@contextlib.contextmanager
def _bars() -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[best]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: int, total: int, best: float | None) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, best="")
            shown = "" if best is None else f"best {best:.4f}"
            bars.update(tasks[stage], completed=done, total=total, best=shown)

        yield report
        # A population that stops early is complete all the same.
        for task in bars.tasks:
            bars.update(task.id, total=task.completed)


def _describe(found: Plan, path: Path, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "recipe": str(path),
                "task": found.task,
                "births": found.births,
                "evaluations": found.evaluations,
                "disk_bytes": found.disk,
                "model_bytes": found.model_bytes,
                "stages": [{"name": s.name, "births": s.births, "evaluations": s.evaluations} for s in found.stages],
            }
        )
        return
    screen = Out()
    screen.pairs([("recipe", str(path)), ("task", found.task)])
    rows = [[s.name, str(s.births), str(s.evaluations)] for s in found.stages]
    rows.append(["at most", str(found.births), str(found.evaluations)])
    screen.line()
    screen.rows(rows, header=("stage", "births", "evaluations"), right=(1, 2), indent=2)
    screen.line()
    screen.pairs([("disk", f"at most {size(found.disk)}, {size(found.model_bytes)} a model")])
    screen.next_steps(shlex.join(["heredity", "evolve", str(path)]))


def _report_json(found: Evolution, *, lab: Path, export: Path | None, seconds: float, births: int) -> None:
    print_json(
        {
            "lab": str(lab),
            "winner": found.winner.id,
            "seconds": round(seconds, 3),
            "births": births,
            "exported": None if export is None else str(export),
            "rows": [_row_facts(row) for row in found.rows],
            "path": [model.id for model in found.winner.path()],
        }
    )


def _report(found: Evolution, *, lab: Path, export: Path | None, seconds: float, births: int) -> None:
    screen = Out()
    screen.line()
    rows = [_row_cells(row, row.model == found.winner and not row.members) for row in found.rows]
    header = ("", "id", "fitness", "held out", "95 % interval", "tried")
    screen.rows(rows, header=header, right=(2, 3, 5), indent=2)
    screen.line()
    for row in found.rows:
        if row.failed is not None:
            screen.line(styled(f"  {row.what} could not be evaluated: {row.failed}", "yellow"))
    screen.line(f"  fitness and held-out: {found.task.sizes}; the search never sees held-out examples")
    screen.title("How the winner came to be")
    for number, model in enumerate(found.winner.path(), 1):
        screen.line(f"  {number}. {_step(model)}")
    screen.line()
    where = f"; winner in {export}" if export else ""
    screen.line(f"{plural(births, 'new birth')} in {duration(seconds)}, recorded in {lab}{where}")
    option = [] if str(lab) == "lab" else ["--lab", str(lab)]
    winner = found.winner.name or found.winner.id
    screen.next_steps(
        shlex.join(["heredity", "path", winner, *option]),
        shlex.join(["heredity", "tree", *option]),
        shlex.join(["heredity", "report", *option, "--open"]),
    )


def _row_facts(row: Row) -> dict[str, Any]:
    return {
        "what": row.what,
        "id": row.model.id,
        "fitness": row.fitness,
        "accuracy": row.accuracy,
        "low": row.low,
        "high": row.high,
        "tried": row.tried,
        "failed": row.failed,
        "members": [member.id for member in row.members],
    }


def _row_cells(row: Row, winner: bool) -> list[Any]:
    style = "bold green" if winner else ""
    accuracy = "" if row.accuracy is None else f"{row.accuracy:.3f}"
    interval = "" if row.low is None or row.high is None else f"{row.low:.3f} to {row.high:.3f}"
    fitness = "failed" if row.fitness is None else f"{row.fitness:.3f}"
    one = plural(len(row.members), "model") if row.model in row.members else row.model.id[:8]
    cells = [row.what, one, fitness, accuracy, interval, str(row.tried)]
    return [styled(cell, style) for cell in cells]


def _step(model: Model) -> str:
    """One line of the winner's story."""
    mates = len([role for role, _ in model.edges if role == "mate"])
    fitness = model.value("fitness")
    return (
        f"{model.id[:8]} {safe(str(model))}"
        + (f" with {plural(mates, 'mate')}" if mates else "")
        + (f", fitness {fitness:.3f}" if fitness is not None else "")
    )
