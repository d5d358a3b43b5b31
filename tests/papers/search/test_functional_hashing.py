import subprocess
import sys

from heredity.lab import Lab
from heredity.papers.claim import Cell, sub_claims
from heredity.papers.result import committed_result
from heredity.papers.runner import run_cells
from heredity.papers.search.functional_hashing import CLAIM, PAPER


def test_the_card_imports_nothing_heavy():
    code = "import sys, heredity.papers.search.functional_hashing; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_small_scale_runs_every_arm_of_the_rule():
    ran = {cell.arm for cell in CLAIM.cells("small")}
    needed = {arm for leaf in sub_claims(CLAIM.rule) for arm in (getattr(leaf, "tested", None) or leaf.arm,)}
    assert needed <= ran


def test_a_cell_gives_every_metric_of_the_card(tmp_path):
    arm = CLAIM.arm("functional")
    cell = Cell(arm.name, "programs", 5, {**arm.settings, "budget": 10.0})
    with Lab(tmp_path / "lab") as lab:
        (result,) = run_cells(PAPER, CLAIM, [cell], lab, scale="small")
    assert result.failed is None and set(result.values) == set(CLAIM.metrics)


def test_the_committed_result_is_of_this_card_and_complete():
    result = committed_result(PAPER)
    assert result is not None and result.card == CLAIM.hash and result.complete
    assert all(cell.failed is None for cell in result.cells)
