"""Chunked arithmetic: coverage of a tensor, and values that are stored."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heredity.merging.chunks import all_finite, buffers, chunk_spans, store, work_dtype


@given(numel=st.integers(0, 500), chunk=st.integers(1, 60))
def test_spans_cover_everything_once(numel: int, chunk: int) -> None:
    covered = [index for start, stop in chunk_spans(numel, chunk) for index in range(start, stop)]
    assert covered == list(range(numel))


def test_buffers_are_no_larger_than_the_tensor() -> None:
    small = torch.zeros(10, dtype=torch.bfloat16)
    first, second = buffers(small, 2, 64)
    assert first.shape == second.shape == (10,)
    assert first.dtype == work_dtype(torch.bfloat16) == torch.float32
    assert work_dtype(torch.float64) == torch.float64


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_finiteness(bad: float) -> None:
    values = torch.full((50,), 3e38)  # their sum is infinite
    assert all_finite(values)
    values[7] = bad
    assert not all_finite(values)


def test_narrowing_overflow_is_noticed() -> None:
    half = torch.empty(3, dtype=torch.float16)
    assert store(torch.tensor([1.0, 65504.0, -2.0]), half)
    assert not store(torch.tensor([1.0, 65536.0, -2.0]), half)
    brain = torch.empty(1, dtype=torch.bfloat16)
    assert not store(torch.tensor([torch.finfo(torch.float32).max]), brain)
