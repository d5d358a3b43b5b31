"""The k largest magnitudes, against a stable sort."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from heredity.merging.chunks import CHUNK
from heredity.merging.sparsify import Largest
from heredity.merging.threshold import Threshold, largest


class Plain:
    """A tensor read as it is; counts passes over it and the most that was taken at once."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.numel = tensor, tensor.numel()
        self.values_read = 0

    def read(self, start: int, stop: int, into: Tensor) -> Tensor:
        self.values_read += stop - start
        return into[: stop - start].copy_(self.tensor[start:stop])

    def take(self, indices: Tensor) -> Tensor:
        return self.tensor[indices]

    def buffer(self, size: int) -> Tensor:
        return torch.empty(size, dtype=self.tensor.dtype)


def kept(tensor: Tensor, threshold: Threshold) -> np.ndarray:
    magnitude, index = tensor.abs().numpy(), np.arange(tensor.numel())
    return (magnitude > threshold.value) | ((magnitude == threshold.value) & (index < threshold.cut))


def stable_top(tensor: Tensor, k: int) -> np.ndarray:
    mask = np.zeros(tensor.numel(), dtype=bool)
    mask[np.argsort(-tensor.abs().numpy(), kind="stable")[:k]] = True
    return mask


@settings(deadline=None, max_examples=300)
@given(
    numel=st.integers(1, 400),
    share=st.floats(0, 1),
    distinct=st.sampled_from([1, 2, 5, 40, 10**6]),
    chunk=st.sampled_from([7, 64, 1000]),
    sample=st.sampled_from([3, 16, 64]),
    seed=st.integers(0, 10**6),
)
def test_equals_a_stable_sort(*, numel: int, share: float, distinct: int, chunk: int, sample: int, seed: int) -> None:
    # few distinct values make ties; tiny samples mislead and force further passes
    generator = torch.Generator().manual_seed(seed)
    tensor = torch.randint(-distinct, distinct + 1, (numel,), generator=generator) / 7.0
    k = min(max(int(share * numel), 1), numel)
    (threshold,) = largest(Plain(tensor), [k], chunk=chunk, sample=sample)
    assert np.array_equal(kept(tensor, threshold), stable_top(tensor, k))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("share", [1e-6, 0.01, 0.5, 0.999, 1.0])
def test_large_normal_tensor(dtype: torch.dtype, share: float) -> None:
    tensor = torch.randn(3 * CHUNK + 17, generator=torch.Generator().manual_seed(1), dtype=dtype)
    k = max(int(share * tensor.numel()), 1)
    source = Plain(tensor)
    (threshold,) = largest(source, [k])
    assert kept(tensor, threshold).sum() == k
    assert threshold.value == tensor.abs().sort(descending=True).values[k - 1]
    assert source.values_read <= 2 * tensor.numel(), "a fair sample needs one pass and at most one for ties"


@pytest.mark.parametrize("value", [0.0, -2.5])
def test_all_equal_keeps_the_first(value: float) -> None:
    tensor = torch.full((2 * CHUNK + 5,), value)
    (threshold,) = largest(Plain(tensor), [CHUNK + 3])
    assert threshold == Threshold(abs(value), CHUNK + 3)


def test_layout_that_defeats_a_strided_sample() -> None:
    # every 1024th entry is huge: a strided sample would see only those or none
    tensor = torch.randn(1 << 20, generator=torch.Generator().manual_seed(2))
    tensor[::1024] *= 1000
    for k in (500, 1024, 1 << 19):
        (threshold,) = largest(Plain(tensor), [k])
        assert kept(tensor, threshold).sum() == k


def test_bfloat16_differences_with_many_ties() -> None:
    generator = torch.Generator().manual_seed(3)
    base = torch.randn(2 * CHUNK, generator=generator).bfloat16()
    model = (base.float() + 1e-2 * torch.randn(2 * CHUNK, generator=generator)).bfloat16()
    delta = model.float() - base.float()
    (threshold,) = largest(Plain(delta), [CHUNK])
    assert (delta.abs() == threshold.value).sum() > 1000, "the case needs ties to say anything"
    assert np.array_equal(kept(delta, threshold), stable_top(delta, CHUNK))


class Misleading(Plain):
    """Shows one value, which is nowhere near the wanted one, for the first samples."""

    def __init__(self, tensor: Tensor, shown: float, lies: int) -> None:
        super().__init__(tensor)
        self.shown, self.lies = shown, lies

    def take(self, indices: Tensor) -> Tensor:
        self.lies -= 1
        return torch.full(indices.shape, self.shown) if self.lies >= 0 else super().take(indices)


@pytest.mark.parametrize("shown", [0.0, 1e-3, 2.0, 1e9])
@pytest.mark.parametrize("lies", [1, 2, 10**6])
def test_a_misleading_sample_costs_time_but_not_exactness(shown: float, lies: int) -> None:
    tensor = torch.randn(3000, generator=torch.Generator().manual_seed(4))
    for k in (1, 700, 3000):
        (threshold,) = largest(Misleading(tensor, shown, lies), [k], chunk=500, sample=400)
        assert np.array_equal(kept(tensor, threshold), stable_top(tensor, k))


@pytest.mark.parametrize("share", [1e-4, 0.5, 1.0])
@pytest.mark.parametrize("numel", [100, 5000])
def test_nan_ends_and_stays_visible(share: float, numel: int) -> None:
    tensor = torch.randn(numel, generator=torch.Generator().manual_seed(5))
    bad = torch.randperm(numel, generator=torch.Generator().manual_seed(6))[: max(int(share * numel), 1)]
    tensor[bad] = torch.nan
    for k in (1, numel // 2, numel):
        (threshold,) = largest(Plain(tensor), [k], chunk=1000, sample=64)
        assert Largest(threshold, torch.float32).apply(tensor.clone(), 0).isnan().sum() == len(bad)


@pytest.mark.parametrize("k", [0, 6, -1])
def test_impossible_rank(k: int) -> None:
    with pytest.raises(ValueError, match="outside 1 to 5"):
        largest(Plain(torch.ones(5)), [k])


def test_mask_splits_a_chunk_at_the_cut() -> None:
    # k = 3 of six equal values: indices 0, 1, 2, wherever chunk borders fall
    mask = Largest(Threshold(1.0, 3), torch.float32)
    chunks = [mask.apply(torch.tensor([1.0, -1.0]), start) for start in (0, 2, 4)]
    assert torch.cat(chunks).tolist() == [1.0, -1.0, 1.0, 0.0, 0.0, 0.0]
