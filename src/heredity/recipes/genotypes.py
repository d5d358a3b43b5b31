"""Candidates that are no networks as recorded births: settings, vectors, graphs, programs, with where they came from.

The weights of such a birth are the bytes of what it is, so that a lab stores, names, exports and compares it like any
other model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from heredity.errors import RecipeError
from heredity.lab import Child, Context, Model, Operator, Parents, Request
from heredity.lab.canonical import canonical, code_in, revive
from heredity.lab.engine import Evolution
from heredity.search.base import Candidate, Space

X = Any


@dataclass(frozen=True)
class Point(Operator):
    """A vector [n] of float64."""

    x: tuple[float, ...]
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Write it down."""
        return Child({"x": torch.tensor(self.x, dtype=torch.float64)})


@dataclass(frozen=True)
class Genotype(Operator):
    """A value that JSON can hold: named settings, a graph; with a parent it is a variation of that one's."""

    value: Any
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Write it down as bytes."""
        text = json.dumps(canonical(self.value, "value"), sort_keys=True).encode()
        return Child({"genotype": torch.frombuffer(bytearray(text), dtype=torch.uint8)})


@dataclass(frozen=True)
class Mutant(Genotype):
    """A variation of one parent."""

    kind: ClassVar[str] = "mutate"


@dataclass(frozen=True)
class Cross(Genotype):
    """A mixture of two parents."""

    kind: ClassVar[str] = "crossover"


def value_of(model: Model) -> Any:
    """What a recorded genotype or point is: a vector of NumPy, or the value."""
    weights = model.weights()
    if "x" in weights:
        return weights["x"].numpy().copy()
    return revive(json.loads(bytes(weights["genotype"].tolist())))


class Traced(Space[X]):
    """A space that remembers from whom each of its candidates came.

    Args:
        space: any.
    """

    def __init__(self, space: Space[X]) -> None:
        self.space = space
        self._parents: dict[Hashable, tuple[Hashable, ...]] = {}

    def sample(self, rng: np.random.Generator) -> X:
        """A founder."""
        x = self.space.sample(rng)
        self._parents.setdefault(key_of(x), ())
        return x

    def mutate(self, x: X, rng: np.random.Generator) -> X:
        """A mutant."""
        return self._met(self.space.mutate(x, rng), (x,))

    def crossover(self, a: X, b: X, rng: np.random.Generator) -> X:
        """A mixture."""
        return self._met(self.space.crossover(a, b, rng), (a, b))

    def valid(self, x: X) -> bool:
        """Whether it belongs to the space."""
        return self.space.valid(x)

    def parents(self, key: Hashable) -> tuple[Hashable, ...]:
        """Keys of those from whom a candidate came when it was made for the first time."""
        return self._parents.get(key, ())

    def _met(self, child: X, parents: tuple[X, ...]) -> X:
        key = key_of(child)
        if key not in self._parents:
            self._parents[key] = tuple(dict.fromkeys(up for up in map(key_of, parents) if up != key))
        return child

    def __repr__(self) -> str:
        return f"Traced({type(self.space).__name__})"


def key_of(x: Any) -> str:
    """The canonical text of a candidate.

    Raises:
        RecipeError: it holds more than numbers, texts, tuples, dicts and Heredity's own graphs.
    """
    try:
        form = canonical(x, "a candidate")
    except TypeError as error:
        raise RecipeError(f"{error}; candidates of a recipe are numbers, texts, tuples, dicts, or Cells") from error
    if foreign := [path for path in code_in(form) if not path.startswith("heredity.")]:
        raise RecipeError(
            f"a candidate is a {foreign[0].rpartition(':')[2]}; candidates of a recipe are numbers, texts, tuples, "
            "dicts, or Cells"
        )
    return json.dumps(form, sort_keys=True)


class Kin:
    """Candidate → the birth of it as a child of those it was varied from; what was born before is measured as it is.

    Args:
        space: of the searcher.
        request: (value, parents) → the birth.
    """

    def __init__(self, space: Traced, request: Callable[[Any, tuple[Model, ...]], Request]) -> None:
        self.space, self.request = space, request
        self._asked: dict[Hashable, list[int]] = {}

    def __call__(self, candidate: Candidate[Any], evolution: Evolution) -> Request | Model:
        """The request, or the model of an equal candidate that was told before."""
        key = key_of(candidate.value)
        same = self._model(key, evolution)
        self._asked.setdefault(key, []).append(candidate.id)
        if same is not None:
            return same
        return self.request(candidate.value, tuple(self._ancestors(key, evolution, {key})))

    def _ancestors(self, key: Hashable, evolution: Evolution, seen: set[Hashable]) -> Iterator[Model]:
        """The nearest that were born; a mixture that was mutated before anybody saw it was not."""
        for parent in self.space.parents(key):
            if parent not in seen:
                seen.add(parent)
                model = self._model(parent, evolution)
                if model is not None:
                    yield model
                else:
                    yield from self._ancestors(parent, evolution, seen)

    def _model(self, key: Hashable, evolution: Evolution) -> Model | None:
        births = evolution.result.births
        born = next((i for i in self._asked.get(key, ()) if i in births), None)
        return None if born is None else evolution.model(born)


def genotype_request(value: Any, parents: tuple[Model, ...]) -> Request:
    """The birth of a value without weights of its own."""
    kind = (Genotype, Mutant, Cross)[min(len(parents), 2)]
    return Request(kind(value), parents[:2])
