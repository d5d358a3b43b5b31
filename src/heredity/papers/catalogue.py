"""Finding papers: the modules `heredity.papers.<family>.<slug>` that define a card, and nothing else.

There is no list to edit. A module counts when its text binds `PAPER`; others (testbeds) are not imported.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from heredity.papers.card import Paper
from heredity.papers.errors import ClaimError, UnknownPaper


def papers(family: str | None = None) -> list[Paper]:
    """All cards, or those of one family, by family and slug.

    Raises:
        UnknownPaper: there is no such family.
        ClaimError: a card does not bear the names of its module and package.
    """
    import heredity.papers as package

    packages = sorted(info.name for info in pkgutil.iter_modules(package.__path__) if info.ispkg)
    modules = {name: sorted(_modules(f"{package.__name__}.{name}")) for name in packages}
    families = [name for name in packages if modules[name]]
    if family is not None and family not in families:
        raise UnknownPaper(f"there is no family {family!r}{_nearest(family, families)}")
    wanted = families if family is None else [family]
    return [_load(name) for room in wanted for name in modules[room]]


def _modules(package: str) -> Iterator[str]:
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        name = f"{package}.{info.name}"
        spec = importlib.util.find_spec(name)
        source = Path(spec.origin) if spec and spec.origin else None
        if source is not None and source.suffix == ".py" and defines_card(source.read_text(encoding="utf-8")):
            yield name


def defines_card(source: str) -> bool:
    """Whether the text of a module binds `PAPER` at its top level."""
    return any(line.startswith(("PAPER = ", "PAPER: ")) for line in source.splitlines())


def _load(name: str) -> Paper:
    paper = importlib.import_module(name).PAPER
    if not isinstance(paper, Paper) or [paper.family, paper.slug] != name.split(".")[-2:]:
        raise ClaimError(f"{name}.PAPER must be a Paper with family and slug of its module's name")
    return paper


def find_paper(name: str) -> Paper:
    """The paper of a slug ("genome"), of family and slug ("merging/genome"), or of an arXiv number or DOI.

    Raises:
        UnknownPaper: there is none; the message names the nearest.
    """
    known = papers()
    asked = name.removeprefix("arXiv").strip(" :")
    for paper in known:
        if asked in (paper.slug, f"{paper.family}/{paper.slug}", paper.arxiv, paper.id):
            return paper
    raise UnknownPaper(f"there is no paper {name!r}{_nearest(name, [paper.slug for paper in known])}")


def papers_of(code: Iterable[str]) -> dict[str, list[Paper]]:
    """For import paths "module:name" of operators or parts: the papers whose cards cover them."""
    known = papers()
    return {path: [paper for paper in known if covers(paper, path)] for path in code}


def covers(paper: Paper, path: str) -> bool:
    """Whether a card covers "module:name", by that path or by its module."""
    return path in paper.covers or path.partition(":")[0] in paper.covers


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known) or 'none'}"
