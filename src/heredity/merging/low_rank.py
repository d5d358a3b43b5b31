"""Between a low-rank pair of factors and the dense change it stands for: ΔW = B A.

Source: arXiv 2106.09685 (LoRA); truncation is the best approximation of its rank (Eckart and Young, 1936).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from heredity.errors import MergeError, NonFinite


class Factors(NamedTuple):
    """A: [r, in], B: [out, r]."""

    A: Tensor
    B: Tensor


def to_delta(A: Tensor, B: Tensor, scaling: float = 1.0) -> Tensor:
    """ΔW = scaling · B A in float32 (float64 for float64).

    Args:
        A: [r, in…]; dimensions behind the first are kept (convolutions).
        B: [out, r…]; dimensions behind the second are of size 1.
        scaling: α / r of the adapter.

    Returns:
        [out, in…].

    Raises:
        MergeError: the ranks differ.
    """
    if A.dim() < 2 or B.dim() < 2 or B.flatten(1).shape[1] != A.shape[0]:
        raise MergeError(f"A of shape {tuple(A.shape)} and B of shape {tuple(B.shape)} have no rank in common")
    delta = _wide(B.flatten(1)) @ _wide(A.flatten(1))
    return delta.mul_(scaling).view(B.shape[0], *A.shape[1:])


def to_factors(delta: Tensor, rank: int) -> Factors:
    """The best factors of a rank: B = U √S, A = √S Vᵀ, in the dtype of the arithmetic.

    Args:
        delta: [out, in…]
        rank: 1 or more. Where the matrix has no so many singular values, the missing rows and columns are zero.

    Raises:
        MergeError: the rank is below 1.
        NonFinite: the matrix holds NaN or infinity.
    """
    matrix = _wide(delta.flatten(1))
    U, S, Vh = _svd(matrix)
    return _cut(U, S, Vh, rank, delta.shape)


def recompress(A: Tensor, B: Tensor, rank: int) -> Factors:
    """`to_factors(B A, rank)` without the dense matrix: for stacked factors of several adapters.

    Args:
        A: [k, in…], B: [out, k], usually k = Σ r_i > rank.
    """
    Qb, Rb = torch.linalg.qr(_wide(B.flatten(1)))
    Qa, Ra = torch.linalg.qr(_wide(A.flatten(1)).T)
    U, S, Vh = _svd(Rb @ Ra.T)
    return _cut(Qb @ U, S, Vh @ Qa.T, rank, torch.Size([B.shape[0], *A.shape[1:]]))


def _svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if not bool(torch.isfinite(matrix).all()):
        raise NonFinite("a low-rank change holds NaN or infinity")
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    # a singular pair has no sign of its own: the largest entry of each left vector is made positive
    sign = torch.where(U.gather(0, U.abs().argmax(0, keepdim=True)) < 0, -1.0, 1.0).to(U.dtype)
    return U * sign, S, Vh * sign.T


def _cut(U: Tensor, S: Tensor, Vh: Tensor, rank: int, shape: torch.Size) -> Factors:
    if rank < 1:
        raise MergeError(f"the rank of factors must be 1 or more, got {rank}")
    kept = min(rank, len(S))
    root = S[:kept].sqrt()
    A, B = Vh.new_zeros(rank, Vh.shape[1]), U.new_zeros(U.shape[0], rank)
    A[:kept], B[:, :kept] = root.unsqueeze(1) * Vh[:kept], U[:, :kept] * root
    return Factors(A.view(rank, *shape[1:]), B.view(shape[0], rank, *([1] * (len(shape) - 2))))


def _wide(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float64 if tensor.dtype == torch.float64 else torch.float32)
