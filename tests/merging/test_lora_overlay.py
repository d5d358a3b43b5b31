"""Weights seen through a LoRA adapter."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from heredity.errors import MergeError
from heredity.merging.checkpoint import Checkpoint
from heredity.merging.lora_overlay import LoraWeights

BASE = {
    "model.proj.weight": torch.arange(12.0).reshape(4, 3),
    "model.embed.weight": torch.arange(10.0).reshape(5, 2),
    "model.proj.bias": torch.zeros(4),
    "head.weight": torch.ones(2, 3),
}


def overlay(tmp_path: Path, adapter: dict[str, Tensor], **config: Any) -> LoraWeights:
    for name, state in [("base", BASE), ("lora", adapter)]:
        (tmp_path / name).mkdir()
        save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / name / "model.safetensors")
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 4} | config))
    return LoraWeights(Checkpoint(tmp_path / "base"), Checkpoint(tmp_path / "lora"))


def pair(rows: int, columns: int, rank: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rank, columns, generator=generator), torch.randn(rows, rank, generator=generator)


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({}, 2.0),  # 4 / 2
        ({"use_rslora": True}, 4 / math.sqrt(2)),
        ({"alpha_pattern": {"proj": 6}}, 3.0),
        ({"alpha_pattern": {"oj": 6}}, 2.0),  # a pattern names whole modules
    ],
)
def test_the_update_is_added(tmp_path: Path, config: dict[str, Any], scale: float) -> None:
    a, b = pair(4, 3)
    adapter = {"base_model.model.model.proj.lora_A.weight": a, "base_model.model.model.proj.lora_B.weight": b}
    weights = overlay(tmp_path, adapter, **config)
    torch.testing.assert_close(weights.read("model.proj.weight"), BASE["model.proj.weight"] + scale * b @ a)
    assert torch.equal(weights.read("head.weight"), BASE["head.weight"])


def test_embeddings_and_transposed_weights(tmp_path: Path) -> None:
    a, b = torch.randn(2, 5), torch.randn(2, 2)
    weights = overlay(
        tmp_path,
        {"base_model.model.model.embed.lora_embedding_A": a, "base_model.model.model.embed.lora_embedding_B": b},
    )
    torch.testing.assert_close(weights.read("model.embed.weight"), BASE["model.embed.weight"] + 2 * (b @ a).T)
    a, b = pair(3, 4)  # fan_in_fan_out: the weight is stored as [in, out]
    (tmp_path / "t").mkdir()
    adapter = {"base_model.model.model.proj.lora_A.weight": a, "base_model.model.model.proj.lora_B.weight": b}
    weights = overlay(tmp_path / "t", adapter, fan_in_fan_out=True)
    torch.testing.assert_close(weights.read("model.proj.weight"), BASE["model.proj.weight"] + 2 * (b @ a).T)


def test_whole_modules_and_biases_are_replaced(tmp_path: Path) -> None:
    head, bias = torch.full((2, 3), 7.0), torch.full((4,), 5.0)
    weights = overlay(tmp_path, {"base_model.model.head.weight": head, "base_model.model.model.proj.bias": bias})
    assert torch.equal(weights.read("head.weight"), head)
    assert torch.equal(weights.read("model.proj.bias"), bias)


@pytest.mark.parametrize(
    ("names", "config", "message"),
    [
        (["gone.lora_A.weight", "gone.lora_B.weight"], {}, "changes 'gone.weight' .* does not have"),
        (["model.proj.lora_A.weight"], {}, "only half of the update of 'model.proj.weight'"),
        (["head.lora_A.weight", "head.lora_B.weight"], {}, r"'head.weight' is \(4, 2\) times \(2, 3\), .* is \(2, 3\)"),
        (["model.proj.lora_A.weight", "model.proj.lora_B.weight"], {"use_dora": True}, "DoRA"),
        (["model.proj.lora_A.weight"], {"peft_type": "IA3"}, "is a IA3 adapter; only LORA"),
        (["model.proj.lora_magnitude_vector"], {}, "which is not supported"),
    ],
)
def test_an_adapter_that_does_not_fit_is_named(
    tmp_path: Path, names: list[str], config: dict[str, Any], message: str
) -> None:
    a, b = pair(4, 3)
    adapter = {f"base_model.model.{name}": b if "lora_B" in name else a for name in names}
    with pytest.raises(MergeError, match=message):
        overlay(tmp_path, adapter, **config)


def test_it_computes_what_peft_computes(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 4))
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = peft.LoraConfig(r=3, lora_alpha=5, target_modules=["0", "1"], rank_pattern={"1": 2}, use_rslora=True)
    wrapped = peft.get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    wrapped.save_pretrained(tmp_path / "lora")
    (tmp_path / "base").mkdir()
    save_file(base, tmp_path / "base" / "model.safetensors")
    weights = LoraWeights(Checkpoint(tmp_path / "base"), Checkpoint(tmp_path / "lora"))
    merged = wrapped.merge_and_unload().state_dict()
    for name, tensor in merged.items():
        torch.testing.assert_close(weights.read(name), tensor)
    assert not torch.equal(merged["1.weight"], base["1.weight"])
