"""EvoLLM: an evolution strategy whose next mean a language model writes.

    from heredity.language.access import LocalModel
    search = EvoLLM(Box(-3, 3, dim=2), LocalModel("Qwen/Qwen2.5-0.5B"))
    search.run(loss, 100, direction="minimize")

The model sees sorted solutions as whole numbers and continues the pattern; noise of fixed size is added to its answer.
Source: Lange, Tian & Tang, Large Language Models As Evolution Strategies (arXiv 2402.18381).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor, nn

from heredity.search.base import Example
from heredity.search.box import Box, Vectors
from heredity.search.generations import Array, Vector, VectorSearcher
from heredity.search.noise import around
from heredity.search.number_prompts import Generation, ParseError, PromptCodec
from heredity.search.test_functions import Family

Kept: TypeAlias = Literal["best", "last"]


class Completer(Protocol):
    """Continues texts; `heredity.language.access.LocalModel` and `EndpointChat` do."""

    def complete(
        self,
        prompt: str,
        *,
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 128,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[str]:
        """`n` continuations, which end before the first of the stops."""


class EvoLLM(VectorSearcher):
    """Ask and tell over vectors [dim].

    Args:
        space: where, and from where (`Box.start`).
        model: anything with `complete`. The first question of a block is asked at temperature 0, further ones at 1.
        population: N. sigma: standard deviation, a number; it stays, which leaves about sigma² · dim of regret.
        generations, members: K and M, how many are shown.
        context: which generations: the "best" by their best member, or the "last".
        block: at most so many coordinates in a question; None asks for all at once.
        retries: questions for a block whose answer cannot be read, after which the mean becomes the best member of the
            last generation.
        codec: how it is written; by default within the bounds of the space, or −3 … 3 where it has none.
        seed, dtype, metric: as in `VectorSearcher`.

    Attributes:
        calls: questions asked. fallbacks: generations whose mean the model did not give.
    """

    def __init__(
        self,
        space: Vectors,
        model: Completer,
        population: int = 5,
        sigma: float = 0.2,
        *,
        generations: int = 5,
        members: int = 5,
        context: Kept = "best",
        block: int | None = None,
        retries: int = 3,
        codec: PromptCodec | None = None,
        seed: int = 0,
        dtype: DTypeLike = np.float64,
        metric: str | None = None,
    ) -> None:
        super().__init__(space, population, seed=seed, dtype=dtype, metric=metric)
        if not (np.isfinite(sigma) and sigma > 0):
            raise ValueError(f"sigma must be a positive number, got {sigma}")
        if min(generations, members, retries) < 1 or (block is not None and block < 1):
            raise ValueError("generations, members, retries and block are at least 1")
        if codec is None:
            bounds = (self.space.low.min(), self.space.high.max()) if self.space.bounded else (-3.0, 3.0)
            codec = PromptCodec(float(bounds[0]), float(bounds[1]))
        self.model, self.codec, self.sigma = model, codec, float(sigma)
        self.generations, self.members, self.context = generations, members, context
        self.block, self.retries = block, retries
        self.calls = self.fallbacks = 0
        self._mean = self.space.start.astype(self.dtype)
        self._history: list[Generation] = []
        self._noise: Array = np.empty((0, self.dim), self.dtype)

    @property
    def center(self) -> Array:
        """The mean, folded into the bounds [dim]."""
        return self.space.fold(self._mean.copy())

    def _draw(self, rng: np.random.Generator) -> Array:
        self._noise = self._normal(rng, (self.population, self.dim), self._noise)
        return around(self._mean, np.full(self.dim, self.sigma, self.dtype), self._noise)

    def _learn(self, x: Array, fitness: Vector) -> None:
        good = fitness > -np.inf
        last = Generation(np.array(x[good], dtype=np.float64), fitness[good])
        self._history = kept([*self._history, last.best(self.members)], self.generations, self.context)
        answers = [self._asked(block) for block in blocks(self.dim, self.block)]
        if any(answer is None for answer in answers):
            self.fallbacks += 1
            self._mean = x[int(np.argmax(fitness))].copy()
        else:
            self._mean = np.concatenate([a for a in answers if a is not None]).astype(self.dtype)

    def _asked(self, block: slice) -> Vector | None:
        """The model's mean of some coordinates; None when it gave none."""
        prompt = self.codec.encode([generation.columns(block) for generation in self._history])
        size = block.stop - block.start
        for attempt in range(self.retries):
            self.calls += 1
            seed = int(np.random.SeedSequence([self.seed, self.calls]).generate_state(1)[0])
            (text,) = self.model.complete(
                prompt,
                n=1,
                temperature=0.0 if attempt == 0 else 1.0,
                max_tokens=4 + 2 * size * (self.codec.digits + 1),
                stop=("\n",),
                seed=seed,
            )
            try:
                return self.codec.decode(text, size)
            except ParseError:
                continue
        return None

    def _method_state(self) -> Mapping[str, Any]:
        history = [{"x": generation.x.copy(), "fitness": generation.fitness.copy()} for generation in self._history]
        return {"mean": self._mean.copy(), "history": history, "calls": self.calls, "fallbacks": self.fallbacks}

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._mean = np.array(state["mean"], dtype=self.dtype)
        self._history = [
            Generation(np.array(saved["x"], dtype=np.float64), np.array(saved["fitness"], dtype=np.float64))
            for saved in state["history"]
        ]
        self.calls, self.fallbacks = int(state["calls"]), int(state["fallbacks"])

    def _config(self) -> dict[str, Any]:
        names = ("sigma", "generations", "members", "context", "retries")
        own = {name: getattr(self, name) for name in names}
        return {**super()._config(), **own, "block": self.block or 0, **self.codec.settings}

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """With a stand-in for the model, whole and in blocks."""
        for name, block in (("EvoLLM", None), ("EvoLLM in blocks", 2)):

            def make(seed: int, block: int | None = block) -> EvoLLM:
                return cls(Box(-2.0, 3.0, dim=3), RepeatBest(), block=block, seed=seed)

            yield name, Example(make, lambda x: -float(np.sum(np.square(x - 1.0))))


