"""Several models answer by vote.

Source: the ensemble of arXiv 2503.01155, section 3.3, with a deterministic tie-break.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from heredity.errors import MergeError, NonFinite


def majority_vote(labels: Tensor, probabilities: Tensor | None = None, *, classes: int | None = None) -> Tensor:
    """The label with the most votes; a tie goes to the higher mean probability, then to the lower label.

    Args:
        labels: [members, samples] integers.
        probabilities: [samples, classes] mean over members; default none, ties go to the lower label.
        classes: default the largest label + 1, or what the probabilities say.

    Returns:
        [samples] int64.

    Example:
        >>> majority_vote(torch.tensor([[0, 0, 1], [1, 1, 1], [0, 1, 1]]))
        tensor([0, 1, 1])
    """
    if labels.dim() != 2 or not labels.numel() or labels.is_floating_point():
        raise ValueError(f"labels must be integers [members, samples], got {labels.dtype} {tuple(labels.shape)}")
    if classes is None:
        classes = int(labels.max()) + 1 if probabilities is None else probabilities.shape[1]
    return _scores(labels, probabilities, classes).argmax(1)


class VoteEnsemble(nn.Module):
    """Members vote with their most probable label.

    Args:
        members: classifiers of the same classes, x → logits [B, C] or an object with `logits`.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        if not members:
            raise MergeError("an ensemble needs at least one member")
        self.members = nn.ModuleList(members)

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        """Votes [B, C] plus half the mean probability, which decides ties alone: argmax is the ensemble's answer.

        Raises:
            NonFinite: a member's logits hold NaN or +infinity.
        """
        answers = [member(*inputs, **named) for member in self.members]
        logits = torch.stack([answer if isinstance(answer, Tensor) else answer.logits for answer in answers])
        probabilities = functional.softmax(logits.double(), dim=2)
        if bool(torch.isnan(probabilities).any()):
            broken = int(torch.isnan(probabilities).flatten(1).any(1).nonzero()[0])
            raise NonFinite(f"member {broken} of the ensemble gives logits that are no numbers")
        return _scores(logits.argmax(2), probabilities.mean(0), logits.shape[2])

    def predict(self, *inputs: Any, **named: Any) -> Tensor:
        """The ensemble's labels [B]."""
        labels: Tensor = self(*inputs, **named).argmax(1)
        return labels


def _scores(labels: Tensor, probabilities: Tensor | None, classes: int) -> Tensor:
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise ValueError(f"labels must lie in 0..{classes - 1}, got {int(labels.min())}..{int(labels.max())}")
    votes = functional.one_hot(labels.long(), classes).sum(0).double()
    return votes if probabilities is None else votes + probabilities.double() / 2
