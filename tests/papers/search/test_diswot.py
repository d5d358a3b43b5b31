import subprocess
import sys

from heredity.papers.claim import sub_claims
from heredity.papers.search.diswot import CLAIM, PAPER


def test_the_card_imports_nothing_heavy():
    code = "import sys, heredity.papers.search.diswot; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_small_scale_runs_every_arm_of_the_rule_with_unused_seeds():
    cells = CLAIM.cells("small")
    ran = {cell.arm for cell in cells}
    for leaf in sub_claims(CLAIM.rule):
        if hasattr(leaf, "tested"):
            against = (leaf.against,) if isinstance(leaf.against, str) else leaf.against
            assert {leaf.tested, *against} <= ran
        else:
            assert leaf.arm in ran
    assert min(cell.seed for cell in cells) == CLAIM.first_seed


def test_the_card_is_of_this_paper():
    assert PAPER.claim is CLAIM and PAPER.slug == "diswot" and PAPER.arxiv is not None


def test_every_seed_has_its_block_of_architectures():
    for scale in CLAIM.scales:
        if not scale.needs:
            blocks = scale.seeds * scale.settings["block"]
            assert blocks == scale.settings["architectures"] and scale.settings["pool"] == CLAIM.first_seed
