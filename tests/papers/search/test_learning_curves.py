import subprocess
import sys

import pytest

from heredity.lab import Lab
from heredity.papers.claim import Cell, sub_claims
from heredity.papers.runner import run_cells
from heredity.papers.search.learning_curves import CLAIM, PAPER


def test_the_card_imports_nothing_heavy():
    code = "import sys, heredity.papers.search.learning_curves; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_small_scale_runs_every_arm_of_the_rule():
    ran = {cell.arm for cell in CLAIM.cells("small")}
    needed = {arm for leaf in sub_claims(CLAIM.rule) for arm in (getattr(leaf, "tested", None) or leaf.arm,)}
    assert needed <= ran


@pytest.mark.slow
def test_a_small_cell_gives_every_metric_of_the_card(tmp_path):
    arm = CLAIM.arm("trend")
    sizes = {"names": 30_000, "step": 400, "late_step": 2000, "last": 22_000, "test": 2000, "taus": (40.0, 30.0, 20.0)}
    cell = Cell("trend", "clean", 5, {**CLAIM.scale("small").settings, **arm.settings, **sizes, "nu": 4e-3})
    with Lab(tmp_path / "lab") as lab:
        (result,) = run_cells(PAPER, CLAIM, [cell], lab, scale="small")
    assert result.failed is None
    renamed = {name.replace("tau40", "tau12").replace("tau20", "tau4") for name in result.values}
    assert renamed == set(CLAIM.metrics)
