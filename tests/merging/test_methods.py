"""The per-tensor contract: rows, checks, dtypes, memory, and tensors that no sum is defined for."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from heredity.errors import MergeError, NonFinite
from heredity.merging.chunks import CHUNK
from heredity.merging.methods import TensorParams, merge_integer, method_for, method_name, rows

ROW_NAMES = sorted(rows())


def inputs(name: str, numel: int = 60, dtype: torch.dtype = torch.float32) -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(numel, generator=generator)
    count = 1 if rows()[name].max_models == 1 else 2
    return [(base + 0.1 * torch.randn(numel, generator=generator)).to(dtype) for _ in range(count)], base.to(dtype)


def test_rows_of_the_specification_are_there() -> None:
    wanted = (
        "linear slerp multislerp nuslerp model_stock passthrough random blx task_arithmetic ties dare_linear dare_ties"
    )
    assert {*wanted.split(), "breadcrumbs", "breadcrumbs_ties", "della", "della_linear"} <= set(rows())


def test_a_typing_error_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(MergeError, match="no merge method 'dare_tie'; did you mean 'dare_ties'"):
        method_for("dare_tie")
    with pytest.raises(MergeError, match="ties has no setting 'lamda'; did you mean 'lam'"):
        method_for("ties", lamda=1.0)
    with pytest.raises(MergeError, match=r"no merge method 'q'; known: .*linear"):
        method_for("q")


def test_rows_are_values() -> None:
    assert method_for("ties") == rows()["ties"]
    assert method_for("ties", density=0.3) == dataclasses.replace(rows()["ties"], density=0.3)  # type: ignore[call-arg]
    assert method_name(rows()["ties"]) == "ties"
    assert "density=0.3" in method_name(method_for("ties", density=0.3))


@pytest.mark.parametrize("name", ROW_NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_narrow_inputs_are_merged_in_float32(name: str, dtype: torch.dtype) -> None:
    # the merge of narrow tensors is the rounded merge of the same values held in float32 (float64 for float64)
    settings = {"density": 0.5} if hasattr(rows()[name], "density") else {}
    row = method_for(name, **settings)
    models, base = inputs(name, CHUNK + 7, dtype)
    merged = row.merge_tensor("w", models, base=base, seed=1)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    expected = row.merge_tensor("w", [model.to(wide) for model in models], base=base.to(wide), seed=1)
    assert merged.dtype == dtype
    assert torch.equal(merged, expected.to(dtype))


@pytest.mark.parametrize("name", ROW_NAMES)
def test_strided_views_merge_like_copies(name: str) -> None:
    models, base = inputs(name)
    row = rows()[name]
    views = [model.view(6, 10).t() for model in models]
    ground = base.view(6, 10).t()
    copies = [view.contiguous() for view in views]
    assert torch.equal(
        row.merge_tensor("w", views, base=ground), row.merge_tensor("w", copies, base=ground.contiguous())
    )


@pytest.mark.parametrize("name", ROW_NAMES)
def test_out_is_written_and_returned(name: str) -> None:
    models, base = inputs(name)
    out = torch.full_like(base, 7.0)
    merged = rows()[name].merge_tensor("w", models, base=base, out=out)
    assert merged is out
    assert torch.equal(out, rows()[name].merge_tensor("w", models, base=base))


@pytest.mark.parametrize("name", ROW_NAMES)
def test_empty_and_scalar_tensors(name: str) -> None:
    models, base = inputs(name)
    row = rows()[name]
    assert row.merge_tensor("w", [m[:0].view(0, 3) for m in models], base=base[:0].view(0, 3)).shape == (0, 3)
    assert torch.isfinite(row.merge_tensor("w", [m[0] for m in models], base=base[0]))


@pytest.mark.parametrize("name", ROW_NAMES)
def test_gradients_are_not_tracked(name: str) -> None:
    models, base = inputs(name)
    merged = rows()[name].merge_tensor(
        "w", [torch.nn.Parameter(model) for model in models], base=torch.nn.Parameter(base)
    )
    assert not merged.requires_grad


def test_names_of_models_reach_the_message() -> None:
    with pytest.raises(NonFinite, match="expert-b has 1 non-finite values in 'w'"):
        method_for("linear").merge_tensor(
            "w", [torch.ones(2), torch.tensor([1.0, torch.nan])], models=["a", "expert-b"]
        )


def test_an_equal_but_infinite_parent_is_still_refused() -> None:
    bad = torch.tensor([1.0, torch.inf])
    with pytest.raises(NonFinite, match="model 0 has 1"):
        method_for("linear").merge_tensor("w", [bad, bad.clone()])


def test_huge_values_are_no_false_alarm() -> None:
    # the sum of the entries overflows, every entry is finite
    huge = torch.full((100,), 3e38)
    merged = method_for("linear").merge_tensor("w", [huge, 0.5 * huge])
    assert torch.allclose(merged, torch.tensor(2.25e38))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (TensorParams(weight=(1.0,)), "weight of 'w' has 1 values for 2 models"),
        (TensorParams(density=(0.5, 0.5)), "linear takes no density; it takes weight"),
        (TensorParams(t=0.5), "linear takes no t; it takes weight"),
    ],
)
def test_parameters_that_do_not_fit(params: TensorParams, message: str) -> None:
    with pytest.raises(MergeError, match=message):
        method_for("linear").merge_tensor("w", [torch.ones(2), torch.zeros(2)], params)


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("slerp", 3, "slerp merges exactly 2 models; 3 given"),
        ("passthrough", 2, "passthrough merges exactly 1 model; 2 given"),
        ("model_stock", 1, "model_stock merges at least 2 models; 1 given"),
        ("linear", 0, "linear merges at least 1 model; 0 given"),
    ],
)
def test_wrong_number_of_models(name: str, count: int, message: str) -> None:
    with pytest.raises(MergeError, match=message):
        method_for(name).merge_tensor("w", [torch.ones(2)] * count, base=torch.ones(2))


def test_shapes_and_dtypes_must_agree() -> None:
    with pytest.raises(MergeError, match=r"'w' differs: model 0 has \(2,\) torch.float32, base has \(3,\)"):
        method_for("ties").merge_tensor("w", [torch.ones(2)], base=torch.ones(3))
    with pytest.raises(MergeError, match=r"model 1 has .* torch.float16"):
        method_for("linear").merge_tensor("w", [torch.ones(2), torch.ones(2).half()])
    with pytest.raises(MergeError, match="out for 'w' must be contiguous"):
        method_for("linear").merge_tensor("w", [torch.ones(2)], out=torch.ones(3))


def test_integers_booleans_and_counters() -> None:
    labels = ["a", "b"]
    mask, other = torch.tensor([True, False]), torch.tensor([True, True])
    assert merge_integer("mask", [mask, other], labels) is mask
    assert merge_integer("n", [torch.tensor(3), torch.tensor(9)], labels).item() == 3
    ids = torch.arange(4)
    assert torch.equal(merge_integer("ids", [ids, ids.clone()], labels), ids)
    with pytest.raises(MergeError, match="integer tensor 'ids' differs between a and b"):
        merge_integer("ids", [ids, ids + 1], labels)
    with pytest.raises(MergeError, match="complex64"):
        merge_integer("c", [torch.ones(1, dtype=torch.complex64)], labels[:1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear", "ties", "dare_ties", "slerp", "breadcrumbs"])
def test_temporary_memory_is_bounded(name: str) -> None:
    # 24 M bfloat16 values are 48 MB each, a float32 copy would be 96 MB. Allowed: the buffers of 1 MiB and what the
    # selection collects (a few per cent of the values)
    settings = {"density": 0.5} if hasattr(rows()[name], "density") else {}
    program = f"""
import resource, torch
from heredity.merging.methods import method_for
row = method_for({name!r}, **{settings!r})
generator = torch.Generator().manual_seed(0)
models = [torch.empty(24_000_000, dtype=torch.bfloat16).random_(-64, 64, generator=generator) for _ in range(2)]
base, out = torch.ones_like(models[0]), torch.ones_like(models[0])
row.merge_tensor("w", [m[:300_000] for m in models], base=base[:300_000])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
row.merge_tensor("w", models, base=base, out=out)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 48_000  # KiB
