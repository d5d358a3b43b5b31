"""`heredity verify`: name everything that is damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from heredity.cli.labs import JsonOption, LabOption, open_lab

if TYPE_CHECKING:
    from heredity.cli.console import Out
    from heredity.lab.maintenance import Problem

PANEL = "Tend a lab"

# What to do next, by kind of problem.
_ADVICE = {
    "torn-line": "nothing to do: a writer was killed while it wrote; its birth runs again when asked for",
    "damaged-line": "copy this journal from another copy of the lab; what the line said is unknown here",
    "damaged-blob": "delete the blob and load the model: it is rebuilt; or copy the blob from another copy of the lab",
    "missing-blob": "copy the weights folder from another copy of the lab, or load the model to rebuild it",
    "missing-parent": "copy the missing journals (births/*.jsonl) from where the lab came from",
    "missing-record": "copy the missing journals (births/*.jsonl) from where the lab came from",
    "missing-file": "copy the files folder from another copy of the lab",
    "conflict": "the operator is not deterministic, or machines differ: declare deterministic = False",
    "cycle": "a journal was edited by hand: copy it from another copy of the lab",
}


def verify_command(
    *,
    fast: Annotated[
        bool, typer.Option("--fast", help="Do not read the weights, only look whether they are there.")
    ] = False,
    lab_path: LabOption = None,
    as_json: JsonOption = False,
) -> None:
    """Name everything that is damaged.

    Lines, weights, missing parents and files, conflicts. The exit code is 1 when something but a torn line is found.

    JSON: {lab, births, ok, problems [{kind, what, detail}]}.

    Example: heredity verify --fast
    """
    from heredity.cli.console import Out, plural, print_json, styled

    with open_lab(lab_path) as lab:
        problems = lab.verify(contents=not fast)
        serious = [problem for problem in problems if problem.kind != "torn-line"]
        if as_json:
            listed = [{"kind": found.kind, "what": found.what, "detail": found.detail} for found in problems]
            print_json({"lab": str(lab.path), "births": len(lab), "ok": not serious, "problems": listed})
        else:
            out = Out()
            _print(out, problems)
            looked = f"{lab.path}: {plural(len(lab), 'birth')}"
            how = ", weights not read (--fast)" if fast else ""
            out.line(
                styled(f"{looked}, {plural(len(serious), 'problem')}{how}", "bold red")
                if serious
                else styled(f"{looked}, whole{how}", "bold green")
            )
    if serious:
        raise typer.Exit(1)


def _print(out: Out, problems: list[Problem]) -> None:
    from heredity.cli.console import styled

    by_kind: dict[str, list[Problem]] = {}
    for problem in problems:
        by_kind.setdefault(problem.kind, []).append(problem)
    for kind, found in by_kind.items():
        out.line(styled(f"{kind} ({len(found):,})", "yellow" if kind == "torn-line" else "bold red"))
        out.pairs(
            [
                (problem.what if len(problem.what) <= 24 else f"{problem.what[:20]}…", problem.detail)
                for problem in found
            ]
        )
        if kind in _ADVICE:
            out.pairs([("→", styled(_ADVICE[kind], "cyan"))])
        out.line()
