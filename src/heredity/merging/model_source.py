"""Where a model named in a configuration lies on this disk: a folder, a file, or a snapshot from the hub."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

from heredity.errors import MissingExtra, RecipeError
from heredity.merging.checkpoint import Checkpoint
from heredity.merging.lora_overlay import LoraWeights
from heredity.merging.mergekit_plan import Parent
from heredity.merging.mergekit_schema import ModelRef

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_WANTED = ["*.safetensors", "*.json", "tokenizer.model", "*.jinja", "merges.txt"]


def locate(name: str, revision: str | None, near: Sequence[Path] = (Path(),)) -> Path:
    """The folder or file of a model.

    Args:
        name: a path, or a hub name such as "org/model".
        revision: branch, tag or commit on the hub.
        near: folders that a relative path may start from, the first match wins.

    Raises:
        RecipeError: it is neither here nor on the hub, in one sentence.
        MissingExtra: it can only be on the hub, and huggingface_hub is not installed.
    """
    path = Path(name).expanduser()
    for start in near:
        if (start / path).exists():
            return start / path
    if name.startswith((".", "/", "~")) or not _HUB_NAME.fullmatch(name):
        raise RecipeError(f"the model folder {name} does not exist")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtra(f"{name} is no folder here; loading it from the Hugging Face hub", "hf") from None
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_WANTED))
    except Exception as error:  # the hub's client raises many kinds, of several libraries
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no details'}"
        raise RecipeError(f"the model {name} is neither a folder here nor to be had from the hub ({reason})") from None


def open_parent(ref: ModelRef, stack: contextlib.ExitStack, near: Sequence[Path] = (Path(),)) -> Parent:
    """Open a model, with its adapter where it has one; `stack` closes it."""
    checkpoint = stack.enter_context(Checkpoint(locate(ref.path, ref.revision, near)))
    if ref.lora is None:
        if checkpoint.json("adapter_config.json") is not None and checkpoint.json("config.json") is None:
            raise RecipeError(f"{ref} is an adapter; write it as model+adapter, such as base+{ref.path}")
        return Parent(ref, checkpoint, checkpoint, checkpoint.json("config.json") or {})
    adapter = stack.enter_context(Checkpoint(locate(ref.lora, ref.lora_revision, near)))
    return Parent(ref, LoraWeights(checkpoint, adapter), checkpoint, checkpoint.json("config.json") or {})
