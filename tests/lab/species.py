"""Operators, probes and modules of the lab's tests."""

from __future__ import annotations

import enum
import os
import random
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

import heredity as hd
from heredity.errors import EvaluationFailed
from heredity.lab import Child


@hd.architecture
class Net(nn.Module):
    def __init__(self, width: int = 8, *, dropout: float = 0.25, classes: int = 3) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)
        self.outer = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.drop(torch.relu(self.inner(x))))


class Shade(enum.Enum):
    LIGHT = "light"
    DARK = "dark"


class Letter(enum.StrEnum):
    A = "a"


@dataclass(frozen=True)
class Data:
    path: Any = None
    rows: int = 3
    scale: float = 1.0


@dataclass
class Changeable:
    value: int = 0


def double(x: float) -> float:
    return 2 * x


@dataclass(frozen=True)
class Everything(hd.Operator):
    """An operator with one field for every kind of value."""

    number: float = 1.0
    numbers: tuple[float, ...] = (1.0, 2.0)
    named: Mapping[str, float] | None = None
    maybe: float | None = None
    listed: list[int] | None = None
    anything: Any = None

    def apply(self, parents: hd.Parents, context: hd.Context) -> dict[str, Tensor]:
        return {"w": torch.zeros(1)}


@dataclass(frozen=True)
class Mutate(hd.Operator):
    sigma: float = 0.1
    kind: ClassVar[str] = "mutate"

    def apply(self, parents: hd.Parents, context: hd.Context) -> dict[str, Tensor]:
        return {
            name: tensor + self.sigma * torch.randn(tensor.shape, generator=context.generator)
            for name, tensor in sorted(parents[0].weights().items())
        }


@dataclass(frozen=True)
class Average(hd.Operator):
    kind: ClassVar[str] = "merge"

    def apply(self, parents: hd.Parents, context: hd.Context) -> dict[str, Tensor]:
        first, second = (parent.weights() for parent in parents)
        return {name: (first[name] + second[name]) / 2 for name in first}


@dataclass(frozen=True)
class Train(hd.Operator):
    """Everything that could depend on the process: big products, dropout, global and own generators, BLAS of NumPy."""

    width: int = 48
    steps: int = 3

    def apply(self, parents: hd.Parents, context: hd.Context) -> nn.Module:
        net = parents[0].load() if len(parents) else Net(self.width)
        net.train()
        x = torch.randn(512, self.width, generator=context.generator)
        mixing = np.random.rand(self.width, self.width) @ np.random.rand(self.width, self.width)  # noqa: NPY002
        x = x @ torch.from_numpy(mixing).float() * random.random()
        y = torch.randint(0, 3, (512,))
        optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
        for _ in range(self.steps):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimiser.step()
        return net


@dataclass(frozen=True)
class Logged(hd.Operator):
    """A birth that leaves a line in a side file for every time it really runs."""

    log: str = ""
    value: float = 1.0
    pause: float = 0.0

    def apply(self, parents: hd.Parents, context: hd.Context) -> dict[str, Tensor]:
        with Path(self.log).open("a") as file:
            file.write(f"{self.value}\n")
        time.sleep(self.pause)
        return {"w": torch.full((4,), self.value)}


@dataclass(frozen=True)
class Where(hd.Operator):
    """Leaves the id of its process in a side file."""

    log: str = ""
    value: float = 1.0
    pause: float = 0.0

    def apply(self, parents: hd.Parents, context: hd.Context) -> dict[str, Tensor]:
        with Path(self.log).open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(self.pause)
        return {"w": torch.full((4,), self.value)}


@dataclass(frozen=True)
class Raises(hd.Operator):
    def apply(self, parents: hd.Parents, context: hd.Context) -> dict[str, Tensor]:
        raise RuntimeError("out of luck")


@dataclass(frozen=True)
class Returns(hd.Operator):
    what: str = "nothing"

    def apply(self, parents: hd.Parents, context: hd.Context) -> Any:
        return {
            "nothing": None,
            "text": "weights",
            "empty": {},
            "numbers": {"w": 1.0},
            "nan": {"w": torch.tensor([1.0, float("nan")])},
            "meta": {"w": torch.empty(2, device="meta")},
            "nan note": Child({"w": torch.zeros(1)}, notes={"loss": float("nan")}),
            "exit": None,
        }[self.what]


@dataclass(frozen=True)
class Scribble(hd.Operator):
    """Writes to its parent in place, which no operator may."""

    def apply(self, parents: hd.Parents, context: hd.Context) -> dict[str, Tensor]:
        weights = parents[0].weights()
        next(iter(weights.values())).add_(1.0)
        return {name: tensor.clone() for name, tensor in weights.items()}


@dataclass(frozen=True)
class DiesUnless(hd.Operator):
    """Kills its own process until a file exists; the first time it makes the file when told so."""

    file: str = ""
    make: bool = True
    value: float = 0.0

    def apply(self, parents: hd.Parents, context: hd.Context) -> dict[str, Tensor]:
        path = Path(self.file)
        if not path.exists():
            if self.make:
                path.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"w": torch.full((3,), self.value)}


