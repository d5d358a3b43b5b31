"""A checkpoint seen through a LoRA adapter: each weight is read with its low-rank update added.

W' = W + s·B·A, with s = α/r, or α/√r where the adapter says `use_rslora`. The sum is float32 and rounded once.
Source: arXiv 2106.09685, section 4.1; arXiv 2312.03732 for √r; PEFT's adapter_config.json and its tensor names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from heredity.errors import MergeError
from heredity.merging.checkpoint import Checkpoint
from heredity.merging.chunks import work_dtype
from heredity.merging.safetensors_header import Entry

if TYPE_CHECKING:
    from torch import Tensor

_PREFIX = "base_model.model."
_PAIR = re.compile(r"(.*)\.lora_(embedding_)?([AB])(?:\.default)?(?:\.weight)?")


class LoraWeights:
    """Read the weights of `base` with the LoRA adapter applied.

    Args:
        base: the model that the adapter was made for.
        adapter: a checkpoint with `adapter_config.json` beside it.

    Raises:
        MergeError: the adapter is of another kind, incomplete, or does not fit the model; the tensor is named.
    """

    def __init__(self, base: Checkpoint, adapter: Checkpoint) -> None:
        config = adapter.json("adapter_config.json")
        if config is None:
            raise MergeError(f"{adapter.folder} holds no adapter_config.json; it is not an adapter")
        if (kind := config.get("peft_type", "LORA")) != "LORA":
            raise MergeError(f"{adapter.folder} is a {kind} adapter; only LORA is supported")
        if config.get("use_dora"):
            raise MergeError(f"{adapter.folder} is a DoRA adapter, which is not supported; merge it with PEFT first")
        self.base, self.adapter, self._config = base, adapter, config
        self.entries: Mapping[str, Entry] = base.entries
        self._pairs: dict[str, dict[str, str]] = {}  # weight name -> {"A": name, "B": name}
        self._whole: dict[str, str] = {}  # weight or bias name -> the adapter's replacement
        for name in adapter.entries:
            self._place(name)
        for target, pair in self._pairs.items():
            if len(pair) < 2:
                raise MergeError(f"{adapter.path} has only half of the update of {target!r}")
            self._check(target, pair)

    def _place(self, name: str) -> None:
        plain = name.removeprefix(_PREFIX)
        match = _PAIR.fullmatch(plain)
        if match:
            target, side = self._target(f"{match[1]}.weight", name), match[3]
            self._pairs.setdefault(target, {})[side] = name
            if match[2]:
                self._pairs[target]["embedding"] = name
        elif "lora_" in plain:
            raise MergeError(f"{self.adapter.path} holds {name!r}, which is not supported")
        else:
            target = self._target(plain.replace(".modules_to_save.default", "").replace(".modules_to_save", ""), name)
            if self.adapter.entries[name].shape != self.entries[target].shape:
                raise MergeError(
                    f"{self.adapter.path} replaces {target!r} by shape {self.adapter.entries[name].shape}, "
                    f"the model has {self.entries[target].shape}"
                )
            self._whole[target] = name

    def _target(self, wanted: str, name: str) -> str:
        wanted = wanted.replace(".base_layer.", ".")
        # A causal-LM adapter says model.layers…; a checkpoint of the bare model says layers…
        for candidate in (wanted, wanted.removeprefix("model."), f"model.{wanted}"):
            if candidate in self.entries:
                return candidate
        raise MergeError(f"{self.adapter.path} changes {wanted!r} ({name!r}), which {self.base.path} does not have")

    def _check(self, target: str, pair: Mapping[str, str]) -> None:
        a, b = self.adapter.entries[pair["A"]].shape, self.adapter.entries[pair["B"]].shape
        shape = self.entries[target].shape
        if len(shape) != 2 or len(a) != 2 or len(b) != 2:
            raise MergeError(
                f"{self.adapter.path}: only updates of matrices are supported, {target!r} has shape {shape}"
            )
        update = (b[0], a[1]) if b[1] == a[0] else None
        flipped = self._flipped(pair)
        if update is None or (update[::-1] if flipped else update) != shape:
            raise MergeError(f"{self.adapter.path}: the update of {target!r} is {b} times {a}, the weight is {shape}")

    def _flipped(self, pair: Mapping[str, str]) -> bool:
        return bool(self._config.get("fan_in_fan_out")) or "embedding" in pair

    def _scale(self, target: str, rank: int) -> float:
        module = target.removesuffix(".weight")
        alpha: Any = self._config.get("lora_alpha", rank)
        for pattern, value in (self._config.get("alpha_pattern") or {}).items():
            if re.fullmatch(rf"(.*\.)?({pattern})", module):
                alpha = value
                break
        return float(alpha) / (math.sqrt(rank) if self._config.get("use_rslora") else rank)

    def read(self, name: str, *, raw: NDArray[np.uint8] | None = None) -> Tensor:
        """Read one tensor with its update; in the model's own dtype."""
        if name in self._whole:
            return self.adapter.read(self._whole[name]).to(self.entries[name].dtype)
        weight = self.base.read(name, raw=raw)
        pair = self._pairs.get(name)
        if pair is None:
            return weight
        work = work_dtype(weight.dtype)
        a, b = (self.adapter.read(pair[side]).to(work) for side in "AB")
        flipped = self._flipped(pair)
        left, right = (a.T, b.T) if flipped else (b, a)
        scale, rows = self._scale(name, a.shape[0]), max(1, (1 << 20) // max(1, weight.shape[1]))
        for start in range(0, weight.shape[0], rows):  # in blocks, so that the float32 update stays small
            block = weight[start : start + rows]
            block.copy_(torch.addmm(block.to(work), left[start : start + rows], right, alpha=scale))
        return weight
