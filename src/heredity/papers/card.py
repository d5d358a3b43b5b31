"""The card of a publication: what it is, what it says, what is kept and what is changed of it here.

A module `heredity.papers.<family>.<slug>` is one paper: it binds the name `PAPER` to its card, and imports nothing
heavy: code that a claim runs is named by its import path and imported when it runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from heredity.papers.claim import Claim


@dataclass(frozen=True)
class Figure:
    """A number that the paper reports.

    Args:
        value: as the paper writes it.
        source: where it stands (table, section, page).
    """

    value: str
    source: str


@dataclass(frozen=True)
class Paper:
    """A publication.

    Args:
        slug: the module's name.
        family: the package's name.
        title, authors, year: as published; authors in full, in order.
        id: "arXiv 2503.01155", or a DOI.
        venue: where it appeared beyond that; empty for a preprint.
        sentence: its central claim in one sentence, in our words.
        figures: what it reports.
        reference_code: address of its authors' code; empty when there is none.
        strengths, avoid_when: what it is good for, and when another method serves better.
        deviations: in what our method or check differs from it.
        covers: import paths of the operators and parts that implement it, "module" or "module:name"; `heredity cite`
            finds papers of a lineage by them.
        claim: the check; None when only the part exists so far.
    """

    slug: str
    family: str
    title: str
    authors: tuple[str, ...]
    year: int
    id: str
    sentence: str
    figures: tuple[Figure, ...] = ()
    venue: str = ""
    reference_code: str = ""
    strengths: tuple[str, ...] = ()
    avoid_when: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()
    covers: tuple[str, ...] = ()
    claim: Claim | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.slug):
            raise ValueError(f"a paper's slug is a module name in snake_case, got {self.slug!r}")
        if not self.authors or not self.title.strip() or not self.sentence.strip():
            raise ValueError(f"the card of {self.slug} needs authors, a title and a sentence")

    @property
    def arxiv(self) -> str | None:
        """The arXiv number, or None."""
        found = re.fullmatch(r"arXiv[ :](\d{4}\.\d{4,5})", self.id)
        return found[1] if found else None

    @property
    def url(self) -> str:
        """Where it can be read."""
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else f"https://doi.org/{self.id}"

    @property
    def cite_key(self) -> str:
        """`zhang2025genome`: the first author's last name, the year, the slug without underscores."""
        name = re.sub(r"[^a-z]", "", self.authors[0].split()[-1].lower())
        return f"{name}{self.year}{self.slug.replace('_', '')}"

    @property
    def bibtex(self) -> str:
        """A BibTeX entry made of the card's fields."""
        number = self.arxiv
        fields = {
            "title": f"{{{_latex(self.title)}}}",
            "author": _latex(" and ".join(self.authors)),
            "year": str(self.year),
            **({"journal": _latex(self.venue)} if self.venue else {}),
            **({"eprint": number, "archivePrefix": "arXiv"} if number else {"doi": self.id}),
            "url": self.url,
        }
        kind = "article" if self.venue else "misc"
        lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
        return f"@{kind}{{{self.cite_key},\n{lines}\n}}"


def _latex(text: str) -> str:
    """Text with the characters escaped that LaTeX would take for commands; letters stay as they are (UTF-8)."""
    return re.sub(r"([&%#$_])", r"\\\1", text)
