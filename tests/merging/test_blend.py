"""Entry-wise recombination: intervals, shares of draws, and their seeds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heredity.errors import MergeError, NonFinite
from heredity.merging.chunks import CHUNK
from heredity.merging.methods import TensorParams, method_for


@settings(deadline=None, max_examples=60)
@given(
    alpha=st.floats(0, 2),
    draw=st.booleans(),
    seed=st.integers(0, 1000),
    weights=st.lists(st.floats(-3, 3), min_size=3, max_size=3),
)
def test_values_stay_in_the_extended_range(alpha: float, draw: bool, seed: int, weights: list[float]) -> None:
    if abs(sum(weights)) < 0.1:
        weights[0] += 1.0
    models = [torch.randn(50, generator=torch.Generator().manual_seed(seed + i)) for i in range(3)]
    row = method_for("blx", alpha=alpha, draw=draw)
    merged = row.merge_tensor("w", models, TensorParams(weight=tuple(weights)), seed=seed)
    low, high = torch.stack(models).amin(0), torch.stack(models).amax(0)
    slack = alpha * (high - low) + 1e-5
    assert ((merged >= low - slack) & (merged <= high + slack)).all()


def test_weighted_mean_is_held_in_the_interval() -> None:
    # −1·1 + 2·3 = 5 lies beyond 3 + 0.5·(3 − 1) = 4
    models = [torch.tensor([1.0]), torch.tensor([3.0])]
    assert method_for("blx").merge_tensor("w", models, TensorParams(weight=(-1.0, 2.0))).item() == 4.0
    assert method_for("blx", alpha=2.0).merge_tensor("w", models, TensorParams(weight=(-1.0, 2.0))).item() == 5.0
    assert method_for("blx").merge_tensor("w", models, TensorParams(weight=(1.0, 3.0))).item() == 2.5


def test_draws_are_uniform_over_the_extended_interval() -> None:
    # parents 0 and 1, α = 0.5: uniform on [−0.5, 1.5], mean 0.5, variance 4/12; the mean of 100 000 deviates by 0.0018
    models = [torch.zeros(100_000), torch.ones(100_000)]
    merged = method_for("blx_uniform").merge_tensor("w", models, seed=1)
    assert merged.min() >= -0.5
    assert merged.max() <= 1.5
    assert merged.mean() == pytest.approx(0.5, abs=0.01)
    assert merged.var() == pytest.approx(1 / 3, rel=0.02)


def test_picks_come_from_parents_in_their_shares() -> None:
    numel = CHUNK + 100_000  # shares 0.2, 0.5, 0.3: deviation below 0.001
    models = [torch.full((numel,), float(i)) for i in range(3)]
    merged = method_for("random").merge_tensor("w", models, TensorParams(weight=(2.0, 5.0, 3.0)), seed=0)
    shares = [float((merged == i).float().mean()) for i in range(3)]
    assert shares == pytest.approx([0.2, 0.5, 0.3], abs=0.005)


@pytest.mark.parametrize("weights", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
def test_a_parent_without_weight_is_never_picked(weights: tuple[float, ...]) -> None:
    models = [torch.full((5000,), float(i)) for i in range(3)]
    merged = method_for("random").merge_tensor("w", models, TensorParams(weight=weights), seed=0)
    assert (merged == weights.index(1.0)).all()


def test_picks_keep_bits() -> None:
    generator = torch.Generator().manual_seed(0)
    models = [torch.randn(500, generator=generator).bfloat16() for _ in range(2)]
    merged = method_for("random").merge_tensor("w", models, seed=3)
    assert ((merged == models[0]) | (merged == models[1])).all()
    assert (merged != models[0]).any()
    assert (merged != models[1]).any()


@pytest.mark.parametrize("name", ["blx_uniform", "random"])
def test_draws_are_counted_per_seed_and_name(name: str) -> None:
    models = [torch.zeros(100), torch.ones(100)]
    row = method_for(name)
    first = row.merge_tensor("w", models, seed=1)
    assert torch.equal(first, row.merge_tensor("w", models, seed=1))
    assert not torch.equal(first, row.merge_tensor("w", models, seed=2))
    assert not torch.equal(first, row.merge_tensor("v", models, seed=1))


@pytest.mark.parametrize("name", ["blx", "blx_uniform", "random"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_bad_values_are_named_even_if_not_picked(name: str, value: float) -> None:
    models = [torch.zeros(10), torch.ones(10)]
    models[1][4] = value
    with pytest.raises(NonFinite, match="model 1 has 1 non-finite values in 'w'"):
        method_for(name).merge_tensor("w", models, TensorParams(weight=(1.0, 0.0)))


def test_impossible_numbers() -> None:
    with pytest.raises(MergeError, match="alpha of a blend must be 0 or more"):
        method_for("blx", alpha=-0.1)
    with pytest.raises(MergeError, match="cannot be negative"):
        method_for("random").merge_tensor(
            "w", [torch.ones(1)] * 2 + [torch.zeros(1)], TensorParams(weight=(1.0, -0.5, 1.0))
        )
