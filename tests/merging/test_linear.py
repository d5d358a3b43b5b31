"""Weighted means: closed forms, exactness, and mistakes in weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heredity.errors import MergeError
from heredity.merging.linear import Linear, linear_merge
from heredity.merging.methods import TensorParams, method_for


def test_crossover_of_the_specification() -> None:
    # fitness (1, 3): .25 a + .75 b
    a, b = ({"w": torch.randn(40, generator=torch.Generator().manual_seed(seed))} for seed in (0, 1))
    merged = linear_merge([a, b], [1.0, 3.0])["w"]
    torch.testing.assert_close(merged, 0.25 * a["w"] + 0.75 * b["w"], rtol=0, atol=1e-7 * 4)


@settings(deadline=None, max_examples=60)
@given(
    weights=st.lists(st.floats(0.01, 10), min_size=1, max_size=5), seed=st.integers(0, 1000), normalize=st.booleans()
)
def test_equals_the_weighted_sum_in_float64(weights: list[float], seed: int, normalize: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    models = [torch.randn(30, generator=generator) for _ in weights]
    expected = sum(weight * model.double() for weight, model in zip(weights, models, strict=True))
    if normalize:
        expected = expected / sum(weights)
    merged = Linear(normalize=normalize).merge_tensor("w", models, TensorParams(weight=tuple(weights)))
    torch.testing.assert_close(merged.double(), torch.as_tensor(expected), rtol=1e-5, atol=1e-5)


def test_shared_entries_stay_exact_under_rounded_weights() -> None:
    # three times the float 1/3 of a value is not the value; entries that all models share must not drift
    shared = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    models = [torch.cat([shared, torch.full((1,), float(i))]) for i in range(3)]
    for row in (Linear(), Linear(normalize=False)):
        merged = row.merge_tensor("w", models, TensorParams(weight=(1 / 3, 1 / 3, 1 / 3)))
        assert torch.equal(merged[:-1], shared)
        assert merged[-1] == pytest.approx(1.0)


def test_all_weight_on_one_model_returns_it() -> None:
    models = [torch.randn(100, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    assert torch.equal(Linear().merge_tensor("w", models, TensorParams(weight=(0.0, 5.0, 0.0))), models[1])


def test_unnormalised_equal_models_are_scaled() -> None:
    model = torch.tensor([1.0, -2.0])
    merged = Linear(normalize=False).merge_tensor("w", [model, model.clone()], TensorParams(weight=(1.0, 0.5)))
    assert merged.tolist() == [1.5, -3.0]


def test_negative_weights_extrapolate() -> None:
    merged = Linear().merge_tensor("w", [torch.tensor([1.0]), torch.tensor([2.0])], TensorParams(weight=(-1.0, 2.0)))
    assert merged.item() == 3.0


def test_weights_that_cancel() -> None:
    with pytest.raises(MergeError, match=r"weights \(1.0, -1.0\) of 'w' add up to zero"):
        linear_merge([{"w": torch.ones(1)}, {"w": torch.zeros(1)}], [1.0, -1.0])


def test_passthrough_copies_and_scales() -> None:
    model = torch.tensor([1.0, -2.0])
    copy = method_for("passthrough").merge_tensor("w", [model])
    assert torch.equal(copy, model)
    assert copy.data_ptr() != model.data_ptr()
    scaled = method_for("passthrough").merge_tensor("w", [model], TensorParams(weight=(0.5,)))
    assert scaled.tolist() == [0.5, -1.0]
