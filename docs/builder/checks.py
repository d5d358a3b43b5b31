"""What is wrong with the documentation: broken links, names that no page mentions, pages that nothing leads to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import heredity.lab
from builder import command_reference, markdown, merging_tables, recipe_reference

FENCE = re.compile(r"^(?P<language>\w+)(?P<words>(?: [\w./=-]+)*)$")


def problems(texts: dict[str, str], folder: Path, navigation: list[str]) -> Iterator[str]:
    """One line per problem, beginning with the page.

    Args:
        texts: every page by its path below the folder.
        folder: of the documentation.
        navigation: pages in the order of the site's menu.
    """
    tokens = {page: markdown.parse(text) for page, text in texts.items()}
    anchors = {page: {heading.anchor for heading in markdown.headings(found)} for page, found in tokens.items()}
    for page, found in tokens.items():
        titles = [heading for heading in markdown.headings(found) if heading.level == 1]
        if len(titles) != 1:
            yield f"{page}: has {len(titles)} titles (# …); a page has one"
        for link in markdown.links(found):
            wrong = broken(link.target, page, anchors, folder)
            if wrong:
                yield f"{page}:{link.line}: {wrong}"
        for token in found:
            if token.type == "fence" and not FENCE.match(token.info.strip()):
                yield f"{page}:{(token.map or [0])[0] + 1}: a code block says its language; found {token.info!r}"
    yield from _unreached(texts, navigation)
    yield from _unmentioned(texts)


def broken(target: str, page: str, anchors: dict[str, set[str]], folder: Path) -> str | None:
    """What is wrong with a link; None when it leads somewhere."""
    if re.match(r"[a-z]+:", target):
        return None
    path, _, anchor = unquote(target).partition("#")
    if not path:
        return None if anchor in anchors[page] else f"there is no heading #{anchor} on this page"
    whole = (folder / page).parent.joinpath(path).resolve()
    root = folder.resolve()
    if whole.suffix == ".md":
        name = whole.relative_to(root).as_posix() if whole.is_relative_to(root) else ""
        if name not in anchors:
            return f"the link {target} leads to no page"
        return f"{name} has no heading #{anchor}" if anchor and anchor not in anchors[name] else None
    if not whole.is_file():
        return f"the link {target} leads to no file"
    shown = whole.is_relative_to(root) or whole.is_relative_to(root.parent / "results")
    return None if shown else f"{target} lies outside of docs and results, where the built pages cannot reach it"


def _unreached(texts: dict[str, str], navigation: list[str]) -> Iterator[str]:
    for page in sorted(set(texts) - set(navigation)):
        yield f"{page}: is not in the menu (NAVIGATION in docs/build.py) and belongs to no paper"
    for page in navigation:
        if page not in texts:
            yield f"{page}: is in the menu, but there is no such page"


def _unmentioned(texts: dict[str, str]) -> Iterator[str]:
    """Exports of the lab and commands have to be in what people wrote; rows and keys may be in generated tables."""
    pages = [markdown.written(text) for page, text in texts.items() if not page.startswith("papers/")]
    code = "\n".join(part for text in pages for part in markdown.code(markdown.parse(text)))
    everything = "\n".join(texts.values())
    exported = [name for name in vars(heredity.lab) if not name.startswith("_") and _is_exported(name)]
    for name in exported:
        if not re.search(rf"\b{name}\b", code):
            yield f"operators.md: no code on any page has `{name}`, which heredity.lab exports"
    for name in command_reference.command_names():
        if not re.search(rf"heredity {name}\b", code):
            yield f"terminal.md: no page mentions the command `heredity {name}` beside its generated reference"
    for name in merging_tables.method_names():
        if f"`{name}`" not in everything:
            yield f"merging.md: no page mentions the merge method `{name}`"
    for key in recipe_reference.recipe_keys():
        if f"`{key.rpartition('.')[2]}`" not in texts.get("recipes.md", ""):
            yield f"recipes.md: does not mention the key `{key}`"


def _is_exported(name: str) -> bool:
    """Whether `heredity.lab` itself names it (`import … as name`), rather than holding it as a submodule."""
    source = Path(str(heredity.lab.__file__)).read_text(encoding="utf-8")
    return re.search(rf"\bas {name}\b", source) is not None
