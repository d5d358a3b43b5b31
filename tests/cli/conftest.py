"""A small lab whose every number can be worked out by hand, and a way to run commands on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from typer.testing import CliRunner

import heredity as hd
from heredity.cli.main import app
from heredity.errors import EvaluationFailed
from heredity.lab.journal import FORMAT, encode_line

HOSTILE = "evil [red]x[/red]\n\x1b[31mz\u202e"


@dataclass(frozen=True)
class Source:
    split: str


@dataclass(frozen=True)
class Shift(hd.Operator):
    """Adds `amount` to each of the three weights, so that the sum grows by 3 × amount."""

    amount: float
    kind: ClassVar[str] = "mutate"

    def apply(self, parents: hd.Parents, context: hd.Context) -> Mapping[str, torch.Tensor]:
        return {name: tensor + self.amount for name, tensor in parents[0].weights().items()}


@dataclass(frozen=True)
class Learn(Shift):
    data: Source = Source("maths")
    kind: ClassVar[str] = "train"


@dataclass(frozen=True)
class Mean(hd.Operator):
    kind: ClassVar[str] = "merge"

    def apply(self, parents: hd.Parents, context: hd.Context) -> Mapping[str, torch.Tensor]:
        states = [parent.weights() for parent in parents]
        return {name: sum(state[name] for state in states) / len(states) for name in states[0]}


@dataclass(frozen=True)
class Sum(hd.Probe):
    def measure(self, model: hd.Model, context: hd.Context) -> Mapping[str, float]:
        total = sum(float(tensor.sum()) for tensor in model.weights().values())
        return {"score": total, "loss": -total}


@dataclass(frozen=True)
class Refuses(hd.Probe):
    def measure(self, model: hd.Model, context: hd.Context) -> Mapping[str, float]:
        raise EvaluationFailed("no answer could be read")


@dataclass
class Family:
    """The models of the small lab.

    ancestor (sum 3) → maths (6), chat (9) → merged, their mean (7.5) → first (9) → second (9.75) → third (10.5, the
    best) and, dead, merged → lost (4.5) → lost_too (3.75). The weights of first are those of chat.
    """

    path: Path
    lab: hd.Lab
    models: dict[str, hd.Model]

    def __getattr__(self, name: str) -> hd.Model:
        return self.models[name]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("HEREDITY_LAB", "HEREDITY_DEBUG", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    path = tmp_path / "work" / "lab"
    with hd.Lab(path) as lab:
        ancestor = lab.add({"w": torch.tensor([1.0, 2.0]), "b": torch.tensor([0.0])}, name="ancestor")
        maths = lab.derive(Learn(1.0, Source("maths")), ancestor, name="maths")
        chat = lab.derive(Learn(2.0, Source("chat")), ancestor, name="chat")
        merged = lab.derive(Mean(), maths, chat, base=ancestor, name="merged", labels={"generation": 1})
        lost = lab.derive(Shift(-1.0), merged)
        lost_too = lab.derive(Shift(-0.25), lost)
        first = lab.derive(Shift(0.5), merged)
        second = lab.derive(Shift(0.25), first, name=HOSTILE)
        third = lab.derive(Shift(0.25), second, seed=1)
        born = (ancestor, maths, chat, merged, lost, lost_too, first, second, third)
        names = ("ancestor", "maths", "chat", "merged", "lost", "lost_too", "first", "second", "third")
        models = dict(zip(names, born, strict=True))
        lab.measure_all(Sum(), models.values())
        lab.measure(Refuses(), third)
        lab.die([lost, lost_too], "truncation")
        lab.note(third, "looks [bold]good")
        lab.tag(third, "candidate")
        yield Family(path, lab, models)


@dataclass
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON value and nothing else."""
        return json.loads(self.out)


@pytest.fixture
def run(family: Family) -> Callable[..., Ran]:
    """Run a command on the small lab."""

    def command(*arguments: str, lab: Path | None = family.path, answer: str | None = None) -> Ran:
        where = ["--lab", str(lab)] if lab is not None else []
        result = CliRunner().invoke(app, [*arguments, *where], input=answer)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return command


@pytest.fixture
def journal_lab(tmp_path: Path) -> Path:
    """Forty generations in a row with a dead sibling each, written as journal lines: no weights, no measurements."""

    def key(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    def birth(name: str, parent: str | None, time: float) -> dict:
        return {
            "t": "birth", "id": key(name)[:16], "key": key(name), "kind": "mutate" if parent else "init", "seed": 0,
            "operator": {"type": "evo:Mutate", "version": 1, "config": {"sigma": 0.5}}, "labels": {}, "time": time,
            "parents": [{"role": "parent", "id": key(parent)[:16]}] if parent else [], "weights": key(name + "w"),
            "bytes": 4, "environment": "e", "architecture": None,
        }  # fmt: skip

    lines = [{"t": "journal", "format": FORMAT, "writer": "w", "time": 0.0}, birth("0", None, 1.0)]
    for step in range(1, 41):
        lines += [birth(str(step), str(step - 1), 2.0 * step), birth(f"x{step}", str(step - 1), 2.0 * step + 1)]
    lines.append({"t": "death", "ids": [key(f"x{step}")[:16] for step in range(1, 41)], "reason": "", "time": 99.0})
    (tmp_path / "long" / "births").mkdir(parents=True)
    (tmp_path / "long" / "births" / "w.jsonl").write_bytes(b"".join(map(encode_line, lines)))
    return tmp_path / "long"
