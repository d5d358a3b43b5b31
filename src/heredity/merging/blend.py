"""Recombination entry by entry: BLX-α and uniform (random) crossover of weights.

Sources: Eshelman and Schaffer (1993), "Real-coded genetic algorithms and interval-schemata" (BLX-α); arXiv 2503.01155
(a weighted sum held in the parents' extended range, and entry-wise picks).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from heredity.errors import MergeError
from heredity.merging.base import tensor_generator
from heredity.merging.chunks import all_finite, buffers, chunk_spans, store
from heredity.merging.linear import normalized
from heredity.merging.methods import FlatMerge, TensorMethod, per_model


@dataclass(frozen=True)
class Blend(TensorMethod):
    """A value per entry in [low − α·range, high + α·range], where low and high are the parents' least and greatest.

    Attributes:
        alpha: α, how far beyond the parents' range a value may lie, in ranges.
        draw: draw the value uniformly (BLX-α); else take the parents' weighted mean, which leaves the interval only for
            negative weights, and hold it in the interval.
        weight: default weight of a model (draw=False).
    """

    alpha: float = 0.5
    draw: bool = False
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.alpha < 0:
            raise MergeError(f"alpha of a blend must be 0 or more, got {self.alpha}")

    def _merge(self, job: FlatMerge) -> bool:
        name, tensors, params, seed, out = job.name, job.tensors, job.params, job.seed, job.out
        weights = normalized(per_model(params.weight, self.weight, len(tensors)), name)
        generator = tensor_generator(seed, "blend", name)
        bottom, top, reference, total, other = buffers(out, 5)
        finite = True
        for start, stop in chunk_spans(out.numel()):
            size = stop - start
            low, high, first, acc, spare = (buffer[:size] for buffer in (bottom, top, reference, total, other))
            first.copy_(tensors[0][start:stop])
            low.copy_(first), high.copy_(first), acc.copy_(first)
            for weight, tensor in zip(weights[1:], tensors[1:], strict=True):
                spare.copy_(tensor[start:stop])
                finite = all_finite(spare) and finite  # a minimum may hide an infinite parent
                torch.minimum(low, spare, out=low), torch.maximum(high, spare, out=high)
                acc.add_(spare.sub_(first), alpha=weight)
            spread = torch.sub(high, low, out=spare).mul_(self.alpha)
            low.sub_(spread), high.add_(spread)
            if self.draw:
                share = torch.empty(size).uniform_(generator=generator).to(low)
                acc.copy_(torch.lerp(low, high, share, out=acc))
            else:
                torch.minimum(torch.maximum(acc, low, out=acc), high, out=acc)
            finite = store(acc, out[start:stop]) and finite
        return finite


@dataclass(frozen=True)
class RandomPick(TensorMethod):
    """Every entry comes from one parent, drawn with probability proportional to the weights.

    Attributes:
        weight: default weight of a model; weights are not negative.
    """

    weight: float = 1.0

    def _merge(self, job: FlatMerge) -> bool:
        name, tensors, params, seed, out = job.name, job.tensors, job.params, job.seed, job.out
        weights = per_model(params.weight, self.weight, len(tensors))
        if min(weights) < 0:
            raise MergeError(
                f"weights of a random pick are probabilities and cannot be negative: {weights} for {name!r}"
            )
        shares = normalized(weights, name)
        generator = tensor_generator(seed, "pick", name)
        (spare,) = buffers(out, 1)
        finite = True
        for start, stop in chunk_spans(out.numel()):
            result = out[start:stop].copy_(tensors[0][start:stop])
            finite = all_finite(spare[: stop - start].copy_(result)) and finite
            draws, reached = torch.empty(stop - start).uniform_(generator=generator).to(out.device), shares[0]
            for share, tensor in zip(shares[1:], tensors[1:], strict=True):
                part = tensor[start:stop]
                finite = all_finite(spare[: stop - start].copy_(part)) and finite
                if share:
                    torch.where(draws >= reached, part, result, out=result)
                reached += share
        return finite


ROWS: dict[str, TensorMethod] = {"blx": Blend(), "blx_uniform": Blend(draw=True), "random": RandomPick()}
