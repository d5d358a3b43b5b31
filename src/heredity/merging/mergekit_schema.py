"""What a mergekit configuration says, as values, and what a parameter is worth for one tensor.

Parameters may stand at four levels (source or model, slice, module, whole document; the more specific wins) and be
numbers, gradients over layers, or lists of `{filter, value}`. `Setting` keeps them as written.
Source: the configuration format of mergekit 0.1 (README, "Merge Configuration").
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from heredity.errors import RecipeError

Scalar: TypeAlias = float | int | bool | str


@dataclass(frozen=True, slots=True)
class Condition:
    """A value for the tensors whose name contains `filter`; for all when it is None or "*"."""

    value: Scalar | tuple[Scalar, ...]
    filter: str | None = None


Setting: TypeAlias = Scalar | tuple[Scalar, ...] | tuple[Condition, ...]
Parameters: TypeAlias = Mapping[str, Setting]

# Every parameter that mergekit 0.1 knows for any method: a configuration may carry one that its method does not use.
KNOWN_PARAMETERS = frozenset(
    [
        "weight",
        "density",
        "gamma",
        "epsilon",
        "t",
        "scale",
        "normalize",
        "rescale",
        "lambda",
        "int8_mask",
        "filter_wise",
        "select_topk",
        "normalize_weights",
        "eps",
        "nuslerp_flatten",
        "nuslerp_row_wise",
        "max_iter",
        "tol",
        "r",
        "alpha",
    ]
)


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model as the configuration names it: a folder, a file or a hub name, with an optional LoRA adapter."""

    path: str
    revision: str | None = None
    lora: str | None = None
    lora_revision: str | None = None

    def __str__(self) -> str:
        text = self.path + (f"@{self.revision}" if self.revision else "")
        if self.lora:
            text += f"+{self.lora}" + (f"@{self.lora_revision}" if self.lora_revision else "")
        return text


@dataclass(frozen=True, slots=True)
class Source:
    """One model of a merge or of a slice. `layers` is half-open; None means all of them."""

    model: ModelRef
    layers: tuple[int, int] | None = None
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Slice:
    """Layers of the output: the same number of layers from every source, merged."""

    sources: tuple[Source, ...]
    base_model: ModelRef | None = None
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Where a token's embedding comes from: a model's token (by text or id), a model's same token, or zeros."""

    kind: Literal["default", "zero", "model", "model_token"] = "default"
    model: ModelRef | None = None
    token: str | None = None
    token_id: int | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class TokenizerConfig:
    """How the output's vocabulary is made."""

    source: ModelRef | Literal["union", "base"]
    tokens: Mapping[str, TokenSource] = field(default_factory=dict)
    pad_to_multiple_of: int | None = None


@dataclass(frozen=True, slots=True)
class MergeConfig:
    """A whole configuration. Exactly one of `models` and `slices` is not empty."""

    method: str
    models: tuple[Source, ...]
    slices: tuple[Slice, ...]
    base_model: ModelRef | None
    parameters: Parameters
    module_parameters: Parameters
    dtype: str | None
    out_dtype: str | None
    tokenizer: TokenizerConfig | None
    chat_template: str | None
    text: str
    origin: str

    def references(self) -> list[ModelRef]:
        """Every model whose weights are merged, base first if there is one, then in the order of the document."""
        found = [self.base_model] if self.base_model else []
        found += [source.model for source in self.models]
        for piece in self.slices:
            found += [piece.base_model] if piece.base_model else []
            found += [source.model for source in piece.sources]
        return list(dict.fromkeys(found))


def evaluate(setting: Setting, name: str, t: float) -> Scalar | None:
    """The value of a setting for the tensor `name` at relative depth `t` in [0, 1]; None when no filter matches.

    >>> evaluate((0.0, 1.0, 0.0), "model.layers.3.mlp", 0.25)
    0.5
    """
    if not isinstance(setting, tuple):
        return setting
    conditions = [item for item in setting if isinstance(item, Condition)]
    for condition in conditions:
        if condition.filter in (None, "*") or str(condition.filter) in name:
            return evaluate(condition.value, name, t)
    if conditions:
        return None
    values: Any = setting
    if any(isinstance(value, str) for value in values):
        chosen: Scalar = values[int(t * (len(values) - 1))]
        return chosen
    position = t * (len(values) - 1)
    low = int(position)
    high, part = min(low + 1, len(values) - 1), position - low
    return float((1 - part) * values[low] + part * values[high])


def unknown(what: str, name: str, where: str, known: Iterable[str]) -> RecipeError:
    """The error for a name that is not one of `known`, with the nearest one suggested."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return RecipeError(f"unknown {what} {name!r} in {where}{hint} (known: {', '.join(names)})")
