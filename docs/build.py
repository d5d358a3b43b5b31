"""Build the documentation: renew its generated parts, check it, and render it to HTML in docs/_site.

Usage: python docs/build.py            renew, check and render
       python docs/build.py --check    change nothing; exit code 1 when a page is stale or something is wrong
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from builder import (  # noqa: E402 - found beside this file
    checks,
    code_tables,
    command_reference,
    markdown,
    merging_tables,
    page_keys,
    paper_pages,
    recipe_reference,
    scale_figures,
)

# The menu. Pages of papers are found through the gallery in papers.md.
NAVIGATION = [
    "index.md",
    "quickstart.md",
    "births.md",
    "operators.md",
    "recipes.md",
    "merging.md",
    "search.md",
    "evolution.md",
    "terminal.md",
    "page.md",
    "papers.md",
    "scale.md",
    "limits.md",
]
GENERATORS = (code_tables, command_reference, merging_tables, page_keys, paper_pages, recipe_reference, scale_figures)


def parts() -> dict[str, str]:
    """Every generated part by name: functions `section_<name>` of the builder's modules."""
    functions: dict[str, Callable[[], str]] = {
        name.removeprefix("section_").replace("_", "-"): value
        for module in GENERATORS
        for name, value in vars(module).items()
        if name.startswith("section_")
    }
    return {name: function() for name, function in functions.items()}


def renewed(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """All pages as they are, and as they should be.

    Raises:
        ValueError: a mark of a generated part is wrong, or a part stands on no page.
    """
    found = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in markdown.pages(folder)}
    generated = parts()
    wanted = {page: markdown.filled(text, generated, page) for page, text in found.items()}
    placed = {name for text in found.values() for name in markdown.marked(text)}
    if unplaced := sorted(set(generated) - placed):
        raise ValueError(f"no page holds the generated part {unplaced[0]!r}; write <!-- generated: {unplaced[0]} -->")
    wanted = {page: text for page, text in wanted.items() if not page.startswith("papers/")}
    return found, {**wanted, **paper_pages.paper_pages()}


def main() -> int:
    """Exit code: 0 when all is well, else 1."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", action="store_true", help="change nothing, report what is stale or wrong")
    arguments.add_argument("--folder", type=Path, default=HERE, help="the documentation; by default where this file is")
    asked = arguments.parse_args()
    try:
        found, wanted = renewed(asked.folder)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    wrong: list[str] = []
    for page in sorted(found.keys() | wanted.keys()):
        if found.get(page) == wanted.get(page):
            continue
        path = asked.folder / page
        if asked.check:
            why = "is missing" if page not in found else "belongs to no paper" if page not in wanted else "is stale"
            wrong.append(f"{page}: {why}; run python docs/build.py")
        elif page in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[page], encoding="utf-8")
        else:
            path.unlink()
    shown = [*NAVIGATION, *(page for page in wanted if page.startswith("papers/"))]
    wrong += checks.problems(wanted, asked.folder, shown)
    for line in wrong:
        print(line, file=sys.stderr)
    if wrong:
        print(f"{len(wrong)} problem{'s' if len(wrong) > 1 else ''} in the documentation", file=sys.stderr)
        return 1
    if asked.check:
        print(f"{len(wanted)} pages: generated parts are current, links lead somewhere, public names are mentioned")
        return 0
    from builder.site import Site

    count = Site(wanted, NAVIGATION, asked.folder, asked.folder / "_site").write()
    print(f"{count} pages in {asked.folder / '_site'}; begin at {asked.folder / '_site' / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
