"""The script of the built-in recipe tune_digits: a small network on scikit-learn's digits.

A training script is three functions, and a fourth if the end is to be tested on what the search never sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from heredity.data.digits import Split, load_digits
from heredity.search.training_state import Training

BATCH = 64


@cache
def parts() -> tuple[Split, Split]:
    """(train, validation) of three quarters of the digits, and those with the test images."""
    whole = load_digits(train=0.75, seed=0)
    count = len(whole.train_x) * 2 // 3
    search = Split(whole.train_x[:count], whole.train_y[:count], whole.train_x[count:], whole.train_y[count:])
    return search, whole


def make(hyper: Mapping[str, Any], seed: int) -> Training:
    """A new training: called in every round, so that what the module is told (a dropout) is in force."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(hyper["dropout"]), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(
        module.parameters(), hyper["lr"], momentum=hyper["momentum"], weight_decay=hyper["weight_decay"]
    )
    return Training(module, optimizer, generator=torch.Generator().manual_seed(seed))


def step(training: Training, hyper: Mapping[str, Any]) -> None:
    """Ten batches."""
    data, _ = parts()
    training.module.train()
    for _ in range(10):
        rows = torch.randint(len(data.train_x), (BATCH,), generator=training.generator)
        loss = functional.cross_entropy(training.module(data.train_x[rows]), data.train_y[rows])
        training.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        training.optimizer.step()


def evaluate(training: Training) -> float:
    """Cross entropy on validation images: smoother than accuracy, and what the recipe minimises."""
    data, _ = parts()
    return float(functional.cross_entropy(_answers(training, data.test_x), data.test_y))


def test(training: Training) -> float:
    """Accuracy on test images."""
    _, data = parts()
    return float((_answers(training, data.test_x).argmax(1) == data.test_y).float().mean())


@torch.no_grad()
def _answers(training: Training, x: Tensor) -> Tensor:
    training.module.eval()
    answers: Tensor = training.module(x)
    return answers
