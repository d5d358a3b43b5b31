"""What computation costs: floating-point operations, memory, and budgets over both.

Sources: the MAF budget of FoMo-in-Flux (arXiv 2408.14471); resource usage as in NEVIS (arXiv 2211.11747).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def count_flops(function: Callable[..., Any], *args: Any) -> int:
    """Floating-point operations of one call, backward included where the call does it; a multiply-add counts two.

    Only matrix products, convolutions and attention are counted, as `torch.utils.flop_counter` does.
    """
    with FlopCounterMode(display=False) as counter:
        function(*args)
    return int(counter.get_total_flops())


def count_parameters(module: nn.Module, *, trainable: bool = False) -> int:
    """Numbers in a module's parameters, tied ones once."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable)


def peak_memory(function: Callable[..., Any], *args: Any) -> int:
    """Bytes at the peak of one call: allocated on the GPU where the arguments are there; on the CPU the tensors that
    autograd saves for backward plus the parameters and gradients of modules among the arguments (an estimate).
    """
    modules = [a for a in (function, *args) if isinstance(a, nn.Module)]
    tensors = [a for a in args if isinstance(a, Tensor)] + [p for m in modules for p in m.parameters()]
    device = next((t.device for t in tensors if t.device.type == "cuda"), None)
    if device is not None:
        torch.cuda.reset_peak_memory_stats(device)
        function(*args)
        return int(torch.cuda.max_memory_allocated(device))
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function(*args)
    own = {p.untyped_storage().data_ptr(): p for m in modules for p in m.parameters()}
    held = sum(p.nbytes * (2 if p.requires_grad else 1) for p in own.values())
    return held + sum(size for pointer, size in saved.items() if pointer not in own)


@dataclass(frozen=True)
class MAFBudget:
    """A budget of memory-adjusted operations: one step costs FLOPs × memory relative to full training.

    Args:
        total: operations in all.
    """

    total: float

    def steps(self, flops_per_step: float, memory_ratio: float = 1.0, tasks: int = 1) -> int:
        """Steps that each of `tasks` equal parts of the budget pays for."""
        if flops_per_step <= 0 or memory_ratio <= 0 or tasks < 1:
            raise ValueError("flops_per_step and memory_ratio must be positive, tasks at least 1")
        return math.floor(self.total / tasks / (flops_per_step * memory_ratio))


@dataclass(frozen=True)
class ResourceUsage:
    """What a piece of training used; None is unknown."""

    flops: float | None = None
    peak_params: int | None = None
    peak_bytes: int | None = None

    @staticmethod
    def combine(parts: Iterable[ResourceUsage]) -> ResourceUsage:
        """One after the other: operations add up, peaks are the largest; what is unknown once is unknown."""
        all_parts = list(parts)
        flops = [part.flops for part in all_parts]
        params = [part.peak_params for part in all_parts]
        sizes = [part.peak_bytes for part in all_parts]
        return ResourceUsage(
            None if None in flops else sum(f for f in flops if f is not None),
            None if None in params else max((p for p in params if p is not None), default=0),
            None if None in sizes else max((s for s in sizes if s is not None), default=0),
        )
