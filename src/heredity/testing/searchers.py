"""The contract of every searcher, as checks that anyone can run on their own.

A searcher of another package says `examples()` and is checked with two lines:

    >>> from heredity.search.snes import SNES
    >>> for name, example in SNES.examples():
    ...     for law, check in searcher_checks(example):
    ...         check()

A law that a searcher does not keep is declared in its example's `exceptions`; its check then demands that it is indeed
broken.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Failed, Ok
from heredity.search.base import Candidate, Example, Searcher

Check = Callable[[], None]
ABOVE = ("operators", "probes")  # these modules wrap parts for the lab and hold no searchers
BROKEN = (float("nan"), float("inf"), float("-inf"))
ROUNDS = 6  # where a law needs only a few


def searcher_checks(example: Example[Any]) -> Iterator[tuple[str, Check]]:
    """The checks of one example: (law, callable that raises AssertionError when the law is broken)."""
    laws: dict[str, Callable[[Example[Any]], None]] = {
        "same seed, same candidates": _deterministic,
        "another seed, other candidates": _seeded,
        "global generators untouched": _global_generators,
        "improves": _improves,
        "order and parts of tells": _parts,
        "outcomes are understood": _outcomes,
        "failures never win": _failures,
        "all failed is an error": _all_failed,
        "wrong tells named": _wrong_tells,
        "save, load, continue": _resumes,
        "another configuration refused": _configuration,
        "editing a candidate corrupts nothing": _edits,
    }
    if unknown := sorted(set(example.exceptions) - set(laws)):
        raise ValueError(f"exceptions name no law: {unknown[0]!r}; known: {', '.join(laws)}")
    for law, check in laws.items():
        if law in example.exceptions:
            yield law, partial(_must_fail, law, partial(check, example), example.exceptions[law])
        else:
            yield law, partial(check, example)


def all_searchers() -> Iterator[tuple[str, Example[Any]]]:
    """The examples of every searcher of `heredity.search` and `heredity.merging`, found by walking the packages."""
    import heredity.merging
    import heredity.search

    found: set[type[Searcher[Any]]] = set()
    for package in (heredity.search, heredity.merging):
        for info in pkgutil.iter_modules(package.__path__):
            if info.name not in ABOVE:
                module = importlib.import_module(f"{package.__name__}.{info.name}")
                for _, value in inspect.getmembers(module, inspect.isclass):
                    if issubclass(value, Searcher) and not inspect.isabstract(value):
                        found.add(value)
    for kind in sorted(found, key=lambda kind: (kind.__module__, kind.__name__)):
        examples = list(kind.examples())
        if not examples:
            raise ValueError(f"{kind.__module__}.{kind.__name__} has no examples(); the contract cannot be checked")
        yield from examples


def plain(value: Any) -> Any:
    """A candidate or state in a form that `==` compares bit for bit."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def _round(searcher: Searcher[Any], example: Example[Any]) -> list[Candidate[Any]]:
    candidates = searcher.ask()
    searcher.tell(candidates, [example.fitness(c.value) for c in candidates])
    return candidates


def _rounds(searcher: Searcher[Any], example: Example[Any], n: int = ROUNDS) -> list[Any]:
    return [plain([[c.id, c.value] for c in _round(searcher, example)]) for _ in range(n)]


def _score(searcher: Searcher[Any]) -> Any:
    assert searcher.best is not None
    return searcher.best[1]


def _deterministic(example: Example[Any]) -> None:
    assert _rounds(example.make(3), example) == _rounds(example.make(3), example)


def _seeded(example: Example[Any]) -> None:
    assert _rounds(example.make(3), example) != _rounds(example.make(4), example)


def _global_generators(example: Example[Any]) -> None:
    def state() -> Any:
        return plain([list(np.random.get_state()), torch.get_rng_state(), str(random.getstate())])  # noqa: NPY002

    before = state()
    first = _rounds(example.make(1), example)
    assert state() == before
    np.random.seed(7)  # noqa: NPY002 the global generator is what is looked at
    random.seed(7)
    torch.manual_seed(7)
    assert _rounds(example.make(1), example) == first


def _improves(example: Example[Any]) -> None:
    gains = []
    for seed in range(3):
        searcher = example.make(seed)
        _round(searcher, example)
        first = _score(searcher)
        for _ in range(example.rounds):
            _round(searcher, example)
        assert _score(searcher) >= first  # the best so far never gets worse
        gains.append(_score(searcher) > first)
    assert sum(gains) >= 2, f"{sum(gains)} of 3 runs improved in {example.rounds} rounds"


def _parts(example: Example[Any]) -> None:
    """Told backwards and one by one, a searcher ends where it does when told at once."""
    whole, parts = example.make(2), example.make(2)
    for _ in range(3):
        candidates = whole.ask()
        whole.tell(candidates, [example.fitness(c.value) for c in candidates])
        for candidate in reversed(parts.ask()):
            parts.tell([candidate], [example.fitness(candidate.value)])
    a, b = whole.ask(), parts.ask()
    assert plain([[c.id, c.value] for c in a]) == plain([[c.id, c.value] for c in b])


def _outcomes(example: Example[Any]) -> None:
    numbers, outcomes = example.make(0), example.make(0)
    for _ in range(3):
        candidates = numbers.ask()
        numbers.tell(candidates, [example.fitness(c.value) for c in candidates])
        candidates = outcomes.ask()
        outcomes.tell(candidates, [_ok(example, example.fitness(c.value)) for c in candidates])
    assert plain(numbers.best) == plain(outcomes.best)


