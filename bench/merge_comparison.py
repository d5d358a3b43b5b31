"""How far two merges of the same models are apart, entry by entry; for bench/merge_disk.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from heredity.merging.dtype_names import torch_dtype
from heredity.merging.streaming import TensorJob


def load(folder: Path) -> dict[str, Tensor]:
    """All tensors of a model folder."""
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def tied(job: TensorJob) -> Tensor | None:
    """Which entries of a tensor have, in one of the models, exactly the magnitude at which that model is trimmed.

    Only where the cut divides equal magnitudes: some of them are kept then and some dropped. Differences of bfloat16
    weights have few distinct magnitudes, so that every cut does. A method does not say which of them to keep: mergekit
    keeps those that come first in torch's unstable sort, whose order hangs on the vector instructions of the processor
    and is to be had only by that sort of every tensor, ten times the work of finding the threshold; heredity keeps
    those that come first in the tensor. None for methods that trim nothing.
    """
    rule = getattr(job.method, "rule", job.method)
    trims = getattr(rule, "sparsify", None)
    if trims not in ("magnitude", "magnitude_outliers") or job.base is None or job.params.density is None:
        return None
    base = job.base.weights.read(job.base.name).to(torch_dtype(job.dtype))
    found, n = torch.zeros(base.numel(), dtype=torch.bool), base.numel()
    for i, (read, density) in enumerate(zip(job.inputs, job.params.density, strict=True)):
        if density >= 1:
            continue
        magnitudes = (read.weights.read(read.name).to(torch_dtype(job.dtype)) - base).abs().float().flatten()
        kept = int(density * n)
        gamma = job.params.gamma[i] if job.params.gamma and trims == "magnitude_outliers" else 0.0
        outliers = min(int(gamma * n), n - kept)
        for cut in (outliers, outliers + kept):
            if 0 < cut < n:
                value = float(np.partition(magnitudes.numpy(), n - cut)[n - cut])
                if int((magnitudes >= value).sum()) > cut:
                    found |= magnitudes == value
    return found


def compare(ours: Path, theirs: Path, jobs: Sequence[TensorJob]) -> dict[str, float]:
    """How far two outputs are apart: largest difference, and the share of entries beyond one step of bfloat16.

    Where tensors are trimmed also the share of entries that are `tied` and, among all entries, of those beyond a step
    that are not: everything that the order of equal magnitudes cannot explain.
    """
    a, b = load(ours), load(theirs)
    if a.keys() != b.keys():
        raise SystemExit(f"outputs hold different tensors: {sorted(a.keys() ^ b.keys())[:3]}")
    by_name = {job.name: job for job in jobs}
    largest, beyond, untied, ties, count, trimmed = 0.0, 0, 0, 0, 0, False
    for name, tensor in a.items():
        x, y = tensor.float().flatten(), b[name].float().flatten()
        gap = (x - y).abs()
        far = gap > torch.maximum(x.abs(), y.abs()) * 2**-7 + 1e-7  # bfloat16 has 8 significant bits
        largest, beyond, count = max(largest, float(gap.max())), beyond + int(far.sum()), count + gap.numel()
        at_cut = tied(by_name[name])
        trimmed = trimmed or at_cut is not None
        ties += 0 if at_cut is None else int(at_cut.sum())
        untied += int((far if at_cut is None else far & ~at_cut).sum())
    found = {"largest_difference": largest, "share_beyond_a_step": beyond / count}
    return found | ({"share_tied": ties / count, "share_beyond_a_step_untied": untied / count} if trimmed else {})
