"""Sequence models that learn from evolution strategies, and what searches with them are worth, as recorded births."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn

from heredity.lab import Child, Context, Operator, Parents, Request
from heredity.papers.claim import Cell, Steps, Trial
from heredity.papers.testbeds.language_models import language_model, model_name
from heredity.papers.testbeds.number_search import (
    FLOOR,
    FUNCTIONS,
    MEMBERS,
    PAIR,
    RADIUS,
    SIGMA,
    Carts,
    Floats,
    Functions,
    Landscape,
    Momentum,
    TokenCode,
    Traces,
    Written,
    cart_score,
    log_regret,
    mean_search,
    search,
    starts,
)
from heredity.papers.testbeds.sequence_models import NumberTransformer
from heredity.search.batched_es import BatchedSNES
from heredity.search.box import Box
from heredity.search.evollm import EvoLLM

PROMPTS = 19  # of a run: after its first generation, its second, …
SETTINGS = (("2", 2, 0.0), ("noisy", 2, 1.0), ("8", 8, 0.0))  # name, dimensions, noise
Teacher = Literal["momentum", "snes", "none"]


class Ellipsoids(Landscape):
    """Two-dimensional quadratic functions, turned, shifted, with conditions log-uniform in 1 … 10⁴."""

    dim = 2

    def __init__(self, runs: int, seed: int) -> None:
        self.keys = [(seed, 50, run) for run in range(runs)]
        rng = np.random.default_rng([seed, 51])
        self._optimum = 0.8 * RADIUS * rng.uniform(-1, 1, (runs, 1, 2))
        self._angle = rng.uniform(0, 2 * np.pi, (runs, 1))
        self._condition = 10 ** rng.uniform(0, 4, (runs, 1))

    def losses(self, x: Floats, generation: int) -> tuple[Floats, Floats]:
        """Without noise."""
        z = x - self._optimum
        along = np.cos(self._angle) * z[..., 0] + np.sin(self._angle) * z[..., 1]
        across = np.cos(self._angle) * z[..., 1] - np.sin(self._angle) * z[..., 0]
        found = np.square(along) + self._condition * np.square(across)
        return found, found


def taught(teacher: Teacher, runs: int, generations: int, seed: int) -> Traces:
    """A teacher's runs, with its means."""
    landscape = Ellipsoids(runs, seed)
    if teacher == "momentum":
        return mean_search(landscape, generations, Momentum())
    # A batch of SNES has one start; each run's function is moved instead, in a space without bounds.
    first = starts(landscape)
    box = Box(dim=2, start=np.zeros(2), scale=SIGMA)
    snes = BatchedSNES(box, [seed * runs + run for run in range(runs)], MEMBERS, dtype=torch.float64)
    x = np.empty((runs, generations, MEMBERS, 2))
    true, means = np.empty((runs, generations, MEMBERS)), [first]
    for g in range(generations):
        x[:, g] = snes.ask().numpy() + first[:, None]
        true[:, g], _ = landscape.losses(x[:, g], g)
        snes.tell(torch.from_numpy(-true[:, g]))
        means.append(snes.center.numpy() + first)
    return Traces(x, true, true, np.stack(means, axis=1))


def lessons(traces: Traces, code: TokenCode, ahead: int) -> torch.Tensor:
    """Contexts with their answers [runs · prompts, 46]: the mean `ahead` generations after that of the last one
    shown."""
    assert traces.means is not None
    rows = []
    for t in range(1, PROMPTS + 1):
        x, seen = traces.x[:, :t], traces.seen[:, :t]
        anchor = x[np.arange(len(x)), -1, seen[:, -1].argmin(1)]
        answers = code.write(traces.means[:, t - 1 + ahead], anchor)
        rows.append(np.concatenate([code.context(x, seen), answers], axis=1))
    return torch.from_numpy(np.concatenate(rows))


@dataclass(frozen=True)
class TaughtModel(Operator):
    """A transformer that continues a teacher's histories; the child is the model.

    Args:
        teacher: "momentum", "snes", or "none" for a model as it begins.
        ahead: how many generations the answer looks ahead; 1 is the teacher's next mean.
        levels, order: of the code.
        runs: of the teacher on ellipsoids. steps, batch, lr: of AdamW, whose rate falls linearly.
    """

    teacher: Teacher
    ahead: int = 5
    levels: int = 0
    order: str = "sorted"
    runs: int = 3000
    steps: int = 360
    batch: int = 128
    lr: float = 2e-3
    kind: ClassVar[str] = "train"

    def apply(self, parents: Parents, context: Context) -> nn.Module:
        """Run the teacher and learn from it."""
        code = TokenCode(self.levels, self.order)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            model = NumberTransformer(code.numbers, 2, code.length + PAIR)
        if self.teacher == "none":
            return model
        rows = lessons(taught(self.teacher, self.runs, PROMPTS + self.ahead - 1, context.seed), code, self.ahead)
        generator = torch.Generator().manual_seed(context.seed)
        optimizer = torch.optim.AdamW(model.parameters(), lr=self.lr)
        falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, self.steps)
        for step in range(self.steps):
            batch = rows[torch.randint(len(rows), (self.batch,), generator=generator)]
            logits = model(batch[:, :-1], PAIR)  # only what follows the context is asked for
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, -PAIR:].flatten())
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            falling.step()
            context.progress(step + 1, self.steps)
        return model.eval()


