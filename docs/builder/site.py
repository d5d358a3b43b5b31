"""The pages as HTML: one file each, one style sheet, nothing from elsewhere, no script."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from html import escape
from pathlib import Path, PurePosixPath

from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from builder import markdown

STYLE = Path(__file__).with_name("style.css")
_VERDICT = re.compile(r"<(td|strong)>(confirmed|not confirmed|inconclusive|not run)</\1>")


class Site:
    """Renders pages into a folder.

    Args:
        texts: every page by its path below `source`.
        navigation: pages of the menu, in order.
        source: the documentation's folder.
        target: where the site goes; replaced.
    """

    def __init__(self, texts: dict[str, str], navigation: Sequence[str], source: Path, target: Path) -> None:
        self.texts, self.navigation, self.source, self.target = texts, navigation, source, target
        self._tokens = {page: markdown.parse(text) for page, text in texts.items()}
        self._headings = {page: markdown.headings(tokens) for page, tokens in self._tokens.items()}
        self._markdown = markdown.parser()
        self._markdown.options["highlight"] = _highlighted

    def write(self) -> int:
        """Write all pages; returns how many."""
        shutil.rmtree(self.target, ignore_errors=True)
        self.target.mkdir(parents=True)
        shutil.copy(STYLE, self.target / "style.css")
        for page in self.texts:
            path = self.target / _html_name(page)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._page(page), encoding="utf-8")
        return len(self.texts)

    def _page(self, page: str) -> str:
        title = self._title(page)
        body = self._body(page)
        up = _up(page)
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            f"<title>{escape(title)} – Heredity</title>\n"
            f'<link rel="stylesheet" href="{up}style.css">\n</head>\n<body>\n'
            f'<header><a href="{up}index.html">Heredity</a> <span>Descent with modification, for neural networks</span>'
            f'</header>\n<div class="frame">\n<details class="menu"><summary>Pages</summary>'
            f"{self._menu(page)}</details>\n"
            f'<nav aria-label="Pages">{self._menu(page)}</nav>\n<main>\n{body}\n</main>\n</div>\n</body>\n</html>\n'
        )

    def _title(self, page: str) -> str:
        return next(heading.text for heading in self._headings[page] if heading.level == 1)

    def _menu(self, page: str) -> str:
        up = _up(page)
        items = []
        parent = "papers.md" if page.startswith("papers/") else page
        for name in self.navigation:
            here = name == parent
            inside = ""
            if here:
                points = [heading for heading in self._headings[page] if heading.level == 2]  # of a paper's page, too
                links = "".join(f'<li><a href="#{point.anchor}">{escape(point.text)}</a></li>' for point in points)
                inside = f"<ul>{links}</ul>" if links else ""
            current = ' aria-current="page"' if here else ""
            items.append(f'<li><a href="{up}{_html_name(name)}"{current}>{escape(self._title(name))}</a>{inside}</li>')
        return f"<ul>{''.join(items)}</ul>"

    def _body(self, page: str) -> str:
        tokens = self._tokens[page]
        named = iter(self._headings[page])
        for token in tokens:
            if token.type == "heading_open":
                token.attrSet("id", next(named).anchor)
            for child in token.children or []:
                self._relink(child, page)
        html = self._markdown.renderer.render(tokens, self._markdown.options, {})
        html = html.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")
        return _VERDICT.sub(
            lambda found: f'<{found[1]} class="{found[2].replace(" ", "-")}">{found[2]}</{found[1]}>', html
        )

    def _relink(self, token: Token, page: str) -> None:
        """Links to pages lead to their HTML; files that pages show are copied beside them."""
        name = {"link_open": "href", "image": "src"}.get(token.type)
        if name is None:
            return
        target = str(token.attrGet(name))
        path, mark, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target) or not path:
            return
        if path.endswith(".md"):
            token.attrSet(name, _html_name(path) + mark + anchor)
            return
        file = (self.source / page).parent.joinpath(path).resolve()
        place = file.relative_to(self.source.resolve().parent)
        place = place.relative_to(self.source.name) if place.parts[0] == self.source.name else place
        copy = self.target / place
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
        token.attrSet(name, PurePosixPath(os.path.relpath(copy, (self.target / page).parent)).as_posix())


def _html_name(page: str) -> str:
    return f"{page.removesuffix('.md')}.html"


def _up(page: str) -> str:
    return "../" * page.count("/")


def _highlighted(code: str, language: str, attributes: str) -> str:
    """Code with classes for its tokens; languages that are not known stay plain."""
    known = {"jsonl": "json", "output": "text"}.get(language, language)
    try:
        lexer = get_lexer_by_name(known)
    except ClassNotFound:
        return ""
    return str(highlight(code, lexer, HtmlFormatter(nowrap=True)))
