"""Running mean and variance of observations, shared by a population. Source: Salimans et al. (arXiv 1703.03864)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ObservationNorm:
    """Observations to mean 0 and standard deviation 1.

    Args:
        shape: of one observation.
        clip: bound of what comes out; 0 for none.

    Within a rollout the statistics stand still, so that results do not depend on who is stepped first; afterwards
    `update` takes in what was seen.
    """

    def __init__(self, shape: tuple[int, ...], clip: float = 5.0) -> None:
        self.shape, self.clip = tuple(shape), clip
        self.count = 0
        self.mean, self._squares = np.zeros(self.shape), np.zeros(self.shape)

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation, at least a hundredth; 1 before anything was seen."""
        if self.count < 2:
            return np.ones(self.shape)
        return np.maximum(np.sqrt(self._squares / self.count), 1e-2)

    def __call__(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """Normalise observations […, *shape]."""
        out = ((observations - self.mean) / self.std).astype(np.float32)
        return np.clip(out, -self.clip, self.clip) if self.clip else out

    def update(self, count: int, total: NDArray[np.float64], squares: NDArray[np.float64]) -> None:
        """Take in observations by their number, sum and sum of squares about the present mean."""
        if not count:
            return
        shift = total / count - self.mean
        within = np.maximum(squares - count * np.square(shift), 0.0)
        weight = self.count * count / (self.count + count)
        self.mean = self.mean + shift * count / (self.count + count)
        self._squares = self._squares + within + np.square(shift) * weight
        self.count += count

    def state_dict(self) -> dict[str, Any]:
        """Count, mean and summed squares about it."""
        return {"count": self.count, "mean": self.mean.copy(), "squares": self._squares.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue."""
        self.count = int(state["count"])
        self.mean, self._squares = np.array(state["mean"], dtype=float), np.array(state["squares"], dtype=float)
