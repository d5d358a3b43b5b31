"""Distances between two samples: Fréchet distance of their features, and how well a classifier tells them apart.

Compare equal numbers of samples on both sides: the Fréchet distance of finite samples depends on n.
Sources: Heusel et al. (arXiv 1706.08500); proxy A-distance: Ben-David et al. (2010), as in DANN (arXiv 1505.07818).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
C_GRID = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True)
class GaussianStats:
    """Mean [d], covariance [d, d] (by n − 1) and the number of samples."""

    mean: Array
    cov: Array
    n: int


def feature_statistics(x: Any, shrinkage: float = 0.0) -> GaussianStats:
    """Statistics of features [n, d] in float64.

    Args:
        shrinkage: in [0, 1], the share of the covariance replaced by a multiple of the identity with the same trace.

    Raises:
        ValueError: fewer than two rows, another shape, or a value that is not finite.
    """
    features = _features(x)
    if not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage must lie in [0, 1], got {shrinkage}")
    mean = features.mean(axis=0)
    centred = features - mean
    cov = centred.T @ centred / (len(features) - 1)
    if shrinkage:
        cov = (1 - shrinkage) * cov + shrinkage * np.trace(cov) / len(cov) * np.eye(len(cov))
    return GaussianStats(mean, cov, len(features))


def frechet_distance(a: GaussianStats, b: GaussianStats) -> float:
    """‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½), at least 0 up to rounding.

    Two symmetric eigendecompositions instead of a matrix square root, which stays real for singular covariances.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"features of {a.mean.shape[0]} and {b.mean.shape[0]} dimensions cannot be compared")
    values, vectors = np.linalg.eigh(a.cov)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    product = np.linalg.eigvalsh(root @ b.cov @ root)
    cross = np.sqrt(np.clip(product, 0, None)).sum()
    gap = a.mean - b.mean
    return float(max(0.0, gap @ gap + np.trace(a.cov) + np.trace(b.cov) - 2 * cross))


def frechet_from_samples(x: Any, y: Any) -> float:
    """Fréchet distance of features [n, d] and [m, d].

    With fewer rows than columns the trace is the nuclear norm of X_c Y_cᵀ, which needs no d × d matrix.
    """
    a, b = _features(x), _features(y)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"features of {a.shape[1]} and {b.shape[1]} dimensions cannot be compared")
    if max(len(a), len(b)) >= a.shape[1]:
        return frechet_distance(feature_statistics(a), feature_statistics(b))
    left = (a - a.mean(axis=0)) / np.sqrt(len(a) - 1)
    right = (b - b.mean(axis=0)) / np.sqrt(len(b) - 1)
    cross = np.linalg.svd(left @ right.T, compute_uv=False).sum()
    gap = a.mean(axis=0) - b.mean(axis=0)
    return float(max(0.0, gap @ gap + np.square(left).sum() + np.square(right).sum() - 2 * cross))


def classifier_two_sample(x: Any, y: Any, seed: int = 0) -> float:
    """Area under the ROC curve, cross-validated, of a logistic regression that tells two samples apart; ½ = cannot."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels = _labelled(x, y)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    scores = cross_val_predict(model, features, labels, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(labels, scores))


def proxy_a_distance(source: Any, target: Any, seed: int = 0, c_grid: Sequence[float] = C_GRID) -> float:
    """2 (1 − 2 ε) in [0, 2], ε the held-out error of the best linear SVM that tells two domains apart."""
    from sklearn.model_selection import train_test_split
    from sklearn.svm import LinearSVC

    features, labels = _labelled(source, target)
    train, test, train_labels, test_labels = train_test_split(
        features, labels, test_size=0.5, random_state=seed, stratify=labels
    )
    errors = [1 - LinearSVC(C=c, random_state=seed).fit(train, train_labels).score(test, test_labels) for c in c_grid]
    return float(np.clip(2 * (1 - 2 * min(errors)), 0, 2))


def _labelled(x: Any, y: Any) -> tuple[Array, NDArray[np.int64]]:
    a, b = _features(x), _features(y)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"features of {a.shape[1]} and {b.shape[1]} dimensions cannot be compared")
    return np.concatenate([a, b]), np.repeat([0, 1], [len(a), len(b)])


def _features(x: Any) -> Array:
    features = np.asarray(x.detach().cpu() if hasattr(x, "detach") else x, dtype=np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features should have shape [n ≥ 2, d], got {features.shape}")
    if not np.isfinite(features).all():
        raise ValueError("a feature is not finite; a collapsed generator or a diverged network has no distance")
    return features
