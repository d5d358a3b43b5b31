"""Networks whose weights are rounded to few bits, and tables of what mixtures of bit widths cost in accuracy.

Source: the benchmark of EMQ (arXiv 2307.10554): post-training quantisation under sampled bit vectors.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from heredity.evaluation.ranking import spearman_top_k
from heredity.search.base import Batch
from heredity.search.layer_stats import weight_of, weighted_layers

Scheme = Literal["asym_minmax", "mse"]
SHRINKS = 16  # ranges that the scheme "mse" tries, from the whole down to half


def quantize_weights(
    model: nn.Module,
    bits: Sequence[int] | Mapping[str, int] | int,
    scheme: Scheme = "asym_minmax",
    per_channel: bool = True,
) -> nn.Module:
    """A copy whose convolutions' and linear maps' weights take 2^b values each (fake quantisation: still floats).

    Args:
        bits: one number ≥ 1 for each such layer in the model's order, by name (others keep their weights), or one for
            all; 32 and more keep the weights bit for bit.
        scheme: "asym_minmax" spreads the values evenly from the smallest to the largest weight; "mse" shrinks that
            range to where the squared error is smallest.
        per_channel: a range for each output channel, else for each layer.

    Raises:
        ValueError: another number of layers, an unknown layer, or less than one bit.
    """
    if scheme not in ("asym_minmax", "mse"):
        raise ValueError(f'scheme must be "asym_minmax" or "mse", got {scheme!r}')
    quantized = copy.deepcopy(model)
    layers = weighted_layers(quantized)
    if isinstance(bits, int):
        bits = [bits] * len(layers)
    if not isinstance(bits, Mapping):
        if len(bits) != len(layers):
            raise ValueError(f"the model has {len(layers)} layers with weights, got {len(bits)} bit widths")
        bits = dict(zip(layers, bits, strict=True))
    with torch.no_grad():
        for name, width in bits.items():
            if name not in layers:
                raise ValueError(f"{name!r} is no layer with weights; these are {', '.join(layers)}")
            if width < 1:
                raise ValueError(f"{name} needs at least one bit, got {width}")
            if width < 32:
                weight = weight_of(layers[name])
                weight.copy_(rounded(weight, int(width), scheme, per_channel))
    return quantized


def rounded(weight: Tensor, bits: int, scheme: Scheme = "asym_minmax", per_channel: bool = True) -> Tensor:
    """The weight [out, ...] with each number replaced by the nearest of 2^bits evenly spaced ones.

    A range without extent (all weights equal) is kept as it is.
    """
    rows = weight.detach().flatten(1) if per_channel else weight.detach().reshape(1, -1)
    low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
    best = _nearest(rows, low, high, bits)
    if scheme == "mse":
        error = torch.square(best - rows).sum(1, keepdim=True)
        for k in range(1, SHRINKS):
            keep = 1 - 0.5 * k / SHRINKS
            middle, half = (low + high) / 2, (high - low) / 2 * keep
            trial = _nearest(rows, middle - half, middle + half, bits)
            new = torch.square(trial - rows).sum(1, keepdim=True)
            best, error = torch.where(new < error, trial, best), torch.minimum(new, error)
    return best.reshape(weight.shape)


def _nearest(rows: Tensor, low: Tensor, high: Tensor, bits: int) -> Tensor:
    scale = (high - low) / (2**bits - 1)
    steps = ((rows - low) / scale.clamp_min(torch.finfo(rows.dtype).tiny)).round().clamp(0, 2**bits - 1)
    return torch.where(scale > 0, low + steps * scale, rows)


@dataclass(frozen=True)
class QuantBench:
    """Accuracies of one network under many mixtures of bit widths.

    Args:
        layers: names of the layers whose widths vary.
        configs: bits [n, layers].
        accuracies: [n].
    """

    layers: tuple[str, ...]
    configs: NDArray[np.int64]
    accuracies: NDArray[np.float64]

    @classmethod
    def build(
        cls,
        model: nn.Module,
        data: Batch,
        n: int,
        bits: Sequence[int] = (2, 3, 4),
        seed: int = 0,
        *,
        fixed: Mapping[str, int] | None = None,
        scheme: Scheme = "asym_minmax",
        per_channel: bool = True,
    ) -> QuantBench:
        """Draw n different bit vectors uniformly and measure each one.

        Args:
            data: inputs and labels that accuracies are measured on, in evaluation mode.
            bits: widths to choose from.
            seed: of the draw.
            fixed: widths of layers that do not vary, by name; the published benchmark keeps the first and the last
                at 8 bits.

        Raises:
            ValueError: there are fewer than n mixtures.
        """
        fixed = dict(fixed or {})
        names = tuple(name for name in weighted_layers(model) if name not in fixed)
        configs = distinct_configs(len(names), n, bits, seed)
        inputs, labels = data
        accuracies = []
        with torch.no_grad():
            for row in configs:
                widths = {**fixed, **dict(zip(names, (int(b) for b in row), strict=True))}
                net = quantize_weights(model, widths, scheme, per_channel).eval()
                accuracies.append(float((net(inputs).argmax(1) == labels).double().mean()))
        return cls(names, configs, np.array(accuracies))

    def sample(self, n: int, seed: int = 0) -> tuple[QuantBench, QuantBench]:
        """n of the mixtures drawn without replacement, and the others."""
        if not 0 < n < len(self.configs):
            raise ValueError(f"cannot draw {n} of {len(self.configs)} mixtures and leave some")
        order = np.random.default_rng(seed).permutation(len(self.configs))
        first, second = np.sort(order[:n]), np.sort(order[n:])
        return self._part(first), self._part(second)

    def spearman_top_k(self, prediction: Sequence[float], k: int | float) -> float:
        """Spearman's ρ of a prediction [n] among the truly best k; see `heredity.evaluation.ranking`."""
        return spearman_top_k(prediction, self.accuracies, k)

    def _part(self, places: NDArray[np.int64]) -> QuantBench:
        return QuantBench(self.layers, self.configs[places], self.accuracies[places])


def distinct_configs(layers: int, n: int, bits: Sequence[int], seed: int) -> NDArray[np.int64]:
    """n different bit vectors [n, layers], uniform over all of them.

    Raises:
        ValueError: there are fewer than n.
    """
    if len(set(bits)) ** layers < n:
        raise ValueError(f"{layers} layers and widths {list(bits)} give fewer than {n} mixtures")
    rng = np.random.default_rng(seed)
    seen: dict[tuple[int, ...], None] = {}
    while len(seen) < n:
        seen.setdefault(tuple(int(b) for b in rng.choice(list(bits), size=layers)))
    return np.array(list(seen), dtype=np.int64)
