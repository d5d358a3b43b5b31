import numpy as np
import pytest
import torch

from heredity.evaluation.ranking import kendall
from heredity.lab import Lab
from heredity.papers.claim import Cell
from heredity.papers.runner import run_cells
from heredity.papers.search.diswot import CLAIM, PAPER
from heredity.papers.testbeds import student_cells as nets
from heredity.papers.testbeds.student_ranking import Scores, grouped_tau, pseudo_value, score, trainings, trial

TINY = {"pool": 5, "architectures": 6, "block": 2, "epochs": 1}


def test_architectures_differ_where_it_counts_and_are_able():
    cells = nets.architectures(32, 5)
    assert len(set(cells)) == 32 == len(set(cells) & set(nets.architectures(40, 5)))
    assert all(nets.student_space().valid(cell) and nets.conv3_count(cell) >= 1 for cell in cells)
    assert not nets.able(("conv3", "skip")) and not nets.able(("conv1", "conv1")) and nets.able(("conv3", "conv1"))


def test_images_are_divided_moved_and_repeat():
    data = nets.cell_data(5)
    assert data.copies.shape == (20, 600, 1, 8, 8) and data.test_x.shape == (1197, 1, 8, 8)
    # Two copies of one image differ by shift and noise of .1, two images of one class by more.
    same = (data.copies[0] - data.copies[1]).square().mean()
    other = (data.copies[0] - data.copies[0].roll(1, 0)).square().mean()
    assert 2 * 0.1**2 * 0.9 < same < other
    x, y = nets.proxy_batch(5, 0)
    assert x.shape == (64, 1, 8, 8) and not torch.equal(x, nets.proxy_batch(5, 1)[0])
    assert torch.equal(x, nets.proxy_batch(5, 0)[0]) and len(y.unique()) > 5


def test_training_repeats_and_learns():
    def reached():
        net = nets.built(nets.TEACHER_CELL, 1)
        nets.train(net, 5, 5, 1)
        return nets.accuracy(net, 5)

    assert reached() == reached() > 0.7


def test_pseudo_values_of_a_mean_are_the_values():
    x = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0])
    found = [pseudo_value(lambda kept: float(x[kept].mean()), 6, start, 2) for start in (0, 2, 4)]
    assert found == pytest.approx([2, 2.5, 7])  # means of the blocks


def test_pseudo_values_of_tau_spread_as_tau_does():
    """Their standard error is τ's standard deviation over samples of architectures."""
    rng, size, taus, errors = np.random.default_rng(0), 32, [], []
    for _ in range(100):
        x = rng.normal(size=size)
        y = x + 1.5 * rng.normal(size=size)
        values = [pseudo_value(lambda kept, x=x, y=y: kendall(x[kept], y[kept]), size, k, 2) for k in range(0, size, 2)]
        taus.append(kendall(x, y))
        errors.append(np.std(values, ddof=1) / 4)  # 16 blocks
        assert np.mean(values) == pytest.approx(taus[-1], abs=0.1)
    # A standard deviation of 100 is known to 7 %, and the jackknife's is biased upwards by a few per cent.
    assert np.mean(errors) == pytest.approx(np.std(taus), rel=0.2)


def test_tau_within_groups_sees_no_other_pairs():
    x, y = np.array([1.0, 2.0, 10.0, 11.0]), np.array([2.0, 1.0, 20.0, 21.0])
    # Pairs of one group: (0, 1) discordant, (2, 3) concordant.
    assert grouped_tau(x, y, np.array([0, 0, 1, 1])) == 0
    assert grouped_tau(x, y, np.zeros(4, dtype=int)) == pytest.approx(4 / 6)
    assert grouped_tau(x, y, np.arange(4)) == 0


def test_pairs_of_trainings():
    reached = np.arange(10.0).reshape(5, 2)
    rows = [(int(a[0]) // 2, int(b[0]) // 2) for name in ("kd", "ce", "across") for a, b in trainings(name, reached)]
    assert rows == [(0, 1), (0, 2), (1, 2), (3, 4), (0, 3), (0, 4), (1, 3), (1, 4), (2, 3), (2, 4)]


def test_scores_average_repeats_of_both_terms(tmp_path):
    cells = tuple(nets.architectures(2, 5))
    with Lab(tmp_path / "lab") as lab:
        table = lab.derive(Scores(5, cells, "diswot_shared", repeats=2)).weights()["scores"]
    for row, cell in zip(table, cells, strict=True):
        each = [score("diswot_shared", cell, 5, repeat) for repeat in (0, 1)]
        assert row.tolist() == pytest.approx(np.mean(each, 0)) and (row < 0).all()


@pytest.mark.slow
def test_every_arm_runs_and_gives_its_metrics(tmp_path):
    cells = [Cell(arm.name, "", 6, {**TINY, **arm.settings}) for arm in CLAIM.arms]
    with Lab(tmp_path / "lab") as lab:
        results = run_cells(PAPER, CLAIM, cells, lab, scale="small")
    assert [r.failed for r in results] == [None] * len(cells)
    everywhere = {"tau", "tau_within", "median", "teacher"}
    assert all(everywhere <= set(r.values) <= set(CLAIM.metrics) for r in results)
    assert {r.arm for r in results if "chosen" in r.values} == {"diswot_shared", "best_baseline", "random"}
    assert {metric for r in results for metric in r.values} == set(CLAIM.metrics)


def test_a_seed_without_a_block_is_refused():
    with pytest.raises(ValueError, match="seeds 5 to 7"):
        next(trial(Cell("params", "", 8, {**TINY, "scorer": "params"})))
