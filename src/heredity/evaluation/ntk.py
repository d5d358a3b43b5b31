"""The empirical neural tangent kernel of any module: which outputs move together when the parameters move.

Source: Jacot, Gabriel & Hongler, Neural Tangent Kernel (arXiv 1806.07572), definition of Θ.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

Outputs = Literal["full", "trace", "sum_logits"]
_MIXES_BATCH = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


def empirical_ntk(
    model: nn.Module,
    x1: Tensor,
    x2: Tensor | None = None,
    outputs: Outputs = "full",
    *,
    params: Collection[str] | None = None,
    chunk: int = 64,
) -> Tensor:
    """Θ(x, x')_ab = Σ_p ∂_p f_a(x) ∂_p f_b(x'), over the parameters p.

    Args:
        model: maps [N, ...] to [N, K], each row by itself: batch norm and dropout have to be in evaluation mode.
        x1: inputs [N1, ...].
        x2: inputs [N2, ...]; None means x1.
        outputs: "full" gives Θ [N1, N2, K, K]; "trace" (1/K) Σ_a Θ_aa [N1, N2]; "sum_logits" the kernel of the one
            function Σ_a f_a, which is Σ_ab Θ_ab [N1, N2] and K times cheaper.
        params: names of the parameters that count; None means all.
        chunk: inputs whose derivatives are held at once, twice; memory is 2·chunk·K numbers per parameter.

    Raises:
        ValueError: the rows of a batch would mix, a parameter is unknown, or the output is no matrix.
    """
    known = dict(model.named_parameters())
    names = sorted(known) if params is None else sorted(params)
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"the model has no parameter {unknown[0]!r}; it has {', '.join(known)}")
    if not names or chunk < 1 or outputs not in ("full", "trace", "sum_logits"):
        raise ValueError(f"needs a parameter, chunk ≥ 1 and a known kind of outputs, got {names}, {chunk}, {outputs!r}")
    for name, module in model.named_modules():
        if isinstance(module, _MIXES_BATCH) and module.training:
            kind = type(module).__name__
            raise ValueError(f"{name} ({kind}) makes the kernel depend on the batch or on chance; call model.eval()")
    jacobian = _jacobian(model, names, outputs == "sum_logits")
    rows = torch.split(x1, chunk)
    columns = rows if x2 is None else torch.split(x2, chunk)
    blocks: list[list[Tensor]] = []
    for i, row in enumerate(rows):
        left = jacobian(row)
        done = [_swapped(blocks[j][i], outputs) for j in range(i)] if x2 is None else []
        for j in range(len(done), len(columns)):
            right = left if x2 is None and j == i else jacobian(columns[j])
            done.append(_contract(left, right, outputs))
        blocks.append(done)
    return torch.cat([torch.cat(line, dim=1) for line in blocks])


def _jacobian(model: nn.Module, names: list[str], summed: bool) -> Callable[[Tensor], list[Tensor]]:
    """x [n, ...] → for each parameter its derivatives [n, K, size], or [n, 1, size] of the summed outputs."""
    fixed = {name: value.detach() for name, value in [*model.named_parameters(), *model.named_buffers()]}
    chosen = {name: fixed.pop(name) for name in names}

    def output(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        out: Tensor = functional_call(model, {**fixed, **parameters}, (x[None],))
        if out.dim() != 2:
            raise ValueError(f"the model should give outputs [N, K], one input gave shape {tuple(out.shape)}")
        return out.sum(1) if summed else out[0]

    derivatives = vmap(jacrev(output), in_dims=(None, 0))

    def jacobian(x: Tensor) -> list[Tensor]:
        found = derivatives(chosen, x)
        return [found[name].detach().reshape(*found[name].shape[:2], -1) for name in names]

    return jacobian


def _contract(left: list[Tensor], right: list[Tensor], outputs: Outputs) -> Tensor:
    """Sum over parameters, one tensor of them at a time."""
    pattern = "iap,jbp->ijab" if outputs == "full" else "iap,jap->ij"
    total = torch.stack([torch.einsum(pattern, a, b) for a, b in zip(left, right, strict=True)]).sum(0)
    return total / left[0].shape[1] if outputs == "trace" else total


def _swapped(block: Tensor, outputs: Outputs) -> Tensor:
    """The block on the other side of the diagonal: Θ(x', x)_ba = Θ(x, x')_ab."""
    return block.permute(1, 0, 3, 2) if outputs == "full" else block.T
