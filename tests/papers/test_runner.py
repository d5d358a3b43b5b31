"""Running a claim: what is recorded is not done again, and failures are said."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from heredity.lab import Lab
from heredity.papers.card import Paper
from heredity.papers.catalogue import find_paper
from heredity.papers.checking import check, same_kind
from heredity.papers.claim import Arm, Claim
from heredity.papers.errors import ClaimError
from heredity.papers.result import read_result, result_path, write_result
from heredity.papers.runner import plan, run

if TYPE_CHECKING:
    from tests.papers.conftest import Toys

PER_SEED = 1 + 2 * 3  # one root, then two worlds times three arms


def with_claim(paper: Paper, **changes: Any) -> Paper:
    assert isinstance(paper.claim, Claim)
    return dataclasses.replace(paper, claim=dataclasses.replace(paper.claim, **changes))


def test_cells_hold_what_probes_and_notes_say(toys: Toys, tmp_path: Path) -> None:
    paper = find_paper("tiny")
    with Lab(tmp_path / "lab") as lab:
        result = run(plan(paper), lab)
        cell = next(c for c in result.cells if (c.arm, c.world, c.seed) == ("little", "north", 11))
        # 1 from the root, .25 from the arm, .11 from the seed, .1 in the north.
        assert cell.values["score"] == pytest.approx(1.46) and cell.values["amount"] == 0.25
        assert cell.model is not None and lab[cell.model].labels["claim"] == "tiny"
    assert (result.verdict, result.complete, result.seeds) == ("confirmed", True, (10, 11, 12))
    assert [cell.seed for cell in result.cells] == [10] * 6 + [11] * 6 + [12] * 6
    assert toys.births == 3 * PER_SEED


def test_a_second_run_and_more_seeds_redo_nothing(toys: Toys, tmp_path: Path) -> None:
    paper = find_paper("tiny")
    with Lab(tmp_path / "lab") as lab:
        first = run(plan(paper), lab)
    with Lab(tmp_path / "lab") as lab:
        assert run(plan(paper), lab).cells == first.cells
    assert toys.births == 3 * PER_SEED
    with Lab(tmp_path / "lab") as lab:
        more = run(plan(paper, seeds=5), lab)
    assert more.cells[: len(first.cells)] == first.cells and more.complete
    assert toys.births == 5 * PER_SEED


def test_an_interrupted_run_goes_on_where_it_was(toys: Toys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paper = find_paper("tiny")
    monkeypatch.setattr(toys.trials, "STOP_AFTER", 10)
    with Lab(tmp_path / "lab") as lab, pytest.raises(KeyboardInterrupt):
        run(plan(paper), lab)
    assert toys.births == 10
    monkeypatch.setattr(toys.trials, "STOP_AFTER", None)
    with Lab(tmp_path / "lab") as lab:
        result = run(plan(paper), lab)
    assert toys.births == 3 * PER_SEED
    with Lab(tmp_path / "other") as lab:
        untouched = run(plan(paper), lab)
    values = [cell.values for cell in result.cells]
    assert values == [cell.values for cell in untouched.cells]


def test_a_failed_cell_is_named_and_decides_nothing(toys: Toys, tmp_path: Path) -> None:
    paper = find_paper("tiny")
    assert paper.claim is not None
    _, *others = paper.claim.arms
    broken = with_claim(paper, arms=(Arm("much", "breaks", "tested", {"amount": 1.0, "breaks": True}), *others))
    with Lab(tmp_path / "lab") as lab:
        result = run(plan(broken), lab)
    failed = [cell for cell in result.cells if cell.arm == "much"]
    assert all("broken on purpose" in (cell.failed or "") and not cell.values for cell in failed)
    assert result.verdict == "inconclusive"
    assert result.judgement.subs[0].note == "6 of 6 cells of much failed"
    assert all(cell.failed is None for cell in result.cells if cell.arm != "much")


def test_some_arms_or_fewer_seeds_are_no_complete_run(toys: Toys) -> None:
    paper = find_paper("tiny")
    assert plan(paper).complete and plan(paper, seeds=4).complete
    assert not plan(paper, seeds=2).complete
    assert not plan(paper, arms=["much", "little"]).complete


def test_what_cannot_be_run_is_said_before_anything_runs(toys: Toys) -> None:
    paper = find_paper("tiny")
    with pytest.raises(ClaimError, match="no scale 'medium'; its card has small, full"):
        plan(paper, "medium")
    with pytest.raises(ClaimError, match="it needs a mountain"):
        plan(paper, "full")
    with pytest.raises(ClaimError, match="no arm 'most'"):
        plan(paper, arms=["most"])
    with pytest.raises(ClaimError, match="at least one seed"):
        plan(paper, seeds=0)
    with pytest.raises(ClaimError, match="no claim"):
        plan(dataclasses.replace(paper, claim=None))
    piloted = with_claim(paper, pilots=(dataclasses.replace(paper.claim.pilots[0], seeds=(19,)),))  # type: ignore[union-attr]
    plan(piloted)
    with pytest.raises(ClaimError, match="seed 19, which a pilot has used"):
        plan(piloted, seeds=10)


def test_a_trial_that_is_none_is_named(toys: Toys, tmp_path: Path) -> None:
    paper = find_paper("tiny")
    with Lab(tmp_path / "lab") as lab:
        with pytest.raises(ClaimError, match="'tiny_trials:gone' cannot be imported"):
            run(plan(with_claim(paper, trial="tiny_trials:gone")), lab)
        toys.trials.__dict__["half"] = half
        with pytest.raises(ClaimError, match="returned NoneType"):
            run(plan(with_claim(paper, trial="tiny_trials:half")), lab)


def half(cell: object) -> Any:
    """A trial that forgets to return."""
    yield []


def test_a_result_survives_its_file(toys: Toys, tmp_path: Path) -> None:
    paper = find_paper("tiny")
    with Lab(tmp_path / "lab") as lab:
        result = run(plan(paper), lab)
    path = result_path(paper, "small", tmp_path / "results")
    assert path == tmp_path / "results" / "toys" / "tiny.json"
    assert result_path(paper, "full", tmp_path).name == "tiny.full.json"
    write_result(result, path)
    assert read_result(path) == result
    assert "host" not in result.environment and "command" not in result.environment
    path.write_text('{"format": 99}')
    with pytest.raises(ClaimError, match="format 99"):
        read_result(path)
    path.write_text('{"format": 1}')
    with pytest.raises(ClaimError, match="no result of a claim"):
        read_result(path)


def test_checking_finds_the_same_numbers_and_a_changed_one(toys: Toys, tmp_path: Path) -> None:
    paper = find_paper("tiny")
    with Lab(tmp_path / "lab") as lab:
        result = run(plan(paper), lab)
    checks, same = check(paper, result)
    assert same and len(checks) == 3 * 2  # three cells, two values each
    assert all(item.agrees for item in checks)
    shifted = tuple(
        dataclasses.replace(c, values={**c.values, "score": c.values["score"] + 0.02}) for c in result.cells
    )
    wrong = dataclasses.replace(result, cells=shifted)
    checks, _ = check(paper, wrong)
    assert {item.agrees for item in checks if item.metric == "score"} == {False}
    # On another kind of machine .02 lies within the card's tolerance of .03.
    elsewhere = dataclasses.replace(wrong, environment={**wrong.environment, "system": "Plan 9"})
    checks, same = check(paper, elsewhere)
    assert not same and all(item.agrees for item in checks)


def test_what_the_clock_measures_is_not_compared(toys: Toys, tmp_path: Path) -> None:
    paper = with_claim(find_paper("tiny"), clocked=("score",))
    with Lab(tmp_path / "lab") as lab:
        result = run(plan(paper), lab)
    assert {item.metric for item in check(paper, result)[0]} == {"amount"}


def test_kinds_of_machines() -> None:
    one = {"versions": {"torch": "2", "numpy": "2"}, "cpu": {"model": "m", "capability": "AVX2"}, "system": "s"}
    assert same_kind(one, {**one, "host": "elsewhere", "git": "abc"})
    assert not same_kind(one, {**one, "cpu": {"model": "other", "capability": "AVX2"}})
    assert not same_kind(one, {**one, "versions": {"torch": "3", "numpy": "2"}})
