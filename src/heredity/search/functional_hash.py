"""Functional hashing: know a candidate by what it computes, and evaluate what computes the same only once.

A candidate is run on a tiny fixed task (fixed inputs, fixed initialisation, a few training steps); the numbers that
come out are cut to some mantissa bits and mixed into one integer. Dead code, renamed parts and `x + x` against `2·x`
fall together, whatever the candidates are: graphs, programs or functions.

The numbers have to be repeatable: float64 on the CPU, one thread, no dropout, no random order of data. Cutting is not
rounding: two values on both sides of a boundary differ by one unit in the last place and still hash apart, and no
number of bits removes that.
Source: arXiv 2302.05433 and its authors' code.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Failed, Ok, outcome_of

C = TypeVar("C")
SIGN, EXPONENT = 1 << 63, 0x7FF << 52
NAN_BITS = 0x7FF8 << 48  # its top mantissa bit is kept for every b, so that it never meets infinity


def mix_floats(values: Iterable[float], mantissa_bits: int = 24, sign: bool = True) -> int:
    """One 63-bit integer for a sequence of numbers; the same in every process.

    Args:
        values: in order; all NaNs are one, −0.0 is 0.0, the infinities keep their signs.
        mantissa_bits: b, the leading mantissa bits of the IEEE double that count, 1 to 52.
        sign: whether the sign counts; the released code leaves it out because accuracies are not negative.

    Raises:
        ValueError: mantissa_bits is outside 1..52.
    """
    if not 1 <= mantissa_bits <= 52:
        raise ValueError(f"mantissa_bits must be 1 to 52, the mantissa of a double, got {mantissa_bits}")
    mask = (SIGN if sign else 0) | EXPONENT | ((1 << mantissa_bits) - 1) << (52 - mantissa_bits)
    mix = 0
    for value in values:
        mix = _hash63(struct.pack("<QQ", mix, _code(float(value), mask)))
    return mix


class FunctionalHash(Generic[C]):
    """Hash of a candidate's behaviour.

    Args:
        run: (candidate, generator) → the numbers it computes on the tiny task. The generator is seeded alike for every
            candidate; the global one is too while `run` lasts, and is put back afterwards.
        mantissa_bits: b of `mix_floats`.
        seed: of the generator.

    A run that raises `EvaluationFailed` counts as one NaN: what cannot be run shares one hash.
    """

    def __init__(
        self, run: Callable[[C, torch.Generator], Sequence[float]], mantissa_bits: int = 24, seed: int = 0
    ) -> None:
        mix_floats([], mantissa_bits)
        self.run, self.mantissa_bits, self.seed = run, mantissa_bits, seed

    def __call__(self, candidate: C) -> int:
        """The hash, a 63-bit integer.

        Raises:
            ValueError: the run gave no numbers, under which all candidates would be equal.
        """
        return mix_floats(self.outputs(candidate), self.mantissa_bits)

    def outputs(self, candidate: C) -> list[float]:
        """The numbers that are hashed; mix them again to compare several mantissa lengths."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            try:
                values = [float(v) for v in self.run(candidate, torch.Generator().manual_seed(self.seed))]
            except EvaluationFailed:
                return [math.nan]
        if not values:
            raise ValueError("the run of a functional hash gave no numbers; it must give at least one")
        return values


@torch.no_grad()
def initialise_by_shape(module: nn.Module, seed: int = 0) -> None:
    """Give every parameter normal values of standard deviation 1/√fan_in (vectors: 0) that depend on its shape alone.

    So isomorphic networks start alike, whatever the order of their layers. Layers of one shape start equal: branches
    that differ only in their weights are one function to the hash.
    """
    drawn: dict[tuple[int, ...], Tensor] = {}
    for parameter in module.parameters():
        shape = tuple(parameter.shape)
        if shape not in drawn:
            if len(shape) < 2:
                drawn[shape] = torch.zeros(shape, dtype=torch.float64)
            else:
                generator = torch.Generator().manual_seed(_hash63(repr((seed, shape)).encode()))
                values = torch.randn(shape, dtype=torch.float64, generator=generator)
                drawn[shape] = values / math.sqrt(math.prod(shape[1:]))
        parameter.copy_(drawn[shape])


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Counts of calls; they exclude one another, so that calls = misses + partial_hits + full_hits.

    Args:
        misses: evaluated for the first time (or again after removal).
        partial_hits: known, but evaluated once more.
        full_hits: answered without evaluation.
        size: entries held now.
    """

    misses: int
    partial_hits: int
    full_hits: int
    size: int

    @property
    def calls(self) -> int:
        """All calls that were answered."""
        return self.misses + self.partial_hits + self.full_hits

    @property
    def evaluations(self) -> int:
        """How often the evaluation ran."""
        return self.misses + self.partial_hits


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An answer of the cache.

    Args:
        outcome: mean of all evaluations under this hash, or the first failure; can be told to a searcher.
        n_evals: how many evaluations it stands for.
        hit: "miss" and "partial" cost an evaluation, "full" costs the hash alone.
    """

    outcome: Ok | Failed
    n_evals: int
    hit: Literal["miss", "partial", "full"]

    @property
    def value(self) -> float:
        """The number, where the evaluation gave a single one.

        Raises:
            EvaluationFailed: it failed.
        """
        if isinstance(self.outcome, Ok) and len(self.outcome.values) > 1:
            raise ValueError(f"the evaluation has several values, read one of them: {sorted(self.outcome.values)}")
        return next(iter(self.outcome.values.values())) if isinstance(self.outcome, Ok) else self.outcome["value"]


