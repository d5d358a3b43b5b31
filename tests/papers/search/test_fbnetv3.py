import subprocess
import sys
from typing import ClassVar

from heredity.papers.claim import Cell, sub_claims
from heredity.papers.search.fbnetv3 import CLAIM
from heredity.papers.testbeds.recipe_trials import trial


def test_the_card_imports_nothing_heavy():
    code = "import sys, heredity.papers.search.fbnetv3; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_small_scale_runs_every_arm_of_the_rule():
    ran = {cell.arm for cell in CLAIM.cells("small")}
    needed = {arm for leaf in sub_claims(CLAIM.rule) for arm in (getattr(leaf, "tested", None) or leaf.arm,)}
    assert needed <= ran


def test_a_search_trains_the_table_once_and_its_pick_with_three_new_seeds():
    arm = CLAIM.arm("random")
    steps = trial(Cell("random", "", 5, {**CLAIM.scale("small").settings, **arm.settings}))
    rows = next(steps)
    trainings = sum(len(request.operator.recipes) for request in rows)
    assert trainings == 32 * 12 + 12 * 5
    assert len({(str(request.operator.arch), request.seed) for request in rows}) == 44
    shared, predictor = steps.send([f"row{k}" for k in range(44)])
    assert shared.parents == [f"row{k}" for k in range(44)] and predictor.seed == 5
    (search,) = steps.send(["table", "predictor"])
    assert search.operator.evaluations == 60 and search.seed == 5

    class Found:
        notes: ClassVar = {"arch": 3, "recipe": 7}

    again = steps.send([Found()])
    assert len({request.seed for request in again}) == 3
    assert not {request.seed for request in again} & {request.seed for request in rows}
    assert all(request.operator.arch == rows[3].operator.arch for request in again)
    assert all(request.operator.recipe == rows[3].operator.recipes[7] for request in again)


def test_arms_of_one_seed_ask_for_the_same_table():
    def first(arm):
        steps = trial(Cell(arm.name, "", 5, {**CLAIM.scale("small").settings, **arm.settings}))
        return [(request.operator, request.seed) for request in next(steps)]

    assert all(first(arm) == first(CLAIM.arms[0]) for arm in CLAIM.arms)
