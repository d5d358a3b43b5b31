"""What `heredity evolve` prints of a search: what would run, and what was found."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heredity.cli.console import Out, duration, number, plural, print_json, safe, styled
from heredity.errors import RecipeError

if TYPE_CHECKING:
    from heredity.recipes.search_schema import SearchRecipe
    from heredity.recipes.searching import Found, SearchRow


def describe_search(recipe: SearchRecipe, folder: Path, path: Path, *, as_json: bool) -> None:
    """What a recipe would run; nothing is.

    Args:
        folder: what the recipe's relative paths are meant from; path: as the user wrote it.
    """
    from heredity.recipes.searching import prepare

    search = prepare(recipe, folder)
    if as_json:
        print_json(
            {
                "recipe": str(path),
                "kind": recipe.search.kind,
                "aims": dict(search.aims),
                "evaluations": search.evaluations,
                "births": search.evaluations,
                "mode": search.mode,
                "facts": dict(search.facts),
            }
        )
        return
    screen = Out()
    count = f"at most {plural(search.evaluations, 'candidate')}, each a birth and an evaluation"
    screen.pairs([("recipe", str(path)), ("kind", recipe.search.kind), ("aim", search.aim), *search.facts])
    screen.pairs([("budget", count), ("seed", str(recipe.seed)), ("executor", recipe.executor)])
    screen.next_steps(shlex.join(["heredity", "evolve", str(path)]))


def _export(found: Found, export: Path) -> None:
    """The winner's weights, and what it is in a form that other programs read.

    Raises:
        RecipeError: a file cannot be written.
    """
    from heredity.lab.huggingface import export_model

    export_model(found.winner, export)
    for name, text in found.search.files(found.winner).items():
        try:
            (export / name).write_text(text, encoding="utf-8")
        except OSError as error:
            raise RecipeError(f"--export: cannot write {export / name}: {error.strerror}") from error


def finish_search(
    found: Found,
    recipe: SearchRecipe,
    *,
    lab: Path,
    export: Path | None,
    seconds: float,
    births: int,
    as_json: bool,
) -> None:
    """Export the winner, and print the table, its story, and the next commands."""
    if export is not None:
        _export(found, export)
    evolved = found.evolved
    if as_json:
        print_json(
            {
                "lab": str(lab),
                "kind": recipe.search.kind,
                "aims": dict(found.search.aims),
                "winner": found.winner.id,
                "seconds": round(seconds, 3),
                "births": births,
                "evaluations": evolved.told,
                "failed": len(evolved.failures),
                "exported": None if export is None else str(export),
                "rows": [_facts(row) for row in found.rows],
                "path": [model.id for model in found.winner.path()],
            }
        )
        return
    screen = Out()
    screen.line()
    metrics = list(found.search.aims)
    header = ("", "id", *metrics, "held out", "", "what it is")
    right = range(2, 2 + len(metrics) + 1)
    rows = [_cells(row, metrics, row.model == found.winner) for row in found.rows]
    screen.rows(rows, header=header, right=right, stretch=len(header) - 1, indent=2)
    screen.line()
    screen.line(f"  {found.search.aim}; {plural(evolved.told, 'evaluation')}, {len(evolved.failures)} failed")
    if evolved.failures:
        candidate, reason = next(iter(evolved.failures.items()))
        screen.paragraph(styled(f"  the first that failed, candidate {candidate}: {reason.splitlines()[0]}", "yellow"))
    if len(metrics) > 1:
        shown = len(found.rows)
        screen.line(
            f"  {plural(len(evolved.front), 'candidate')} on the front, {shown} shown; winner: best {metrics[0]}"
        )
    path = found.winner.path()
    if len(path) > 1:
        screen.title("How the winner came to be")
        for place, model in enumerate(path, 1):
            value = model.value(metrics[0])
            worth = "" if value is None else f", {metrics[0]} {number(value)}"
            screen.line(f"  {place}. {model.id[:8]} {safe(str(model))}{worth}")
    screen.line()
    where = f"; winner in {export}" if export else ""
    screen.line(f"{plural(births, 'new birth')} in {duration(seconds)}, recorded in {lab}{where}")
    option = [] if str(lab) == "lab" else ["--lab", str(lab)]
    winner = found.winner.name or found.winner.id
    screen.next_steps(
        shlex.join(["heredity", "show", winner, *option]),
        shlex.join(["heredity", "path" if len(path) > 1 else "log", *([winner] if len(path) > 1 else []), *option]),
        shlex.join(["heredity", "report", *option, "--open"]),
    )


def _facts(row: SearchRow) -> dict[str, Any]:
    return {
        "what": row.what,
        "id": row.model.id,
        "values": dict(row.values),
        "test": dict(row.test),
        "is": row.text,
    }


def _cells(row: SearchRow, metrics: list[str], winner: bool) -> list[Any]:
    style = "bold green" if winner else ""
    test, error = row.test.get("test"), row.test.get("error")
    cells = [
        row.what,
        row.model.id[:8],
        *(number(row.values[metric]) for metric in metrics),
        "" if test is None else number(test),
        "" if error is None else f"± {number(error)}",
        row.text,
    ]
    return [styled(cell, style) for cell in cells]