class EquivalenceCache(Generic[C]):
    """Functional equivalence cache: fitness by hash.

    Args:
        evaluate: candidate → a number or named numbers. NaN, infinity and `EvaluationFailed` are failures; a failure is
            kept like a value, for the mean of a missing number is missing.
        hash: candidate → key; a `FunctionalHash`, or any other notion of sameness. Keys are integers or text where the
            state is to be saved.
        max_evals: evaluations under one hash until their mean is final; more than one tames noisy evaluations.
        remove_probability: chance that a full hit deletes the entry it has read, so that a lucky evaluation does not
            rule for ever.
        seed: of the removals.
        task: what is evaluated (data, budget, metric), in words; a saved state of another task is refused.
    """

    def __init__(
        self,
        evaluate: Callable[[C], float | Mapping[str, float]],
        hash: Callable[[C], Hashable],
        max_evals: int = 1,
        remove_probability: float = 0.0,
        seed: int = 0,
        *,
        task: str = "",
    ) -> None:
        if max_evals < 1:
            raise ValueError(f"max_evals must be at least 1, got {max_evals}")
        if not 0 <= remove_probability <= 1:
            raise ValueError(f"remove_probability must lie in 0..1, got {remove_probability}")
        self.evaluate, self.hash, self.max_evals = evaluate, hash, max_evals
        self.remove_probability, self.seed, self.task = remove_probability, seed, task
        self._entries: dict[Hashable, tuple[Ok | Failed, int]] = {}
        self._misses = self._partial = self._full = 0

    def __call__(self, candidate: C) -> Evaluation:
        """The candidate's fitness, evaluated only as often as needed.

        Raises:
            ValueError: two evaluations under one hash gave values of different names.
        """
        key = self.hash(candidate)
        known = self._entries.get(key)
        if known is not None and (known[1] >= self.max_evals or isinstance(known[0], Failed)):
            self._full += 1
            draw = np.random.default_rng([self.seed, self._full]).random() if self.remove_probability else 1.0
            if draw < self.remove_probability:
                del self._entries[key]
            return Evaluation(*known, "full")
        outcome, count = self._evaluated(candidate), 1
        if known is not None:
            outcome, count = _running_mean(known[0], known[1], outcome), known[1] + 1
        self._entries[key] = (outcome, count)
        if known is None:
            self._misses += 1
            return Evaluation(outcome, count, "miss")
        self._partial += 1
        return Evaluation(outcome, count, "partial")

    @property
    def stats(self) -> CacheStats:
        """Counts so far."""
        return CacheStats(self._misses, self._partial, self._full, len(self._entries))

    def state_dict(self) -> Mapping[str, Any]:
        """Entries and counters as plain JSON values.

        Raises:
            TypeError: a key is neither an integer nor text.
        """
        entries = []
        for key, (outcome, count) in self._entries.items():
            if not isinstance(key, (int, str)):
                raise TypeError(f"only integer and text keys can be saved, this cache holds {key!r}")
            ended = {"values": dict(outcome.values)} if isinstance(outcome, Ok) else {"failed": outcome.reason}
            entries.append({"key": key, "count": count, **ended})
        return {"task": self.task, "entries": entries, "counts": [self._misses, self._partial, self._full]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`.

        Raises:
            ValueError: the state is of another task.
        """
        if state["task"] != self.task:
            raise ValueError(f"the state holds values of the task {state['task']!r}, this cache is for {self.task!r}")
        self._entries = {
            entry["key"]: (Ok(entry["values"]) if "values" in entry else Failed(entry["failed"]), int(entry["count"]))
            for entry in state["entries"]
        }
        self._misses, self._partial, self._full = map(int, state["counts"])

    def _evaluated(self, candidate: C) -> Ok | Failed:
        try:
            return outcome_of(self.evaluate(candidate))
        except EvaluationFailed as error:
            return Failed(str(error))


def _running_mean(mean: Ok | Failed, count: int, new: Ok | Failed) -> Ok | Failed:
    """m ← (m·n + new)/(n + 1)."""
    if isinstance(mean, Failed) or isinstance(new, Failed):
        return mean if isinstance(mean, Failed) else new
    if set(mean.values) != set(new.values):
        raise ValueError(f"evaluations under one hash gave {sorted(mean.values)} and then {sorted(new.values)}")
    return outcome_of({name: (value * count + new[name]) / (count + 1) for name, value in mean.values.items()})


def _code(value: float, mask: int) -> int:
    if math.isnan(value):
        return NAN_BITS
    bits: int = struct.unpack("<Q", struct.pack("<d", value + 0.0))[0]  # −0.0 + 0.0 is 0.0
    return bits if math.isinf(value) else bits & mask


def _hash63(content: bytes) -> int:
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "little") >> 1
