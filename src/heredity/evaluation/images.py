"""Measures of images."""

from __future__ import annotations

from typing import Any

import numpy as np


def inception_score(p: Any, splits: int = 1) -> tuple[float, float]:
    """exp E[KL(p(y|x) ‖ p(y))] of class probabilities [n, c] by any classifier: mean and deviation over splits.

    1 when every image gets the same answer, c when the answers are sure and balanced.

    Raises:
        ValueError: rows are not probabilities, or fewer rows than splits.

    Source: Salimans et al., Improved Techniques for Training GANs (arXiv 1606.03498), section 4.
    """
    rows = np.asarray(p.detach().cpu() if hasattr(p, "detach") else p, dtype=np.float64)
    if rows.ndim != 2 or not 1 <= splits <= len(rows):
        raise ValueError(f"probabilities [n, c] with n ≥ splits are needed, got shape {rows.shape}, splits={splits}")
    if not np.isfinite(rows).all() or rows.min() < 0 or not np.allclose(rows.sum(axis=1), 1, atol=1e-4):
        raise ValueError("rows must be probabilities: finite, not negative, summing to 1")
    scores = []
    for part in np.array_split(rows, splits):
        marginal = part.mean(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(part > 0, part * (np.log(part) - np.log(marginal)), 0.0)
        scores.append(np.exp(terms.sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))
