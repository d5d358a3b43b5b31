"""The digit classifier whose penultimate features all Fréchet distances of made digits use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from heredity.data.digits import Split, all_digits, load_digits
from heredity.errors import EvaluationFailed
from heredity.evaluation.distances import GaussianStats, feature_statistics, frechet_distance
from heredity.evaluation.images import inception_score
from heredity.lab import Child, Context, Model, Operator, Parents, Probe
from heredity.lab.architecture import Architecture

TRAIN = 1500
FEATURES = 64


class DigitCNN(nn.Module):
    """Digits [N, 1, 8, 8] in [−1, 1] → logits [N, 10]; the features before the last layer are 64."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(256, FEATURES),
            nn.ReLU(),
        )
        self.head = nn.Linear(FEATURES, 10)

    def features(self, x: Tensor) -> Tensor:
        """[N, 64], not negative."""
        out: Tensor = self.body(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, 10]."""
        out: Tensor = self.head(self.features(x))
        return out


@dataclass(frozen=True)
class DigitFeatures(Operator):
    """The classifier, trained on 1,500 digits; the birth's seed divides them and draws everything.

    Args:
        epochs, lr: AdamW with one cycle, batches of 50.
    """

    epochs: int = 15
    lr: float = 3e-3
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Train; notes the accuracy on the other 297."""
        module = train_digit_cnn(context.seed, self.epochs, self.lr)
        return Child(module.state_dict(), Architecture(DigitCNN).spec(), {"accuracy": accuracy(module, context.seed)})


@dataclass(frozen=True)
class HeldOutAccuracy(Probe):
    """`accuracy` of a `DigitFeatures` birth on the digits that it was not trained on."""

    def measure(self, model: Model, context: Context) -> Mapping[str, float]:
        """Share of right answers."""
        return {"accuracy": accuracy(model.load(), model.seed)}


def division(seed: int) -> Split:
    """1,500 digits to train on and 297 others, in [−1, 1]."""
    return load_digits(train=TRAIN, seed=seed, scale="signed")


def train_digit_cnn(seed: int, epochs: int = 15, lr: float = 3e-3) -> DigitCNN:
    """The classifier of a division of the digits."""
    data = division(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = DigitCNN()
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * (TRAIN // 50)
    adam = torch.optim.AdamW(module.parameters(), lr=lr, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, lr, total_steps=steps)
    for _ in range(epochs):
        for batch in torch.randperm(TRAIN, generator=generator).split(50):  # type: ignore[no-untyped-call]
            loss = functional.cross_entropy(module(data.train_x[batch]), data.train_y[batch])
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            schedule.step()
    return module.eval()


@lru_cache(maxsize=2)
def digit_features(seed: int = 0) -> DigitCNN:
    """The classifier of a seed, trained once in a process; a claim takes it from its recorded birth instead."""
    return train_digit_cnn(seed)


@torch.no_grad()
def accuracy(module: nn.Module, seed: int) -> float:
    """Share of right answers on the 297 digits that the classifier of this seed was not trained on."""
    data = division(seed)
    return float((module(data.test_x).argmax(1) == data.test_y).double().mean())


class DigitJudge:
    """Images [N, 1, 8, 8] in [−1, 1] → `fid`, the Fréchet distance of features to all 1,797 digits, and `is`, the
    inception score.

    Args:
        module: a trained `DigitCNN`.
    """

    def __init__(self, module: DigitCNN) -> None:
        self.module = module
        self.real: GaussianStats = feature_statistics(self._features(all_digits(scale="signed")[0]))

    def __call__(self, images: Tensor) -> dict[str, float]:
        """Judge; compare only what was judged by equally many images.

        Raises:
            EvaluationFailed: a pixel is not finite.
        """
        if not bool(torch.isfinite(images).all()):
            raise EvaluationFailed("an image is not finite")
        features = self._features(images)
        fid = frechet_distance(feature_statistics(features), self.real)
        with torch.no_grad():
            score, _ = inception_score(self.module.head(features).softmax(1))
        return {"fid": fid, "is": score}

    @torch.no_grad()
    def _features(self, images: Tensor) -> Tensor:
        return torch.cat([self.module.features(part) for part in torch.split(images, 512)])
