import subprocess
import sys

from heredity.papers.claim import sub_claims
from heredity.papers.search.clude_plagiarism import CLAIM, PAPER
from heredity.papers.testbeds.clone_trials import SEARCHERS
from heredity.papers.verdict import CellResult, judge


def test_the_card_imports_nothing_heavy():
    code = "import sys, heredity.papers.search.clude_plagiarism; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_every_arm_has_what_its_trial_reads():
    small = CLAIM.scale("small").settings
    assert {"training", "search_steps", "evaluations", "population", "generations", "pairs", "steps"} <= set(small)
    assert small["evaluations"] % small["population"] == 0
    for arm in CLAIM.arms:
        assert arm.settings["init"] in {"default", "logistic", *SEARCHERS}
        assert arm.settings["loss"] in {"focal", "weighted", "plain", "none"}
    assert PAPER.arxiv == "2305.02374" and not {s for p in CLAIM.pilots for s in p.seeds} & set(range(100, 140))


def verdict(won):
    """All required sub-claims met but C1 on functions, where Clu-DE wins on these."""
    cells = []
    for seed in range(100, 108):
        noise = seed * 1e-6
        for arm in CLAIM.arms:
            good = arm.name in {"clu_de_focal", "default_focal", "clu_de_alone"}
            values = {"auprc": 0.8 if good else 0.7, "f1": 0.8 if good else 0.7, "g_mean": 0.8}
            values |= {"objective": 0.1 if good else 0.2}
            values |= {
                name: 0.0 if (name in won) == good else 1.0 for name in ("sphere", "rastrigin", "ackley", "schwefel")
            }
            values = {name: value + noise * (seed % 3) * len(arm.name) for name, value in values.items()}
            cells.append(CellResult(arm.name, "", seed, values))
    return judge(CLAIM, cells).verdict


def test_half_of_the_functions_are_needed():
    assert len(sub_claims(CLAIM.rule)) > 8
    for won in (("sphere", "rastrigin"), ("ackley", "schwefel"), ("sphere", "schwefel"), ("rastrigin", "ackley")):
        assert verdict(won) == "confirmed", won
    for won in (("sphere",), ("schwefel",), ()):
        assert verdict(won) == "not confirmed", won
