"""The configuration of a transformers network that is made of layers of others: its depth, and what each layer is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from heredity.errors import MergeError
from heredity.merging.path_folding import Step

# Their layers are what `path_folding` folds: norms whose weight is the whole gain, outputs added to the stream.
RESIDUAL_TYPES = ("llama", "mistral", "qwen2", "qwen3")
# What a layer computes beyond its weights: parents that differ here cannot lend each other layers.
LAYER_SETTINGS = (
    *("model_type", "hidden_act", "head_dim", "num_attention_heads", "num_key_value_heads", "rms_norm_eps"),
    *("rope_parameters", "rope_theta", "rope_scaling", "sliding_window", "use_sliding_window"),
)


def config_of_path(configs: Sequence[Mapping[str, Any]], steps: Sequence[Step]) -> dict[str, Any]:
    """The first parent's configuration with the layers of a path.

    Args:
        configs: the parents' configurations as JSON.
        steps: which layer of which parent stands where.

    Raises:
        MergeError: the architecture is none of `RESIDUAL_TYPES`, or parents differ in what their layers compute.
    """
    first = configs[0]
    if first.get("model_type") not in RESIDUAL_TYPES:
        raise MergeError(
            f"scales fold into layers of {', '.join(RESIDUAL_TYPES)}; those of {first.get('model_type')!r} are not "
            "known to take them"
        )
    for number, config in enumerate(configs):
        odd = next((key for key in LAYER_SETTINGS if config.get(key) != first.get(key)), None)
        if odd is not None:
            raise MergeError(
                f"parents 0 and {number} differ in {odd} ({first.get(odd)} and {config.get(odd)}): their layers would "
                "not compute the same in one network"
            )
    changed = {**first, "num_hidden_layers": len(steps)}
    if first.get("layer_types"):
        changed["layer_types"] = [configs[step.model]["layer_types"][step.layer] for step in steps]
    return changed
