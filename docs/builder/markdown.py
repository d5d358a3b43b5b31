"""Markdown as the documentation uses it: headings with anchors, links, tables, and generated parts between marks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

_PART = re.compile(r"(<!-- generated: ([a-z-]+) -->\n)(.*?)(<!-- end: \2 -->)", re.DOTALL)
_MARK = re.compile(r"<!-- (?:generated|end): ([a-z-]+) -->")


@dataclass(frozen=True)
class Link:
    """A link or image of a page.

    Args:
        target: as written.
        line: counted from 1.
    """

    target: str
    line: int


@dataclass(frozen=True)
class Heading:
    """A heading of a page, with the anchor that links name."""

    level: int
    text: str
    anchor: str


def parser() -> MarkdownIt:
    """CommonMark and tables."""
    return MarkdownIt("commonmark", {"html": True}).enable("table")


def parse(text: str) -> list[Token]:
    """The tokens of a page."""
    return parser().parse(text)


def plain(inline: Token) -> str:
    """The text of an inline token, without its marks."""
    return "".join(token.content for token in inline.children or [] if token.type in ("text", "code_inline"))


def headings(tokens: Sequence[Token]) -> list[Heading]:
    """All headings, with anchors as GitHub makes them."""
    found: list[Heading] = []
    seen: dict[str, int] = {}
    for token, inline in pairwise(tokens):
        if token.type == "heading_open":
            text = plain(inline)
            anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            count = seen.get(anchor, 0)
            seen[anchor] = count + 1
            found.append(Heading(int(token.tag[1]), text, f"{anchor}-{count}" if count else anchor))
    return found


def links(tokens: Iterable[Token]) -> Iterator[Link]:
    """All links and images."""
    for token in tokens:
        line = token.map[0] + 1 if token.map else 0
        for child in token.children or []:
            name = {"link_open": "href", "image": "src"}.get(child.type)
            if name is not None:
                yield Link(str(child.attrGet(name)), line)


def filled(text: str, parts: dict[str, str], page: str) -> str:
    """A page with its generated parts renewed.

    Raises:
        ValueError: a mark has no partner, or names a part that nothing generates.
    """
    marks = _MARK.findall(text)
    known = [name for _, name, _, _ in _PART.findall(text)]
    if sorted(marks) != sorted([*known, *known]):
        lost = next(name for name in marks if marks.count(name) != 2 * known.count(name))
        raise ValueError(f"{page}: the marks of the generated part {lost!r} do not enclose anything")
    for name in known:
        if name not in parts:
            raise ValueError(f"{page}: nothing generates {name!r}; there are {', '.join(sorted(parts))}")
    return _PART.sub(lambda found: f"{found[1]}\n{parts[found[2]].strip()}\n\n{found[4]}", text)


def marked(text: str) -> list[str]:
    """The generated parts that a page holds."""
    return [name for _, name, _, _ in _PART.findall(text)]


def written(text: str) -> str:
    """What people wrote of a page: all but its generated parts."""
    return _PART.sub("", text)


def cell(text: str) -> str:
    """Text as a cell of a table."""
    return re.sub(r"[ \t\n]+", " ", text).replace("|", "\\|").strip()


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A table; columns in `right` are set to the right."""
    rule = ["---:" if place in right else "---" for place in range(len(header))]
    lines = [header, rule, *([cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def code(tokens: Iterable[Token]) -> Iterator[str]:
    """All code, in blocks and in lines."""
    for token in tokens:
        if token.type == "fence":
            yield token.content
        yield from (child.content for child in token.children or [] if child.type == "code_inline")


def pages(folder: Path) -> list[Path]:
    """All Markdown pages of a documentation folder."""
    return sorted(path for path in folder.rglob("*.md") if "_site" not in path.parts)
