"""Folding a path through layers into an ordinary state dict: the input scales of a data-flow merge go into weights.

The folded model computes what `heredity.merging.data_flow.DataFlowModel` computes for the same recipe, but it is a
plain network of the parents' architecture with another depth: it can be saved, loaded and shared like any other.

A step of a path multiplies the hidden state by a scale s, then applies a layer. Two kinds of network can absorb s:

sequential: a layer is one linear map and a nonlinearity behind it, h → φ(A h + b). Then A (s h) = (s A) h: the weight
    takes the scale, whatever its sign, zero included. Exact up to rounding.

residual: a layer is h → h + F(norm₁ h), then m → m + G(norm₂ m) (Llama, Mistral, Qwen). No weight multiplies the
    stream h itself, so that the folded stream u runs unscaled: h_t = c_t u_t, where c_t is the product of the scales up
    to step t. RMSNorm forgets a positive factor and keeps a sign, norm(c u) = sign(c) norm(u), therefore
    h' = c u + F(sign(c) norm(u)) = c (u + F(sign(c) norm(u)) / c): what F and G write into the stream is divided by c,
    and the gains of the layer's norms and, for the last c, of the final norm are multiplied by sign(c). Negative
    scales are as good as positive ones, even where projections have biases. Embeddings do not change. A product of 0
    would wipe the stream out, which no finite weight does: it is refused.

    Exact up to rounding but for the norm's ε: with mean square q of u, the folded norm is √((q + ε/c²) / (q + ε)) times
    the asked one. That is far from 1 only where q is not large against ε/c²: mind the first layers of networks with
    small embeddings, and products of scales far below 1.

Source: arXiv 2403.13187, section 3.2; the folding is derived here, the paper multiplies while it runs.
"""

from __future__ import annotations

import itertools
import math
import operator
import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from heredity.errors import MergeError
from heredity.merging.base import StateDict, Weights
from heredity.merging.data_flow import DataFlowRecipe
from heredity.merging.layers import layer_of
from heredity.merging.stacking import LayerSlice, stack_layers

PathKind = Literal["sequential", "residual"]
NORMS = (".input_layernorm.weight", ".post_attention_layernorm.weight")
WRITERS = (".self_attn.o_proj", ".mlp.down_proj")
# Everything a residual layer may hold: another part might write to the stream, or normalise what is written.
RESIDUAL_PART = re.compile(
    r"\.(?:self_attn\.(?:q|k|v|qkv|o)_proj|self_attn\.[qk]_norm|mlp\.(?:gate|up|gate_up|down)_proj"
    r"|(?:input|post_attention)_layernorm)\.(?:weight|bias)|\.self_attn\.rotary_emb\.inv_freq"
)


class Step(NamedTuple):
    """One layer of a path: layer `layer` of model `model`, its input times `scale`."""

    model: int
    layer: int
    scale: float


def path_steps(recipe: DataFlowRecipe, layers: Sequence[int]) -> list[Step]:
    """The steps of a path.

    Args:
        recipe: a path through M layers.
        layers: how many of them each model has, in order; M in all.

    Raises:
        MergeError: they do not add up to M.
    """
    owners = [(model, layer) for model, count in enumerate(layers) for layer in range(count)]
    if len(owners) != len(recipe.scale):
        raise MergeError(f"the path is one through {len(recipe.scale)} layers; the models have {list(layers)}")
    steps, before = [], 0
    for j in recipe.path:
        steps.append(Step(*owners[j], float(recipe.scale[before][j])))
        before = j
    return steps


def path_layers(weights: Weights, kind: PathKind) -> int:
    """How many layers of a network a path may use.

    All that are numbered; but of a chain that is the whole network (nothing stands outside) the inner ones: its first
    map makes the hidden state, its last one reads it.

    Raises:
        MergeError: there are none.
    """
    numbered = {place[:2] for name in weights if (place := layer_of(name)) is not None}
    count = len(numbered)
    if kind == "sequential" and all(layer_of(name) is not None for name in weights):
        count -= 2
    if count < 1:
        raise MergeError("the network has no layers for a path: a chain needs at least one map between first and last")
    return count


