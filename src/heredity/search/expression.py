"""Formulas over the statistics of a layer, as trees that can be printed, parsed, evaluated and varied.

Source: the search space of EMQ (arXiv 2307.10554); its table of numbered operations is not released, so that the
operations here are those that its text names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from heredity.errors import EvaluationFailed
from heredity.search.base import Space
from heredity.search.layer_stats import INPUTS, LayerStats

Structure = Literal["sequential", "branch"]
EPS = 1e-9  # inside log_abs, so that a dead gradient is no infinity


def _rows(x: Tensor) -> Tensor:
    """[a, ...] → [a, rest]; vectors and scalars become one row."""
    return x.flatten(1) if x.dim() > 1 else x.reshape(1, -1)


UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "negate": torch.neg,
    "abs": torch.abs,
    "square": torch.square,
    "cube": lambda x: x**3,
    "sqrt": torch.sqrt,
    "log": torch.log,
    "log_abs": lambda x: torch.log(x.abs() + EPS),
    "sign_log": lambda x: x.sign() * torch.log1p(x.abs()),
    "exp": torch.exp,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "heaviside": lambda x: (x > 0).to(x),
    "invert": torch.reciprocal,
    "softmax": lambda x: x.flatten().softmax(0).reshape(x.shape),
    "log_softmax": lambda x: x.flatten().log_softmax(0).reshape(x.shape),
    "normalise": lambda x: (x - x.mean()) / x.std(correction=0),
    "min_max": lambda x: (x - x.min()) / (x.max() - x.min()),
    "l1": lambda x: x.abs().sum(),
    "l2": lambda x: _rows(x).norm(dim=1),
    "frobenius": torch.norm,
    "sum": torch.sum,
    "mean": torch.mean,
    "std": lambda x: x.std(correction=0),
    "var": lambda x: x.var(correction=0),
    "gram": lambda x: _rows(x) @ _rows(x).T,
}


def _product(a: Tensor, b: Tensor) -> Tensor:
    return a * b if 0 in (a.dim(), b.dim()) else _rows(a) @ _rows(b).T


BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "matmul": _product,
    "dot": lambda a, b: (a * b).sum(),
}

# Operations that raw inputs often drive out of the reals; sampled at a fraction of the others' rate (the paper's OSP).
RISKY = ("sqrt", "log", "exp", "invert", "div", "min_max", "normalise")
RISKY_RATE = 0.25


@dataclass(frozen=True, slots=True)
class Expression:
    """A tree: an input of `LayerStats` without arguments, or an operation with one or two.

    Args:
        op: name.
        args: sub-expressions.

    >>> str(Expression.parse("add(l1(log_abs(VG)), mean(square(W)))"))
    'add(l1(log_abs(VG)), mean(square(W)))'
    """

    op: str
    args: tuple[Expression, ...] = ()

    def __post_init__(self) -> None:
        arity = 0 if self.op in INPUTS else 1 if self.op in UNARY else 2 if self.op in BINARY else None
        if arity != len(self.args):
            raise ValueError(f"{self.op!r} with {len(self.args)} arguments is no input or operation")

    def __str__(self) -> str:
        return f"{self.op}({', '.join(map(str, self.args))})" if self.args else self.op

    @property
    def key(self) -> str:
        """Its text: equal for equal trees."""
        return str(self)

    @classmethod
    def parse(cls, text: str) -> Expression:
        """The expression that prints as `text`.

        Raises:
            ValueError: the text is none.
        """
        tokens = re.findall(r"\w+|[^\w\s]", text)
        found, rest = _parsed(tokens, text)
        if rest:
            raise ValueError(f"{text!r} goes on after an expression, with {rest[0]!r}")
        return found

    def __call__(self, layer: Mapping[str, Tensor]) -> float:
        """The mean of the tensor that it computes for one layer; may be NaN or infinite.

        Raises:
            EvaluationFailed: shapes do not fit, or the layer lacks an input.
        """
        return float(self._value(layer).mean())

    def _value(self, layer: Mapping[str, Tensor]) -> Tensor:
        if not self.args:
            if self.op not in layer:
                raise EvaluationFailed(f"{self.op} was not collected for this layer")
            return layer[self.op]
        values = [argument._value(layer) for argument in self.args]
        if len(values) == 1:
            return UNARY[self.op](values[0])
        a, b = values
        try:
            if self.op != "matmul" and 0 not in (a.dim(), b.dim()) and a.shape != b.shape:
                raise RuntimeError("only scalars are broadcast")
            return BINARY[self.op](a, b)
        except RuntimeError:
            raise EvaluationFailed(f"{self.op} cannot join shapes {tuple(a.shape)} and {tuple(b.shape)}") from None

    def mutate(self, rng: np.random.Generator, weights: Mapping[str, float] | None = None) -> Expression:
        """With one input or operation replaced by another of the same kind.

        Args:
            weights: relative rates of names; absent ones have 1, and inputs of rate 0 never come.
        """
        place = int(rng.integers(self._size()))
        return self._replaced(place, rng, weights or {})

    def crossover(self, other: Expression, rng: np.random.Generator) -> Expression:
        """Along a chain each part is of either parent by a coin; of a binary operation each whole branch is."""
        if len(self.args) != len(other.args):
            return self if rng.random() < 0.5 else other
        op = self.op if rng.random() < 0.5 else other.op
        if len(self.args) == 1:
            return Expression(op, (self.args[0].crossover(other.args[0], rng),))
        pairs = zip(self.args, other.args, strict=True)
        return Expression(op, tuple(a if rng.random() < 0.5 else b for a, b in pairs))

    def _size(self) -> int:
        return 1 + sum(argument._size() for argument in self.args)

    def _replaced(self, place: int, rng: np.random.Generator, weights: Mapping[str, float]) -> Expression:
        if place == 0:
            kin: Sequence[str] = (INPUTS, tuple(UNARY), tuple(BINARY))[len(self.args)]
            return Expression(draw([name for name in kin if name != self.op], rng, weights), self.args)
        place -= 1
        args = list(self.args)
        for k, argument in enumerate(args):
            size = argument._size()
            if place < size:
                args[k] = argument._replaced(place, rng, weights)
                break
            place -= size
        return Expression(self.op, tuple(args))


class ExpressionSpace(Space[Expression]):
    """Formulas of one structure.

    Args:
        structure: "sequential": a chain of unary operations on one input; "branch": a binary operation of two chains.
        depth: operations in a chain.
        inputs: names of the statistics to use.
        prioritise: sample `RISKY` operations less often.
    """

    def __init__(
        self,
        structure: Structure = "branch",
        depth: int = 2,
        inputs: Sequence[str] = INPUTS,
        *,
        prioritise: bool = True,
    ) -> None:
        if structure not in ("sequential", "branch") or depth < 1:
            raise ValueError(f'a structure is "sequential" or "branch" with depth ≥ 1, got {structure!r}, {depth}')
        if not inputs or set(inputs) - set(INPUTS):
            raise ValueError(f"inputs are some of {', '.join(INPUTS)}; got {list(inputs)}")
        self.structure, self.depth, self.inputs, self.prioritise = structure, depth, tuple(inputs), prioritise
        self.weights = dict.fromkeys(RISKY, RISKY_RATE) if prioritise else {}
        self.weights |= {name: 0.0 for name in INPUTS if name not in inputs}

    def sample(self, rng: np.random.Generator) -> Expression:
        """Names drawn independently at their rates."""
        if self.structure == "sequential":
            return self._chain(rng)
        return Expression(draw(tuple(BINARY), rng, self.weights), (self._chain(rng), self._chain(rng)))

    def mutate(self, x: Expression, rng: np.random.Generator) -> Expression:
        """One name replaced."""
        if len(self.inputs) == 1:  # an input has no other to change into; look for an operation
            for _ in range(100):
                changed = x.mutate(rng, {**self.weights, **dict.fromkeys(INPUTS, 1.0)})
                if self.valid(changed):
                    return changed
        return x.mutate(rng, self.weights)

    def crossover(self, a: Expression, b: Expression, rng: np.random.Generator) -> Expression:
        """Branches, or parts of a chain, of either parent."""
        return a.crossover(b, rng)

    def valid(self, x: Expression) -> bool:
        """Whether it has the structure and uses the inputs."""
        if self.structure == "sequential":
            return self._is_chain(x)
        return len(x.args) == 2 and all(self._is_chain(branch) for branch in x.args)

    def _chain(self, rng: np.random.Generator) -> Expression:
        found = Expression(draw(self.inputs, rng, {}))
        for _ in range(self.depth):
            found = Expression(draw(tuple(UNARY), rng, self.weights), (found,))
        return found

    def _is_chain(self, x: Expression) -> bool:
        for _ in range(self.depth):
            if len(x.args) != 1:
                return False
            (x,) = x.args
        return not x.args and x.op in self.inputs


def draw(names: Sequence[str], rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    """One of the names at its relative rate, 1 where none is given."""
    rates = np.array([weights.get(name, 1.0) for name in names])
    return names[int(rng.choice(len(names), p=rates / rates.sum()))]


def layer_scores(expression: Expression, stats: LayerStats) -> list[float]:
    """The expression's value for each layer, in order.

    Raises:
        EvaluationFailed: a value is not finite, or shapes do not fit.
    """
    scores = []
    for name, layer in stats.items():
        value = expression(layer)
        if not np.isfinite(value):
            raise EvaluationFailed(f"{expression} is {value} for the layer {name}")
        scores.append(value)
    return scores


def _parsed(tokens: list[str], text: str) -> tuple[Expression, list[str]]:
    """The expression that the tokens begin with, and what is left of them."""
    if not tokens or not tokens[0].isidentifier():
        raise ValueError(f"{text!r} is no expression: a name is missing")
    name, rest = tokens[0], tokens[1:]
    args: list[Expression] = []
    if rest and rest[0] == "(":
        while True:
            argument, rest = _parsed(rest[1:], text)
            args.append(argument)
            if not rest or rest[0] not in ",)":
                raise ValueError(f"{text!r} is no expression: a bracket or comma is missing")
            if rest[0] == ")":
                rest = rest[1:]
                break
    return Expression(name, tuple(args)), rest
