"""A family of tiny Llamas made here: a base, two experts that each know half of a mapping, and the same as adapters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

WORDS = [f"w{i}" for i in range(16)]
HALVES = {"low": list(range(8)), "high": list(range(8, 16))}


@dataclass(frozen=True)
class Family:
    """Folders of the family, and a task that needs both halves."""

    base: Path
    full: tuple[Path, Path]
    adapters: tuple[Path, Path]
    task: Path


def _tokenizer() -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<pad>", "<eos>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


def _teach(module: torch.nn.Module, items: Sequence[int], *, steps: int, lr: float) -> None:
    """Word i is followed by word i + 1 and the end."""
    ids = torch.tensor([[3 + i, 3 + (i + 1) % 16, 1] for i in items])
    labels = ids.clone()
    labels[:, 0] = -100
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=lr, weight_decay=0.0)
    module.train()
    for _ in range(steps):
        loss = module(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    module.eval()


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    transformers = pytest.importorskip("transformers")
    peft = pytest.importorskip("peft")
    root = tmp_path_factory.mktemp("family")
    tokenizer = _tokenizer()
    config = transformers.LlamaConfig(
        vocab_size=19,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = transformers.LlamaForCausalLM(config)
        _teach(base, [0, 8], steps=20, lr=3e-3)
        base.save_pretrained(root / "base")
        tokenizer.save_pretrained(root / "base")
        for name, items in HALVES.items():
            full = transformers.LlamaForCausalLM.from_pretrained(root / "base")
            _teach(full, items, steps=60, lr=3e-3)
            full.save_pretrained(root / name)
            tokenizer.save_pretrained(root / name)
            lora = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "up_proj", "down_proj"])
            adapter = peft.get_peft_model(transformers.LlamaForCausalLM.from_pretrained(root / "base"), lora)
            _teach(adapter, items, steps=60, lr=1e-2)
            adapter.save_pretrained(root / f"{name}-lora")
    lines = [json.dumps({"prompt": WORDS[i], "answer": WORDS[(i + 1) % 16]}) for i in range(16)]
    (root / "task.jsonl").write_text("\n".join(lines))
    return Family(
        root / "base", (root / "low", root / "high"), (root / "low-lora", root / "high-lora"), root / "task.jsonl"
    )
