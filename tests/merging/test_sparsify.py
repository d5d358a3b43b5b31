"""Masks of task vectors: how much they keep, what they scale, and that bad values stay visible."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from heredity.errors import MergeError
from heredity.merging.chunks import CHUNK, chunk_spans
from heredity.merging.sparsify import (
    Delta,
    Everything,
    Mask,
    RankedBernoulli,
    _order_by_magnitude,
    aligned_chunk,
    mask_for,
    row_length,
)


def apply(mask: Mask, tau: Tensor, chunk: int = CHUNK) -> Tensor:
    return torch.cat([mask.apply(tau[start:stop].clone(), start) for start, stop in chunk_spans(tau.numel(), chunk)])


def delta_of(tau: Tensor) -> Delta:
    return Delta(tau, torch.zeros_like(tau), torch.empty(min(CHUNK, tau.numel())))


def test_dare_is_unbiased_and_keeps_the_density() -> None:
    # 2 000 masks of 50 entries at d = 0.3: the mean of a kept and rescaled entry deviates by √((1/d − 1)/2000) = 3.4 %,
    # the mean over 50 equal entries by 0.48 %; the kept share by √(d(1 − d)/100000) = 0.14 %
    tau, density = torch.ones(50), 0.3
    draws = []
    for seed in range(2000):
        mask, factor = mask_for(
            delta_of(tau), "bernoulli", density=density, rescale="inverse", shape=(50,), key=(seed, 0, "w")
        )
        draws.append(apply(mask, tau) * factor)
    stacked = torch.stack(draws)
    assert stacked.mean() == pytest.approx(1.0, rel=0.03)
    assert (stacked != 0).float().mean() == pytest.approx(density, abs=0.01)
    assert stacked.max() == pytest.approx(1 / density)


def test_della_is_unbiased_and_prefers_large_entries() -> None:
    # rows of 5: keep probabilities 0.3, 0.4, 0.5, 0.6, 0.7 by rank; 4 000 masks: deviation of a share below 0.8 %
    tau = torch.tensor([3.0, -1.0, 5.0, 2.0, -4.0])
    probabilities = torch.tensor([0.5, 0.3, 0.7, 0.4, 0.6])
    draws = []
    for seed in range(4000):
        mask, factor = mask_for(
            delta_of(tau),
            "della_magprune",
            density=0.5,
            epsilon=0.2,
            rescale="inverse",
            shape=(1, 5),
            key=(seed, 0, "w"),
        )
        draws.append(apply(mask, tau) * factor)
    stacked = torch.stack(draws)
    assert torch.allclose((stacked != 0).float().mean(0), probabilities, atol=0.035)
    # a mean entry has deviation τ√((1/p − 1)/4000), at most 5·0.024
    assert torch.allclose(stacked.mean(0), tau, rtol=0.1)


def test_della_ranks_within_rows() -> None:
    # two rows of very different size: ranks, and so probabilities, are the same in both
    tau = torch.tensor([1.0, 2.0, 3.0, 100.0, 200.0, 300.0])
    kept = torch.zeros(6)
    for seed in range(3000):
        mask, _ = mask_for(delta_of(tau), "della_magprune", density=0.5, epsilon=0.3, shape=(2, 3), key=(seed, 0, "w"))
        kept += apply(mask, tau) != 0
    assert torch.allclose(kept / 3000, torch.tensor([0.2, 0.5, 0.8] * 2), atol=0.04)


@pytest.mark.parametrize("rule", ["magnitude", "magnitude_outliers", "bernoulli", "della_magprune"])
def test_l1_restores_the_sum_of_magnitudes(rule: str) -> None:
    tau = torch.randn(90, 40, generator=torch.Generator().manual_seed(0)).view(-1)
    mask, factor = mask_for(
        delta_of(tau), rule, density=0.4, gamma=0.05, epsilon=0.1, rescale="l1", shape=(90, 40), key=(1, 0, "w")
    )
    masked = apply(mask, tau) * factor
    assert float(masked.abs().sum()) == pytest.approx(float(tau.abs().sum()), rel=1e-4)
    assert 0 < int((masked != 0).sum()) < tau.numel()


def test_l1_of_nothing_is_left_alone() -> None:
    _, factor = mask_for(
        delta_of(torch.zeros(10)), "magnitude", density=0.5, rescale="l1", shape=(10,), key=(0, 0, "w")
    )
    assert factor == 1.0


def test_breadcrumbs_drop_both_ends() -> None:
    tau = torch.arange(1.0, 11.0)  # density 0.5, gamma 0.2: 9 and 10 go as outliers, 4 to 8 stay
    mask, factor = mask_for(delta_of(tau), "magnitude_outliers", density=0.5, gamma=0.2, shape=(10,), key=(0, 0, "w"))
    assert apply(mask, tau, 3).nonzero().flatten().tolist() == [3, 4, 5, 6, 7]
    assert factor == 1.0


def test_breadcrumbs_meet_the_density_before_dropping_outliers() -> None:
    tau = torch.arange(1.0, 11.0)  # density 0.9, gamma 0.5: only one entry may go, the largest
    mask, _ = mask_for(delta_of(tau), "magnitude_outliers", density=0.9, gamma=0.5, shape=(10,), key=(0, 0, "w"))
    assert apply(mask, tau).tolist() == [*tau[:9].tolist(), 0.0]


def test_breadcrumbs_without_outliers_are_a_magnitude_mask() -> None:
    tau = torch.randn(100, generator=torch.Generator().manual_seed(4))
    shape, key = (100,), (0, 0, "w")
    band, _ = mask_for(delta_of(tau), "magnitude_outliers", density=0.3, gamma=0.0, shape=shape, key=key)
    top, _ = mask_for(delta_of(tau), "magnitude", density=0.3, shape=shape, key=key)
    assert torch.equal(apply(band, tau), apply(top, tau))


@pytest.mark.parametrize("rule", ["magnitude", "magnitude_outliers", "bernoulli", "della_magprune"])
def test_density_one_keeps_everything_and_zero_nothing(rule: str) -> None:
    tau = torch.randn(20, generator=torch.Generator().manual_seed(5))
    mask, factor = mask_for(delta_of(tau), rule, density=1.0, rescale="inverse", shape=(20,), key=(0, 0, "w"))
    assert isinstance(mask, Everything)
    assert factor == 1.0
    mask, factor = mask_for(delta_of(tau), rule, density=0.0, rescale="inverse", shape=(20,), key=(0, 0, "w"))
    assert math.isfinite(factor)
    assert not apply(mask, tau).any()


@pytest.mark.parametrize("rule", ["magnitude", "magnitude_outliers", "bernoulli", "della_magprune"])
@pytest.mark.parametrize("density", [0.0, 0.2, 0.9])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_bad_values_stay_visible(rule: str, density: float, value: float) -> None:
    tau = torch.randn(40, generator=torch.Generator().manual_seed(6))
    tau[11] = value
    mask, _ = mask_for(delta_of(tau), rule, density=density, gamma=0.1, epsilon=0.05, shape=(8, 5), key=(0, 0, "w"))
    assert not torch.isfinite(apply(mask, tau)[11])


def test_draws_are_counted_per_seed_model_and_name() -> None:
    tau = torch.ones(200)

    def draw(*key: int | str) -> Tensor:
        mask, _ = mask_for(delta_of(tau), "bernoulli", density=0.5, shape=(200,), key=key)  # type: ignore[arg-type]
        return apply(mask, tau)

    first = draw(0, 0, "w")
    assert torch.equal(first, draw(0, 0, "w"))
    for other in ((1, 0, "w"), (0, 1, "w"), (0, 0, "v")):
        assert not torch.equal(first, draw(*other))


@pytest.mark.parametrize(
    ("rule", "settings", "message"),
    [
        ("magnitude", {"density": -0.1}, "density must be 0 or more"),
        ("magnitude", {"density": math.nan}, "density must be 0 or more"),
        ("magnitude_outliers", {"density": 0.5, "gamma": 1.5}, "gamma must lie in"),
        ("della_magprune", {"density": 0.1, "epsilon": 0.1}, "inside \\(0, 1\\)"),
        ("della_magprune", {"density": 0.9, "epsilon": 0.2}, "inside \\(0, 1\\)"),
    ],
)
def test_impossible_numbers(rule: str, settings: dict[str, float], message: str) -> None:
    with pytest.raises(MergeError, match=message):
        mask_for(delta_of(torch.ones(10)), rule, shape=(10,), key=(0, 0, "w"), **settings)


def test_row_of_one_has_the_plain_density() -> None:
    tau = torch.ones(2000)
    mask = RankedBernoulli(0.5, 0.4, 1, torch.Generator().manual_seed(0), inverse=False)
    assert float(apply(mask, tau).mean()) == pytest.approx(0.5, abs=0.05)  # deviation 1.1 %


def test_chunks_hold_whole_rows_for_della() -> None:
    assert row_length((4, 3, 2)) == 6
    assert row_length((9,)) == 9
    assert aligned_chunk("della_magprune", 1000) % 1000 == 0
    assert aligned_chunk("della_magprune", 3 * CHUNK) == 3 * CHUNK
    assert aligned_chunk("magnitude", 1000) == CHUNK


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_magnitudes_are_ranked_by_index(dtype: torch.dtype) -> None:
    rows = torch.tensor([[2.0, -1.0, 1.0, -0.0, 0.0], [1.0, 1.0, -1.0, -3.0, 1.0]], dtype=dtype)
    assert _order_by_magnitude(rows).tolist() == [[3, 4, 1, 2, 0], [0, 1, 2, 4, 3]]