class RepeatBest:
    """A stand-in for a language model: it answers with the last solution that it is shown, the best where they are
    sorted from worst to best."""

    def complete(
        self,
        prompt: str,
        *,
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 128,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[str]:
        """The coordinates of the last full line."""
        line = prompt.strip().split("\n")[-1]
        if line.endswith(";"):
            line = prompt.rstrip().rsplit("\n", 1)[0].rstrip().rsplit("\n", 1)[-1]
        return [line.rsplit(";", 1)[-1]] * n


def blocks(dim: int, size: int | None) -> list[slice]:
    """Coordinates in runs of at most `size`."""
    step = dim if size is None else size
    return [slice(start, min(start + step, dim)) for start in range(0, dim, step)]


def kept(history: Sequence[Generation], count: int, context: Kept) -> list[Generation]:
    """The last generations, or those with the best members (of equals the later), in the order they came."""
    if context == "last" or len(history) <= count:
        return list(history[-count:])
    places = sorted(range(len(history)), key=lambda i: (-history[i].top, -i))[:count]
    return [history[i] for i in sorted(places)]


def teacher_traces(  # noqa: PLR0917 - what to run, in order
    searcher_factory: Callable[[int, int], VectorSearcher],
    functions: Sequence[Family],
    dims: Sequence[int],
    runs: int,
    length: int,
    codec: PromptCodec,
    *,
    generations: int = 5,
    members: int = 5,
    context: Kept = "best",
    ahead: int = 1,
    seed: int = 0,
) -> list[tuple[str, str]]:
    """What a teacher did, as prompts with the answers that it gives: its mean after the generations shown.

    Args:
        searcher_factory: dimensions and a seed to a searcher with a `center`.
        functions: families of test functions, minimised in the codec's bounds. dims, runs, length: of every family so
            many runs in each number of dimensions, of so many generations.
        generations, members, context: as in `EvoLLM`.
        ahead: the mean of so many generations later is the answer; 1 is the next mean.
        seed: of runs and functions.
    """
    if ahead < 1 or length < ahead:
        raise ValueError(f"a run of {length} generations cannot show what comes {ahead} later")
    traces = []
    plan = [(f, family, dim, run) for f, family in enumerate(functions) for dim in dims for run in range(runs)]
    for place, family, dim, run in plan:
        state = int(np.random.SeedSequence([seed, place, dim, run]).generate_state(1)[0])
        problem = family(dim, seed=state, radius=(codec.hi - codec.lo) / 2)
        middle = (codec.hi + codec.lo) / 2
        teacher = searcher_factory(dim, state)
        history: list[Generation] = []
        prompts: list[str] = []
        centers: list[Vector] = []
        for _ in range(length):
            x = np.array(teacher.ask_array(), dtype=np.float64)
            fitness = -np.asarray(problem(x - middle), dtype=np.float64)
            teacher.tell_array(fitness)
            history = kept([*history, Generation(x, fitness).best(members)], generations, context)
            prompts.append(codec.encode(history))
            centers.append(np.asarray(teacher.center, dtype=np.float64))
        traces += [(prompts[t], codec.answer(centers[t + ahead - 1])) for t in range(length - ahead + 1)]
    return traces


def answer_loss(logits: Tensor, tokens: Tensor, answers: Tensor) -> Tensor:
    """Mean cross-entropy of the answers' tokens.

    Args:
        logits: [B, T, V], at each place for the token after it.
        tokens: [B, T].
        answers: [B, T] whether a token belongs to the answer; the first of a row never counts, as nothing is before it.
    """
    wanted = answers[:, 1:]
    return nn.functional.cross_entropy(logits[:, :-1][wanted], tokens[:, 1:][wanted])


def fine_tune(
    model: nn.Module,
    traces: Sequence[tuple[str, str]],
    encode: Callable[[str], Sequence[int]],
    *,
    steps: int,
    batch: int = 16,
    lr: float = 1e-4,
    end: str = "\n",
    clip: float = 1.0,
    seed: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train a causal model on the answers of traces by AdamW, in place; the losses of all steps.

    Args:
        model: tokens [B, T] to logits [B, T, V], or to something with `logits`, as transformers' models are.
        traces: prompts and answers. encode: a text's tokens. end: what closes an answer.
        steps, batch, lr, clip: of the training; clip is the largest norm of a gradient.
        seed: of the order. report: called with step and loss.
    """
    if not traces:
        raise ValueError("there is nothing to learn from: traces are empty")
    rows = [(list(encode(prompt)), list(encode(answer + end))) for prompt, answer in traces]
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
    device = next(model.parameters()).device
    losses: list[float] = []
    model.train()
    for step in range(steps):
        chosen = [rows[i] for i in rng.choice(len(rows), min(batch, len(rows)), replace=False)]
        length = max(len(prompt) + len(answer) for prompt, answer in chosen)
        tokens = torch.zeros(len(chosen), length, dtype=torch.long)
        answers = torch.zeros(len(chosen), length, dtype=torch.bool)
        for row, (prompt, answer) in enumerate(chosen):  # padded on the right, where a causal model does not look
            tokens[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
            answers[row, len(prompt) : len(prompt) + len(answer)] = True
        out = model(tokens.to(device))
        loss = answer_loss(getattr(out, "logits", out), tokens.to(device), answers.to(device))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        losses.append(float(loss.detach()))
        if report is not None:
            report(step + 1, losses[-1])
    model.eval()
    return losses
