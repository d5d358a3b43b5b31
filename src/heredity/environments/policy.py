"""A population's networks as one: weights stacked, one batched product per layer and step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from heredity.search.vector import FlatParams

_ELEMENTWISE: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.Tanh: torch.tanh_,
    nn.ReLU: torch.relu_,
    nn.Sigmoid: torch.sigmoid_,
    nn.Identity: lambda x: x,
}


class PopulationPolicy:
    """Networks of one architecture and many weights.

    Args:
        template: its parameters decide the layout of vectors (`FlatParams`). An `nn.Sequential` of Linear, Conv2d
            (without dilation or groups), Flatten, Tanh, ReLU, Sigmoid and Identity is computed with batched products
            and grouped convolutions; any other module through `torch.func.vmap`.
        scale: by which observations are multiplied first, 1/255 for bytes.
        device: where it is computed.

    Raises:
        ValueError: the template has buffers.
    """

    def __init__(self, template: nn.Module, *, scale: float = 1.0, device: torch.device | str = "cpu") -> None:
        self.template, self.params = template, FlatParams(template)
        self.scale, self.device = scale, torch.device(device)
        self.layers = _layers(template)

    @property
    def size(self) -> int:
        """Parameters of one member."""
        return self.params.size

    def bind(self, vectors: Tensor) -> BoundPolicy:
        """The population with these weights [n, P].

        Raises:
            ValueError: another number of parameters.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.size:
            raise ValueError(f"weights of a population should have shape [n, {self.size}], got {tuple(vectors.shape)}")
        weights, place = [], 0
        own = dict(self.template.named_parameters())
        for name in self.params.names:
            shape = own[name].shape
            part = vectors[:, place : place + shape.numel()].to(self.device, torch.float32)
            weights.append(part.reshape(len(vectors), *shape).contiguous())
            place += shape.numel()
        return BoundPolicy(self, weights)


class BoundPolicy:
    """A population with weights; see `PopulationPolicy.bind`.

    Args:
        policy: the architecture.
        weights: by parameter [n, …].
    """

    def __init__(self, policy: PopulationPolicy, weights: list[Tensor]) -> None:
        self._policy, self._weights = policy, weights
        self._floats = torch.empty(0, device=policy.device)

    @torch.no_grad()
    def __call__(self, observations: NDArray[np.generic]) -> NDArray[np.float32]:
        """Outputs [n, m, out] of observations [n, m, …]: each member sees its own m."""
        x = torch.from_numpy(np.ascontiguousarray(observations)).to(self._policy.device)
        if x.dtype != torch.float32 or self._policy.scale != 1.0:
            # Pictures of a population are large: to allocate their floats anew costs more than to convert them.
            if self._floats.shape != x.shape:
                self._floats = torch.empty(x.shape, device=self._policy.device)
            x = self._floats.copy_(x)
            if self._policy.scale != 1.0:
                x.mul_(self._policy.scale)
        out = self._stacked(x) if self._policy.layers is not None else self._mapped(x)
        return out.cpu().numpy()

    def keep(self, members: NDArray[np.int64]) -> None:
        """Go on with these members only."""
        index = torch.from_numpy(np.asarray(members)).to(self._policy.device)
        self._weights = [weight.index_select(0, index) for weight in self._weights]

    def _stacked(self, x: Tensor) -> Tensor:
        assert self._policy.layers is not None
        n, m = x.shape[:2]
        weights = iter(self._weights)
        owned = False  # whether x may be changed in place
        for layer in self._policy.layers:
            if isinstance(layer, nn.Linear):
                weight = next(weights).transpose(1, 2)
                if layer.bias is not None:
                    x = torch.baddbmm(next(weights).unsqueeze(1), x.reshape(n, m, -1), weight)
                else:
                    x = torch.bmm(x.reshape(n, m, -1), weight)
            elif isinstance(layer, nn.Conv2d):
                weight = next(weights)
                bias = next(weights).reshape(-1) if layer.bias is not None else None
                # Episodes are the batch, members the groups.
                wide = x.transpose(0, 1).reshape(m, -1, *x.shape[3:])
                y = F.conv2d(wide, weight.flatten(0, 1), bias, layer.stride, layer.padding, groups=n)
                x = y.reshape(m, n, layer.out_channels, *y.shape[2:]).transpose(0, 1)
            elif isinstance(layer, nn.Flatten):
                x = x.reshape(n, m, -1)
                continue
            else:
                x = _ELEMENTWISE[type(layer)](x if owned else x.clone())
            owned = True
        return x.reshape(n, m, -1)

    def _mapped(self, x: Tensor) -> Tensor:
        template = self._policy.template
        names = self._policy.params.names

        def one(weights: list[Tensor], seen: Tensor) -> Tensor:
            out: Tensor = torch.func.functional_call(template, dict(zip(names, weights, strict=True)), (seen,))
            return out

        out: Tensor = torch.func.vmap(one, randomness="error")(self._weights, x)
        return out.reshape(*x.shape[:2], -1)


def _layers(template: nn.Module) -> list[nn.Module] | None:
    """The layers of a network that can be stacked; None of others."""
    if not isinstance(template, nn.Sequential):
        template = nn.Sequential(template) if isinstance(template, nn.Linear) else template
    if not isinstance(template, nn.Sequential):
        return None
    flat: list[nn.Module] = []
    for layer in template:
        inner = _layers(layer) if isinstance(layer, nn.Sequential) else [layer]
        if inner is None:
            return None
        flat += inner
    seen = [id(p) for layer in flat for p in layer.parameters()]
    return flat if len(set(seen)) == len(seen) and all(map(_stackable, flat)) else None


def _stackable(layer: nn.Module) -> bool:
    if type(layer) is nn.Conv2d:
        plain = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
        return plain and not isinstance(layer.padding, str)
    if type(layer) is nn.Flatten:
        return layer.start_dim == 1 and layer.end_dim == -1
    return type(layer) is nn.Linear or type(layer) in _ELEMENTWISE
