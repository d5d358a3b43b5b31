"""Building transformers models and peft adapters from their recorded configurations, as those libraries load them."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from heredity.errors import LabError, MissingExtra, WeightsMissing
from heredity.lab.architecture import base_of, module_state

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from heredity.lab.model import Model


def transformers_class(spec: Mapping[str, Any]) -> tuple[type[Any], Any]:
    """The class and configuration object of a transformers architecture.

    Raises:
        MissingExtra: transformers is not installed.
        LabError: it has no such class, or the model is quantised.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra("loading a Hugging Face model", "hf") from error
    settings, here = spec["config"], f"transformers {transformers.__version__}"
    if settings.get("quantization_config"):
        raise LabError("the model is quantised and cannot be built from a record; record it in its original precision")
    kind = settings.get("model_type")
    if not isinstance(kind, str) or kind not in transformers.CONFIG_MAPPING:
        raise LabError(f"{here} has no model type {kind!r}; custom code is not loaded")
    try:
        config = transformers.CONFIG_MAPPING[kind].from_dict(dict(settings))
    except Exception as error:  # each configuration class checks its values in its own way
        raise LabError(f"{here} refuses the recorded configuration of a {kind} model: {error}") from error
    if spec["class"] is None:  # old folders do not say; the bare model is what AutoModel would give
        mapping: Any = transformers.AutoModel._model_mapping
        return mapping[type(config)], config
    cls: Any = getattr(transformers, spec["class"], None)
    if not (isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)):
        raise LabError(f"{here} has no model class {spec['class']!r}; custom code is not loaded")
    return cls, config


def weights_dtype(spec: Mapping[str, Any], weights: Mapping[str, Tensor]) -> torch.dtype | None:
    """The type a transformers model is loaded in: that of its weights, of mixed ones the configured or else widest."""
    import torch

    found = sorted({tensor.dtype for tensor in weights.values() if tensor.is_floating_point()}, key=str)
    configured = spec["config"].get("dtype") or spec["config"].get("torch_dtype")
    named = [dtype for dtype in found if str(dtype) == f"torch.{configured}"]
    return functools.reduce(torch.promote_types, named or found) if found else None


def build_transformers(model: Model, spec: Mapping[str, Any], weights: dict[str, Tensor]) -> nn.Module:
    """The module with its weights; transformers' own loading knows tied weights and the names of older checkpoints.

    Raises:
        MissingExtra: transformers is not installed.
        LabError: the weights do not fit the class, or there is no such class.
    """
    import torch

    cls, config = transformers_class(spec)
    state = {**weights, **{alias: weights[kept] for alias, kept in spec.get("tied", {}).items()}}
    load: Any = cls.from_pretrained
    try:
        with torch.random.fork_rng(devices=[]), _no_progress_bar():
            module, found = load(
                None,
                config=config,
                state_dict=state,
                torch_dtype=weights_dtype(spec, weights),
                output_loading_info=True,
            )
    except RuntimeError as error:
        raise LabError(f"the weights of {model.id} do not fit {cls.__name__}: {error}") from error
    if found["missing_keys"]:
        lacking = min(found["missing_keys"])
        raise LabError(f"the weights of {model.id} do not fit {cls.__name__}: the record lacks {lacking!r}")
    module.config.name_or_path = module.name_or_path = ""  # peft would look for a model called None on the hub
    settings = model.files().get("generation_config.json")
    if settings is not None and module.can_generate():
        from transformers import GenerationConfig

        module.generation_config = GenerationConfig.from_dict(json.loads(settings))
    return module.eval()


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    import transformers

    logging: Any = transformers.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def build_peft(model: Model, spec: Mapping[str, Any], weights: dict[str, Tensor]) -> nn.Module:
    """The base model with the adapter on it, as a PeftModel whose adapter can be trained.

    Raises:
        MissingExtra: peft is not installed.
        WeightsMissing: the lineage names no base.
        LabError: the adapter does not fit its configuration or its base.
    """
    import torch

    try:
        import peft
    except ImportError as error:
        raise MissingExtra("loading an adapter", "hf") from error
    base = base_of(model)
    if base is None:
        raise WeightsMissing(f"adapter {model.id} has no parent with the role 'base'; record it with base=…")
    make_config: Any = peft.PeftConfig.from_peft_type
    with torch.random.fork_rng(devices=[]):
        module: nn.Module = peft.get_peft_model(base.load(), make_config(**spec["config"]))
    missing = sorted({*module_state(module)} - {*weights})
    if missing:
        raise LabError(f"the adapter {model.id} does not fit its configuration: the record lacks {missing[0]!r}")
    problem: Any = peft.set_peft_model_state_dict(module, weights)
    if problem.unexpected_keys:
        raise LabError(
            f"the adapter {model.id} does not fit its base: {problem.unexpected_keys[0]!r} has no place there"
        )
    return module.eval()
