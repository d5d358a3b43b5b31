"""`heredity cite`: the BibTeX of a paper, or of every paper behind a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from heredity.cli.labs import JsonOption, LabOption

if TYPE_CHECKING:
    from heredity.papers.card import Paper

PANEL = "Papers"


def cite_command(
    what: Annotated[str, typer.Argument(help="A paper, a model's reference, or the name of an evolve run.")],
    *,
    lab_path: LabOption = None,
    as_json: JsonOption = False,
) -> None:
    """BibTeX of a paper, or of every paper behind a model and its ancestors.

    Operators are matched with the cards that cover them; those that no card
    covers are named in a comment.

    JSON: papers with slug, id, key and bibtex, and uncovered operators.

    Example: heredity cite genome
    """
    from heredity.cli.console import print_json
    from heredity.papers.catalogue import find_paper
    from heredity.papers.errors import UnknownPaper

    uncovered: list[str] = []
    try:
        found = [find_paper(what)]
    except UnknownPaper as no_paper:
        found, uncovered = _behind(what, lab_path, str(no_paper))
    if as_json:
        entries = [{"slug": p.slug, "id": p.id, "key": p.cite_key, "bibtex": p.bibtex} for p in found]
        print_json({"papers": entries, "uncovered": uncovered})
        return
    for paper in found:
        typer.echo(paper.bibtex + "\n")
    if uncovered:
        typer.echo(f"% no card covers: {', '.join(uncovered)}")


def _behind(what: str, lab_path: object, no_paper: str) -> tuple[list[Paper], list[str]]:
    """The papers behind a model or a run, and the operators that no card covers."""
    from pathlib import Path

    from heredity.cli.labs import find_lab, open_lab
    from heredity.errors import UnknownModel
    from heredity.papers.catalogue import papers_of
    from heredity.papers.errors import UnknownPaper

    assert lab_path is None or isinstance(lab_path, Path)
    if lab_path is None and find_lab(Path()) is None:
        raise UnknownPaper(f"{no_paper}; and there is no lab here in which it could be a model")
    with open_lab(lab_path) as lab:
        members = [model for model in lab.models() if model.labels.get("run") == what]
        if not members:
            try:
                model = lab[what]
            except UnknownModel as error:
                raise UnknownPaper(f"{no_paper}; nor a model or run of {lab.path}") from error
            members = [model, *model.ancestors()]
        code = sorted({path for model in members for path in _code_of(model.operator)})
    covered = papers_of(code)
    found = {paper.slug: paper for papers in covered.values() for paper in papers}
    operators = sorted({str(model.operator["type"]) for model in members})
    return [found[slug] for slug in sorted(found)], [path for path in operators if not covered[path]]


def _code_of(operator: object) -> list[str]:
    """The operator's import path, and those of parts that its configuration names."""
    from heredity.lab.canonical import code_in

    assert hasattr(operator, "get")
    return [str(operator["type"]), *code_in(operator.get("config", {}))]  # type: ignore[index]
