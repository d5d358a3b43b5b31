"""Where a model named in a configuration lies on this disk: a folder, a file, or a snapshot from the hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from heredity.errors import MissingExtra, RecipeError
from heredity.merging.mergekit_schema import MergeConfig

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


def nearby(config: MergeConfig) -> tuple[Path, ...]:
    """Folders that a configuration's relative paths may start from: the working folder, then the configuration's."""
    return (Path(), Path(config.origin).parent)


def weight_paths(config: MergeConfig) -> dict[str, Path]:
    """Where the weights of every parent and adapter lie, by what to call them."""
    near, found = nearby(config), {}
    for ref in config.references():
        found[str(ref)] = locate(ref.path, ref.revision, near)
        if ref.lora is not None:
            found[f"{ref.lora} (adapter)"] = locate(ref.lora, ref.lora_revision, near)
    return found
