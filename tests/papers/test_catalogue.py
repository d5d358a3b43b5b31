"""Finding cards, and that what is committed fits them."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import heredity.papers
from heredity.papers.card import Paper
from heredity.papers.catalogue import covers, find_paper, papers, papers_of
from heredity.papers.errors import UnknownPaper
from heredity.papers.result import read_result, result_path
from heredity.papers.verdict import judge

if TYPE_CHECKING:
    from tests.papers.conftest import Toys

ALL = papers()
ROOT = Path(heredity.papers.__path__[0])


def test_every_module_of_every_family_is_a_paper() -> None:
    for folder in (item for item in ROOT.iterdir() if item.is_dir() and item.name not in ("testbeds", "__pycache__")):
        modules = {item.stem for item in folder.glob("*.py") if item.stem != "__init__"}
        assert modules == {paper.slug for paper in ALL if paper.family == folder.name}


def test_testbeds_define_no_card() -> None:
    assert "testbeds" not in {paper.family for paper in ALL}


@pytest.mark.parametrize("paper", ALL, ids=lambda paper: paper.slug)
def test_a_card_is_complete(paper: Paper) -> None:
    assert paper.figures and paper.strengths and paper.avoid_when and paper.covers
    for path in paper.covers:
        module, _, name = path.partition(":")
        assert not name or hasattr(importlib.import_module(module), name), path
    if paper.claim is not None:
        module, _, name = paper.claim.trial.partition(":")
        assert hasattr(importlib.import_module(module), name)
        assert {scale.name for scale in paper.claim.scales} >= {"small"}
        assert {arm.role for arm in paper.claim.arms} >= {"tested", "baseline"}


@pytest.mark.parametrize("paper", [p for p in ALL if result_path(p, "small").exists()], ids=lambda paper: paper.slug)
def test_a_committed_result_was_made_by_todays_card_and_judged_by_todays_rule(paper: Paper) -> None:
    result = read_result(result_path(paper, "small"))
    assert paper.claim is not None
    assert result.card == paper.claim.hash and result.complete
    wanted = {(cell.arm, cell.world, cell.seed) for cell in paper.claim.cells("small", seeds=len(result.seeds))}
    assert {(cell.arm, cell.world, cell.seed) for cell in result.cells} == wanted
    again = judge(paper.claim, result.cells)
    assert (again.verdict, [sub.verdict for sub in again.subs]) == (
        result.verdict,
        [sub.verdict for sub in result.judgement.subs],
    )


def test_reading_the_catalogue_imports_no_torch() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom heredity.cli.main import app\n"
        "for command in (['papers'], ['papers', '--json'], ['cite', 'genome'], ['reproduce', '--help']):\n"
        "    ended = CliRunner().invoke(app, command)\n"
        "    assert ended.exit_code == 0, ended.output\n"
        "print('torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.strip() == "False"


def test_a_paper_is_found_by_slug_family_and_number() -> None:
    for name in ("genome", "merging/genome", "2503.01155", "arXiv 2503.01155", "arXiv:2503.01155"):
        assert find_paper(name).slug == "genome"


def test_an_unknown_paper_or_family_names_the_nearest() -> None:
    with pytest.raises(UnknownPaper, match="did you mean genome"):
        find_paper("genom")
    with pytest.raises(UnknownPaper, match="did you mean merging"):
        papers("mergin")


def test_a_new_family_is_found_without_a_list_and_modules_without_a_card_are_not_imported(toys: Toys) -> None:
    assert [paper.slug for paper in papers("toys")] == ["tiny"]
    assert "toys" in {info.name for info in pkgutil.iter_modules(heredity.papers.__path__)}


def test_operators_lead_to_their_papers() -> None:
    found = papers_of(["heredity.merging.operators:Succeed", "heredity.merging.operators:Merge"])
    assert [paper.slug for paper in found["heredity.merging.operators:Succeed"]] == ["genome"]
    assert found["heredity.merging.operators:Merge"] == []
    assert covers(find_paper("genome"), "heredity.merging.genome:GenomeSearcher")


def parse_bibtex(text: str) -> tuple[str, str, dict[str, str]]:
    """One entry with balanced braces: its kind, key and fields. Anything else fails."""
    head = re.match(r"@(\w+)\{([\w:-]+),\n", text)
    assert head and text.endswith("\n}"), text
    assert text.count("{") == text.count("}")
    fields: dict[str, Any] = {}
    for line in text[head.end() : -2].split("\n"):
        found = re.fullmatch(r"  (\w+) = \{(.*)\},?", line)
        assert found, line
        fields[found[1]] = found[2]
    return head[1], head[2], fields


@pytest.mark.parametrize("paper", ALL, ids=lambda paper: paper.slug)
def test_bibtex_can_be_parsed_and_says_who_and_when(paper: Paper) -> None:
    _, key, fields = parse_bibtex(paper.bibtex)
    assert key == paper.cite_key and fields["year"] == str(paper.year)
    assert fields["author"].split(" and ") == list(paper.authors)
    assert fields["title"].replace("\\", "") == f"{{{paper.title}}}"
    assert fields.get("eprint") == paper.arxiv


def test_bibtex_escapes_what_latex_would_take_for_commands(toys: Toys) -> None:
    kind, key, fields = parse_bibtex(find_paper("tiny").bibtex)
    assert (kind, key) == ("misc", "lovelace1843tiny")
    assert fields["title"] == r"{On Adding: {More} \& Less}" and fields["author"] == "Ada Lovelace and Émile Borel"


def test_keys_differ() -> None:
    assert len({paper.cite_key for paper in ALL}) == len(ALL)
    assert len({paper.slug for paper in ALL}) == len(ALL)
