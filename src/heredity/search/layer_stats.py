"""What one batch tells about each layer of a network: weights, gradients, activations, curvature, synaptic flow.

Sources: EMQ (arXiv 2307.10554), its inputs; SynFlow (arXiv 2006.05467); HAWQ-V2 (arXiv 1911.03852), the trace of the
Hessian by Hutchinson's estimate.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from heredity.search.base import Batch

Input = Literal["W", "G", "A", "H", "VG"]
INPUTS: tuple[Input, ...] = ("W", "G", "A", "H", "VG")
Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
_BATCH_NORM = nn.modules.batchnorm._BatchNorm


class LayerStats(Mapping[str, Mapping[str, Tensor]]):
    """Layer → name of a statistic → tensor. Layers are convolutions and linear maps, in the model's order.

    W: weight. G: ∂loss/∂W. A: the layer's output on some of the inputs [n, ...]. H: the mean over draws of random signs
    z of z ⊙ (∂²loss/∂W² z), W all the layers' weights: its entries estimate the Hessian's diagonal, its sum the layer's
    trace. VG: the gradient of SynFlow, ∂R/∂|W|, where R is the summed output for an input of ones when all
    parameters are replaced by their absolute values and batch norm has mean 0 and variance 1.
    """

    def __init__(self, layers: Mapping[str, Mapping[str, Tensor]]) -> None:
        if not layers:
            raise ValueError("statistics need at least one layer")
        self._layers = {name: dict(tensors) for name, tensors in layers.items()}

    def __getitem__(self, name: str) -> Mapping[str, Tensor]:
        return self._layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    @classmethod
    def collect(
        cls,
        model: nn.Module,
        batch: Batch,
        loss_fn: Loss = functional.cross_entropy,
        want: Collection[Input] = INPUTS,
        *,
        layers: Sequence[str] | None = None,
        activations: int | None = None,
        draws: int = 1,
        seed: int = 0,
    ) -> LayerStats:
        """Statistics of a model as it is: its mode is kept, and nothing of it changes.

        Args:
            batch: inputs [n, ...] and what the loss takes as the truth.
            want: which statistics.
            layers: names of layers; None means all.
            activations: keep the outputs of so many inputs; None means all.
            draws: of signs for H, each at the cost of a second backward pass; one is noisy.
            seed: of the signs.

        Raises:
            ValueError: an unknown statistic or layer.
        """
        if draws < 1:
            raise ValueError(f"H needs at least one draw of signs, got {draws}")
        if unknown := sorted(set(want) - set(INPUTS)):
            raise ValueError(f"unknown statistic {unknown[0]!r}; known are {', '.join(INPUTS)}")
        model = copy.deepcopy(model)
        names = list(weighted_layers(model)) if layers is None else list(layers)
        if unknown_layers := [name for name in names if name not in weighted_layers(model)]:
            raise ValueError(f"{unknown_layers[0]!r} is no convolution or linear layer of the model")
        chosen = {name: weighted_layers(model)[name] for name in names}
        found: dict[str, dict[str, Tensor]] = {
            name: {"W": weight_of(layer).detach().clone()} if "W" in want else {} for name, layer in chosen.items()
        }
        if "VG" in want:
            for name, flow in zip(names, synaptic_flow(model, batch[0], names), strict=True):
                found[name]["VG"] = flow
        if "A" in want:
            for name, output in outputs_of(model, batch[0][:activations], names).items():
                found[name]["A"] = output
        if {"G", "H"} & set(want):
            weights = [weight_of(layer) for layer in chosen.values()]
            generator = torch.Generator().manual_seed(seed)
            signs = [random_signs(weights, generator) for _ in range(draws if "H" in want else 0)]
            gradients, products = curvature(model, batch, loss_fn, weights, signs)
            for k, name in enumerate(names):
                if "G" in want:
                    found[name]["G"] = gradients[k]
                if "H" in want:
                    each = [z[k] * product[k] for z, product in zip(signs, products, strict=True)]
                    found[name]["H"] = torch.stack(each).mean(0)
        return cls(found)


def weighted_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Convolutions and linear maps by name, in the model's order."""
    kinds = (nn.Linear, nn.modules.conv._ConvNd)
    return {name: module for name, module in model.named_modules() if isinstance(module, kinds)}


def weight_of(layer: nn.Module) -> Tensor:
    """The weight of a convolution or a linear map."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight


def random_signs(weights: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Tensors of the weights' shapes with −1 and 1 (Rademacher)."""
    return [torch.randint(0, 2, w.shape, generator=generator).to(w) * 2 - 1 for w in weights]


def curvature(
    model: nn.Module, batch: Batch, loss_fn: Loss, weights: Sequence[Tensor], vectors: Sequence[Sequence[Tensor]] = ()
) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Gradients of the loss with respect to weights, and the Hessian of all of them times each of some vectors.

    A vector is a tensor of each weight's shape.
    """
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):  # dropout draws from the global generator
        torch.manual_seed(0)
        loss = loss_fn(model(batch[0]), batch[1])
        given = torch.autograd.grad(loss, weights, create_graph=bool(vectors), allow_unused=True)
        gradients = [torch.zeros_like(w) if g is None else g for g, w in zip(given, weights, strict=True)]
        products = []
        for vector in vectors:
            inner = torch.stack([(g * v).sum() for g, v in zip(gradients, vector, strict=True)]).sum()
            second = torch.autograd.grad(inner, weights, retain_graph=True, allow_unused=True)
            products.append([torch.zeros_like(w) if h is None else h for h, w in zip(second, weights, strict=True)])
    return [g.detach() for g in gradients], products


def synaptic_flow(model: nn.Module, x: Tensor, layers: Sequence[str]) -> list[Tensor]:
    """∂R/∂|W| of each layer, computed in float64 on a copy; R is for one input of ones of the shape of x[0]."""
    linear = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.abs_()
        for module in linear.modules():
            if isinstance(module, _BATCH_NORM) and module.running_mean is not None:
                module.reset_running_stats()
    weights = [weight_of(weighted_layers(linear)[name]) for name in layers]
    with torch.enable_grad():
        total = linear(torch.ones(1, *x.shape[1:], dtype=torch.float64)).sum()
        given = torch.autograd.grad(total, weights, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for g, w in zip(given, weights, strict=True)]


def outputs_of(model: nn.Module, x: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """What the named modules put out for x, by hooks that are removed again; a module that runs twice: the last."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _module, _inputs, output: seen.__setitem__(name, output.detach())

    hooks = [model.get_submodule(name).register_forward_hook(keep(name)) for name in layers]
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model(x)
    finally:
        for hook in hooks:
            hook.remove()
    if missing := [name for name in layers if name not in seen]:
        raise ValueError(f"the layer {missing[0]!r} was not reached by a forward pass")
    return {name: seen[name] for name in layers}
