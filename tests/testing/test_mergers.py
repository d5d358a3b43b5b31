"""Every merger keeps the contract; the contract notices a merger that does not."""

from __future__ import annotations

import doctest
from collections.abc import Callable, Mapping, Sequence

import pytest
import torch

from heredity.merging.base import Merger, StateDict, Weights
from heredity.testing import mergers as suite

CHECKS = [
    pytest.param(check, id=f"{name}: {law}")
    for name, merger in suite.all_mergers()
    for law, check in suite.merger_checks(merger)
]


@pytest.mark.parametrize("check", CHECKS)
def test_contract(check: Callable[[], None]) -> None:
    check()


def test_all_rows_are_found() -> None:
    names = {name for name, _ in suite.all_mergers()}
    assert {"linear", "slerp", "ties", "ties density 0.5", "model_stock", "adapters as deltas"} <= names


def test_docstring_example_runs() -> None:
    assert doctest.testmod(suite).failed == 0


class Careless(Merger):
    """A mean that is written without care: bfloat16 sums, no checks, noise from the global generator."""

    def merge(self, models: Sequence[Weights], *, base: Weights | None = None) -> StateDict:
        merged = {name: sum(model[name] for model in models) / max(len(models), 1) for name in models[0]}
        merged["layers.0.bias"] = merged["layers.0.bias"] + torch.rand(6)
        models[0]["embed.weight"].zero_()
        return {name: torch.as_tensor(tensor) for name, tensor in merged.items()}


@pytest.mark.parametrize(
    "law",
    [
        "equal parents, float32",
        "keys, shapes and dtype, bfloat16",
        "parents unmodified",
        "same seed, same result",
        "global generator untouched",
        "NaN named",
        "counters kept",
        "nothing to merge",
    ],
)
def test_a_careless_merger_is_caught(law: str) -> None:
    checks = dict(suite.merger_checks(Careless()))
    with torch.random.fork_rng(devices=[]), pytest.raises((AssertionError, IndexError)):
        checks[law]()


class Excused(Merger):
    """Claims to break a law that it keeps, or one that does not exist."""

    def __init__(self, law: str) -> None:
        self.law = law

    def merge(self, models: Sequence[Weights], *, base: Weights | None = None) -> StateDict:
        return {name: tensor.clone() for name, tensor in models[0].items()}

    def exceptions(self) -> Mapping[str, str]:
        return {self.law: "for the test"}


def test_an_exception_that_is_not_needed_fails() -> None:
    check = dict(suite.merger_checks(Excused("one parent")))["one parent"]
    with pytest.raises(AssertionError, match="the law holds"):
        check()


def test_an_exception_from_no_law_is_an_error() -> None:
    with pytest.raises(ValueError, match="names no check: 'gravity'"):
        dict(suite.merger_checks(Excused("gravity")))
