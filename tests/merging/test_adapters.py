"""Merging LoRA adapters as factors and as changes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from heredity.errors import MergeError, NonFinite
from heredity.merging.adapters import AdapterMerger
from heredity.merging.base import StateDict
from heredity.merging.low_rank import to_delta
from heredity.merging.methods import TensorParams, method_for

MODULE = "base_model.model.layers.0.q_proj"


def adapter(seed: int, rank: int = 2, dtype: torch.dtype = torch.float32) -> StateDict:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"{MODULE}.lora_A.weight": torch.randn(rank, 6, generator=generator).to(dtype),
        f"{MODULE}.lora_B.weight": torch.randn(5, rank, generator=generator).to(dtype),
    }


def delta(state: StateDict, scaling: float = 1.0) -> Tensor:
    return to_delta(state[f"{MODULE}.lora_A.weight"], state[f"{MODULE}.lora_B.weight"], scaling)


def test_factors_are_averaged_one_by_one() -> None:
    a, b = adapter(0), adapter(1)
    merged = AdapterMerger(weight=(1.0, 3.0)).merge([a, b])
    for name in a:
        torch.testing.assert_close(merged[name], 0.25 * a[name] + 0.75 * b[name])


def test_the_two_spaces_differ_and_delta_is_exact() -> None:
    a, b = adapter(0), adapter(1)
    exact = 0.5 * (delta(a) + delta(b))
    # the mean of two changes of rank 2 has rank 4
    as_delta = AdapterMerger(space="delta", rank=4).merge([a, b])
    torch.testing.assert_close(delta(as_delta), exact, rtol=1e-4, atol=1e-4)
    as_factors = AdapterMerger().merge([a, b])
    assert (delta(as_factors) - exact).norm() > 0.1 * exact.norm()


def test_truncation_to_the_first_rank_is_the_best_of_it() -> None:
    a, b = adapter(0), adapter(1)
    exact = 0.5 * (delta(a) + delta(b))
    merged = AdapterMerger(space="delta").merge([a, b])
    S = torch.linalg.svdvals(exact)
    assert merged[f"{MODULE}.lora_A.weight"].shape == (2, 6)
    assert float((delta(merged) - exact).norm() ** 2) == pytest.approx(float((S[2:] ** 2).sum()), rel=1e-3)


def test_scaling_and_rank_may_differ_in_delta_space() -> None:
    a, b = adapter(0, rank=2), adapter(1, rank=3)
    merger = AdapterMerger(space="delta", scaling=(2.0, 0.5), rank=5)
    merged = merger.merge([a, b])
    exact = 0.5 * (delta(a, 2.0) + delta(b, 0.5))
    torch.testing.assert_close(delta(merged, 2.0), exact, rtol=1e-4, atol=1e-4)  # the result has the first's scaling


@pytest.mark.parametrize("name", ["task_arithmetic", "ties", "slerp", "dare_ties"])
def test_any_method_merges_changes(name: str) -> None:
    a, b = adapter(0), adapter(1)
    row = method_for(name)
    merged = AdapterMerger(name, space="delta", rank=5, weight=None if name == "slerp" else (0.4, 0.6)).merge([a, b])
    params = TensorParams(weight=None if name == "slerp" else (0.4, 0.6))
    expected = row.merge_tensor("w", [delta(a), delta(b)], params, base=torch.zeros(5, 6))
    torch.testing.assert_close(delta(merged), expected, rtol=1e-4, atol=1e-4)


def test_equal_adapters_are_returned_bit_for_bit() -> None:
    for space in ("factors", "delta"):
        a = adapter(0, dtype=torch.bfloat16)
        merged = AdapterMerger(space=space, weight=(0.3, 0.6)).merge([a, {n: t.clone() for n, t in a.items()}])  # type: ignore[arg-type]
        assert all(torch.equal(merged[name], a[name]) for name in a)
        assert all(merged[name].data_ptr() != a[name].data_ptr() for name in a)


def test_dtype_and_other_tensors_are_kept() -> None:
    a, b = adapter(0, dtype=torch.float16), adapter(1, dtype=torch.float16)
    a["head.weight"], b["head.weight"] = torch.zeros(3), torch.ones(3)
    merged = AdapterMerger(space="delta").merge([a, b])
    assert list(merged) == list(a)
    assert merged[f"{MODULE}.lora_B.weight"].dtype == torch.float16
    assert merged["head.weight"].tolist() == [0.5] * 3


def test_named_adapters_and_embeddings_are_pairs_too() -> None:
    def state(seed: int) -> StateDict:
        generator = torch.Generator().manual_seed(seed)
        return {
            "q.lora_A.default.weight": torch.randn(1, 3, generator=generator),
            "q.lora_B.default.weight": torch.randn(2, 1, generator=generator),
            "emb.lora_embedding_A": torch.randn(1, 7, generator=generator),
            "emb.lora_embedding_B": torch.randn(4, 1, generator=generator),
        }

    a, b = state(0), state(1)
    merged = AdapterMerger(space="delta", rank=2).merge([a, b])
    for A, B in (
        ("q.lora_A.default.weight", "q.lora_B.default.weight"),
        ("emb.lora_embedding_A", "emb.lora_embedding_B"),
    ):
        expected = 0.5 * (to_delta(a[A], a[B]) + to_delta(b[A], b[B]))
        torch.testing.assert_close(to_delta(merged[A], merged[B]), expected, rtol=1e-4, atol=1e-4)


def test_mistakes() -> None:
    a, b = adapter(0), adapter(1)
    with pytest.raises(MergeError, match=r"unequal scaling .* space='delta'"):
        AdapterMerger(scaling=(1.0, 2.0)).merge([a, b])
    with pytest.raises(MergeError, match="one non-zero number per adapter"):
        AdapterMerger(scaling=(1.0, 2.0, 3.0)).merge([a, b])
    with pytest.raises(MergeError, match="shapes differ"):
        AdapterMerger().merge([a, adapter(1, rank=3)])
    with pytest.raises(MergeError, match="has no lora_B beside it"):
        AdapterMerger(space="delta").merge([{"q.lora_A.weight": torch.ones(1, 2)}])
    with pytest.raises(MergeError, match="space must be"):
        AdapterMerger(space="weights")  # type: ignore[arg-type]
    dora = {**a, f"{MODULE}.lora_magnitude_vector.weight": torch.ones(5)}
    with pytest.raises(MergeError, match="DoRA"):
        AdapterMerger(space="delta").merge([dora, dora])
    with pytest.raises(MergeError, match="add up to zero"):
        AdapterMerger(space="delta", weight=(1.0, -1.0)).merge([a, b])
    b[f"{MODULE}.lora_B.weight"][0, 0] = torch.nan
    with pytest.raises(NonFinite, match=r"model 1 has 1 non-finite values in '.*lora_B.weight'"):
        AdapterMerger(space="delta").merge([a, b])
