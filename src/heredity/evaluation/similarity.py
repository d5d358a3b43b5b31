"""How alike two networks see a batch, whatever their widths."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def relation_similarity(teacher: Tensor, student: Tensor) -> Tensor:
    """‖A_t − A_s‖² / n² of the batch's Gram matrices A = F Fᵀ with rows of length one: a distance, 0 when alike.

    Args:
        teacher, student: features [n, ...] of the same n inputs; the other dimensions may differ.

    Raises:
        ValueError: the batches differ in length.

    A row of zeros, as of a network that answers with a constant 0, stays zero.
    Source: Tung & Mori, Similarity-Preserving Knowledge Distillation (arXiv 1907.09682), equations 2 to 4; the relation
    metric of DisWOT (arXiv 2303.15678).
    """
    if len(teacher) != len(student):
        raise ValueError(f"features of one batch are compared, got {len(teacher)} and {len(student)} rows")
    gap = _gram(teacher) - _gram(student)
    return torch.square(gap).sum() / len(teacher) ** 2


def _gram(features: Tensor) -> Tensor:
    flat = features.flatten(1)
    return functional.normalize(flat @ flat.T, dim=1)
