"""The generalised merge of task vectors, against hand cases and an independent, sort-based reference."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from heredity.errors import MergeError, NonFinite
from heredity.merging.base import tensor_generator
from heredity.merging.chunks import CHUNK
from heredity.merging.mergers import merger_for
from heredity.merging.methods import TensorParams, method_for
from heredity.merging.task_vector import GeneralizedTaskArithmetic, merge_task_vectors


def reference(
    base: Tensor,
    models: list[Tensor],
    weights: list[float],
    densities: list[float],
    *,
    row: GeneralizedTaskArithmetic,
    seed: int,
) -> Tensor:
    """Entry by entry after the papers, in float64, with whole sorts and no chunks."""
    deltas = []
    for i, (model, density) in enumerate(zip(models, densities, strict=True)):
        tau = (model.float() - base.float()).double().view(-1)
        n = tau.numel()
        keep = torch.ones(n, dtype=torch.bool)
        order = torch.sort(tau.abs(), descending=True, stable=True).indices
        scale = 1.0
        if density < 1:
            if row.sparsify == "magnitude":
                keep[order[int(density * n) :]] = False
            elif row.sparsify == "magnitude_outliers":
                top = min(int(row.gamma * n), n - int(density * n))
                keep[order[:top]] = False
                keep[order[top + int(density * n) :]] = False
            elif row.sparsify == "bernoulli":
                keep = torch.rand(n, generator=tensor_generator(seed, i, "w")) < density
                scale = 1 / density
            if row.rescale == "l1":
                before, after = tau.abs().sum(), tau[keep].abs().sum()
                scale = float(before / after) if before > 1e-7 and after > 1e-7 else 1.0
        deltas.append(torch.where(keep, tau, 0.0) * scale * weights[i])
    stacked = torch.stack(deltas)
    if row.consensus is None:
        mixed, divisor = stacked.sum(0), torch.tensor(sum(weights), dtype=torch.float64)
        divisor = torch.where(divisor.abs() < 1e-8, 1.0, divisor)
    else:
        votes = stacked.sum(0) if row.consensus == "sum" else stacked.sign().sum(0)
        elected = torch.where(votes >= 0, 1.0, -1.0)
        agree = stacked.sign() == elected
        mixed = (stacked * agree).sum(0)
        divisor = (torch.tensor(weights, dtype=torch.float64).unsqueeze(1) * agree).sum(0)
        divisor = torch.where(divisor == 0, 1.0, divisor)
    if row.normalize:
        mixed = mixed / divisor
    return base + row.lam * mixed.view_as(base)


def parents(n: int, numel: int, seed: int, step: float) -> tuple[Tensor, list[Tensor]]:
    # values on a grid: differences and small sums are exact in float32, so that ties and cancelled votes are the same
    generator = torch.Generator().manual_seed(seed)
    base = torch.randint(-16, 17, (numel,), generator=generator) * step
    return base, [base + torch.randint(-9, 10, (numel,), generator=generator) * step for _ in range(n)]


@settings(deadline=None, max_examples=150)
@given(
    name=st.sampled_from(["task_arithmetic", "ties", "dare_linear", "dare_ties", "breadcrumbs", "breadcrumbs_ties"]),
    consensus=st.sampled_from(["own", "sum", "count"]),
    rescale=st.sampled_from(["own", None, "l1"]),
    n=st.integers(1, 4),
    numel=st.integers(1, 200),
    density=st.floats(0.01, 1.0),
    normalize=st.booleans(),
    signed=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_equals_the_naive_reference(
    *,
    name: str,
    consensus: str,
    rescale: str | None,
    n: int,
    numel: int,
    density: float,
    normalize: bool,
    signed: bool,
    seed: int,
) -> None:
    base, models = parents(n, numel, seed, 0.125)
    changes: dict[str, object] = {"normalize": normalize, "lam": 0.5, "gamma": 0.1}
    if consensus != "own":
        changes["consensus"] = consensus
    row = method_for(name, **changes)
    assert isinstance(row, GeneralizedTaskArithmetic)
    if rescale != "own" and row.sparsify != "bernoulli":
        row = method_for(name, **changes, rescale=rescale)
    assert isinstance(row, GeneralizedTaskArithmetic)
    # powers of two keep weighted sums exact, so that a vote that cancels does so in both
    weights = [(-1.0 if signed and i == 1 else 1.0) * 2.0 ** (i - 1) for i in range(n)]
    if row.rescale == "l1" or row.sparsify == "bernoulli":
        weights = weights[:1] + [0.83 * w for w in weights[1:]]  # rescaled values no longer cancel exactly
    densities = [density if i % 2 == 0 else min(1.0, density * 1.5) for i in range(n)]
    got = row.merge_tensor(
        "w", models, TensorParams(weight=tuple(weights), density=tuple(densities)), base=base, seed=seed
    )
    expected = reference(base, models, weights, densities, row=row, seed=seed)
    if row.rescale is not None and row.consensus == "sum":
        # votes within rounding of zero may fall to either side: compare where they are clear
        close = torch.isclose(got.double(), expected, rtol=1e-5, atol=1e-5)
        assert close.float().mean() >= 0.9
    else:
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["ties", "dare_ties", "breadcrumbs"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_several_chunks_equal_the_reference(name: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(2 * CHUNK + 321, generator=generator)
    models = [(base + 0.01 * torch.randn(base.numel(), generator=generator)).to(dtype) for _ in range(2)]
    base = base.to(dtype)
    row = method_for(name, density=0.4)
    assert isinstance(row, GeneralizedTaskArithmetic)
    got = row.merge_tensor("w", models, base=base, seed=3)
    assert got.dtype == dtype
    expected = reference(base.float(), models, [1.0, 1.0], [0.4, 0.4], row=row, seed=3).to(dtype)
    # votes that cancel to rounding error aside, results differ by at most one rounding of the output
    ulp = {torch.float32: 1e-6, torch.bfloat16: 2**-7, torch.float16: 2**-10}[dtype]
    different = (got.float() - expected.float()).abs() > ulp * expected.float().abs().clamp_min(1.0)
    assert different.float().mean() < 1e-5


def test_hand_case_of_the_specification() -> None:
    # τ1 = [1, −1], τ2 = [3, 2]: both entries elect plus; (1 + 3)/2 and 2/1
    base = {"w": torch.zeros(2)}
    models = [{"w": torch.tensor([1.0, -1.0])}, {"w": torch.tensor([3.0, 2.0])}]
    assert merge_task_vectors(base, models, 1.0, consensus="sign")["w"].tolist() == [2.0, 2.0]


def test_ties_and_dare_ties_are_rows_of_the_function() -> None:
    generator = torch.Generator().manual_seed(3)
    base, a, b = ({"w": torch.randn(30, generator=generator)} for _ in range(3))
    # the default rescaling is for random masks and leaves magnitude trimming alone
    ties = merge_task_vectors(base, [a, b], 1.0, 0.4, sparsify="magnitude", consensus="sign")
    assert torch.equal(ties["w"], merger_for("ties", density=0.4).merge([a, b], base=base)["w"])
    dare = merge_task_vectors(base, [a, b], 1.0, 0.4, sparsify="bernoulli", consensus="sign", normalize=False, seed=5)
    assert torch.equal(dare["w"], merger_for("dare_ties", density=0.4, seed=5).merge([a, b], base=base)["w"])


def test_votes_that_cancel_elect_plus() -> None:
    base = {"w": torch.zeros(1)}
    models = [{"w": torch.tensor([-2.0])}, {"w": torch.tensor([2.0])}]
    assert merge_task_vectors(base, models, 1.0, consensus="sum")["w"].item() == 2.0
    assert merge_task_vectors(base, models, 1.0, consensus="count")["w"].item() == 2.0


def test_count_and_sum_elect_differently() -> None:
    # two small minuses against one large plus
    base = {"w": torch.zeros(1)}
    models = [{"w": torch.tensor([x])} for x in (-1.0, -1.0, 5.0)]
    assert merge_task_vectors(base, models, 1.0, consensus="sum")["w"].item() == 5.0
    assert merge_task_vectors(base, models, 1.0, consensus="count")["w"].item() == -1.0


@pytest.mark.parametrize("sparsify", [None, "magnitude", "bernoulli", "magnitude_outliers", "della_magprune"])
@pytest.mark.parametrize("consensus", [None, "sum", "count"])
def test_parents_that_equal_the_base_return_it(sparsify: str | None, consensus: str | None) -> None:
    base = {"w": torch.randn(9, 5, generator=torch.Generator().manual_seed(0)), "b": torch.tensor([-0.0, 1.0])}
    copies = [{name: tensor.clone() for name, tensor in base.items()} for _ in range(3)]
    merged = merge_task_vectors(base, copies, (0.3, -2.0, 0.7), 0.4, sparsify=sparsify, consensus=consensus, lam=1.7)  # type: ignore[arg-type]
    for name, tensor in base.items():
        assert torch.equal(merged[name].view(torch.int32), tensor.view(torch.int32))


def test_one_parent_of_weight_one_is_returned() -> None:
    generator = torch.Generator().manual_seed(1)
    base, parent = ({"w": torch.randn(50, generator=generator)} for _ in range(2))
    for name in ("task_arithmetic", "ties", "dare_ties", "della"):
        row = method_for(name)
        merged = row.merge_tensor("w", [parent["w"]], base=base["w"])
        torch.testing.assert_close(merged, parent["w"], rtol=0, atol=1e-6)


def test_task_arithmetic_closed_form() -> None:
    base = torch.tensor([1.0, 2.0])
    models = [torch.tensor([2.0, 2.0]), torch.tensor([1.0, 0.0])]
    merged = method_for("task_arithmetic", lam=0.5).merge_tensor(
        "w", models, TensorParams(weight=(1.0, 2.0)), base=base
    )
    assert merged.tolist() == [1.5, 0.0]  # 1 + 0.5·1·1 and 2 + 0.5·2·(−2)


def test_weights_that_add_up_to_zero_are_not_divided_by() -> None:
    base = torch.zeros(1)
    row = method_for("task_arithmetic", normalize=True)
    merged = row.merge_tensor("w", [torch.ones(1), torch.zeros(1)], TensorParams(weight=(1.0, -1.0)), base=base)
    assert merged.item() == 1.0


def test_bfloat16_keeps_small_differences() -> None:
    # ten task vectors of 0.004 on 1: each is lost in bfloat16 arithmetic (spacing 0.0078), their sum is not
    base = torch.ones(4, dtype=torch.bfloat16)
    model = torch.full((4,), 1.0078125, dtype=torch.bfloat16)
    merged = method_for("task_arithmetic").merge_tensor("w", [model] * 10, TensorParams(weight=(0.4,) * 10), base=base)
    assert merged.tolist() == pytest.approx([1.03125] * 4)  # 1 + 10·0.4·0.0078125


@pytest.mark.parametrize("name", ["ties", "dare_ties", "breadcrumbs", "breadcrumbs_ties", "della", "task_arithmetic"])
@pytest.mark.parametrize("consensus", ["sum", "count", None])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("where", ["model", "base"])
def test_bad_values_are_named_whatever_is_kept(name: str, consensus: str | None, value: float, where: str) -> None:
    generator = torch.Generator().manual_seed(2)
    base = {"w": torch.randn(6, 7, generator=generator)}
    models = [{"w": torch.randn(6, 7, generator=generator)} for _ in range(3)]
    (models[1] if where == "model" else base)["w"][2, 3] = value
    row = method_for(name, consensus=consensus, density=0.2, epsilon=0.1, gamma=0.1)
    with pytest.raises(NonFinite, match=f"{'model 1' if where == 'model' else 'base'} has 1 non-finite values in 'w'"):
        row.merge_tensor("w", [model["w"] for model in models], base=base["w"])


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_an_outvoted_infinity_is_named(value: float) -> None:
    # two finite models elect the other sign, so that the infinite entry would be dropped
    others = [torch.full((2,), -1.0 if value > 0 else 1.0) for _ in range(2)]
    with pytest.raises(NonFinite, match="model 2 has 1"):
        method_for("ties", consensus="count").merge_tensor(
            "w", [*others, torch.tensor([1.0, value])], base=torch.zeros(2)
        )


def test_overflow_of_the_result_is_an_error() -> None:
    base = torch.zeros(3, dtype=torch.float16)
    model = torch.full((3,), 60000.0, dtype=torch.float16)
    with pytest.raises(NonFinite, match=r"overflows torch\.float16"):
        method_for("task_arithmetic").merge_tensor("w", [model, model], base=base)


def test_a_base_is_needed() -> None:
    with pytest.raises(MergeError, match="ties works on differences from a common ancestor: pass base="):
        method_for("ties").merge_tensor("w", [torch.ones(2)])


@pytest.mark.parametrize("field", ["consensus", "sparsify", "rescale"])
def test_unknown_choices(field: str) -> None:
    with pytest.raises(MergeError, match=f"{field} must be None or one of"):
        GeneralizedTaskArithmetic(**{field: "best"})  # type: ignore[arg-type]
