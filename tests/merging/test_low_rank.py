"""Factors and the changes that they stand for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from heredity.errors import MergeError, NonFinite
from heredity.merging.low_rank import recompress, to_delta, to_factors


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_delta_is_scaled_product() -> None:
    A, B = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [4.0], [5.0]])
    assert to_delta(A, B, 2.0).tolist() == [[6.0, 12.0], [8.0, 16.0], [10.0, 20.0]]


@settings(deadline=None, max_examples=40)
@given(out=st.integers(1, 12), into=st.integers(1, 12), rank=st.integers(1, 6), seed=st.integers(0, 999))
def test_a_change_of_the_rank_comes_back(out: int, into: int, rank: int, seed: int) -> None:
    delta = normal(out, rank, seed=seed) @ normal(rank, into, seed=seed + 1)
    A, B = to_factors(delta, rank)
    assert A.shape == (rank, into)
    assert B.shape == (out, rank)
    torch.testing.assert_close(to_delta(A, B), delta, rtol=1e-4, atol=1e-4)


def test_truncation_is_the_best_of_its_rank() -> None:
    # Eckart–Young: the squared error is the sum of the squared singular values that were dropped
    delta = normal(9, 7)
    S = torch.linalg.svdvals(delta)
    A, B = to_factors(delta, 3)
    assert float(((to_delta(A, B) - delta) ** 2).sum()) == pytest.approx(float((S[3:] ** 2).sum()), rel=1e-4)
    torch.testing.assert_close(A.norm(dim=1), B.norm(dim=0))  # √S on either side


@settings(deadline=None, max_examples=30)
@given(
    out=st.integers(1, 10),
    into=st.integers(1, 10),
    stacked=st.integers(1, 14),
    rank=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_recompressing_equals_decomposing_the_product(out: int, into: int, stacked: int, rank: int, seed: int) -> None:
    A, B = normal(stacked, into, seed=seed), normal(out, stacked, seed=seed + 1)
    direct, short = to_factors(B @ A, rank), recompress(A, B, rank)
    torch.testing.assert_close(to_delta(*short), to_delta(*direct), rtol=1e-3, atol=1e-3)
    assert short.A.shape == direct.A.shape
    assert short.B.shape == direct.B.shape


def test_convolutions_keep_their_shape() -> None:
    A, B = normal(2, 3, 3, 3), normal(5, 2, 1, 1, seed=1)
    delta = to_delta(A, B)
    assert delta.shape == (5, 3, 3, 3)
    torch.testing.assert_close(delta, torch.einsum("or,rihw->oihw", B[:, :, 0, 0], A))
    back = to_factors(delta, 2)
    assert back.A.shape == A.shape
    assert back.B.shape == B.shape
    torch.testing.assert_close(to_delta(*back), delta, rtol=1e-4, atol=1e-4)


def test_mistakes() -> None:
    with pytest.raises(MergeError, match="no rank in common"):
        to_delta(normal(2, 3), normal(4, 3))
    with pytest.raises(MergeError, match="rank of factors must be 1 or more"):
        to_factors(normal(2, 2), 0)
    with pytest.raises(NonFinite, match="low-rank change"):
        to_factors(torch.tensor([[torch.nan]]), 1)
