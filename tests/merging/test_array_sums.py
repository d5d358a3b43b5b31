"""Sums by numpy have the bits of those by torch, and notice what is not finite."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from heredity.errors import NonFinite
from heredity.merging import array_sums
from heredity.merging.dtype_names import torch_dtype
from heredity.merging.linear import Linear, Passthrough
from heredity.merging.methods import TensorParams


def raw(tensor: Tensor) -> array_sums.Bytes:
    return tensor.contiguous().view(torch.uint8).numpy()


def bits(seed: int, size: int, dtype: str) -> Tensor:
    """Any bits at all: numbers of every size, zeros of both signs, subnormal numbers, NaN and infinities."""
    width = 4 if dtype == "float32" else 2
    made = np.random.default_rng(seed).integers(0, 256, size * width, np.uint8)
    return torch.from_numpy(made).view(torch_dtype(dtype))


def summed(method: Linear | Passthrough, params: TensorParams, tensors: list[Tensor], dtype: str) -> Tensor | None:
    weights, whole = method.terms("w", params, len(tensors))
    out = np.empty(tensors[0].nbytes, np.uint8)
    if not array_sums.weighted_sum([raw(tensor) for tensor in tensors], dtype, weights, whole, out):
        return None
    return torch.from_numpy(out).view(torch_dtype(dtype))


@pytest.mark.parametrize("dtype", array_sums.DTYPES)
@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    size=st.sampled_from([1, 7, 4096]),
    weights=st.lists(st.floats(-3, 3).filter(lambda w: abs(w) > 1e-3), min_size=1, max_size=3),
    flags=st.tuples(st.booleans(), st.booleans()),
)
def test_numpy_and_torch_agree_to_the_bit(
    dtype: str, seed: int, size: int, weights: list[float], flags: tuple[bool, bool]
) -> None:
    if abs(sum(weights)) < 1e-3:
        weights = [1.0] * len(weights)
    tensors = [bits(seed + i, size, dtype) for i in range(len(weights))]
    normalize, wild = flags
    if not wild:
        tensors = [torch.nan_to_num(tensor, 1.0, 1.0, 1.0).clamp(-1e30, 1e30) for tensor in tensors]
    method, params = Linear(normalize=normalize), TensorParams(weight=tuple(weights))
    try:
        expected: Tensor | None = method.merge_tensor("w", tensors, params)
    except NonFinite:
        expected = None
    found = summed(method, params, tensors, dtype)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert torch.equal(found.view(torch.uint8), expected.view(torch.uint8))


@pytest.mark.parametrize("dtype", array_sums.DTYPES)
def test_a_chunk_is_no_border(dtype: str) -> None:
    size = 2 * array_sums._CHUNK + 5
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(size, generator=generator).to(torch_dtype(dtype)) for _ in range(2))
    params = TensorParams(weight=(0.3, 0.9))
    assert torch.equal(summed(Linear(), params, [a, b], dtype), Linear().merge_tensor("w", [a, b], params))
    scale = TensorParams(weight=(0.5,))
    assert torch.equal(summed(Passthrough(), scale, [a], dtype), Passthrough().merge_tensor("w", [a], scale))


def test_rounding_to_bfloat16_may_overflow() -> None:
    largest = torch.full((3,), torch.finfo(torch.bfloat16).max, dtype=torch.bfloat16)
    params = TensorParams(weight=(1.003,))
    assert float(largest[0]) * 1.003 < torch.finfo(torch.float32).max
    assert summed(Passthrough(), params, [largest], "bfloat16") is None


@pytest.mark.parametrize("dtype", array_sums.DTYPES)
@settings(max_examples=100)
@given(seed=st.integers(0, 2**32), place=st.integers(0, 199), change=st.sampled_from(["none", "zero", "nan", "other"]))
def test_equality_is_that_of_values(dtype: str, seed: int, place: int, change: str) -> None:
    a = torch.nan_to_num(bits(seed, 200, dtype), 1.0, 2.0, 3.0)
    a[place] = {"zero": 0.0, "nan": float("nan")}.get(change, 1.0)
    b = a.clone()
    b[place] = {"zero": -0.0, "nan": float("nan"), "other": 1.5}.get(change, 1.0)
    assert array_sums.equal([raw(a), raw(b)], dtype) == torch.equal(a, b) == (change in ("none", "zero"))


@pytest.mark.parametrize("dtype", array_sums.DTYPES)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 300))
def test_what_is_not_finite_is_noticed(dtype: str, seed: int, size: int) -> None:
    tensor = bits(seed, size, dtype)
    assert array_sums.all_finite(raw(tensor), dtype) == bool(tensor.isfinite().all())
