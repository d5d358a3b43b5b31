import subprocess
import sys

import pytest
import torch

from heredity.lab import Lab
from heredity.papers.claim import Cell, sub_claims
from heredity.papers.runner import run_cells
from heredity.papers.search.temporally_aware_rl import CLAIM, PAPER
from heredity.papers.testbeds.learned_schedules import DIM, EvolvedSchedules, first_vector, handmade, learned

TINY = {"batch": 2, "generations": 2, "lifetimes": 1, "test_levels": 2, "trials": 2, "tuning_levels": 1}


def test_the_card_imports_nothing_heavy():
    code = "import sys, heredity.papers.search.temporally_aware_rl; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_the_card_s_parameters_and_first_schedule():
    assert all(CLAIM.first_seed % s.settings["batch"] == 0 == s.seeds % s.settings["batch"] for s in CLAIM.scales[:2])
    assert DIM == 42 and "42 parameters" in CLAIM.setting
    lr, entropy = learned(torch.stack([first_vector(s) for s in range(3)]), True)(0.7, 30)
    assert torch.allclose(lr, torch.tensor(10**1.7)) and torch.allclose(entropy, torch.tensor(0.01))


def test_only_a_temporal_schedule_changes_and_both_keep_their_bounds():
    vectors = torch.randn(20, DIM, generator=torch.Generator().manual_seed(0)) * 9
    for temporal in (True, False):
        begin, end = (learned(vectors, temporal)(frac, 30) for frac in (0.0, 1.0))
        assert (not torch.equal(begin[0], end[0])) == temporal
        assert begin[0].log10().min() >= -0.3 - 1e-4 and end[0].log10().max() <= 2.7 + 1e-4
        assert begin[1].log10().min() >= -4 - 1e-4 and end[1].log10().max() <= 1e-4
    settings = torch.tensor([[50.0, 0.1, 2.0]])
    assert handmade(settings, True)(0.75, 10)[0].item() == pytest.approx(12.5)
    assert handmade(settings, False)(0.75, 10)[0].item() == pytest.approx(50.0)


def test_a_seed_is_searched_as_if_it_were_alone(tmp_path):
    with Lab(tmp_path / "lab") as lab:
        both = lab.derive(EvolvedSchedules(6, 2, "temporal", generations=2, pairs=2, levels=1), seed=6)
        alone = lab.derive(EvolvedSchedules(6, 1, "temporal", generations=2, pairs=2, levels=1), seed=6)
        assert torch.allclose(both.weights()["rows"][:1], alone.weights()["rows"], atol=1e-5)
        assert not torch.allclose(both.weights()["rows"][0], first_vector(6))


@pytest.mark.slow
def test_cells_of_all_arms_give_every_metric_of_the_card(tmp_path):
    cells = [Cell(arm.name, "", 7, {**TINY, **arm.settings}) for arm in CLAIM.arms]
    with Lab(tmp_path / "lab") as lab:
        results = run_cells(PAPER, CLAIM, cells, lab, scale="small")
    assert [result.failed for result in results] == [None] * len(cells)
    assert set().union(*(result.values for result in results)) == set(CLAIM.metrics)
    values = {result.arm: result.values for result in results}
    best = max(values["temporal"]["return"], values["static"]["return"])
    assert values["first"]["es_gain"] == pytest.approx(best - values["first"]["return"])
    for leaf in sub_claims(CLAIM.rule):
        metric = leaf.metric or CLAIM.metric
        for arm in (getattr(leaf, "tested", None) or leaf.arm, *((leaf.against,) if hasattr(leaf, "against") else ())):
            assert metric in values[arm], (arm, metric)
