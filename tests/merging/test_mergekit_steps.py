"""Merges of 16-bit models from a mergekit configuration, against mergekit's steps spelt out with plain tensor code."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from heredity.errors import NonFinite
from heredity.merging.mergekit_run import open_merge
from heredity.merging.mergekit_steps import SteppedTaskArithmetic, in_steps
from heredity.merging.methods import TensorParams, method_for

SHAPES = {"model.layers.0.up.weight": (48, 20), "model.layers.1.up.weight": (7, 11), "model.norm.weight": (33,)}


def models(dtype: torch.dtype, names: str = "0abc") -> dict[str, dict[str, Tensor]]:
    """Models around "0" whose differences have magnitudes that no two entries of a tensor share after rounding."""
    found: dict[str, dict[str, Tensor]] = {name: {} for name in names}
    for tensor, shape in SHAPES.items():
        n = torch.Size(shape).numel()
        for seed, name in enumerate(names):
            generator = torch.Generator().manual_seed(seed)
            signs = torch.randint(0, 2, (n,), generator=generator) * 2 - 1
            order = torch.randperm(n, generator=generator)
            # successive bfloat16 (float16) numbers from 2^-8 up: 960 of them reach 2^-1 and 2^-7
            bits = torch.tensor(2.0**-8, dtype=dtype).view(torch.int16) + order.to(torch.int16)
            if name == "0":
                found[name][tensor] = torch.zeros(shape, dtype=dtype)
            else:
                found[name][tensor] = (bits.view(dtype) * signs).reshape(shape)
    return found


def close_models(dtype: torch.dtype) -> dict[str, dict[str, Tensor]]:
    """Models that are fine-tuned from "0" as checkpoints are: differences have few distinct magnitudes."""
    found: dict[str, dict[str, Tensor]] = {}
    for seed, name in enumerate("0abc"):
        generator = torch.Generator().manual_seed(seed)
        found[name] = {}
        for tensor, shape in SHAPES.items():
            noise = torch.randn(shape, generator=generator)
            found[name][tensor] = (noise * 0.02 if name == "0" else found["0"][tensor] + noise * 0.004).to(dtype)
    return found


def run(folder: Path, states: dict[str, dict[str, Tensor]], config: dict[str, Any]) -> dict[str, Tensor]:
    for name, state in states.items():
        (folder / name).mkdir()
        save_file(state, folder / name / "model.safetensors")
    (folder / "config.yml").write_text(yaml.safe_dump(config))
    with open_merge(folder / "config.yml") as merge:
        merge.write(folder / "out")
    return load_file(folder / "out" / "model.safetensors")


def entry(model: str, **parameters: Any) -> dict[str, Any]:
    return {"model": model, "parameters": parameters}


def trimmed(delta: Tensor, density: float, gamma: float, rescale: bool) -> Tensor:
    """The band of magnitudes that is kept, by a sort of everything; rescaled to the old sum of magnitudes."""
    if density >= 1:
        return delta
    n, mask = delta.numel(), torch.zeros(delta.numel(), dtype=delta.dtype)
    top, kept = int(gamma * n), int(density * n)
    order = delta.abs().flatten().float().argsort(descending=True, stable=True)
    mask[order[min(top, n - kept) :][: max(1, kept)]] = 1
    masked = delta * mask.reshape(delta.shape)
    return masked * (delta.abs().sum() / masked.abs().sum()) if rescale else masked


def by_steps(
    base: Tensor,
    others: list[Tensor],
    weights: tuple[float, ...],
    densities: tuple[float, ...],
    *,
    gamma: float = 0.0,
    rescale: bool = False,
    consensus: bool = True,
    normalize: bool = True,
    lam: float = 1.0,
) -> Tensor:
    """mergekit's task vectors: whole tensors in the models' dtype, one operation after another."""
    deltas = torch.stack([trimmed(x - base, d, gamma, rescale) for x, d in zip(others, densities, strict=True)])
    scale = torch.tensor(weights, dtype=base.dtype).reshape(-1, *[1] * base.dim())
    deltas = deltas * scale
    if consensus:
        majority = (deltas.sum(dim=0) >= 0).to(base.dtype) * 2 - 1
        agree = deltas.sign() == majority
        mixed, divisor = (deltas * agree).sum(dim=0), (scale * agree).sum(dim=0)
        divisor[divisor == 0] = 1
    else:
        mixed, divisor = deltas.sum(dim=0), scale.sum(dim=0)
    if normalize:
        mixed = mixed / divisor
    return base + mixed * lam


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("make", [models, close_models])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("ties", {}),
        ("ties", {"normalize": False, "rescale": True, "lam": 0.7}),
        ("breadcrumbs", {"gamma": 0.1, "consensus": False, "normalize": False}),
        ("breadcrumbs_ties", {"gamma": 0.1, "normalize": False}),
        ("task_arithmetic", {"consensus": False, "normalize": True, "lam": 1.3}),
    ],
)
def test_task_vectors_are_rounded_at_every_step(
    tmp_path: Path, dtype: torch.dtype, make: Any, method: str, options: dict[str, Any]
) -> None:
    states = make(dtype)
    weights, densities = (0.6, 0.45, 0.3), (0.5, 0.31, 0.7)
    listed = [entry(name, weight=w, density=d) for name, w, d in zip("abc", weights, densities, strict=True)]
    whole = {"normalize": options.get("normalize", True), "lambda": options.get("lam", 1.0)}
    whole |= {key: options[key] for key in ("rescale", "gamma") if key in options}
    config = {"merge_method": method, "base_model": "0", "models": listed, "parameters": whole}
    merged = run(tmp_path, states, config)
    once_only = 0
    for name in SHAPES:
        base, *others = (states[model][name] for model in "0abc")
        kept = (1.0, 1.0, 1.0) if method == "task_arithmetic" else densities
        assert torch.equal(merged[name], by_steps(base, others, weights, kept, **options)), name
        wide = by_steps(base.float(), [other.float() for other in others], weights, kept, **options).to(dtype)
        once_only += int((wide != merged[name]).sum())
    assert once_only  # rounding the result alone gives another model


@pytest.mark.parametrize("around", [False, True])
def test_nuslerp_is_rounded_at_every_step(tmp_path: Path, around: bool) -> None:
    states = close_models(torch.bfloat16)
    config = {"merge_method": "nuslerp", "models": [entry("a", weight=0.6), entry("b", weight=0.3)]}
    merged = run(tmp_path, states, config | ({"base_model": "0"} if around else {}))
    t = 0.3 / (0.6 + 0.3)
    for name in SHAPES:
        base, a, b = (states[model][name] for model in "0ab")
        x, y = (a - base, b - base) if around else (a, b)
        u, v = (z.flatten() / torch.linalg.vector_norm(z.flatten()) for z in (x, y))
        theta = torch.acos((u * v).sum())
        between = (torch.sin((1 - t) * theta) * x + torch.sin(t * theta) * y) / torch.sin(theta)
        assert torch.equal(merged[name], base + between if around else between), name


@pytest.mark.parametrize("filter_wise", [False, True])
@pytest.mark.parametrize("others", ["ab", "abc"])
def test_model_stock_is_rounded_at_every_step(tmp_path: Path, others: str, filter_wise: bool) -> None:
    states = close_models(torch.bfloat16)
    config = {"merge_method": "model_stock", "base_model": "0", "models": [{"model": name} for name in others]}
    merged = run(tmp_path, states, config | {"parameters": {"filter_wise": filter_wise}})
    for name, shape in SHAPES.items():
        rows = (-1, shape[-1]) if filter_wise else (1, -1)
        base, *parts = (states[model][name].reshape(rows) for model in f"0{others}")
        cosines = []
        for x, y in itertools.combinations([part - base for part in parts], 2):
            norms = torch.linalg.vector_norm(x, dim=1) * torch.linalg.vector_norm(y, dim=1)
            cosines.append((x * y).sum(1) / norms)
        cosine, n = torch.stack(cosines).mean(0).unsqueeze(1), len(parts)
        t = n * cosine / (1 + (n - 1) * cosine)
        total = parts[0] + parts[1]
        for part in parts[2:]:
            total = total + part
        assert torch.equal(merged[name], (t * (total / n) + (1 - t) * base).reshape(shape)), name


def test_models_of_several_dtypes_are_promoted_as_torch_does(tmp_path: Path) -> None:
    states = close_models(torch.bfloat16)
    states["b"] = {name: tensor.float() for name, tensor in states["b"].items()}
    listed = [entry("a", weight=1.0), entry("b", weight=1.0)]
    merged = run(tmp_path, states, {"merge_method": "task_arithmetic", "base_model": "0", "models": listed})
    for name in SHAPES:
        base, a, b = (states[model][name].float() for model in "0ab")
        torch.testing.assert_close(merged[name], a + b - base)  # float32: to 1.3e-6, where bfloat16 has 8e-3
        assert merged[name].dtype == torch.float32


def test_float32_in_the_configuration_keeps_one_rounding(tmp_path: Path) -> None:
    states = close_models(torch.bfloat16)
    listed = [entry("a", weight=0.6, density=0.5), entry("b", weight=0.45, density=0.5)]
    types = {"dtype": "float32", "out_dtype": "bfloat16"}
    merged = run(tmp_path, states, {"merge_method": "ties", "base_model": "0", "models": listed} | types)
    for name in SHAPES:
        pair, params = [states[m][name] for m in "ab"], TensorParams(weight=(0.6, 0.45), density=(0.5, 0.5))
        expected = method_for("ties").merge_tensor(name, pair, params, base=states["0"][name])
        assert torch.equal(merged[name], expected)


def test_the_largest_entry_stays_where_a_density_keeps_none(tmp_path: Path) -> None:
    states = {"0": {"w": torch.zeros(3)}, "a": {"w": torch.tensor([1.0, -5.0, 2.0])}}
    config = {"merge_method": "ties", "base_model": "0", "models": [entry("a", weight=1.0, density=0.1)]}
    assert run(tmp_path, states, config)["w"].tolist() == [0.0, -5.0, 0.0]


def test_what_is_wide_or_was_never_narrow_stays() -> None:
    ties, nuslerp = method_for("ties"), method_for("nuslerp")
    assert in_steps(ties, "float32") is ties
    assert in_steps(None, "bfloat16") is None
    for name in ("linear", "passthrough", "slerp"):
        assert in_steps(method_for(name), "bfloat16") == method_for(name)
    assert in_steps(nuslerp, "bfloat16") != nuslerp


@pytest.mark.parametrize("name", ["ties", "task_arithmetic", "dare_linear", "della", "nuslerp", "model_stock"])
def test_equal_models_are_kept_and_bad_values_named(name: str) -> None:
    method = in_steps(method_for(name), "bfloat16")
    assert method is not None
    base = torch.randn(64, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(method.merge_tensor("w", [base, base], base=base), base)
    for bad in (torch.nan, torch.inf, -torch.inf):
        spoilt = base.clone()
        spoilt[5] = bad
        with pytest.raises(NonFinite, match="model 1 has 1 non-finite values in 'w'"):
            method.merge_tensor("w", [base * 2, spoilt], base=base)


@pytest.mark.parametrize("name", ["dare_ties", "della_linear"])
def test_random_masks_are_the_ones_of_the_float32_method(name: str) -> None:
    base = torch.zeros(40, 30, dtype=torch.bfloat16)
    model = torch.full((40, 30), 0.5, dtype=torch.bfloat16)
    wide = method_for(name, rescale=None, density=0.4, normalize=False)
    narrow = in_steps(wide, "bfloat16")
    assert isinstance(narrow, SteppedTaskArithmetic)
    # halves and zeros are exact in both
    expected = wide.merge_tensor("w", [model], base=base, seed=3)
    assert torch.equal(narrow.merge_tensor("w", [model], base=base, seed=3), expected)
    assert 0.3 < float((expected != 0).float().mean()) < 0.5  # 1200 draws at 0.4: the deviation is 0.014
    assert not torch.equal(narrow.merge_tensor("w", [model], base=base, seed=4), expected)


def test_large_tensors_are_merged_in_pieces_with_the_same_bits() -> None:
    generator = torch.Generator().manual_seed(0)
    base = (torch.randn(700_000, generator=generator) * 0.02).bfloat16()  # three chunks of 2^18, the last one short
    others = [(base + torch.randn(700_000, generator=generator) * 0.004).bfloat16() for _ in range(2)]
    method = in_steps(method_for("ties"), "bfloat16")
    assert method is not None
    params = TensorParams(weight=(0.6, 0.45), density=(0.5, 0.3))
    merged = method.merge_tensor("w", others, params, base=base)
    assert torch.equal(merged, by_steps(base, others, (0.6, 0.45), (0.5, 0.3)))
