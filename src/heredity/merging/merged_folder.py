"""What lies beside the weights of a merged model: its config.json, generation settings, tokenizer files.

Source: the Hugging Face layout of a model folder.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from heredity.errors import RecipeError
from heredity.merging.mergekit_plan import Parent, Plan
from heredity.merging.mergekit_schema import MergeConfig
from heredity.merging.vocabulary import Vocabulary

_LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_TOKENIZER_FILES = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
)


def merged_config(plan: Plan, config: MergeConfig, vocabulary: Vocabulary | None) -> dict[str, Any] | None:
    """The output's config.json: the lead's with its layers, type and vocabulary; None if the lead has none."""
    if not plan.lead.config:
        return None
    value: dict[str, Any] = json.loads(json.dumps(plan.lead.config))
    text = value["text_config"] if isinstance(value.get("text_config"), dict) else value
    if plan.layers is not None:
        _restack(text, plan)
    if (dtype := config.out_dtype or config.dtype) is not None:
        for part in (value, text):
            present = [key for key in ("dtype", "torch_dtype") if key in part] or (
                ["torch_dtype"] if part is value else []
            )
            part.update(dict.fromkeys(present, dtype))
    if vocabulary is not None:
        text["vocab_size"] = vocabulary.size
    names = {job.name for job in plan.jobs}
    heads = [name for name in names if name.endswith("lm_head.weight")]
    for part in (value, text):
        if heads and part.get("tie_word_embeddings") and heads[0] not in plan.lead.entries:
            part["tie_word_embeddings"] = False  # another parent brought a head of its own
    return value


def _restack(text: dict[str, Any], plan: Plan) -> None:
    assert plan.layers is not None
    key = next((key for key in _LAYER_KEYS if key in text), None)
    if key is None:
        plan.notes.append("config.json does not say how many layers the model has; set it by hand")
        return
    before, text[key] = text[key], len(plan.layers)
    configs = {parent.ref: parent.config for parent in plan.parents}
    for name, listed in text.items():  # such as layer_types: one entry per layer
        if "layer" not in name or not isinstance(listed, list) or len(listed) != before:
            continue
        entries = []
        for ref, layer in plan.layers:
            whole = configs[ref]
            own = whole["text_config"] if isinstance(whole.get("text_config"), dict) else whole
            source = own.get(name)
            entries.append(source[layer] if isinstance(source, list) and layer < len(source) else listed[0])
        text[name] = entries


def write_model_files(
    folder: Path, plan: Plan, config: MergeConfig, vocabulary: Vocabulary | None, tokenizer_from: Path
) -> None:
    """Write config.json, generation_config.json and the tokenizer's files into the output folder.

    Args:
        folder: the output folder.
        plan: of the merge.
        config: of the merge.
        vocabulary: the output's, if it was changed.
        tokenizer_from: the folder whose tokenizer files are copied.
    """
    value = merged_config(plan, config, vocabulary)
    if value is None:
        plan.notes.append(f"{plan.lead.ref} has no config.json, so the output has none")
    else:
        _write_json(folder / "config.json", value)
    for name in ("generation_config.json", *_TOKENIZER_FILES):
        source = (plan.lead.folder if name == "generation_config.json" else tokenizer_from) / name
        if source.is_file():
            shutil.copyfile(source, folder / name)
    if vocabulary is not None:
        for stale in ("tokenizer.model", "spiece.model", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt"):
            (folder / stale).unlink(missing_ok=True)  # tokenizer.json alone says what the vocabulary is
        (folder / "tokenizer.json").write_text(vocabulary.tokenizer.text(), encoding="utf-8")
        settings = _read_json(folder / "tokenizer_config.json")
        if settings is not None and "added_tokens_decoder" in settings:
            settings["added_tokens_decoder"] = {
                str(item["id"]): {key: item[key] for key in item if key != "id"}
                for item in sorted(vocabulary.tokenizer.added.values(), key=lambda item: int(item["id"]))
            }
            _write_json(folder / "tokenizer_config.json", settings)
    if config.chat_template:
        _write_chat_template(folder, config.chat_template, plan.parents, plan.notes)


def _write_chat_template(folder: Path, wanted: str, parents: Sequence[Parent], notes: list[str]) -> None:
    if wanted == "auto":
        found = Counter(filter(None, (_chat_template(parent.folder) for parent in parents)))
        if not found:
            notes.append("chat_template: auto found no template in any parent")
            return
        wanted = found.most_common(1)[0][0]
    elif "{" not in wanted:
        raise RecipeError(f"chat_template {wanted!r} is not supported by name; give auto or the Jinja text itself")
    settings = _read_json(folder / "tokenizer_config.json")
    if settings is not None:
        settings["chat_template"] = wanted
        _write_json(folder / "tokenizer_config.json", settings)
    (folder / "chat_template.jinja").write_text(wanted, encoding="utf-8")
    (folder / "chat_template.json").unlink(missing_ok=True)


def _chat_template(folder: Path) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8").strip()
    template = (_read_json(folder / "tokenizer_config.json") or {}).get("chat_template")
    if isinstance(template, list):  # several named templates
        template = next((item.get("template") for item in template if item.get("name") == "default"), None)
    return template.strip() if isinstance(template, str) else None


def _read_json(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecipeError(f"{file} is not valid JSON: {error}") from None
    return value


def _write_json(file: Path, value: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
