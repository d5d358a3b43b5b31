"""Low-rank adapters with named slots: the one LoRA of the project.

A layer computes y = W x + b + Σ_k w_k · B_k A_k x over its active slots k. A slot that was just added changes nothing
(B is zero); with no slot active the layer gives the base's bits. Which slots are active is always said, never implied.
Sources: Hu et al., LoRA (arXiv 2106.09685); slots with weights per sample: PSEC (arXiv 2502.05932), section 4.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

Weights: TypeAlias = "Mapping[str, float | Tensor]"


class LoRALinear(nn.Module):
    """A frozen linear layer and low-rank corrections to it.

    Args:
        base: the layer; its parameters stop asking for gradients.
        rank: of slots that do not say their own.

    Attributes:
        active: slot → weight, a number or one per sample [N]; set by `activate`, or passed to `forward`.
    """

    def __init__(self, base: nn.Linear, rank: int = 8) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"a slot needs a rank of at least 1, got {rank}")
        self.base, self.rank = base.requires_grad_(False), rank
        self.down, self.up = nn.ParameterDict(), nn.ParameterDict()
        self.active: dict[str, float | Tensor] = {}

    @property
    def slots(self) -> list[str]:
        """Names of the slots, in the order they were added."""
        return list(self.down)

    def add_slot(self, name: str, rank: int | None = None, generator: torch.Generator | None = None) -> None:
        """Add B A with A ~ U(±√(3 / in)) (LeCun's variance 1 / in) and B = 0, on the base's device and of its dtype.

        Raises:
            ValueError: the name is taken or holds a dot.
        """
        if name in self.down or "." in name or not name:
            raise ValueError(f"slot {name!r} exists already" if name in self.down else f"{name!r} is no name of a slot")
        weight, r = self.base.weight, self.rank if rank is None else rank
        bound = math.sqrt(3 / self.base.in_features)
        first = torch.empty(r, self.base.in_features).uniform_(-bound, bound, generator=generator)
        self.down[name] = nn.Parameter(first.to(weight))
        self.up[name] = nn.Parameter(torch.zeros(self.base.out_features, r).to(weight))

    def remove_slot(self, name: str) -> None:
        """Forget a slot."""
        self._known(name)
        del self.down[name], self.up[name]
        self.active.pop(name, None)

    def forward(self, x: Tensor, weights: Weights | None = None) -> Tensor:
        """y [N, …, out] of x [N, …, in] with these weights of the slots, by default the active ones."""
        y: Tensor = self.base(x)
        for name, weight in (self.active if weights is None else weights).items():
            self._known(name)
            correction = functional.linear(functional.linear(x, self.down[name]), self.up[name])
            y = y + _along(weight, x.dim()) * correction
        return y

    def delta(self, weights: Mapping[str, float]) -> Tensor:
        """Σ_k w_k B_k A_k [out, in]."""
        total = torch.zeros_like(self.base.weight)
        for name, weight in weights.items():
            self._known(name)
            total = total + weight * (self.up[name] @ self.down[name])
        return total

    def _known(self, name: str) -> None:
        if name not in self.down:
            raise ValueError(f"there is no slot {name!r}; known: {', '.join(self.slots) or 'none'}")


def attach_lora(
    model: nn.Module, rank: int = 8, targets: type[nn.Linear] | str | Callable[[str, nn.Linear], bool] = nn.Linear
) -> nn.Module:
    """Replace linear layers by `LoRALinear` in place and freeze everything else; returns the model.

    Args:
        targets: a type (all layers of it), a pattern of names such as "*.attention.*", or (name, layer) → bool.

    Raises:
        ValueError: no layer is meant.
    """

    def meant(name: str, layer: nn.Linear) -> bool:
        if isinstance(targets, str):
            return fnmatch.fnmatch(name, targets)
        return isinstance(layer, targets) if isinstance(targets, type) else targets(name, layer)

    found = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear) and not _inside(model, name)]
    chosen = [(name, layer) for name, layer in found if meant(name, layer)]
    if not chosen:
        raise ValueError(
            f"no linear layer is meant by {targets!r}; there are {', '.join(n for n, _ in found) or 'none'}"
        )
    model.requires_grad_(False)
    for name, layer in chosen:
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, LoRALinear(layer, rank))
    return model


def lora_layers(model: nn.Module) -> Iterator[tuple[str, LoRALinear]]:
    """The layers with slots, by name."""
    yield from ((name, module) for name, module in model.named_modules() if isinstance(module, LoRALinear))


def add_slot(model: nn.Module, name: str, rank: int | None = None, *, seed: int = 0) -> list[nn.Parameter]:
    """Add a slot to every layer; returns its parameters, the only ones to train for it."""
    generator = torch.Generator().manual_seed(seed)
    parameters: list[nn.Parameter] = []
    for _, layer in _layers(model):
        layer.add_slot(name, rank, generator)
        parameters += [layer.down[name], layer.up[name]]
    return parameters


@contextmanager
def activate(model: nn.Module, weights: Weights) -> Iterator[nn.Module]:
    """Within it exactly these slots are active; afterwards those that were before."""
    layers = [layer for _, layer in _layers(model)]
    before = [dict(layer.active) for layer in layers]
    for layer in layers:
        for name in weights:
            layer._known(name)
        layer.active = dict(weights)
    try:
        yield model
    finally:
        for layer, old in zip(layers, before, strict=True):
            layer.active = old


def slot_state_dict(model: nn.Module, name: str) -> dict[str, Tensor]:
    """The factors of one slot, "<layer>.lora_A" [r, in] and "<layer>.lora_B" [out, r]; copies."""
    state: dict[str, Tensor] = {}
    for where, layer in _layers(model):
        layer._known(name)
        state[f"{where}.lora_A"] = layer.down[name].detach().clone()
        state[f"{where}.lora_B"] = layer.up[name].detach().clone()
    return state


@torch.no_grad()
def load_slot(model: nn.Module, name: str, state: Mapping[str, Tensor]) -> None:
    """Write the factors of `slot_state_dict` into a slot, which is added where it is missing.

    Raises:
        ValueError: names or shapes differ.
    """
    layers = dict(_layers(model))
    wanted = {f"{where}.lora_{part}" for where in layers for part in "AB"}
    if wanted != set(state):
        odd = sorted(wanted ^ set(state))[0]
        raise ValueError(f"the factors do not fit the model: {odd} is {'missing' if odd in wanted else 'unknown'}")
    for where, layer in layers.items():
        a, b = state[f"{where}.lora_A"], state[f"{where}.lora_B"]
        shapes = (tuple(a.shape), tuple(b.shape))
        if shapes != ((len(a), layer.base.in_features), (layer.base.out_features, len(a))):
            raise ValueError(f"{where}: factors of shapes {shapes[0]} and {shapes[1]} do not fit the layer")
        if name not in layer.down:
            layer.add_slot(name, len(a), torch.Generator())
        layer.down[name].copy_(a)
        layer.up[name].copy_(b)


@torch.no_grad()
def merge_slots(model: nn.Module, weights: Mapping[str, float]) -> nn.Module:
    """Replace the layers by plain linear ones with W + Σ w_k B_k A_k, in place; returns the model."""
    for where, layer in list(_layers(model)):
        layer.base.weight += layer.delta(weights)
        parent, _, last = where.rpartition(".")
        setattr(model.get_submodule(parent), last, layer.base)
    return model


def to_peft(state: Mapping[str, Tensor], prefix: str = "base_model.model.") -> dict[str, Tensor]:
    """The factors under peft's names. peft scales by lora_alpha / r: use lora_alpha = r for a weight of 1."""
    return {
        f"{prefix}{name.removesuffix(f'.lora_{part}')}.lora_{part}.weight": tensor
        for name, tensor in state.items()
        for part in [name[-1]]
    }


def from_peft(state: Mapping[str, Tensor], prefix: str = "base_model.model.") -> dict[str, Tensor]:
    """The factors of a peft adapter; multiply by its lora_alpha / r when activating.

    Raises:
        ValueError: a tensor is no LoRA factor of a linear layer.
    """
    factors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        short = name.removeprefix(prefix).removesuffix(".weight")
        if not short.endswith((".lora_A", ".lora_B")) or tensor.dim() != 2:
            raise ValueError(f"{name} is no factor of a linear layer")
        factors[short] = tensor
    return factors


def batched_lora(x: Tensor, down: Tensor, up: Tensor, scale: float = 1.0) -> Tensor:
    """One adapter per sample: x [B, T, d], down [B, d, r], up [B, r, o] → the corrections [B, T, o]."""
    return scale * torch.bmm(torch.bmm(x, down), up)


def _along(weight: float | Tensor, dims: int) -> float | Tensor:
    """A weight per sample [N], shaped to multiply outputs [N, …]."""
    return weight.view(-1, *[1] * (dims - 1)) if isinstance(weight, Tensor) and weight.dim() else weight


def _layers(model: nn.Module) -> list[tuple[str, LoRALinear]]:
    found = list(lora_layers(model))
    if not found:
        raise ValueError("the model has no layer with slots; call attach_lora first")
    return found


def _inside(model: nn.Module, name: str) -> bool:
    """Whether a layer is the base of a LoRALinear already."""
    parent = name.rpartition(".")[0]
    return bool(name) and isinstance(model.get_submodule(parent), LoRALinear)