def _ok(example: Example[Any], told: Any) -> Ok:
    numbers = _numbers(told)
    return Ok(dict(zip(example.names or [f"v{k}" for k in range(len(numbers))], numbers, strict=True)))


def _numbers(told: Any) -> list[float]:
    """The numbers that were told, one after another."""
    return [float(told)] if isinstance(told, (int, float)) else [number for part in told for number in _numbers(part)]


def _filled(told: Any, number: float) -> Any:
    """What was told, with all its numbers replaced."""
    return number if isinstance(told, (int, float)) else tuple(_filled(part, number) for part in told)


def _failures(example: Example[Any]) -> None:
    searcher = example.make(0)
    worth: dict[int, Any] = {}
    for turn in range(ROUNDS):
        candidates = searcher.ask()
        told: list[Any] = []
        for place, candidate in enumerate(candidates):
            # One candidate in three fails, in each way there is; single candidates fail every third round.
            fails = (place + turn) % 3 == 0 if len(candidates) > 1 else turn % 3 == 2
            value = example.fitness(candidate.value)
            worth[candidate.id] = None if fails else value
            bad = [Failed("broken"), *(_filled(value, number) for number in BROKEN)]
            told.append(bad[(place // 3 + turn) % len(bad)] if fails else value)
        with contextlib.suppress(EvaluationFailed):  # a round may hold a single candidate
            searcher.tell(candidates, told)
        if searcher.best is not None:
            candidate, value = searcher.best
            told_worth = worth[candidate.id]
            assert told_worth is not None
            assert plain(told_worth if example.worth is None else example.worth(told_worth)) == plain(value)


def _all_failed(example: Example[Any]) -> None:
    searcher = example.make(0)
    try:
        for _ in range(1000):
            candidates = searcher.ask()
            searcher.tell(candidates, [float("nan")] * len(candidates))
    except EvaluationFailed as error:
        assert str(error)
        assert searcher.best is None
        return
    raise AssertionError("a thousand rounds failed without an error")


def _wrong_tells(example: Example[Any]) -> None:
    searcher = example.make(0)
    candidates = searcher.ask()
    told = [example.fitness(c.value) for c in candidates]
    before = plain(searcher.state_dict())
    for wrong, outcomes in (
        (candidates, [*told, told[0]]),
        ([Candidate(10**9, candidates[0].value)], told[:1]),
        ([candidates[0], candidates[0]], [told[0], told[0]]),
    ):
        try:
            searcher.tell(wrong, outcomes)
        except ValueError as error:
            assert str(error)
        else:
            raise AssertionError("a wrong tell was taken")
    assert plain(searcher.state_dict()) == before  # nothing of a wrong tell is kept
    searcher.tell(candidates, told)


def _resumes(example: Example[Any]) -> None:
    """Saved after some rounds and in the middle of one, a searcher goes on as the one that was never stopped."""
    straight = example.make(5)
    _rounds(straight, example, 3)
    resumed = example.make(5)
    resumed.load_state_dict(straight.state_dict())
    assert plain(resumed.best) == plain(straight.best)
    assert _rounds(resumed, example, 3) == _rounds(straight, example, 3)
    candidates = straight.ask()
    half = candidates[: len(candidates) // 2]
    straight.tell(half, [example.fitness(c.value) for c in half])
    saved = straight.state_dict()
    again = example.make(5)
    again.load_state_dict(saved)
    assert plain(again.best) == plain(straight.best)
    rest = candidates[len(half) :]
    handed_out = again.ask()
    if {c.id for c in handed_out} != {c.id for c in rest}:  # not a generation: what is out may still be told
        handed_out = rest
    assert plain([c.value for c in _by_id(handed_out)]) == plain([c.value for c in _by_id(rest)])
    for searcher, out in ((again, handed_out), (straight, rest)):
        searcher.tell(out, [example.fitness(c.value) for c in out])
    assert plain(again.best) == plain(straight.best)


def _by_id(candidates: Sequence[Candidate[Any]]) -> list[Candidate[Any]]:
    return sorted(candidates, key=lambda candidate: candidate.id)


def _configuration(example: Example[Any]) -> None:
    searcher = example.make(0)
    _round(searcher, example)
    try:
        example.make(1).load_state_dict(searcher.state_dict())
    except ValueError as error:
        assert "seed" in str(error), "the error should name what differs"
    else:
        raise AssertionError("the state of another seed was loaded")


def _edits(example: Example[Any]) -> None:
    clean, edited = example.make(6), example.make(6)
    for _ in range(4):
        _round(clean, example)
        candidates = edited.ask()
        told = [example.fitness(c.value) for c in candidates]
        for candidate in candidates:
            _spoil(candidate.value)
        edited.tell(candidates, told)
    assert plain(clean.best) == plain(edited.best)
    assert plain([c.value for c in clean.ask()]) == plain([c.value for c in edited.ask()])


def _spoil(value: Any) -> None:
    """Overwrite whatever of a candidate can be written in place."""
    if isinstance(value, np.ndarray) and value.flags.writeable:
        value[...] = 0
    elif isinstance(value, torch.Tensor):
        value.zero_()
    elif isinstance(value, dict):
        for key in value:
            _spoil(value[key])
            value[key] = 0
    elif isinstance(value, list):
        for item in value:
            _spoil(item)
        value.clear()
    elif isinstance(value, tuple):
        for item in value:
            _spoil(item)


def _must_fail(name: str, check: Check, reason: str) -> None:
    try:
        check()
    except Exception:
        return
    raise AssertionError(f"the law {name!r} is kept, though it is excused: {reason}")
