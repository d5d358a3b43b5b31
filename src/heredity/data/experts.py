"""Small experts with one ancestor: multi-layer perceptrons fine-tuned on one shift of the digits each.

Training is an explicit value: `train_epoch` takes and returns a `TrainState`, so that a run can be saved between epochs
and go on bit for bit. Batches are drawn from a generator counted per (seed, epoch); there is no other
state. Bits are those of one machine and one number of compute threads.
Source: the experts of arXiv 2403.13187 and 2503.01155 at the scale of digits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from heredity.data.shifts import Shift, apply_shifts
from heredity.errors import NonFinite

StateDict = dict[str, Tensor]


class MLP(nn.Module):
    """Linear layers with ReLU between them, on flattened images.

    Args:
        widths: sizes of input, hidden layers and output.
        seed: of the initial weights (uniform in ±1/√fan_in, torch's default for Linear).
    """

    def __init__(self, widths: Sequence[int] = (64, 512, 512, 10), seed: int = 0) -> None:
        super().__init__()
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(f"widths must be at least two positive sizes, got {list(widths)}")
        generator = torch.Generator().manual_seed(seed)
        self.widths = tuple(widths)
        self.layers = nn.ModuleList()
        for fan_in, fan_out in pairwise(widths):
            # Linear's own initialisation draws from the global generator; on the meta device it draws nothing.
            layer = nn.Linear(fan_in, fan_out, device="meta").to_empty(device="cpu")
            bound = fan_in**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
            self.layers.append(layer)

    @staticmethod
    def with_layers(config: Mapping[str, Any], layers: Sequence[int]) -> dict[str, Any]:
        """The arguments of the network whose inner layers are these, in this order; the first and last maps stay.

        Args:
            config: this network's arguments.
            layers: inner layer i maps widths[i + 1] to widths[i + 2]; numbers may repeat.

        Raises:
            ValueError: a layer does not fit the one before it.
        """
        widths = list(config.get("widths", (64, 512, 512, 10)))
        new = widths[:2]
        for i in layers:
            if widths[i + 1] != new[-1]:
                raise ValueError(f"inner layer {i} reads {widths[i + 1]} numbers, the one before it gives {new[-1]}")
            new.append(widths[i + 2])
        if new[-1] != widths[-2]:
            raise ValueError(f"the last map reads {widths[-2]} numbers, the layer before it gives {new[-1]}")
        return {**config, "widths": [*new, widths[-1]]}

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, widths[-1]] of images [B, …] whose other dimensions multiply to widths[0]."""
        x = x.flatten(1)
        for layer in self.layers[:-1]:
            x = functional.relu(layer(x))
        logits: Tensor = self.layers[-1](x)
        return logits


@dataclass(frozen=True)
class TrainState:
    """Where a training run stands.

    Args:
        weights: the module's state dict.
        moments: AdamW's tensors, "<state>/<parameter>", e.g. "exp_avg/layers.0.weight"; empty before the first epoch.
        epoch: finished epochs.
    """

    weights: StateDict
    moments: StateDict
    epoch: int = 0

    def tensors(self) -> StateDict:
        """Weights and moments in one flat dictionary, for a checkpoint; `epoch` is stored beside it."""
        return {f"weights/{k}": v for k, v in self.weights.items()} | {
            f"moments/{k}": v for k, v in self.moments.items()
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], epoch: int) -> TrainState:
        """The state that `tensors()` wrote."""
        parts: dict[str, StateDict] = {"weights": {}, "moments": {}}
        for key, tensor in tensors.items():
            part, _, name = key.partition("/")
            if part not in parts or not name:
                raise ValueError(f"not a training checkpoint: unexpected tensor {key!r}")
            parts[part][name] = tensor
        return cls(parts["weights"], parts["moments"], epoch)


def train_epoch(
    module: nn.Module,
    state: TrainState,
    x: Tensor,
    y: Tensor,
    *,
    lr: float,
    seed: int,
    batch: int = 64,
    weight_decay: float = 0.01,
) -> TrainState:
    """One epoch of AdamW on the cross-entropy; `module` is overwritten with the state and serves as scratch.

    Args:
        module: of the architecture of the weights; its forward must not draw random numbers.
        state: where to go on.
        x: [N, …] inputs; y: [N] labels.
        lr: learning rate; weight_decay: decoupled, per step lr · weight_decay.
        seed: of the order of images, together with the epoch's number.
        batch: images per step; the last batch may be smaller.

    Returns:
        The next state; `state` is unchanged.

    Raises:
        NonFinite: the loss became NaN or infinite.
    """
    if len(x) != len(y) or not len(x):
        raise ValueError(f"need as many labels as images and at least one, got {len(x)} images and {len(y)} labels")
    module.load_state_dict(state.weights)
    module.train()
    named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW([p for _, p in named], lr=lr, weight_decay=weight_decay)
    _restore_moments(optimizer, named, state.moments)
    generator = torch.Generator().manual_seed(((seed & 0x7FFF_FFFF) << 31) + state.epoch)
    order = torch.randperm(len(x), generator=generator)
    for chosen in torch.split(order, batch):
        loss = functional.cross_entropy(module(x[chosen]), y[chosen])
        if not bool(torch.isfinite(loss)):
            raise NonFinite(f"training loss became {float(loss.detach())} in epoch {state.epoch}; lower lr={lr}")
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
    moments = {
        f"{kind}/{name}": tensor.detach().clone()
        for name, parameter in named
        for kind, tensor in optimizer.state[parameter].items()
    }
    return TrainState(_copy(module), moments, state.epoch + 1)


