"""Model Stock: closed forms of the ratio, rows, and offsets without an angle."""

from __future__ import annotations

import math

import pytest
import torch

from heredity.merging.chunks import CHUNK
from heredity.merging.methods import method_for


def test_ratio_of_two_models() -> None:
    # 60° between offsets: t = 2·½ / (1 + ½) = 2/3
    base = torch.tensor([1.0, 1.0])
    a, b = base + torch.tensor([1.0, 0.0]), base + torch.tensor([0.5, math.sqrt(3) / 2])
    merged = method_for("model_stock").merge_tensor("w", [a, b], base=base)
    torch.testing.assert_close(merged, base + 2 / 3 * ((a + b) / 2 - base))


def test_orthogonal_offsets_return_the_base_and_equal_ones_the_mean() -> None:
    base = torch.zeros(3)
    a, b = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 2.0, 0.0])
    assert torch.equal(method_for("model_stock").merge_tensor("w", [a, b], base=base), base)
    torch.testing.assert_close(method_for("model_stock").merge_tensor("w", [a, a, a], base=base), a)


def test_three_models_use_the_mean_cosine() -> None:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(CHUNK + 50, generator=generator)
    shared = torch.randn(CHUNK + 50, generator=generator)
    models = [base + shared + torch.randn(CHUNK + 50, generator=generator) for _ in range(3)]
    tau = [(model - base).double() for model in models]
    cosines = [torch.cosine_similarity(tau[i], tau[j], dim=0) for i, j in ((0, 1), (0, 2), (1, 2))]
    cosine = float(sum(cosines)) / 3
    ratio = 3 * cosine / (1 + 2 * cosine)
    expected = base + ratio * sum(tau) / 3
    merged = method_for("model_stock").merge_tensor("w", models, base=base)
    torch.testing.assert_close(merged.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(7, 5), (4, 3, 2), (11,), (3, CHUNK)])
def test_filter_wise_is_one_merge_per_row(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    base = torch.randn(shape, generator=generator)
    models = [base + torch.randn(shape, generator=generator) + 0.5 for _ in range(2)]
    merged = method_for("model_stock", filter_wise=True).merge_tensor("w", models, base=base)
    whole = method_for("model_stock")
    if len(shape) == 1:
        expected = whole.merge_tensor("w", models, base=base)
    else:
        expected = torch.stack([whole.merge_tensor("w", [m[i] for m in models], base=base[i]) for i in range(shape[0])])
    torch.testing.assert_close(merged, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("filter_wise", [False, True])
def test_opposite_or_missing_offsets_return_the_base(filter_wise: bool) -> None:
    row = method_for("model_stock", filter_wise=filter_wise)
    base, step = torch.ones(2, 3), torch.tensor([1.0, -2.0, 0.5])
    assert torch.equal(row.merge_tensor("w", [base + step, base - step], base=base), base)
    assert torch.equal(row.merge_tensor("w", [base.clone(), base + step], base=base), base)
