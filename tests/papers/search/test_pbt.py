import subprocess
import sys

import pytest

from heredity.lab import Lab
from heredity.papers.claim import Cell, sub_claims
from heredity.papers.runner import run_cells
from heredity.papers.search.pbt import CLAIM, PAPER

TINY = {"rounds": 3, "steps": 4, "width": 8, "context": 8, "batch": 4, "characters": (20_000, 500, 500)}


def test_the_card_imports_nothing_heavy():
    code = "import sys, heredity.papers.search.pbt; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_small_scale_runs_every_arm_of_the_rule():
    ran = {cell.arm for cell in CLAIM.cells("small")}
    for leaf in sub_claims(CLAIM.rule):
        assert {getattr(leaf, "tested", None) or leaf.arm} <= ran
        against = getattr(leaf, "against", ())
        assert set((against,) if isinstance(against, str) else against) <= ran


@pytest.mark.slow
def test_every_arm_runs_and_gives_the_cards_metrics(tmp_path):
    cells = [Cell(arm.name, "", 901, {**arm.settings, **TINY}) for arm in CLAIM.arms]
    with Lab(tmp_path / "lab") as lab:
        results = {r.arm: r for r in run_cells(PAPER, CLAIM, cells, lab, scale="small")}
    assert all(r.failed is None for r in results.values())
    for arm, result in results.items():
        assert set(result.values) | {"toy"} == set(CLAIM.metrics), arm
    assert results["random"].values["copies"] == results["hyper_only"].values["copies"] == 0
    # Two of eight members copy after each of the two inner rounds; after the second only, with an interval of 2.
    assert results["pbt"].values["copies"] == 4 and results["interval_2"].values["copies"] == 2
    assert results["random"].values["trend"] == results["random_cosine"].values["trend"] == 0
    assert results["random"].values["toy"] < 0.391 and results["pbt"].values["toy"] > 1.05
