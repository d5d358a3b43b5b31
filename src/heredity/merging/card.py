"""The model card of a merge: front matter that the Hugging Face hub draws its model tree from, and how it was made.

Source: the hub's model card metadata (`base_model`, `base_model_relation`, `tags`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath

import yaml

from heredity.merging.mergekit_schema import MergeConfig, ModelRef

TITLES = {
    "linear": "weighted mean ([model soups](https://arxiv.org/abs/2203.05482))",
    "slerp": "spherical interpolation",
    "nuslerp": "spherical interpolation by weight",
    "multislerp": "spherical interpolation of several models",
    "passthrough": "layers passed through",
    "model_stock": "[Model Stock](https://arxiv.org/abs/2403.19522)",
    "task_arithmetic": "[task arithmetic](https://arxiv.org/abs/2212.04089)",
    "ties": "[TIES](https://arxiv.org/abs/2306.01708)",
    "dare_ties": "[DARE](https://arxiv.org/abs/2311.03099) with TIES' sign election",
    "dare_linear": "[DARE](https://arxiv.org/abs/2311.03099)",
    "breadcrumbs": "[Model Breadcrumbs](https://arxiv.org/abs/2312.06795)",
    "breadcrumbs_ties": "[Model Breadcrumbs](https://arxiv.org/abs/2312.06795) with TIES' sign election",
    "della": "[DELLA](https://arxiv.org/abs/2406.11617)",
    "della_linear": "[DELLA](https://arxiv.org/abs/2406.11617) without sign election",
}


def merge_card(
    name: str, config: MergeConfig, *, local: Mapping[str, bool], seed: int, hashes: Mapping[str, str]
) -> str:
    """The text of README.md.

    Args:
        name: the merged model's name.
        config: what was merged, and its YAML.
        local: per path of a model or adapter, whether it is a folder on this disk rather than a hub name.
        seed: of random masks.
        hashes: SHA-256 of the weights per parent.
    """

    def called(path: str) -> str:
        return PurePath(path).name or path if local.get(path, True) else path

    def shown(ref: ModelRef) -> str:
        parts = []
        for path in (ref.path, ref.lora):
            if path is not None:
                text = called(path)
                parts.append(f"`{text}`" if local.get(path, True) else f"[{text}](https://huggingface.co/{text})")
        return " + ".join(parts)

    references = config.references()
    paths = [path for ref in references for path in (ref.path, ref.lora) if path is not None]
    front = {
        "base_model": list(dict.fromkeys(called(path) for path in paths)),
        "base_model_relation": "merge",
        "library_name": "transformers",
        "tags": ["merge", "heredity"],
    }
    lines = ["---", yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip(), "---", f"# {name}", ""]
    lines += [f"A merge of {_count(references)} made with Heredity: {TITLES.get(config.method, config.method)}.", ""]
    lines += ["## Parents", "", "| parent | role | SHA-256 of the weights |", "|---|---|---|"]
    for ref in references:
        role = "base" if ref == config.base_model else "parent"
        lines.append(f"| {shown(ref)} | {role} | `{hashes.get(str(ref), 'not computed')}` |")
    lines += ["", "## Configuration", "", f"Seed of random masks: {seed}.", ""]
    fence = "```" if "```" not in config.text else "~~~~"
    lines += [f"{fence}yaml", config.text.rstrip("\n"), fence, ""]
    return "\n".join(lines)


def _count(references: Sequence[ModelRef]) -> str:
    return "one model" if len(references) == 1 else f"{len(references)} models"
