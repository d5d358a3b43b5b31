"""The documentation is true: its code runs, its outputs are what it says, and its build refuses what is stale or wrong.

A page is one script: its Python blocks stand at the lines they have on the page, and run in one process in an empty
folder. Blocks with file=NAME are written there before anything runs; shell blocks marked `run` run in their place;
a `text output` block is what the runnable block above it prints, with … for anything.
"""

from __future__ import annotations

import doctest
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
MARK = "\x1e"  # begins a line that says which block printed what follows
SHELL = "import subprocess as _s; _s.run(['sh', '-e', '-c', {command!r}], check=True)"


def fences(page: Path) -> list[Token]:
    tokens = MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))
    return [token for token in tokens if token.type == "fence"]


def runs(token: Token) -> bool:
    words = token.info.split()
    if words[0] == "python":
        return file_of(token) is None
    return words[:2] == ["sh", "run"]


def file_of(token: Token) -> str | None:
    return next((word.removeprefix("file=") for word in token.info.split() if word.startswith("file=")), None)


def script_of(blocks: list[Token], lines: int) -> str:
    """The page's runnable blocks at their own lines; what each prints begins with a mark and its number."""
    script = [""] * lines
    for number, token in enumerate(blocks):
        if runs(token):
            assert token.map is not None
            first, end = token.map
            script[first] = f"print({MARK + str(number)!r}, flush=True)"
            if token.info.startswith("sh"):
                script[first] += "; " + SHELL.format(command=token.content)
            else:
                script[first + 1 : end - 1] = token.content.rstrip("\n").split("\n")
    return "\n".join(script)


PAGES = sorted(page for page in DOCS.glob("*.md") if any(map(runs, fences(page))))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_of_a_page_runs_and_prints_what_the_page_says(page: Path, tmp_path: Path) -> None:
    blocks = fences(page)
    for token in blocks:
        name = file_of(token)
        if name is not None:
            (tmp_path / name).write_text(token.content, encoding="utf-8")
    script = tmp_path / f"page_{page.stem}.py"
    script.write_text(script_of(blocks, len(page.read_text(encoding="utf-8").splitlines())), encoding="utf-8")
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "NO_COLOR": "1",
    }
    for name in ("HEREDITY_LAB", "HEREDITY_ALLOW", "MLFLOW_TRACKING_URI"):
        environment.pop(name, None)
    command = [sys.executable, "-W", "error::heredity.errors.HeredityWarning", script.name]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{page.name} failed (lines are the page's):\n{done.stderr[-3000:]}"
    printed = {int(part.split("\n", 1)[0]): part.split("\n", 1)[1] for part in done.stdout.split(MARK)[1:]}
    checker = doctest.OutputChecker()
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for number, token in enumerate(blocks):
        if token.info == "text output":
            wanted, found = token.content.replace("…", "..."), printed.get(number - 1)
            assert found is not None, f"{page.name}: the block above the output {wanted!r} does not run"
            assert checker.check_output(wanted, found, options), (
                f"{page.name} says\n{wanted}\nbut this is printed\n{found}"
            )


def build(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DOCS / "build.py"), *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the pages, beside the results that they show."""
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("_site", "__pycache__", "builder"))
    shutil.copytree(ROOT / "results", tmp_path / "results")
    return tmp_path / "docs"


def test_the_documentation_is_current_and_whole() -> None:
    done = build("--check")
    assert done.returncode == 0, done.stderr


def test_check_names_every_page_with_something_wrong(copy: Path) -> None:
    """All damages at once, since a build takes seconds; each must be named with its page."""

    def change(page: str, old: str, new: str) -> None:
        text = (copy / page).read_text(encoding="utf-8")
        assert old in text
        (copy / page).write_text(text.replace(old, new), encoding="utf-8")

    change("recipes.md", "| `patience` |", "| `patienc` |")  # a generated table that is stale
    change("index.md", "births.md#what-is-promised", "births.md#what-is-not-there")
    change("limits.md", "merging.md#mergekits-yaml-not-supported", "mergings.md")
    change("page.md", "images/page.png", "images/none.png")
    for page in copy.glob("*.md"):
        page.write_text(page.read_text(encoding="utf-8").replace("allow", "permit"), encoding="utf-8")
    change("terminal.md", "| is anything damaged | `heredity verify` |\n", "")
    change("terminal.md", "heredity verify\n```\n\n<!--", "```\n\n<!--")
    (copy / "papers" / "genome.md").unlink()
    (copy / "stray.md").write_text("# Stray\n")
    done = build("--check", "--folder", str(copy))
    assert done.returncode == 1
    for said in (
        "recipes.md: is stale",
        "papers/genome.md: is missing",
        "births.md has no heading #what-is-not-there",
        "the link mergings.md leads to no page",
        "the link images/none.png leads to no file",
        "no code on any page has `allow`",
        "`heredity verify` beside its generated reference",
        "stray.md: is not in the menu",
    ):
        assert said in done.stderr, f"{said!r} is not said:\n{done.stderr}"


def test_the_site_is_complete_and_asks_nothing_of_the_network(copy: Path) -> None:
    done = build("--folder", str(copy))
    assert done.returncode == 0, done.stderr
    site = copy / "_site"
    pages = {path.relative_to(copy).with_suffix(".html") for path in copy.rglob("*.md")}
    assert {path.relative_to(site) for path in site.rglob("*.html")} == pages
    for path in site.rglob("*.html"):
        html = path.read_text(encoding="utf-8")
        assert "<script" not in html
        for attribute in ('src="', '<link rel="stylesheet" href="'):
            for rest in html.split(attribute)[1:]:
                target = rest.split('"')[0]
                assert (path.parent / target).is_file(), f"{path.name} loads {target}, which is not in the site"
