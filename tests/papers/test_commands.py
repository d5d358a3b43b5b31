"""`heredity papers`, `reproduce` and `cite`, on a tiny paper that runs in a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from heredity.cli.main import app
from heredity.cli.papers import show_paper
from heredity.papers.catalogue import find_paper
from heredity.papers.figure import draw
from heredity.papers.result import read_result

if TYPE_CHECKING:
    from tests.papers.conftest import Toys

ENVIRONMENT = {"COLUMNS": "200"}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env=ENVIRONMENT)


def reproduce(folder: Path, *arguments: str) -> Result:
    where = ["--lab", str(folder / "lab"), "--results", str(folder / "results"), "--executor", "inline"]
    return run("reproduce", "tiny", *where, *arguments)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("heredity.papers.result.results_folder", lambda: tmp_path / "results")


def test_reproduce_prints_the_verdict_and_writes_the_result(toys: Toys, tmp_path: Path) -> None:
    ended = reproduce(tmp_path)
    assert ended.exit_code == 0, ended.output
    # Mean of much: 1 + 1 + .11 for seeds 10, 11, 12 + .05 for half of the worlds; the interval is from the seeds.
    for text in (
        "3 arms × 2 worlds × 3 seeds = 18 cells",
        "2.160 [2.150, 2.170]",
        "+0.750 [+0.750, +0.750]",
        "CONFIRMED: 1 of 1 required sub-claims confirmed",
        "the paper: 2 (note G)",
        "heredity cite tiny",
    ):
        assert text in ended.output, text
    result = read_result(tmp_path / "results" / "toys" / "tiny.json")
    assert result.verdict == "confirmed" and len(result.cells) == 18
    assert (tmp_path / "results" / "toys" / "tiny.png").read_bytes()[:4] == b"\x89PNG"
    again = reproduce(tmp_path, "--json")
    assert json.loads(again.output)["cells"] == json.loads((tmp_path / "results/toys/tiny.json").read_text())["cells"]
    assert toys.births == 3 * 7


def test_a_part_of_the_arms_is_shown_and_not_written(toys: Toys, tmp_path: Path) -> None:
    ended = reproduce(tmp_path, "--arms", "much,little", "--seeds", "4")
    assert ended.exit_code == 0 and "INCONCLUSIVE: precondition not met" in ended.output
    assert "not written" in ended.output and not (tmp_path / "results").exists()


def test_check_agrees_then_says_what_differs(toys: Toys, tmp_path: Path) -> None:
    assert run("reproduce", "tiny", "--results", str(tmp_path / "results"), "--check").exit_code == 2
    reproduce(tmp_path)
    ended = reproduce(tmp_path, "--check")
    assert ended.exit_code == 0 and "6 of 6 agree (equal numbers: the same kind of machine)" in ended.output
    path = tmp_path / "results" / "toys" / "tiny.json"
    content = json.loads(path.read_text())
    for cell in content["cells"]:
        cell["values"]["score"] += 1
    path.write_text(json.dumps(content))
    ended = reproduce(tmp_path, "--check")
    assert ended.exit_code == 1 and "3 of 6 agree" in ended.output and "differs" in ended.output
    assert {cell["agrees"] for cell in json.loads(reproduce(tmp_path, "--check", "--json").output)["cells"]} == {
        True,
        False,
    }


def test_a_moved_goalpost_shows(toys: Toys, tmp_path: Path) -> None:
    reproduce(tmp_path)
    assert run("papers", "--check").exit_code == 0
    path = tmp_path / "results" / "toys" / "tiny.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "card": "0" * 64}))
    ended = run("papers", "--family", "toys", "--check")
    assert ended.exit_code == 1 and "tiny: its card was changed after its result was made" in ended.output
    ended = reproduce(tmp_path, "--check")
    assert ended.exit_code == 1 and "made by another card" in ended.output


def test_papers_lists_and_filters(toys: Toys, tmp_path: Path) -> None:
    assert "toys/tiny" in run("papers").output and "merging/genome" in run("papers").output
    listed = json.loads(run("papers", "--family", "toys", "--json").output)
    assert [(paper["slug"], paper["verdict"]) for paper in listed] == [("tiny", "not run")]
    reproduce(tmp_path)
    listed = json.loads(run("papers", "--verdict", "confirmed", "--json").output)
    assert [(paper["slug"], paper["seeds"]) for paper in listed] == [("tiny", [10, 11, 12])]
    assert listed[0]["card"] == listed[0]["result_card"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["papers", "--verdict", "perhaps"], "use one of confirmed, not confirmed, inconclusive, not run"),
        (["papers", "--family", "toyz"], "did you mean toys?"),
        (["reproduce", "tinny"], "did you mean tiny?"),
        (["reproduce", "tiny", "--scale", "full"], "it needs a mountain"),
        (["reproduce", "tiny", "--scale", "huge"], "its card has small, full"),
        (["cite", "nothing"], "there is no lab here"),
    ],
)
def test_bad_input_is_one_clear_line(toys: Toys, arguments: list[str], message: str) -> None:
    ended = run(*arguments)
    assert ended.exit_code == 2 and message in ended.output


def test_cite_a_paper_a_model_and_a_run(toys: Toys, tmp_path: Path) -> None:
    assert run("cite", "tiny").output.startswith("@misc{lovelace1843tiny,")
    reproduce(tmp_path)
    content: Any = json.loads((tmp_path / "results" / "toys" / "tiny.json").read_text())
    ended = run("cite", content["cells"][0]["model"], "--lab", str(tmp_path / "lab"))
    assert ended.exit_code == 0 and "@misc{lovelace1843tiny," in ended.output
    assert "% no card covers: tiny_trials:Root" in ended.output
    from heredity.lab import Lab, Request

    with Lab(tmp_path / "lab") as lab:
        lab.derive_all([Request(toys.trials.Add(2.0, "north"), (next(lab.models()),), labels={"run": "evening"})])
    found = json.loads(run("cite", "evening", "--lab", str(tmp_path / "lab"), "--json").output)
    assert [paper["slug"] for paper in found["papers"]] == ["tiny"] and found["uncovered"] == []
    ended = run("cite", "morning", "--lab", str(tmp_path / "lab"))
    assert ended.exit_code == 2 and "nor a model or run" in ended.output


def test_show_prints_card_and_result(toys: Toys, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reproduce(tmp_path)
    capsys.readouterr()
    show_paper(find_paper("tiny"))
    shown = capsys.readouterr().out
    for text in ("Ada Lovelace, Émile Borel", "note G", "adding more gives more", "much beats little", "seeds (0,)"):
        assert text in shown, text
    show_paper(find_paper("tiny"), as_json=True)
    content = json.loads(capsys.readouterr().out)
    assert content["card_in_full"]["claim"]["metric"] == "score" and content["verdict"] == "confirmed"


def test_the_figure_is_the_same_bytes_again(toys: Toys, tmp_path: Path) -> None:
    reproduce(tmp_path)
    paper = find_paper("tiny")
    result = read_result(tmp_path / "results" / "toys" / "tiny.json")
    assert paper.claim is not None
    draw(paper, paper.claim, result, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "results" / "toys" / "tiny.png").read_bytes()