def train(
    module: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epochs: int,
    lr: float,
    seed: int,
    batch: int = 64,
    weight_decay: float = 0.01,
    state: TrainState | None = None,
    on_epoch: Callable[[TrainState], Any] | None = None,
) -> TrainState:
    """Train `module` in place until `epochs` epochs are done.

    Args:
        state: go on from here instead of the module's present weights; its finished epochs count.
        on_epoch: called after each epoch with the new state, e.g. to save it.
        module, x, y, lr, seed, batch, weight_decay: as in `train_epoch`.

    Returns:
        The last state; the module holds its weights and is in eval mode.
    """
    state = state or TrainState(_copy(module), {})
    while state.epoch < epochs:
        state = train_epoch(module, state, x, y, lr=lr, seed=seed, batch=batch, weight_decay=weight_decay)
        if on_epoch is not None:
            on_epoch(state)
    module.load_state_dict(state.weights)
    module.eval()
    return state


@dataclass(frozen=True)
class FounderSpec:
    """What one founder is fine-tuned on.

    Args:
        name: short, unique among its siblings.
        shifts: applied in order to every training image.
        classes: keep only these labels; None keeps all.
    """

    name: str
    shifts: tuple[Shift, ...]
    classes: tuple[int, ...] | None = None


def ancestor(
    x: Tensor, y: Tensor, *, seed: int = 0, epochs: int = 20, widths: Sequence[int] = (64, 512, 512, 10)
) -> MLP:
    """An MLP trained from scratch with AdamW at 1e-3, e.g. on upright digits."""
    module = MLP(widths, seed)
    train(module, x, y, epochs=epochs, lr=1e-3, seed=seed)
    return module


def founders(
    parent: MLP, specs: Sequence[FounderSpec], x: Tensor, y: Tensor, *, seed: int = 0, epochs: int = 6, lr: float = 5e-4
) -> list[StateDict]:
    """Fine-tune copies of `parent`, one per spec, each on shifted images of the same set.

    Args:
        parent: the ancestor; unchanged.
        specs: one per founder, names distinct.
        x: [N, 1, S, S] in [0, 1]; y: [N].
        seed: founder i draws its noise and its batches from seed · 1000 + i.
    """
    names = [spec.name for spec in specs]
    if len(set(names)) != len(names):
        raise ValueError(f"founder names must differ, got {names}")
    born = []
    for i, spec in enumerate(specs):
        inputs, labels = founder_data(spec, x, y, seed=seed * 1000 + i)
        child = MLP(parent.widths)
        child.load_state_dict(parent.state_dict())
        born.append(train(child, inputs, labels, epochs=epochs, lr=lr, seed=seed * 1000 + i).weights)
    return born


def founder_data(spec: FounderSpec, x: Tensor, y: Tensor, *, seed: int) -> tuple[Tensor, Tensor]:
    """The shifted images and labels that a founder is trained on."""
    if spec.classes is not None:
        kept = torch.isin(y, torch.tensor(spec.classes))
        if not bool(kept.any()):
            raise ValueError(f"founder {spec.name!r} keeps classes {spec.classes}, of which there are no images")
        x, y = x[kept], y[kept]
    return apply_shifts(x, spec.shifts, seed), y


@torch.no_grad()
def accuracy(module: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of images whose largest logit is their label; NaN logits count as wrong."""
    logits = module(x)
    right = (logits.argmax(1) == y) & torch.isfinite(logits).all(1)
    return float(right.double().mean())


def _copy(module: nn.Module) -> StateDict:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def _restore_moments(
    optimizer: torch.optim.Optimizer, named: Sequence[tuple[str, nn.Parameter]], moments: Mapping[str, Tensor]
) -> None:
    by_name: dict[str, StateDict] = {}
    for key, tensor in moments.items():
        kind, _, name = key.partition("/")
        by_name.setdefault(name, {})[kind] = tensor.clone()
    if by_name and set(by_name) != {name for name, _ in named}:
        odd = sorted(set(by_name) ^ {name for name, _ in named})[0]
        raise ValueError(f"the training state does not fit the module: parameter {odd!r} is only in one of them")
    for name, parameter in named:
        if by_name:
            optimizer.state[parameter] = dict(by_name[name])
