"""One generalised merge of task vectors; task arithmetic, TIES, DARE, Breadcrumbs and DELLA are rows of it.

With τ_i = θ_i − θ_0: sparsify and rescale each τ_i; weigh it; where a consensus is asked for, elect a sign per entry
from all models and keep only the entries that agree; add up; divide by the weights of what was kept (`normalize`);
scale by λ and add to θ_0.
Sources: arXiv 2212.04089 (task arithmetic), 2306.01708 (TIES), 2311.03099 (DARE), 2312.06795 (Breadcrumbs), 2406.11617
(DELLA). DARE and DELLA rescale by the inverse keep probability as their papers do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from heredity.errors import MergeError
from heredity.merging.base import StateDict, Weights
from heredity.merging.chunks import all_finite, buffers, chunk_spans, store
from heredity.merging.methods import FlatMerge, TensorMethod, per_model
from heredity.merging.sparsify import Delta, Rescale, Sparsifier, aligned_chunk, mask_for, row_length

if TYPE_CHECKING:
    from torch import Tensor

Consensus = Literal["sum", "count"]


@dataclass(frozen=True)
class GeneralizedTaskArithmetic(TensorMethod):
    """θ_0 + λ · consensus(w_i · sparsify(θ_i − θ_0)).

    Attributes:
        consensus: sign election by the weighted "sum" (TIES), by the "count" of signs, or None. A tie elects plus.
        sparsify: which entries of a task vector are kept; see `heredity.merging.sparsify`.
        rescale: what survivors are scaled by; see `heredity.merging.sparsify.mask_for`.
        normalize: divide by the sum of the weights of kept entries (of all weights without consensus).
        lam: λ, scales the merged task vector.
        weight: default weight of a model.
        density: default share of entries kept.
        gamma: default share of outliers dropped (sparsify="magnitude_outliers").
        epsilon: default half-width of keep probabilities (sparsify="della_magprune").
    """

    needs_base: ClassVar[bool] = True
    takes_base: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("weight", "density", "gamma", "epsilon")

    consensus: Consensus | None = None
    sparsify: Sparsifier | None = None
    rescale: Rescale | None = None
    normalize: bool = False
    lam: float = 1.0
    weight: float = 1.0
    density: float = 1.0
    gamma: float = 0.01
    epsilon: float = 0.15

    def __post_init__(self) -> None:
        for field, known in (
            ("consensus", ("sum", "count")),
            ("sparsify", ("magnitude", "bernoulli", "magnitude_outliers", "della_magprune")),
            ("rescale", ("inverse", "l1")),
        ):
            value = getattr(self, field)
            if value is not None and value not in known:
                raise MergeError(f"{field} must be None or one of {', '.join(known)}, got {value!r}")

    def _merge(self, job: FlatMerge) -> bool:
        name, tensors, params, base, seed, out, shape = (
            job.name,
            job.tensors,
            job.params,
            job.base,
            job.seed,
            job.out,
            job.shape,
        )
        assert base is not None
        count, n = len(tensors), out.numel()
        weights = per_model(params.weight, self.weight, count)
        densities = per_model(params.density, self.density, count)
        gammas, epsilons = per_model(params.gamma, self.gamma, count), per_model(params.epsilon, self.epsilon, count)
        chunk = min(aligned_chunk(self.sparsify, row_length(shape)), n)
        origin, total, spare, *kept = buffers(base, 3 + count if self.consensus else 3, chunk)
        masks, factors = [], []
        for i, tensor in enumerate(tensors):
            mask, factor = mask_for(
                Delta(tensor, base, origin),
                self.sparsify,
                density=densities[i],
                gamma=gammas[i],
                epsilon=epsilons[i],
                rescale=self.rescale,
                shape=shape,
                key=(seed, i, name),
            )
            masks.append(mask)
            factors.append(factor * weights[i])
        whole = sum(weights)
        scale = self.lam / whole if self.normalize and not self.consensus and abs(whole) >= 1e-8 else self.lam
        finite = True
        for start, stop in chunk_spans(n, chunk):
            size = stop - start
            ground, acc = origin[:size], total[:size]
            ground.copy_(base[start:stop])
            deltas = [buffer[:size] for buffer in kept] if self.consensus else [spare[:size]] * count
            for i, (delta, tensor) in enumerate(zip(deltas, tensors, strict=True)):
                masks[i].apply(delta.copy_(tensor[start:stop]).sub_(ground), start)
                if factors[i] != 1.0:
                    delta.mul_(factors[i])
                if i == 0:
                    acc.copy_(delta)
                else:
                    acc.add_(delta)
            if self.consensus:
                finite = finite and all(all_finite(delta) for delta in deltas)
                elect(deltas, self.consensus, acc, spare[:size])
                if self.normalize:
                    acc.div_(kept_weights(deltas, weights, spare[:size]))
            ground.add_(acc, alpha=scale)
            finite = store(ground, out[start:stop]) and finite
        return finite


def elect(deltas: Sequence[Tensor], consensus: Consensus, acc: Tensor, spare: Tensor) -> None:
    """Replace `acc`, the sum of the weighted deltas, by the sum of those that have the elected sign.

    The deltas are overwritten: by their magnitude where they agree, by zero elsewhere.
    """
    if consensus == "count":
        torch.sign(deltas[0], out=acc)
        for delta in deltas[1:]:
            acc.add_(torch.sign(delta, out=spare))
    sign = torch.copysign(torch.ones((), dtype=acc.dtype, device=acc.device), acc, out=spare)
    for i, delta in enumerate(deltas):
        delta.mul_(sign).clamp_min_(0.0)  # what agrees is now positive, the rest zero
        if i == 0:
            acc.copy_(delta)
        else:
            acc.add_(delta)
    acc.mul_(sign)


def kept_weights(deltas: Sequence[Tensor], weights: Sequence[float], out: Tensor) -> Tensor:
    """The sum of the weights of those that `elect` has kept, entry by entry; never zero. Written into `out`."""
    for i, delta in enumerate(deltas):
        kept = delta.gt_(0.0)
        if i == 0:
            torch.mul(kept, weights[0], out=out)
        else:
            out.add_(kept, alpha=weights[i])
    if min(weights) > 0:
        return out.clamp_min_(min(weights))  # entries that nobody keeps have a sum of 0, whatever divides it
    return out.masked_fill_(out == 0, 1.0)


def merge_task_vectors(
    base: Weights,
    models: Sequence[Weights],
    weight: float | Sequence[float],
    density: float | Sequence[float] = 1.0,
    *,
    sparsify: Sparsifier | None = None,
    consensus: Consensus | Literal["sign"] | None = None,
    rescale: Rescale | None = "inverse",
    normalize: bool = True,
    lam: float = 1.0,
    gamma: float = 0.01,
    epsilon: float = 0.15,
    seed: int = 0,
) -> StateDict:
    """Merge models through their differences from a base; see `GeneralizedTaskArithmetic`.

    Args:
        base: the common ancestor.
        models: one or more models fine-tuned from it.
        weight: one for all or one per model.
        density: share of each task vector kept, 0 to 1, one for all or one per model.
        sparsify: which entries are kept; None keeps all.
        consensus: "sum" or, the same, "sign": elect signs by the weighted sum; "count": by the number of signs.
        rescale: "inverse", "l1" or None.
        normalize: divide by the weights of what is kept.
        lam: λ.
        gamma: share of outliers dropped (sparsify="magnitude_outliers").
        epsilon: half-width of keep probabilities (sparsify="della_magprune").
        seed: seeds random masks, which are counted per model and tensor.

    Raises:
        MergeError: keys, shapes or dtypes differ, or a number is outside its range.
        NonFinite: an input holds NaN or infinity.
    """
    from heredity.merging.mergers import MethodMerger

    method = GeneralizedTaskArithmetic(
        consensus="sum" if consensus == "sign" else consensus,
        sparsify=sparsify,
        rescale=rescale,
        normalize=normalize,
        lam=lam,
        gamma=gamma,
        epsilon=epsilon,
    )
    return MethodMerger(method, weight=weight, density=density, seed=seed).merge(models, base=base)


ROWS: dict[str, TensorMethod] = {
    "task_arithmetic": GeneralizedTaskArithmetic(),
    "ties": GeneralizedTaskArithmetic(consensus="sum", sparsify="magnitude", normalize=True),
    "dare_linear": GeneralizedTaskArithmetic(sparsify="bernoulli", rescale="inverse"),
    "dare_ties": GeneralizedTaskArithmetic(consensus="sum", sparsify="bernoulli", rescale="inverse"),
    "breadcrumbs": GeneralizedTaskArithmetic(sparsify="magnitude_outliers"),
    "breadcrumbs_ties": GeneralizedTaskArithmetic(consensus="sum", sparsify="magnitude_outliers"),
    "della": GeneralizedTaskArithmetic(consensus="sum", sparsify="della_magprune", rescale="inverse", normalize=True),
    "della_linear": GeneralizedTaskArithmetic(sparsify="della_magprune", rescale="inverse"),
}
