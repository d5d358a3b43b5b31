"""A tiny family of papers, made of arithmetic on one number, that the catalogue finds beside the real ones.

The trial of `toys/tiny`: a root holds 1, an arm adds its settings' amount and a noise that only the seed and the world
decide, so that differences between arms are exact. Every birth is written to a file, so that work can be counted.
"""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

TINY = '''
"""A tiny paper."""

from heredity.papers.card import Figure, Paper
from heredity.papers.claim import AllOf, Arm, Claim, Difference, Level, Pilot, Scale

CLAIM = Claim(
    says="adding more gives more",
    setting="one number",
    trial="tiny_trials:trial",
    arms=(
        Arm("much", "adds 1", "tested", {"amount": 1.0}),
        Arm("little", "adds a quarter", "baseline", {"amount": 0.25}),
        Arm("nothing", "adds 0", "information", {"amount": 0.0}),
    ),
    metric="score",
    direction="higher",
    metrics={"score": "the number", "amount": "what was added"},
    worlds=("north", "south"),
    rule=AllOf((
        Difference("much beats little", "much", "little"),
        Difference("little beats nothing", "little", "nothing", weight="reported"),
    )),
    preconditions=(Level("nothing is near the root", "nothing", "score", below=2.0),),
    scales=(Scale("small", 3, "a second"), Scale("full", 9, "a day", needs="a mountain")),
    pilots=(Pilot((0,), "it adds"),),
)
PAPER = Paper(
    slug="tiny",
    family="toys",
    title="On Adding: {More} & Less",
    authors=("Ada Lovelace", "Émile Borel"),
    year=1843,
    id="arXiv 1843.00001",
    sentence="Adding more gives more.",
    figures=(Figure("2", "note G"),),
    covers=("tiny_trials:Add", "tiny_parts"),
    claim=CLAIM,
)
'''

TRIALS = """
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
import torch
from heredity.lab import Child, Operator, Probe, Request
from heredity.papers.claim import Trial

LOG = Path(__file__).with_name("births.txt")
STOP_AFTER = None  # raise KeyboardInterrupt when so many births are logged


def log(what):
    lines = LOG.read_text().splitlines() if LOG.exists() else []
    if STOP_AFTER is not None and len(lines) >= STOP_AFTER:
        raise KeyboardInterrupt
    LOG.write_text("\\n".join([*lines, what]) + "\\n")


@dataclass(frozen=True)
class Root(Operator):
    kind: ClassVar[str] = "init"

    def apply(self, parents, context):
        log("root")
        return {"x": torch.ones(1)}


@dataclass(frozen=True)
class Add(Operator):
    amount: float
    world: str
    breaks: bool = False
    kind: ClassVar[str] = "mutate"

    def apply(self, parents, context):
        log("add")
        if self.breaks:
            raise ValueError("broken on purpose")
        noise = 0.01 * context.seed + (0.1 if self.world == "north" else 0.0)
        return Child({"x": parents[0].weights()["x"] + self.amount + noise}, notes={"amount": self.amount})


@dataclass(frozen=True)
class Score(Probe):
    def measure(self, model, context):
        return {"score": float(model.weights()["x"])}


def trial(cell):
    (root,) = yield [Request(Root(), seed=cell.seed)]
    add = Add(cell.setting("amount"), cell.world, bool(cell.settings.get("breaks")))
    return Trial(Request(add, (root,), seed=cell.seed), (Score(),), ("amount",))
"""


@dataclass
class Toys:
    """The tiny paper's trials, and what was born."""

    trials: ModuleType
    folder: Path

    @property
    def births(self) -> int:
        """How many births were run, in any process."""
        log = self.folder / "births.txt"
        return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Toys]:
    """Make the family, for one test."""
    import heredity.papers

    home = tmp_path / "more"
    (home / "toys").mkdir(parents=True)
    (home / "toys" / "__init__.py").write_text('"""Toys."""\n')
    (home / "toys" / "tiny.py").write_text(textwrap.dedent(TINY))
    (home / "toys" / "no_card.py").write_text("raise RuntimeError('a module without a card must not be imported')\n")
    (home / "tiny_trials.py").write_text(textwrap.dedent(TRIALS))
    monkeypatch.setattr(heredity.papers, "__path__", [*heredity.papers.__path__, str(home)])
    monkeypatch.syspath_prepend(str(home))
    importlib.invalidate_caches()
    yield Toys(importlib.import_module("tiny_trials"), home)
    for name in [name for name in sys.modules if name.startswith(("heredity.papers.toys", "tiny_trials"))]:
        del sys.modules[name]
    if hasattr(heredity.papers, "toys"):
        del heredity.papers.toys
