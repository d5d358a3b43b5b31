import subprocess
import sys

import pytest

from heredity.lab import Lab
from heredity.papers.claim import Cell, sub_claims
from heredity.papers.runner import run_cells
from heredity.papers.search.guided_evolution import CLAIM, PAPER
from heredity.papers.verdict import CellResult, judge


def test_the_card_imports_nothing_heavy():
    code = "import sys, heredity.papers.search.guided_evolution; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_small_scale_checks_the_loop_and_leaves_the_language_model_open():
    cells = CLAIM.cells("small")
    assert {cell.world for cell in cells} == {"rules"} and len(cells) == 12
    needed = {arm for leaf in sub_claims(CLAIM.rule) for arm in (getattr(leaf, "tested", None) or leaf.arm,)}
    assert needed <= {cell.arm for cell in cells}
    values = {"hypervolume": 0.5, "gain": 0.01, "first_valid": 0.95, "first_spread": 0.005}
    results = [
        CellResult(c.arm, c.world, c.seed, {**values, "hypervolume": 0.5 + 0.1 * (c.arm == "guided")}) for c in cells
    ]
    judgement = judge(CLAIM, results)
    assert judgement.verdict == "confirmed"
    of_models = [sub for sub in judgement.subs if sub.name.startswith("B: ")]
    assert len(of_models) == 2
    assert all(sub.verdict == "inconclusive" and "was not run" in sub.note for sub in of_models)


@pytest.mark.slow
def test_a_cell_gives_every_metric_of_the_card(tmp_path):
    arm = CLAIM.arm("guided")
    cell = Cell(arm.name, "rules", 950, {**arm.settings, "evaluations": 5, "start": 4, "population": 4})
    with Lab(tmp_path / "lab") as lab:
        (result,) = run_cells(PAPER, CLAIM, [cell], lab, scale="small")
    assert result.failed is None and set(result.values) == set(CLAIM.metrics)
