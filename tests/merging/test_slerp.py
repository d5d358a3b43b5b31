"""Spherical interpolation: right angles, norms, ends, and vectors without an angle."""

from __future__ import annotations

import math

import pytest
import torch

from heredity.errors import MergeError, NonFinite
from heredity.merging.methods import TensorParams, method_for
from heredity.merging.slerp import MultiSlerp, Slerp, slerp


def test_quarter_circle() -> None:
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    for t in (0.0, 0.25, 0.5, 1.0):
        expected = torch.tensor([math.cos(t * math.pi / 2), math.sin(t * math.pi / 2)])
        torch.testing.assert_close(slerp(a, b, t), expected)


def test_unequal_norms_keep_the_formula() -> None:
    # θ = 60°, t = 1/2: both factors sin 30° / sin 60° = 1/√3
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.5, math.sqrt(3) / 2])
    torch.testing.assert_close(slerp(a, b, 0.5), (a + b) / math.sqrt(3))


def test_ends_are_the_models() -> None:
    a, b = (torch.randn(30, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert torch.equal(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b, rtol=0, atol=1e-6)


def test_parallel_vectors_are_interpolated_linearly() -> None:
    a = torch.tensor([1.0, 2.0])
    torch.testing.assert_close(slerp(a, 3 * a, 0.25), 1.5 * a)
    torch.testing.assert_close(slerp(a, -a, 0.25), 0.5 * a)


def test_a_zero_vector_stands_at_a_right_angle() -> None:
    b = torch.tensor([0.0, 2.0])
    torch.testing.assert_close(slerp(torch.zeros(2), b, 0.5), math.sin(math.pi / 4) * b)


def test_state_dicts_are_interpolated_tensor_by_tensor() -> None:
    a, b = {"v": torch.tensor([1.0, 0.0])}, {"v": torch.tensor([0.0, 1.0])}
    torch.testing.assert_close(slerp(a, b, 0.5)["v"], torch.full((2,), math.sqrt(0.5)))
    with pytest.raises(MergeError, match="not one of each"):
        slerp(a, torch.ones(2), 0.5)  # type: ignore[call-overload]
    with pytest.raises(MergeError, match="'v'"):
        slerp(a, {"u": torch.ones(2)}, 0.5)


def test_nuslerp_reads_t_from_the_weights_and_the_origin_from_the_base() -> None:
    a, b, base = torch.tensor([2.0, 1.0]), torch.tensor([1.0, 2.0]), torch.ones(2)
    merged = method_for("nuslerp").merge_tensor("w", [a, b], TensorParams(weight=(1.0, 3.0)), base=base)
    expected = base + torch.tensor([math.cos(0.75 * math.pi / 2), math.sin(0.75 * math.pi / 2)])
    torch.testing.assert_close(merged, expected)
    half = method_for("nuslerp").merge_tensor("w", [a, b], TensorParams(weight=(1.0, -1.0)), base=base)
    torch.testing.assert_close(half, base + math.sqrt(0.5))


def test_plain_slerp_does_not_read_the_base() -> None:
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert torch.equal(Slerp().merge_tensor("w", [a, b], base=torch.full((2,), 9.0)), slerp(a, b, 0.5))


def test_multislerp_of_two_unit_vectors_is_slerp() -> None:
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    torch.testing.assert_close(method_for("multislerp").merge_tensor("w", [a, b]), slerp(a, b, 0.5))


def test_multislerp_has_the_mean_norm_and_the_mean_direction() -> None:
    models = [torch.tensor(v) for v in ([2.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 6.0])]
    merged = method_for("multislerp").merge_tensor("w", models)
    torch.testing.assert_close(merged, torch.full((3,), 4.0 / math.sqrt(3)))


def test_multislerp_of_opposite_vectors() -> None:
    a = torch.tensor([3.0, 0.0])
    two = MultiSlerp().merge_tensor("w", [a, -a])
    assert two.abs().max() < 1e-6  # two models: the linear mean
    b = torch.tensor([0.0, 1.0])
    with pytest.raises(MergeError, match="directions of 'w' cancel"):
        MultiSlerp().merge_tensor("w", [a, -a, b, -b])


def test_multislerp_of_models_equal_to_the_base() -> None:
    base = torch.tensor([1.0, -0.0])
    merged = MultiSlerp().merge_tensor("w", [base.clone(), base.clone(), base.clone()], base=base)
    assert torch.equal(merged, base)


def test_multislerp_of_one_model_ignores_weight_and_base() -> None:
    model = torch.tensor([0.1, 0.2])
    merged = MultiSlerp().merge_tensor("w", [model], TensorParams(weight=(7.0,)), base=torch.ones(2))
    assert torch.equal(merged, model)


@pytest.mark.parametrize("name", ["slerp", "nuslerp", "multislerp"])
def test_nan_is_named(name: str) -> None:
    with pytest.raises(NonFinite, match="model 1 has 1 non-finite values in 'w'"):
        method_for(name).merge_tensor("w", [torch.ones(3), torch.tensor([1.0, torch.nan, 2.0])], base=torch.zeros(3))
