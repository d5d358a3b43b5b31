"""Focal loss: cross-entropy in which examples that are already right count little.

Source: Lin, Goyal, Girshick, He & Dollár, Focal Loss for Dense Object Detection (arXiv 1708.02002), equation 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional


class FocalLoss(nn.Module):
    """−α_t (1 − p_t)^γ log p_t, with p_t the probability given to the right class.

    Logits [N] are of two classes, p = sigmoid, with targets [N] in {0, 1}; logits [N, C] are of C, p = softmax, with
    integer targets [N]. Everything is computed from log-probabilities, so that no γ has an infinite slope at p_t = 1.

    Args:
        gamma: γ ≥ 0; 0 is cross-entropy.
        alpha: weight in [0, 1] of class 1 where there are two, 1 − alpha of class 0; or a weight for each class; None
            weighs all by 1.
        reduction: "mean" divides by the number of examples, not by the sum of their weights.

    Raises:
        ValueError: gamma is negative, a weight is, or one number is given for more than two classes.
    """

    weights: Tensor | None

    def __init__(
        self,
        gamma: float = 2.0,
        alpha: float | Sequence[float] | None = 0.25,
        reduction: Literal["mean", "sum", "none"] = "mean",
    ) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f"gamma must be at least 0, got {gamma}")
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f'reduction must be "mean", "sum" or "none", got {reduction!r}')
        if isinstance(alpha, (int, float)):
            if not 0 <= alpha <= 1:
                raise ValueError(f"alpha must lie in [0, 1], got {alpha}")
            alpha = (1.0 - alpha, float(alpha))
        weights = None if alpha is None else torch.tensor(tuple(alpha), dtype=torch.float64)
        if weights is not None and not bool((weights >= 0).all()):
            raise ValueError(f"class weights must be at least 0, got {weights.tolist()}")
        self.gamma, self.reduction = float(gamma), reduction
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss, a scalar or [N]."""
        if logits.ndim == 1:
            if targets.shape != logits.shape:
                raise ValueError(f"targets should have shape {tuple(logits.shape)}, they have {tuple(targets.shape)}")
            classes, labels = 2, targets.long()
            signed = torch.where(labels == 1, logits, -logits)
            right, wrong = functional.logsigmoid(signed), functional.logsigmoid(-signed)
        elif logits.ndim == 2:
            classes, labels = logits.shape[1], targets.long()
            log_p = functional.log_softmax(logits, 1)
            mine = functional.one_hot(labels, classes).bool()
            right = log_p[mine]
            wrong = log_p.masked_fill(mine, -torch.inf).logsumexp(1)  # log (1 − p_t)
        else:
            raise ValueError(f"logits should have shape [N] or [N, C], they have {tuple(logits.shape)}")
        loss = -right
        if self.gamma:
            loss = loss * (self.gamma * wrong).exp()
        if self.weights is not None:
            if len(self.weights) != classes:
                raise ValueError(f"{len(self.weights)} class weights were given for {classes} classes")
            loss = loss * self.weights.to(loss.dtype)[labels]
        if self.reduction == "none":
            return loss
        return loss.mean() if self.reduction == "mean" else loss.sum()
