"""Losses by which a student learns from a teacher's answers and features.

Sources: Hinton, Vinyals & Dean (arXiv 1503.02531); Tung & Mori (arXiv 1907.09682, SP); Liu et al., Inter-Channel
Correlation (arXiv 2202.03680, ICKD); DisWOT (arXiv 2303.15678).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from heredity.evaluation.similarity import relation_similarity

Reduction = Literal["batchmean", "numel"]


def kl_to_teacher(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "batchmean",
) -> Tensor:
    """KL(teacher ‖ student) of softmax(logits / temperature); no factor T². No gradient flows to the teacher.

    Args:
        student_logits, teacher_logits: [..., K]; every place before the last dimension is one distribution.
        mask: [...] boolean, which places count; None means all.
        reduction: "batchmean" divides the sum by the places that count, "numel" by places times K.

    Raises:
        ValueError: shapes differ, no place counts, or an argument is out of range.
    """
    if student_logits.shape != teacher_logits.shape:
        shapes = f"{tuple(student_logits.shape)} and {tuple(teacher_logits.shape)}"
        raise ValueError(f"student and teacher need logits of one shape, got {shapes}")
    if temperature <= 0 or reduction not in ("batchmean", "numel"):
        raise ValueError(f"needs temperature > 0 and a known reduction, got {temperature} and {reduction!r}")
    q = (student_logits / temperature).log_softmax(-1)
    p = (teacher_logits.detach() / temperature).log_softmax(-1)
    each = functional.kl_div(q, p, reduction="none", log_target=True).sum(-1)
    if mask is not None:
        if mask.shape != each.shape:
            raise ValueError(f"the mask should have shape {tuple(each.shape)}, it has {tuple(mask.shape)}")
        each = each[mask.bool()]
    if each.numel() == 0:
        raise ValueError("no place counts: the mask is empty")
    mean = each.mean()
    return mean if reduction == "batchmean" else mean / student_logits.shape[-1]


def distillation_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    alpha: float = 0.9,
    tau: float = 4.0,
    *,
    reduction: Reduction = "batchmean",
) -> Tensor:
    """(1 − α)·cross-entropy + α·τ²·KL(teacher ‖ student) at temperature τ.

    Args:
        student, teacher: logits [n, K].
        labels: [n] class indices.
        alpha: in [0, 1].
        tau: temperature; τ² keeps the gradient's size independent of it.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1], got {alpha}")
    soft = kl_to_teacher(student, teacher, tau, reduction=reduction)
    return (1 - alpha) * functional.cross_entropy(student, labels) + alpha * tau**2 * soft


def soft_cross_entropy(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """−Σ_c q_c log p_c, mean over the batch, q and p the teacher's and student's softmax(logits [n, K] / temperature).

    It differs from `kl_to_teacher` by the teacher's entropy; the gradient is the same.
    """
    q = (teacher.detach() / temperature).softmax(-1)
    return -(q * (student / temperature).log_softmax(-1)).sum(-1).mean()


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """SP, the relation metric of DisWOT, as a loss: distance of the batch's Gram matrices; features [n, ...]."""
    return relation_similarity(teacher.detach(), student)


def channel_correlation(student: Tensor, teacher: Tensor) -> Tensor:
    """ICKD, the semantic metric of DisWOT, as a loss on feature maps [n, C, ...] of one C.

    Each image's channels' Gram matrix F Fᵀ [C, C] with rows of length one; Σ ‖·‖² / (n·C).
    """
    if student.dim() < 3 or student.shape[:2] != teacher.shape[:2]:
        shapes = f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        raise ValueError(f"feature maps [n, C, ...] of one n and C are compared, got {shapes}")
    maps = [f.flatten(2) for f in (student, teacher.detach())]
    grams = [functional.normalize(f @ f.transpose(1, 2), dim=2) for f in maps]
    return torch.square(grams[0] - grams[1]).sum() / (student.shape[0] * student.shape[1])


def diswot_loss(
    logits: tuple[Tensor, Tensor],
    features: tuple[Tensor, Tensor],
    labels: Tensor,
    *,
    relation: float = 1.0,
    semantic: float = 1.0,
    alpha: float = 0.9,
    tau: float = 4.0,
) -> Tensor:
    """DisWOT†: distillation_loss + λ_r·relation metric + λ_s·semantic metric, of trained features.

    Args:
        logits: student's and teacher's [n, K].
        features: student's and teacher's feature maps [n, C, ...] of one C.
        labels: [n].
        relation, semantic: λ_r and λ_s.
        alpha, tau: of `distillation_loss`; α = 0 leaves plain cross-entropy.
    """
    base = distillation_loss(logits[0], logits[1], labels, alpha, tau)
    return base + relation * similarity_preserving(*features) + semantic * channel_correlation(*features)