@dataclass(frozen=True)
class Coin(hd.Operator):
    """Not deterministic, and says so."""

    deterministic: ClassVar[bool] = False

    def apply(self, parents: hd.Parents, context: hd.Context) -> dict[str, Tensor]:
        return {"w": torch.tensor([int.from_bytes(os.urandom(4)) / 2**32])}


@dataclass(frozen=True)
class Liar(hd.Operator):
    """Not deterministic, and does not say so."""

    def apply(self, parents: hd.Parents, context: hd.Context) -> dict[str, Tensor]:
        return {"w": torch.tensor([int.from_bytes(os.urandom(4)) / 2**32])}


@dataclass(frozen=True)
class Plant(hd.Operator):
    """A child that is its evidence."""

    seedling: Tensor

    def apply(self, parents: hd.Parents, context: hd.Context) -> dict[str, Tensor]:
        return {"w": self.seedling.clone()}


@dataclass(frozen=True)
class Norm(hd.Probe):
    def measure(self, model: hd.Model, context: hd.Context) -> Mapping[str, float]:
        return {"norm": sum(float(tensor.double().pow(2).sum()) for tensor in model.weights().values())}


@dataclass(frozen=True)
class Judge(hd.Probe):
    """Fails in the way that it is told, and counts how often it is asked."""

    how: str = "nan"
    log: str = ""
    sick: str = ""  # a file whose presence makes it raise

    def measure(self, model: hd.Model, context: hd.Context) -> Mapping[str, float]:
        with Path(self.log).open("a") as file:
            file.write("asked\n")
        if self.how == "nan":
            return {"fitness": float("nan")}
        if self.how == "unusable":
            raise EvaluationFailed("no test images")
        if self.how == "raise" and Path(self.sick).exists():
            raise OSError("disk on fire")
        return {"fitness": 0.5}


@dataclass(frozen=True)
class Checkpoints(hd.Operator):
    """Counts up in steps, saving each; goes on from the last one saved."""

    size: int = 4
    steps: int = 3
    pause: float = 0.0

    def apply(self, parents: hd.Parents, context: hd.Context) -> dict[str, Tensor]:
        saved = context.restore()
        total, begin = torch.zeros(self.size), 0
        if saved is not None:
            total, begin = saved[0]["total"], saved[1]["step"]
            context.generator.set_state(saved[0]["generator"])
        else:
            context.generator.manual_seed(context.seed)
        for step in range(begin, self.steps):
            total = total + torch.randn(self.size, generator=context.generator)
            time.sleep(self.pause)
            context.checkpoint({"total": total, "generator": context.generator.get_state()}, step=step + 1)
            context.progress(step + 1, self.steps)
        return {"w": total}


@dataclass(frozen=True)
class Threads(hd.Operator):
    """Notes how many threads its numerical libraries would use."""

    tag: str = ""

    def apply(self, parents: hd.Parents, context: hd.Context) -> Child:
        from threadpoolctl import threadpool_info

        np.dot(np.ones((64, 64)), np.ones((64, 64)))
        blas = sorted({library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"})
        return Child({"w": torch.zeros(1)}, notes={"torch": torch.get_num_threads(), "blas": blas})


@dataclass(frozen=True)
class Drift(hd.Operator):
    """A walk from the parent in steps that are saved, so that a killed one goes on."""

    steps: int = 3
    kind: ClassVar[str] = "mutate"

    def apply(self, parents: hd.Parents, context: hd.Context) -> dict[str, Tensor]:
        saved = context.restore()
        if saved is None:
            state, begin = {name: tensor.clone() for name, tensor in parents[0].weights().items()}, 0
        else:
            state, begin = saved[0], saved[1]["step"]
            context.generator.set_state(state.pop("generator"))
        for step in range(begin, self.steps):
            state = {
                name: tensor + 0.1 * torch.randn(tensor.shape, generator=context.generator)
                for name, tensor in sorted(state.items())
            }
            context.checkpoint({**state, "generator": context.generator.get_state()}, step=step + 1)
        return state


def evolve(lab: hd.Lab, generations: int = 4, children: int = 3) -> list[hd.Model]:
    """A plain loop without a thought of being killed."""
    population = [lab.add({"w": torch.full((16,), float(n))}, name=f"founder-{n}") for n in (1, 2)]
    lab.measure_all(Norm(), population)
    for generation in range(generations):
        requests = [
            hd.Request(Drift(), (parent,), seed=10 * generation + n, labels={"generation": generation})
            for parent in population
            for n in range(children)
        ]
        born = lab.derive_all(requests, measure=Norm())
        everyone = sorted([*population, *born], key=lambda model: model.value("norm") or 0.0, reverse=True)
        population, rest = everyone[:2], everyone[2:]
        lab.die(rest, "not selected")
        lab.drop([model for model in rest if model.kind == "mutate"])
    lab.derive(Average(), *population, name="winner")
    return list(lab.models())
