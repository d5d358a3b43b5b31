import numpy as np
import pytest
from scipy import stats

from heredity.evaluation.ranking import kendall, spearman, spearman_top_k


def test_equals_scipy_with_ties():
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = rng.integers(5, size=12), rng.integers(5, size=12)
        assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
        assert kendall(x, y) == pytest.approx(stats.kendalltau(x, y).statistic)


def test_top_k_looks_at_the_best_by_true_value():
    x = np.arange(50.0)
    assert spearman_top_k(x, x, 10) == pytest.approx(1)
    assert spearman_top_k(-x, x, 0.2) == pytest.approx(-1)
    prediction = np.where(x >= 40, x, -x)  # right among the best ten, wrong below them
    assert spearman_top_k(prediction, x, 0.2) == pytest.approx(1)
    assert spearman_top_k(prediction, x, 12) < 1


def test_what_ranks_nothing_is_flagged():
    assert spearman([1, 1, 1], [1, 2, 3]) == -1
    assert kendall([1, 2, 3], [2, 2, 2], constant=0.0) == 0


@pytest.mark.parametrize("bad", [([1], [1]), ([1, 2], [1, 2, 3]), ([1, np.nan], [1, 2])])
def test_bad_input_is_named(bad):
    with pytest.raises(ValueError, match=r"needed|not finite"):
        spearman(*bad)
    with pytest.raises(ValueError, match="best 1 of 3"):
        spearman_top_k([1, 2, 3], [1, 2, 3], 1)
