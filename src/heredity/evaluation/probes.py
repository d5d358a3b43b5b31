"""Recorded evaluations that fit any classifier."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Graded
from heredity.evaluation.stats import wilson
from heredity.lab import Context, Model, Probe


@dataclass(frozen=True)
class Accuracy(Probe):
    """Share of inputs whose largest logit is their label, with the ends of its 95 % Wilson interval.

    Args:
        x: [N, …] inputs; kept with the lab as evidence, like the labels.
        y: [N] whole-number labels.
        batch: inputs per pass; not part of the measurement's identity.

    Gives `accuracy`, `accuracy_low` and `accuracy_high`, and which inputs were right. A model with non-finite
    logits fails by name.
    """

    x: Tensor
    y: Tensor
    batch: int = field(default=1024, metadata={"identity": False})

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or not len(self.x):
            raise ValueError(
                f"Accuracy needs as many labels as inputs and at least one; got {len(self.x)} and {len(self.y)}"
            )

    @property
    def inputs(self) -> Tensor:
        """The inputs that are classified."""
        return self.x

    @torch.no_grad()
    def measure(self, model: Model, context: Context) -> Graded:
        """Run the model over all inputs."""
        module = model.load()
        right: list[bool] = []
        for x, y in zip(torch.split(self.x, self.batch), torch.split(self.y, self.batch), strict=True):
            logits = module(x)
            if not bool(torch.isfinite(logits).all()):
                raise EvaluationFailed("the model's logits are not finite")
            right += (logits.argmax(-1) == y).tolist()
        estimate = wilson(sum(right), len(self.y))
        values = {"accuracy": estimate.mean, "accuracy_low": estimate.low, "accuracy_high": estimate.high}
        return Graded(values, right)