@dataclass(frozen=True)
class NumberSearches(Operator):
    """Searches of one arm for a batch of seeds: the child holds `regret` [settings, count, functions], log₁₀ of the
    best, and `carts` [count], the share of CartPole's highest return.

    Args:
        first, count: the seeds. arm: see `number_search.search`; "model" needs a parent, the model.
        generations: of N evaluations each. levels, order: of the model's code.
    """

    first: int
    count: int
    arm: str
    generations: int = 20
    levels: int = 0
    order: str = "sorted"
    kind: ClassVar[str] = "adapt"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Search."""
        written = None
        if self.arm == "model":
            code = TokenCode(self.levels, self.order)
            model = NumberTransformer(code.numbers, 2, code.length + PAIR)
            model.load_state_dict(dict(parents[0].weights()))
            written = Written(model, code)
        seeds = range(self.first, self.first + self.count)
        regret = []
        for _, dim, noise in SETTINGS:
            found = log_regret(search(self.arm, Functions(seeds, dim, noise), self.generations, written))
            regret.append(torch.from_numpy(found).reshape(self.count, len(FUNCTIONS)))
            context.progress(len(regret), len(SETTINGS) + 1)
        carts = Carts(seeds)
        score = cart_score(carts, search(self.arm, carts, self.generations, written))
        return Child({"regret": torch.stack(regret), "carts": torch.from_numpy(score)}, None, {})


@dataclass(frozen=True)
class Asked(Operator):
    """EvoLLM with the language model that the environment names, on the two-dimensional functions without noise.

    Args:
        seed: of the functions. model: its name, which the record keeps. generations: of N evaluations each.
    """

    seed: int
    model: str
    generations: int = 20
    kind: ClassVar[str] = "adapt"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Search."""
        landscape = Functions([self.seed], PAIR, 0.0)
        found, calls, fallbacks = [], 0, 0
        for place, (problem, start) in enumerate(zip(landscape.problems, starts(landscape), strict=True)):
            box = Box(-RADIUS, RADIUS, dim=PAIR, start=start)
            evollm = EvoLLM(box, language_model(), MEMBERS, SIGMA, seed=context.seed * len(FUNCTIONS) + place)
            value = evollm.run(problem, self.generations * MEMBERS, direction="minimize").value
            found.append(float(np.log10(max(value, FLOOR))))
            calls, fallbacks = calls + evollm.calls, fallbacks + evollm.fallbacks
        shares = {"calls": float(calls), "fallbacks": fallbacks / (len(found) * self.generations)}
        notes = {"regret_2": float(np.mean(found)), **shares}
        return Child({"regret": torch.tensor(found, dtype=torch.float64)}, None, notes)


@dataclass(frozen=True)
class SeedsRegret(Operator):
    """One seed's numbers of a batch: "regret", the mean over settings and functions; per setting "regret_2",
    "regret_noisy", "regret_8"; per function "on_rosenbrock", …; and "carts"."""

    row: int
    kind: ClassVar[str] = "adapt"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Take the row."""
        regret = parents[0].weights()["regret"][:, self.row]
        carts = parents[0].weights()["carts"][self.row : self.row + 1]
        notes = {"regret": float(regret.mean()), "carts": float(carts.item())}
        notes |= {f"regret_{name}": float(regret[k].mean()) for k, (name, _, _) in enumerate(SETTINGS)}
        notes |= {f"on_{name}": float(regret[:, k].mean()) for k, name in enumerate(FUNCTIONS)}
        return Child({"regret": regret.clone(), "carts": carts.clone()}, None, notes)


def trial(cell: Cell) -> Steps:
    """One arm at one seed; the model is trained once for all seeds, and the seeds of a batch search together."""
    if cell.setting("arm") == "language_model":
        yield from ()
        asked = Asked(cell.seed, model_name(), cell.setting("generations"))
        return Trial(Request(asked, seed=cell.seed), notes=("regret_2", "calls", "fallbacks"))
    batch = int(cell.setting("batch"))
    first = cell.seed - cell.seed % batch
    models: list[Any] = []
    code = {name: cell.settings[name] for name in ("levels", "order") if name in cell.settings}
    if cell.setting("arm") == "model":
        size = {name: cell.setting(name) for name in ("runs", "steps")}
        teacher: Any = cell.setting("teacher")
        model = TaughtModel(teacher, cell.settings.get("ahead", 1), **code, **size)  # type: ignore[arg-type]
        models = yield [Request(model, seed=cell.setting("model_seed"))]
    searches = NumberSearches(first, batch, cell.setting("arm"), cell.setting("generations"), **code)  # type: ignore[arg-type]
    (found,) = yield [Request(searches, tuple(models), seed=first)]
    names = ("regret", *(f"regret_{s[0]}" for s in SETTINGS), *(f"on_{name}" for name in FUNCTIONS), "carts")
    return Trial(Request(SeedsRegret(cell.seed - first), (found,), seed=cell.seed), notes=names)
