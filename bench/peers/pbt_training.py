"""The training that population based training is timed on: an MLP on scikit-learn's digits, some steps per round."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

from heredity.data.digits import all_digits
from heredity.search.training_state import Training

LOW, HIGH = 1e-4, 1e-1  # of the learning rate, on a logarithmic scale
STEPS, BATCH = 20, 64


@functools.lru_cache(maxsize=1)
def data() -> tuple[torch.Tensor, torch.Tensor]:
    """Images [1797, 64] and labels."""
    torch.set_num_threads(1)
    x, y = all_digits()
    return x.flatten(1), y


def make(hyper: Any, seed: int) -> Training:
    """A new network and its optimiser."""
    data()
    module = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.AdamW(module.parameters(), lr=hyper["lr"])
    return Training(module, optimizer, None, torch.Generator().manual_seed(seed))


def step(training: Training, hyper: Any) -> None:
    """One round."""
    x, y = data()
    for _ in range(STEPS):
        rows = torch.randint(1500, (BATCH,), generator=training.generator)
        training.optimizer.zero_grad()
        nn.functional.cross_entropy(training.module(x[rows]), y[rows]).backward()
        training.optimizer.step()


@torch.no_grad()
def evaluate(training: Training) -> float:
    """Accuracy on the last 297 images."""
    x, y = data()
    return float((training.module(x[1500:]).argmax(1) == y[1500:]).double().mean())
