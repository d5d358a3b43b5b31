"""`heredity papers`: what the papers covered here say, and whether a check of it came out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from heredity.cli.labs import JsonOption

if TYPE_CHECKING:
    from heredity.papers.card import Paper
    from heredity.papers.result import Result

PANEL = "Papers"
VERDICT_STYLES = {"confirmed": "bold green", "not confirmed": "bold red", "inconclusive": "bold yellow"}
NOT_RUN, MOVED = "not run", "card changed"


def papers_command(
    *,
    family: Annotated[str | None, typer.Option(help="Only this family.", show_default=False)] = None,
    verdict: Annotated[
        str | None,
        typer.Option(help="Only these: confirmed, not confirmed, inconclusive, not run.", show_default=False),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 1 when a result was made by another card than today's.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """The papers covered here: what each says, and how its check came out.

    JSON: a list of papers with slug, family, title, year, id, sentence,
    verdict, reason, seeds, card, result_card.

    Example: heredity papers --family merging
    """
    from heredity.cli.console import Out, plural, print_json, styled
    from heredity.papers.catalogue import papers
    from heredity.papers.errors import ClaimError
    from heredity.papers.result import committed_result

    words = [*VERDICT_STYLES, NOT_RUN]
    if verdict is not None and verdict not in words:
        raise ClaimError(f"--verdict {verdict!r}: use one of {', '.join(words)}")
    found = [(paper, committed_result(paper)) for paper in papers(family)]
    found = [(paper, result) for paper, result in found if verdict in (None, _state(result))]
    moved = [paper.slug for paper, result in found if is_moved(paper, result)]
    if as_json:
        print_json([_facts(paper, result) for paper, result in found])
    else:
        out = Out()
        rows = [_row(paper, result) for paper, result in found]
        out.rows(rows, header=("paper", "year", "verdict", "seeds", "what it says"), right=(3,), stretch=4)
        for slug in moved:
            out.line(
                styled(f"{slug}: its card was changed after its result was made; the verdict is of the old one", "red")
            )
        out.line()
        out.line(f"{plural(len(found), 'paper')}")
        if found:
            slug = found[0][0].slug
            out.next_steps(f"heredity reproduce {slug}", f"heredity cite {slug}")
    if check and moved:
        raise typer.Exit(1)


def is_moved(paper: Paper, result: Result | None) -> bool:
    """Whether a result was made by another card than today's."""
    return result is not None and (paper.claim is None or result.card != paper.claim.hash)


def _state(result: Result | None) -> str:
    return NOT_RUN if result is None else result.verdict


def _row(paper: Paper, result: Result | None) -> list[Any]:
    from heredity.cli.console import styled

    state = MOVED if is_moved(paper, result) else "no claim yet" if paper.claim is None else _state(result)
    seeds = "" if result is None else str(len(result.seeds))
    name = styled(f"{paper.family}/{paper.slug}", "bold")
    return [name, str(paper.year), styled(state, VERDICT_STYLES.get(state, "dim")), seeds, paper.sentence]


def _facts(paper: Paper, result: Result | None) -> dict[str, Any]:
    return {
        "slug": paper.slug,
        "family": paper.family,
        "title": paper.title,
        "year": paper.year,
        "id": paper.id,
        "sentence": paper.sentence,
        "verdict": _state(result),
        "reason": None if result is None else result.judgement.reason,
        "seeds": [] if result is None else list(result.seeds),
        "card": None if paper.claim is None else paper.claim.hash,
        "result_card": None if result is None else result.card,
    }


def show_paper(paper: Paper, *, as_json: bool = False) -> None:
    """Print a paper's card and the result of its check; `heredity show PAPER` calls this."""
    from heredity.cli.console import Out, print_json
    from heredity.papers.result import committed_result

    result = committed_result(paper)
    if as_json:
        from heredity.papers.claim import protocol_form

        print_json({**_facts(paper, result), "card_in_full": protocol_form(paper)})
        return
    out = Out()
    out.line(f"{paper.family}/{paper.slug}")
    out.pairs(
        [
            ("title", paper.title),
            ("authors", ", ".join(paper.authors)),
            ("published", f"{paper.year}, {paper.url}"),
            ("says", paper.sentence),
            *(("reports", f"{figure.value} ({figure.source})") for figure in paper.figures),
            ("its code", paper.reference_code),
            *(("good for", text) for text in paper.strengths),
            *(("avoid when", text) for text in paper.avoid_when),
            *(("differs here", text) for text in paper.deviations),
        ]
    )
    if paper.claim is not None:
        claim = paper.claim
        out.title("The check")
        out.pairs(
            [
                ("checks", claim.says),
                ("setting", claim.setting),
                *(("seen before", f"seeds {pilot.seeds}: {pilot.found}") for pilot in claim.pilots),
                *((scale.name, _scale(scale)) for scale in claim.scales),
                ("card", claim.hash),
            ]
        )
        rows = [[arm.name, arm.role, arm.about] for arm in claim.arms]
        out.title("Arms")
        out.rows(rows, indent=2, stretch=2)
    if result is not None:
        from heredity.cli.reproduce import print_judgement

        print_judgement(out, paper, result)
    out.next_steps(f"heredity reproduce {paper.slug}", f"heredity cite {paper.slug}")


def _scale(scale: Any) -> str:
    return f"{scale.seeds} seeds, {scale.budget}" + (f"; needs {scale.needs}" if scale.needs else "")
