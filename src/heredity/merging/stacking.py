"""Stacking layers of several models into a deeper (or shallower) one: the data-flow space of model merging.

Source: arXiv 2403.13187, section 3.2; the layer ranges are those of mergekit's passthrough slices, [start, stop).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from heredity.errors import MergeError
from heredity.merging.base import StateDict, Weights
from heredity.merging.layers import LAYER_PATTERN, layer_of


class LayerSlice(NamedTuple):
    """Layers [start, stop) of one model."""

    model: int
    start: int
    stop: int


def stack_layers(
    models: Sequence[Weights],
    slices: Sequence[LayerSlice | tuple[int, int, int]],
    *,
    outer: int = 0,
    stack: str | None = None,
    pattern: str = LAYER_PATTERN,
) -> StateDict:
    """A state dict whose layers are slices of the models' layers, in order and numbered anew from 0.

    Args:
        models: state dicts with layers of one kind.
        slices: (model, start, stop), each with at least one layer; layers may repeat and come from any model.
        outer: the model that everything outside the stack is taken from (embeddings, final norm, head).
        stack: prefix of the stack's names, such as "model.layers."; needed where the outer model has several.
        pattern: how to find the layer index in a name.

    Returns:
        Copies; repeated layers do not share memory.

    Raises:
        MergeError: there are no slices, a model or layer is missing, a model's numbering has a gap, or layers of
            different models do not fit each other.

    Example:
        >>> import torch
        >>> a = {"layers.0.w": torch.zeros(1), "layers.1.w": torch.ones(1), "head": torch.zeros(1)}
        >>> list(stack_layers([a], [(0, 0, 2), (0, 1, 2)]))
        ['layers.0.w', 'layers.1.w', 'layers.2.w', 'head']
    """
    if not 0 <= outer < len(models):
        raise MergeError(f"outer={outer} is not one of the {len(models)} models")
    if not slices:
        raise MergeError("no slices: a stack needs at least one layer")
    prefix = _the_stack(models[outer], stack, pattern)
    layers = [_layers(model, index, prefix, pattern) for index, model in enumerate(models)]
    chosen: list[dict[str, str]] = []
    sources: list[int] = []
    for entry in slices:
        part = LayerSlice(*entry)
        if not 0 <= part.model < len(models):
            raise MergeError(f"slice {tuple(part)} names model {part.model}; there are {len(models)}")
        depth = len(layers[part.model])
        if not 0 <= part.start < part.stop <= depth:
            raise MergeError(
                f"slice {tuple(part)} needs layers {part.start} to {part.stop - 1}; "
                f"model {part.model} has 0 to {depth - 1}"
            )
        chosen += layers[part.model][part.start : part.stop]
        sources += [part.model] * (part.stop - part.start)
    _check_fit(models, layers[outer], outer, chosen, sources)
    stacked: StateDict = {}
    placed = False
    for name, tensor in models[outer].items():
        place = layer_of(name, pattern)
        if place is None or place[0] != prefix:
            stacked[name] = tensor.clone()
        elif not placed:  # the new layers stand where the first old one stood
            placed = True
            for number, (source, layer) in enumerate(zip(sources, chosen, strict=True)):
                for rest, old in layer.items():
                    stacked[f"{prefix}{number}{rest}"] = models[source][old].clone()
    return stacked


def _the_stack(model: Weights, stack: str | None, pattern: str) -> str:
    prefixes = sorted({place[0] for name in model if (place := layer_of(name, pattern))})
    if not prefixes:
        raise MergeError(f"no tensor name holds a layer index that {pattern!r} finds")
    if stack is None and len(prefixes) > 1:
        raise MergeError(
            f"the model has several stacks of layers, {', '.join(map(repr, prefixes))}: say which with stack="
        )
    prefix = prefixes[0] if stack is None else stack
    if prefix not in prefixes:
        raise MergeError(f"no stack {prefix!r}; the model has {', '.join(map(repr, prefixes))}")
    return prefix


def _layers(model: Weights, index: int, prefix: str, pattern: str) -> list[dict[str, str]]:
    """Per layer, the rest of each name and the whole name."""
    found: dict[int, dict[str, str]] = {}
    for name in model:
        place = layer_of(name, pattern)
        if place is not None and place[0] == prefix:
            found.setdefault(place[1], {})[place[2]] = name
    for number in range(len(found)):
        if number not in found:
            raise MergeError(f"model {index} has no layer {number} in {prefix!r}, but one with the number {max(found)}")
    return [found[number] for number in range(len(found))]


def _check_fit(
    models: Sequence[Weights],
    own: list[dict[str, str]],
    outer: int,
    chosen: list[dict[str, str]],
    sources: list[int],
) -> None:
    """A layer of another model must look like some layer of the outer one: names, shapes and dtypes."""
    forms = [_form(models[outer], layer) for layer in own]
    for layer, source in zip(chosen, sources, strict=True):
        form = _form(models[source], layer)
        if source == outer or form in forms:
            continue
        nearest = max(forms, key=lambda known: len(known.items() & form.items()))
        rest, name = next(
            ((rest, name) for rest, name in layer.items() if nearest.get(rest) != form[rest]),
            next(((rest, rest) for rest in nearest if rest not in form), ("", "")),
        )
        raise MergeError(
            f"{name!r} of model {source} ({form.get(rest, 'missing')}) fits no layer of model {outer} "
            f"({nearest.get(rest, 'missing')})"
        )


def _form(model: Weights, layer: dict[str, str]) -> dict[str, str]:
    return {rest: f"{tuple(model[name].shape)} {model[name].dtype}" for rest, name in layer.items()}
