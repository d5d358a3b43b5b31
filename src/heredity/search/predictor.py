"""A predictor of accuracy from architecture and recipe, pretrained on statistics of architectures that cost nothing.

An encoder turns an architecture's code into an embedding; one head tells its statistics, another, with the recipe, the
accuracy of training it. Pretrained on thousands of architectures that were never trained, the encoder knows what
matters of an architecture before the first accuracy is paid for.
Source: arXiv 2006.02049, section 3.1; sizes, epochs and rates it does not give are ours.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import skip_init

Columns: TypeAlias = "Sequence[Sequence[float]] | Tensor"


class JointPredictor(nn.Module):
    """Accuracy of (architecture, recipe), and statistics of the architecture.

    Args:
        d_arch, d_recipe: sizes of the codes.
        embed: size of an architecture's embedding.
        hidden: widths of the encoder's hidden layers; the accuracy head has one of the last width.
        statistics: how many are predicted.
        seed: of first weights, and of the order of batches.

    `fit` begins from the pretrained encoder and a fresh accuracy head each time, so that it depends on its data alone.
    """

    log_mean: Tensor
    log_std: Tensor
    y_mean: Tensor
    y_std: Tensor

    def __init__(
        self,
        d_arch: int,
        d_recipe: int,
        embed: int = 24,
        hidden: Sequence[int] = (128, 128),
        *,
        statistics: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(d_arch, d_recipe, embed, statistics, *hidden) < 1 or not hidden:
            raise ValueError(f"sizes must be positive, got {d_arch}, {d_recipe}, {embed}, {hidden} and {statistics}")
        self.seed = seed
        generator = torch.Generator().manual_seed(seed)
        widths = [d_arch, *hidden]
        layers: list[nn.Module] = []
        for wide, narrow in itertools.pairwise(widths):
            layers += [_linear(wide, narrow, generator), nn.ReLU()]
        self.encoder = nn.Sequential(*layers, _linear(hidden[-1], embed, generator))
        self.proxy = _linear(embed, statistics, generator)
        self.head = nn.Sequential(
            _linear(embed + d_recipe, hidden[-1], generator), nn.ReLU(), _linear(hidden[-1], 1, generator)
        )
        self.register_buffer("log_mean", torch.zeros(statistics))
        self.register_buffer("log_std", torch.ones(statistics))
        self.register_buffer("y_mean", torch.zeros(()))
        self.register_buffer("y_std", torch.ones(()))
        self._first = {name: tensor.clone() for name, tensor in self.state_dict().items()}

    def pretrain(
        self, archs: Tensor, statistics: Columns, *, epochs: int = 60, batch: int = 256, lr: float = 2e-3
    ) -> float:
        """Learn the statistics of architectures, standardised on a logarithmic scale.

        Args:
            archs: codes [n, d_arch]; none that matters for a test needs to be left out, for no accuracy is seen.
            statistics: positive numbers [n, statistics].

        Returns:
            The last epoch's mean squared error in standard units.

        Raises:
            ValueError: shapes do not fit, or a statistic is not positive and finite.
        """
        raw = torch.as_tensor(statistics, dtype=torch.float64)
        if raw.shape != (len(archs), len(self.log_mean)) or not (torch.isfinite(raw).all() and (raw > 0).all()):
            raise ValueError(f"statistics must be positive numbers {(len(archs), len(self.log_mean))}, got {raw.shape}")
        logs = raw.log()
        self.log_mean.copy_(logs.mean(0))
        self.log_std.copy_(logs.std(0, correction=0).clamp(min=1e-6))
        target = ((logs - logs.mean(0)) / self.log_std.double()).float()
        parts = [*self.encoder.parameters(), *self.proxy.parameters()]
        loss = 0.0
        generator = torch.Generator().manual_seed(self.seed)
        optimizer = torch.optim.Adam(parts, lr=lr)
        for epoch in range(epochs):
            _cosine(optimizer, lr, epoch, epochs)
            total = 0.0
            for rows in torch.randperm(len(archs), generator=generator).split(batch):  # type: ignore[no-untyped-call]
                error = functional.mse_loss(self.proxy(self.encoder(archs[rows])), target[rows])
                _step(optimizer, error)
                total += float(error.detach()) * len(rows)
            loss = total / len(archs)
        self._first = {name: tensor.clone() for name, tensor in self.state_dict().items()}
        return loss

    def fit(
        self,
        archs: Tensor,
        recipes: Tensor,
        y: Sequence[float] | Tensor,
        *,
        freeze_epochs: int = 50,
        epochs: int = 50,
        huber: float = 1.0,
        batch: int = 8,
        lr: float = 5e-3,
        fine: float = 0.2,
    ) -> None:
        """Learn accuracies, by Huber's loss in standard units.

        Args:
            archs, recipes: codes [n, …] of candidates that were trained.
            y: their accuracies [n], finite.
            freeze_epochs: first, with the encoder as it is; then `epochs` with all of it.
            huber: residual, in standard deviations of y, from which the loss is linear.
            batch, lr: of Adam; fine: the factor of the rate once all layers learn after frozen epochs.

        Raises:
            ValueError: no data, other lengths, or an accuracy is not finite.
        """
        values = torch.as_tensor(y, dtype=torch.float32)
        if not len(values) or values.shape != (len(archs),) or len(recipes) != len(archs):
            raise ValueError(f"{len(archs)} architectures, {len(recipes)} recipes and accuracies {tuple(values.shape)}")
        if not torch.isfinite(values).all():
            raise ValueError(f"accuracy {int((~torch.isfinite(values)).nonzero()[0])} is not finite")
        self.load_state_dict(self._first)
        self.y_mean.copy_(values.mean())
        self.y_std.copy_(values.std(correction=0).clamp(min=1e-6))
        target = (values - self.y_mean) / self.y_std
        generator = torch.Generator().manual_seed(self.seed + 1)

        def learn(parts: list[nn.Parameter], count: int, rate: float, frozen: Tensor | None) -> None:
            optimizer = torch.optim.Adam(parts, lr=rate)
            for epoch in range(count):
                _cosine(optimizer, rate, epoch, count)
                for rows in torch.randperm(len(target), generator=generator).split(batch):  # type: ignore[no-untyped-call]
                    code = self.encoder(archs[rows]) if frozen is None else frozen[rows]
                    guess = self.head(torch.cat([code, recipes[rows]], 1)).squeeze(1)
                    _step(optimizer, functional.huber_loss(guess, target[rows], delta=huber))

        if freeze_epochs:
            with torch.no_grad():
                codes = self.encoder(archs)
            learn(list(self.head.parameters()), freeze_epochs, lr, codes)
        if epochs:
            everything = [*self.encoder.parameters(), *self.head.parameters()]
            learn(everything, epochs, lr * (fine if freeze_epochs else 1.0), None)

    @torch.no_grad()
    def predict(self, archs: Tensor, recipes: Tensor) -> Tensor:
        """Accuracies [n]."""
        guess = self.head(torch.cat([self.encoder(archs), recipes], 1)).squeeze(1)
        accuracies: Tensor = guess * self.y_std + self.y_mean
        return accuracies

    @torch.no_grad()
    def predict_statistics(self, archs: Tensor) -> Tensor:
        """Statistics [n, statistics]."""
        logs: Tensor = self.proxy(self.encoder(archs)) * self.log_std + self.log_mean
        return logs.exp()

    def pretrained_from(self, state: dict[str, Tensor]) -> None:
        """Begin every fit from these weights of a predictor that was pretrained.

        Args:
            state: its `state_dict()` after `pretrain`.
        """
        self.load_state_dict(state)
        self._first = {name: tensor.clone() for name, tensor in self.state_dict().items()}


def _linear(wide: int, narrow: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer with PyTorch's usual first weights, drawn from a generator of our own."""
    layer: nn.Linear = skip_init(nn.Linear, wide, narrow)  # type: ignore[no-untyped-call]
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
    nn.init.uniform_(layer.bias, -1 / math.sqrt(wide), 1 / math.sqrt(wide), generator=generator)
    return layer


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _cosine(optimizer: torch.optim.Optimizer, lr: float, epoch: int, epochs: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr * (1 + math.cos(math.pi * epoch / epochs)) / 2
