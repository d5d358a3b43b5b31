"""A module's parameters as one flat vector, for searchers that know only vectors.

Source: the family contract in the specification of arXiv 1712.06567.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn


class FlatParams:
    """The layout of a template's parameters in a vector of length `size`.

    Args:
        template: its parameters, in order of definition, decide the layout; tied ones are counted once.
        filter: which parameters, by name; the others keep the template's values.
        buffers: "refuse" a template with buffers in its state dict, such as running statistics, which a vector would
            not move, or "carry" the template's values along.

    Raises:
        ValueError: no parameter is left, one is not floating point, or buffers are refused and present.
    """

    def __init__(
        self,
        template: nn.Module,
        filter: Callable[[str], bool] | None = None,
        *,
        buffers: Literal["refuse", "carry"] = "refuse",
    ) -> None:
        named = list(template.named_parameters())
        identity = {id(parameter): name for name, parameter in named}
        # state_dict lists every name of a tied parameter; each maps to the one that is in the vector.
        tied = {name: identity[id(p)] for name, p in template.named_parameters(remove_duplicate=False)}
        state = template.state_dict()
        extra = [name for name in state if name not in tied]
        if extra and buffers == "refuse":
            raise ValueError(f'the template has the buffer {extra[0]!r}; pass buffers="carry" to keep its values')
        self._slices: dict[str, slice] = {}
        self._rest: dict[str, Tensor] = {k: v.detach().clone() for k, v in state.items()}
        self._owner = {name: owner for name, owner in tied.items() if name in state}
        start = 0
        for name, parameter in named:
            if filter is None or filter(name):
                if not parameter.is_floating_point():
                    raise ValueError(f"parameter {name!r} has type {parameter.dtype}; only floating point can be moved")
                self._slices[name] = slice(start, start + parameter.numel())
                start += parameter.numel()
        if not start:
            raise ValueError("no parameter is left to put into a vector")
        self.size = start

    @property
    def start(self) -> Tensor:
        """The vector [P] of the template's own values."""
        return self.flatten(self._rest)

    @property
    def names(self) -> list[str]:
        """Names of the parameters in the vector, in order."""
        return list(self._slices)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters in the vector, by name, in order: each takes as many entries as it has elements."""
        return {name: tuple(self._rest[name].shape) for name in self._slices}

    def flatten(self, source: nn.Module | Mapping[str, Tensor]) -> Tensor:
        """The vector [P] float32 (float64 if any parameter is) of a module or state dict; a copy."""
        state = source.state_dict() if isinstance(source, nn.Module) else source
        parts = []
        for name in self._slices:
            if name not in state or state[name].shape != self._rest[name].shape:
                found = tuple(state[name].shape) if name in state else "missing"
                raise ValueError(f"parameter {name!r} should have shape {tuple(self._rest[name].shape)}, it is {found}")
            parts.append(state[name].detach().reshape(-1))
        wide = torch.float64 if any(part.dtype == torch.float64 for part in parts) else torch.float32
        return torch.cat([part.to(wide) for part in parts])

    def state(self, vector: Tensor) -> dict[str, Tensor]:
        """The full state dict of a vector [P]: a copy, in the template's dtypes and on its devices."""
        self._check(vector)
        return {name: self._tensor(vector, name) for name in self._rest}

    @torch.no_grad()
    def load(self, vector: Tensor, module: nn.Module) -> None:
        """Write a vector [P] into a module's parameters; everything else of the module stays."""
        self._check(vector)
        own = dict(module.named_parameters())
        for name, where in self._slices.items():
            if name not in own or own[name].shape != self._rest[name].shape:
                raise ValueError(f"the module has no parameter {name!r} of shape {tuple(self._rest[name].shape)}")
            own[name].copy_(vector[where].view(own[name].shape))

    def _tensor(self, vector: Tensor, name: str) -> Tensor:
        like = self._rest[name]
        owner = self._owner.get(name)
        if owner not in self._slices:
            return like.clone()
        part = vector[self._slices[owner]].detach()
        return torch.empty_like(like).copy_(part.reshape(like.shape))

    def _check(self, vector: Tensor) -> None:
        if vector.shape != (self.size,):
            raise ValueError(f"the vector should have shape ({self.size},), it has {tuple(vector.shape)}")