def fold_path(
    models: Sequence[Weights], recipe: DataFlowRecipe, layers: Sequence[int], kind: PathKind = "residual"
) -> StateDict:
    """The state dict of the network that a path makes, scales included.

    Args:
        models: the parents; everything outside the path's layers is the first one's.
        recipe: the path and its scales.
        layers: how many layers of each parent the recipe counts, see `path_layers`.
        kind: how layers take a scale in, see above.

    Returns:
        Copies; layers that the path repeats do not share memory. Dtypes are kept; arithmetic is float64.

    Raises:
        MergeError: numbers of layers do not fit, layers are not of the kind, the residual product of scales is 0 or so
            small or large that weights are not finite, or layers of different parents do not fit each other.
    """
    if len(models) != len(layers) or not models:
        raise MergeError(f"{len(models)} models with {len(layers)} numbers of layers; give one number per model")
    steps = path_steps(recipe, layers)
    for number, (model, count) in enumerate(zip(models, layers, strict=True)):
        if (own := path_layers(model, kind)) != count:
            raise MergeError(f"the recipe counts {count} layers of model {number}; a {kind} path has {own} of them")
    first = 0 if kind == "residual" or any(layer_of(name) is None for name in models[0]) else 1
    slices = [LayerSlice(step.model, step.layer + first, step.layer + first + 1) for step in steps]
    if first:
        last = layers[0] + 1
        slices = [LayerSlice(0, 0, 1), *slices, LayerSlice(0, last, last + 1)]
    folded = stack_layers(models, slices)
    if kind == "residual":
        _fold_residual(folded, [step.scale for step in steps])
    else:
        _fold_sequential(folded, [step.scale for step in steps], first)
    return folded


def _layers_of(folded: StateDict) -> Iterator[tuple[int, str, str]]:
    """Number, rest and name of every tensor that stands in the stack."""
    for name in folded:
        if (place := layer_of(name)) is not None:
            yield place[1], place[2], name


def _fold_sequential(folded: StateDict, scales: Sequence[float], first: int) -> None:
    weights: dict[int, list[str]] = {}
    for number, rest, name in list(_layers_of(folded)):
        if not first <= number < first + len(scales):
            continue
        if folded[name].dim() >= 2:
            weights.setdefault(number, []).append(name)
        elif not rest.endswith("bias"):
            raise MergeError(f"{name!r} is neither a weight nor a bias: the layer is not one linear map")
    for place, scale in enumerate(scales):
        found = weights.get(place + first, [])
        if len(found) != 1:
            raise MergeError(
                f"a layer of a sequential path is one linear map, layer {place + first} of the new chain holds "
                f"{len(found)} weights: {', '.join(found) or 'none'}"
            )
        folded[found[0]] = _times(folded[found[0]], scale, found[0])


def _fold_residual(folded: StateDict, scales: Sequence[float]) -> None:
    parts: dict[int, dict[str, str]] = {}
    for number, rest, name in _layers_of(folded):
        if RESIDUAL_PART.fullmatch(rest) is None:
            raise MergeError(f"{name!r} is no part of a pre-norm layer with attention and MLP, as Llama has them")
        parts.setdefault(number, {})[rest] = name
    final, products = _final_norm(folded), _products(scales)
    for place, product in enumerate(products):
        sign = math.copysign(1.0, product)
        for wanted in (*NORMS, *(writer + ".weight" for writer in WRITERS)):
            if wanted not in parts[place]:
                raise MergeError(f"layer {place} of the path has no {wanted[1:]!r}: it is no layer as Llama has them")
        for norm in NORMS:
            folded[parts[place][norm]] = _times(folded[parts[place][norm]], sign, parts[place][norm])
        for rest, name in parts[place].items():
            if rest.rpartition(".")[0] in WRITERS:
                folded[name] = _times(folded[name], 1 / product, name)
    folded[final] = _times(folded[final], math.copysign(1.0, products[-1]), final)


def _products(scales: Sequence[float]) -> list[float]:
    products = list(itertools.accumulate(scales, operator.mul))
    for place, product in enumerate(products):
        if product == 0 or not math.isfinite(product) or not math.isfinite(1 / product):
            raise MergeError(
                f"the scales up to layer {place} of the path multiply to {product}: the hidden state would vanish or "
                "overflow, which weights of a residual network cannot do"
            )
    return products


def _final_norm(folded: StateDict) -> str:
    stack = next(place[0] for name in folded if (place := layer_of(name)) is not None)
    name = f"{stack.removesuffix('layers.')}norm.weight"
    if name not in folded:
        raise MergeError(f"the model has no final norm {name!r}, which a residual path needs")
    return name


def _times(tensor: Tensor, factor: float, name: str) -> Tensor:
    if factor == 1:
        return tensor
    product = (tensor.double() * factor).to(tensor.dtype)
    if not bool(torch.isfinite(product).all()):
        raise MergeError(f"{name!r} times {factor:g} is not finite in {tensor.dtype}; the scales are too far from 1")
    return product
