import subprocess
import sys

from heredity.papers.claim import sub_claims
from heredity.papers.search.eagan import CLAIM, PAPER


def test_the_card_imports_nothing_heavy():
    code = "import sys, heredity.papers.search.eagan; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_the_rule_asks_for_evolution_against_random_search_alone():
    required = [leaf for leaf in sub_claims(CLAIM.rule) if leaf.weight == "required"]
    assert [(leaf.tested, leaf.against) for leaf in required] == [("eagan", "random_search")]
    assert CLAIM.direction == "lower" and [level.metric for level in CLAIM.preconditions] == ["spread"]


def test_pilots_seeds_are_not_used_again():
    assert not {s for p in CLAIM.pilots for s in p.seeds} & {cell.seed for cell in CLAIM.cells("medium")}
    assert PAPER.arxiv == "2111.15097"
