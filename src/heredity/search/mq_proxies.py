"""Proxies of mixed-precision quantisation: layers' sensitivities times their bits; and allocation of bits by them.

Sources: EMQ (arXiv 2307.10554), whose hand-made rivals these are: HAWQ-V2 (arXiv 1911.03852), SNIP, SynFlow, Fisher
pruning, QE (entropy of activations) and OMPQ (arXiv 2109.07865).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heredity.errors import EvaluationFailed
from heredity.evaluation.ranking import spearman
from heredity.search.expression import Expression, layer_scores
from heredity.search.layer_stats import LayerStats

Layer = Mapping[str, Tensor]
EXHAUSTIVE = 50_000  # mixtures that are all tried; beyond, bits are given out greedily
OMPQ_BETA = 1.0  # how sharply orthogonality turns into importance


def _ompq(stats: LayerStats) -> list[float]:
    """exp(−β Σ_j ORM_ij): layers whose outputs are orthogonal to the others' matter more."""
    grams = [a @ a.T for a in (layer["A"].double().flatten(1) for layer in stats.values())]
    found = []
    for a in grams:
        # ‖F_jᵀF_i‖² = ⟨F_iF_iᵀ, F_jF_jᵀ⟩, so that widths need not agree.
        near = [float((a * b).sum() / (a.norm() * b.norm())) for b in grams if b is not a]
        found.append(math.exp(-OMPQ_BETA * sum(near)))
    return found


# name → sensitivity of each layer; higher means that its bits matter more
SENSITIVITIES: dict[str, Callable[[LayerStats], list[float]]] = {
    "mean_bits": lambda stats: [1.0] * len(stats),
    "bparams": lambda stats: [float(layer["W"].numel()) for layer in stats.values()],
    "hawq_trace": lambda stats: [float(layer["H"].sum()) for layer in stats.values()],
    "snip": lambda stats: [float((layer["W"] * layer["G"]).abs().sum()) for layer in stats.values()],
    "synflow": lambda stats: [float((layer["W"].abs() * layer["VG"]).sum()) for layer in stats.values()],
    "grad_norm": lambda stats: [float(layer["G"].norm()) for layer in stats.values()],
    "fisher": lambda stats: [float(layer["G"].square().sum()) for layer in stats.values()],
    "qe": lambda stats: [float(layer["A"].std().log()) for layer in stats.values()],
    "ompq": _ompq,
}


@dataclass(frozen=True)
class MQProxy:
    """S(b) = Σ_l s_l·b_l: a guess of how accurate a network with b_l bits in layer l will be; higher is better.

    Args:
        sensitivities: s [layers].
    """

    sensitivities: tuple[float, ...]

    @classmethod
    def of(cls, stats: LayerStats, rule: Expression | str, *, per_weight: bool = False) -> MQProxy:
        """From an expression, or from one of `SENSITIVITIES`.

        Args:
            per_weight: divide by the layer's number of weights (expressions are means already).

        Raises:
            EvaluationFailed: a sensitivity is not finite.
        """
        if isinstance(rule, Expression):
            found = layer_scores(rule, stats)
        elif rule in SENSITIVITIES:
            found = SENSITIVITIES[rule](stats)
        else:
            raise ValueError(f"unknown rule {rule!r}; known are {', '.join(SENSITIVITIES)}")
        if per_weight:
            found = [value / layer["W"].numel() for value, layer in zip(found, stats.values(), strict=True)]
        if not np.isfinite(found).all():
            raise EvaluationFailed(f"{rule} gives a layer the sensitivity {found[int(np.argmin(np.isfinite(found)))]}")
        return cls(tuple(found))

    def __call__(self, bits: Sequence[int]) -> float:
        """S of one bit vector [layers]."""
        return float(self.predict(np.asarray(bits)[None])[0])

    def predict(self, configs: NDArray[np.int64]) -> NDArray[np.float64]:
        """S of many bit vectors [n, layers] → [n]."""
        if configs.shape[1] != len(self.sensitivities):
            raise ValueError(f"{len(self.sensitivities)} layers need as many bits, got {configs.shape[1]}")
        return np.asarray(configs @ np.array(self.sensitivities), dtype=np.float64)


@dataclass(frozen=True)
class BitTask:
    """One network: its statistics, mixtures of bits and what they cost.

    Args:
        stats: float64 is used for all.
        configs: [n, layers].
        accuracies: [n].
    """

    stats: LayerStats
    configs: NDArray[np.int64]
    accuracies: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.configs.shape != (len(self.accuracies), len(self.stats)):
            raise ValueError(
                f"{len(self.accuracies)} accuracies of {len(self.stats)} layers need configs of that shape, "
                f"got {self.configs.shape}"
            )
        if any(x.dtype != torch.float64 for layer in self.stats.values() for x in layer.values()):
            exact = {name: {key: x.double() for key, x in layer.items()} for name, layer in self.stats.items()}
            object.__setattr__(self, "stats", LayerStats(exact))

    def correlation(self, proxy: MQProxy) -> float:
        """Spearman's ρ of prediction and accuracy; −1 for a constant prediction."""
        return spearman(proxy.predict(self.configs), self.accuracies)

    def partial_correlation(self, prediction: NDArray[np.float64]) -> float:
        """Spearman's ρ of a prediction [n] with mean bits held fixed: what it knows beyond the size.

        0 where it is the size, or a constant.
        """
        size = self.configs.mean(1).astype(np.float64)
        a = spearman(prediction, self.accuracies, constant=0.0)
        b, c = spearman(prediction, size, constant=1.0), spearman(size, self.accuracies, constant=0.0)
        rest = (1 - b**2) * (1 - c**2)
        return (a - b * c) / math.sqrt(rest) if rest > 1e-9 else 0.0


def allocate(
    proxy: Callable[[Sequence[int]], float], sizes: Sequence[int], budget_bits: int, choices: Sequence[int]
) -> tuple[int, ...]:
    """The bit vector of the highest score whose weights fit into a budget.

    Args:
        proxy: bits [layers] → score.
        sizes: weights in each layer.
        budget_bits: Σ sizes_l·b_l may not exceed it.
        choices: widths.

    All mixtures are tried where they are few; else bits are given, from the smallest widths, to the layer that gains
    most per added bit, while there is a gain.

    Raises:
        ValueError: not even the smallest widths fit.
    """
    widths = sorted(set(choices))
    if sum(sizes) * widths[0] > budget_bits:
        raise ValueError(f"{sum(sizes)} weights at {widths[0]} bits need more than the budget of {budget_bits} bits")

    def cost(bits: Sequence[int]) -> int:
        return sum(size * b for size, b in zip(sizes, bits, strict=True))

    if len(widths) ** len(sizes) <= EXHAUSTIVE:
        fitting = (bits for bits in itertools.product(widths, repeat=len(sizes)) if cost(bits) <= budget_bits)
        return max(fitting, key=proxy)
    bits = [widths[0]] * len(sizes)
    while True:
        score, spent = proxy(bits), cost(bits)
        offers = []
        for layer, size in enumerate(sizes):
            for width in widths[widths.index(bits[layer]) + 1 :]:
                added = size * (width - bits[layer])
                if spent + added <= budget_bits:
                    gain = proxy([*bits[:layer], width, *bits[layer + 1 :]]) - score
                    offers.append((gain / added, layer, width))
        if not offers or max(offers)[0] <= 0:
            return tuple(bits)
        _, layer, width = max(offers)
        bits[layer] = width
