"""The births of a population, on weights: crossover, mutation and succession as pure functions of state dicts.

Each gives the same bits wherever it runs: arithmetic is float32 or wider, in a fixed order, and noise is counted per
tensor name. Equal parents give the parent, bit for bit. Tensors that are not floating point follow the rule of
`heredity.merging.methods.merge_integer` in crossover and are the first parent's elsewhere.
Source: arXiv 2503.01155, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from heredity.errors import MergeError, NonFinite
from heredity.merging.adapters import AdapterMerger
from heredity.merging.base import StateDict, Weights, check_compatible, tensor_generator
from heredity.merging.births import Proposal
from heredity.merging.chunks import work_dtype
from heredity.merging.mergers import MethodMerger
from heredity.merging.methods import TensorMethod, method_for

Space: TypeAlias = Literal["weights", "factors", "delta"]


def breed(
    proposal: Proposal,
    parents: Sequence[Weights],
    *,
    base: Weights | None = None,
    space: Space = "weights",
    scaling: float = 1.0,
) -> StateDict:
    """Make the child that a proposal describes.

    Args:
        parents: the weights of `proposal.parents`, in order.
        base: the common ancestor, for crossover methods that work on differences from it.
        space: how crossovers mix: "weights" every tensor as it is; of LoRA adapters, "factors" A and B each on its own
            (as the paper's code does) or "delta" their product, cut back to the rank. Adapters are differences
            already, so that no base is needed.
        scaling: α / r of the adapters, which all share.

    Raises:
        MergeError: the parents do not fit each other or the proposal; a founder is not born.
    """
    if proposal.kind == "founder":
        raise MergeError("a founder is evaluated as it is; there is no birth to make")
    if len(parents) != len(proposal.parents):
        raise MergeError(f"{proposal.kind} asks for {len(proposal.parents)} parents, {len(parents)} given")
    if proposal.kind == "mutate":
        return mutate(parents[0], proposal.gene, proposal.sigma, seed=proposal.seed)
    if proposal.kind == "succeed":
        return succeed(parents[0], parents[1:], proposal.coefficients, clip=proposal.clip)
    if space == "weights":
        return crossover(parents, proposal.coefficients, proposal.method, base=base, seed=proposal.seed)
    merger = AdapterMerger(proposal.method, space, weight=proposal.coefficients, scaling=scaling, seed=proposal.seed)
    return merger.merge(parents)


def crossover(
    parents: Sequence[Weights],
    weights: Sequence[float],
    method: str | TensorMethod = "linear",
    *,
    base: Weights | None = None,
    seed: int = 0,
) -> StateDict:
    """Merge parents with the given weights.

    Args:
        weights: one per parent; divided by their sum where the method normalises.
        method: a row of `heredity.merging.methods`, e.g. "linear", "ties", "dare_ties", or a method.
        base: the common ancestor, for methods that need it; others ignore it.
        seed: of masks.

    Raises:
        MergeError: keys, shapes, dtypes or counts differ, or the base is missing.
        NonFinite: a parent or the child holds NaN or infinity.
    """
    if len(weights) != len(parents):
        raise MergeError(f"{len(parents)} parents need {len(parents)} weights, got {len(weights)}")
    rule = method_for(method) if isinstance(method, str) else method
    return MethodMerger(rule, weight=tuple(weights), seed=seed).merge(parents, base=base)


def mutate(parent: Weights, gene: float, sigma: float, *, seed: int) -> StateDict:
    """Add N(0, sigma²) to a share `gene` of the entries, chosen independently.

    Raises:
        MergeError: gene outside [0, 1] or sigma negative.
        NonFinite: the child holds NaN or infinity.
    """
    if not 0 <= gene <= 1 or not 0 <= sigma < math.inf:
        raise MergeError(f"gene must lie in [0, 1] and sigma must be finite and not negative, got {gene} and {sigma}")
    child = {}
    for name, tensor in parent.items():
        if gene == 0 or sigma == 0 or not tensor.is_floating_point():
            child[name] = tensor.detach().clone()
            continue
        generator = tensor_generator(seed, "mutate", name)
        chosen = torch.rand(tensor.shape, generator=generator) < gene
        noise = torch.randn(tensor.shape, generator=generator) * sigma
        wide = tensor.detach().to("cpu", work_dtype(tensor.dtype))
        moved = torch.where(chosen, wide + noise, wide)
        child[name] = _finished(moved, tensor, name, "mutation")
    return child


def succeed(x: Weights, others: Sequence[Weights], coefficients: Sequence[float], *, clip: bool = False) -> StateDict:
    """Move `x` towards or away from others: child = x + Σ c_k (p_k − x).

    Args:
        others: p_k, of the keys and shapes of x.
        coefficients: c_k; negative ones move away.
        clip: scale the move down to the Euclidean distance between x and the farthest p_k, over all tensors.

    Raises:
        MergeError: keys, shapes, dtypes or counts differ.
        NonFinite: the child holds NaN or infinity.
    """
    if len(others) != len(coefficients):
        raise MergeError(f"{len(others)} others need {len(others)} coefficients, got {len(coefficients)}")
    check_compatible([x, *others])
    names = [name for name, tensor in x.items() if tensor.is_floating_point()]
    moves = {name: _move(x[name], [other[name] for other in others], coefficients) for name in names}
    scale = _clip_scale(x, others, moves) if clip else 1.0
    child = {}
    for name, tensor in x.items():
        if name not in moves:
            child[name] = tensor.detach().clone()
            continue
        wide, move = tensor.detach().to(work_dtype(tensor.dtype)), moves[name]
        if scale != 1.0:
            move = move * scale
        # Where nothing moves the entry stays as it is, even a negative zero.
        child[name] = _finished(torch.where(move == 0, wide, wide + move), tensor, name, "succession")
    return child


def _move(x: Tensor, others: Sequence[Tensor], coefficients: Sequence[float]) -> Tensor:
    wide = x.detach().to(work_dtype(x.dtype))
    move = torch.zeros_like(wide)
    for other, coefficient in zip(others, coefficients, strict=True):
        # Differences, not Σ c p + (1 − Σ c) x: where the parents are equal the move is exactly zero.
        move.add_(other.detach().to(wide) - wide, alpha=float(coefficient))
    return move


def _clip_scale(x: Weights, others: Sequence[Weights], moves: StateDict) -> float:
    length = math.sqrt(math.fsum(float(move.double().square().sum()) for move in moves.values()))
    reach = max(
        math.sqrt(math.fsum(float((other[k].double() - x[k].double()).square().sum()) for k in moves))
        for other in others
    )
    return 1.0 if length <= reach else reach / length


def _finished(wide: Tensor, like: Tensor, name: str, what: str) -> Tensor:
    if not bool(torch.isfinite(wide).all()):
        raise NonFinite(f"{what} gives non-finite values in {name!r}; a parent holds them or the step is too large")
    finished = wide.to(like.device, like.dtype)
    if not bool(torch.isfinite(finished).all()):
        raise NonFinite(f"{what} overflows {like.dtype} in {name!r}; use a smaller step")
    return finished
