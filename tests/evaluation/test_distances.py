import numpy as np
import pytest
import torch

from heredity.evaluation.distances import (
    GaussianStats,
    classifier_two_sample,
    feature_statistics,
    frechet_distance,
    frechet_from_samples,
    proxy_a_distance,
)


def test_closed_forms_of_the_frechet_distance():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5))
    own = feature_statistics(x)
    assert frechet_distance(own, own) == pytest.approx(0, abs=1e-9)
    m = np.array([1.0, -2.0, 0.5])
    eye = np.eye(3)
    assert frechet_distance(GaussianStats(0 * m, eye, 9), GaussianStats(m, eye, 9)) == pytest.approx(m @ m)
    # diagonal: Σ (√a − √b)²
    a, b = np.array([1.0, 4.0, 9.0]), np.array([4.0, 1.0, 0.0])
    found = frechet_distance(GaussianStats(0 * m, np.diag(a), 9), GaussianStats(0 * m, np.diag(b), 9))
    assert found == pytest.approx(np.square(np.sqrt(a) - np.sqrt(b)).sum())


def test_few_samples_of_many_features_agree_with_the_matrices():
    rng = np.random.default_rng(1)
    x, y = torch.tensor(rng.normal(size=(12, 30))), rng.normal(0.3, 2, size=(15, 30))
    whole = frechet_distance(feature_statistics(x), feature_statistics(y))
    assert frechet_from_samples(x, y) == pytest.approx(whole, rel=1e-6)


def test_shrinkage_keeps_the_trace():
    x = np.random.default_rng(2).normal(size=(50, 4)) * [1, 2, 3, 4]
    plain, shrunk = feature_statistics(x), feature_statistics(x, 0.5)
    assert np.trace(shrunk.cov) == pytest.approx(np.trace(plain.cov))
    assert abs(shrunk.cov[0, 1]) == pytest.approx(abs(plain.cov[0, 1]) / 2)


def test_domains_that_cannot_and_can_be_told_apart():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(400, 3)), rng.normal(size=(400, 3))
    assert proxy_a_distance(x, y) < 0.3
    assert proxy_a_distance(x, y + 10) == pytest.approx(2)
    assert classifier_two_sample(x, y) == pytest.approx(0.5, abs=0.1)
    assert classifier_two_sample(x, y + 10) == pytest.approx(1)


def test_a_collapsed_generator_has_no_distance():
    with pytest.raises(ValueError, match="not finite"):
        feature_statistics([[1.0, np.nan], [0.0, 1.0]])
    with pytest.raises(ValueError, match=r"\[n ≥ 2, d\]"):
        feature_statistics([[1.0, 2.0]])
