"""The function of the built-in recipe rastrigin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def rastrigin(x: NDArray[np.float64]) -> float:
    """10n + Σ x² − 10 cos 2πx, which is 0 at its lowest, in the middle. Source: Rastrigin (1974)."""
    return float(10 * len(x) + np.sum(x * x - 10 * np.cos(2 * np.pi * x)))
