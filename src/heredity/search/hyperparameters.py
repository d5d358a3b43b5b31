"""Spaces of named hyperparameters of several kinds, some of which exist only beside certain values of others.

Every field can be drawn, perturbed as population based training does (arXiv 1711.09846), and written as coordinates in
[0, 1], so that searchers of vectors tune hyperparameters, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from heredity.search.base import Example, Searcher, Space
from heredity.search.box import Box
from heredity.search.cma import CMA
from heredity.search.decoded import DecodedSearcher
from heredity.search.differential_evolution import DifferentialEvolution
from heredity.search.fields import Choice, Field, Int, LogUniform, Uniform, When  # one import for users

Vector: TypeAlias = NDArray[np.float64]
Setting: TypeAlias = dict[str, Any]
INACTIVE = 0.5  # the coordinates of a field that does not exist


class Hyperparameters(Space[Setting]):
    """Dicts that hold a value for every active field.

    Args:
        fields: by name. A `When` field is active if the field that it names is and has one of its values.
        rate: probability that a mutation changes a field; at least one changes. Default 1 / number of active fields.

    Raises:
        ValueError: no field, a condition names an unknown field, asks for a value that it cannot have, or is circular.

    >>> space = Hyperparameters({"lr": LogUniform(1e-4, 1e-1), "optimizer": Choice(["sgd", "adam"]),
    ...                          "momentum": When("optimizer", "sgd", Uniform(0.0, 0.99))})
    >>> space.problem({"lr": 0.01, "optimizer": "adam", "momentum": 0.9})
    "'momentum' is no field, or is not active beside the other values"
    """

    def __init__(self, fields: Mapping[str, Field | When], *, rate: float | None = None) -> None:
        if not fields:
            raise ValueError("a space of hyperparameters needs at least one field")
        if rate is not None and not 0 < rate <= 1:
            raise ValueError(f"rate must lie in (0, 1], got {rate}")
        self.fields, self.rate = dict(fields), rate
        self._order = self._sorted()
        self._places: dict[str, slice] = {}
        start = 0
        for name in self.fields:
            width = self.field(name).width
            self._places[name] = slice(start, start + width)
            start += width
        self.box = Box(0.0, 1.0, dim=start)

    def field(self, name: str) -> Field:
        """The field of a name, without its condition."""
        field = self.fields[name]
        return field.field if isinstance(field, When) else field

    def active(self, x: Mapping[str, Any]) -> list[str]:
        """Names of the fields that exist beside the values of `x`, those that conditions look at first."""
        found: list[str] = []
        for name in self._order:
            field = self.fields[name]
            if not isinstance(field, When) or (field.name in found and field.met(x.get(field.name))):
                found.append(name)
        return found

    def sample(self, rng: np.random.Generator) -> Setting:
        """Draw every field that is active."""
        return self._completed({}, rng)

    def mutate(self, x: Setting, rng: np.random.Generator) -> Setting:
        """Draw new values for some fields, near the old ones where they are numbers; at least one changes.

        Fields that become active are drawn; those that cease to be are dropped.
        """
        names = self.active(x)
        chosen = rng.random(len(names)) < (1 / len(names) if self.rate is None else self.rate)
        chosen[rng.integers(len(names))] = True
        new = dict(x)
        for name in np.array(names, dtype=object)[chosen]:
            new[name] = self.field(name).mutate(x[name], rng)
        return self._completed(new, rng)

    def crossover(self, a: Setting, b: Setting, rng: np.random.Generator) -> Setting:
        """Each field from either parent, or from the one that has it."""
        mixed = {}
        for name in self.fields:
            first = bool(rng.random() < 0.5)
            if name in a or name in b:
                mixed[name] = a[name] if name in a and (first or name not in b) else b[name]
        return self._completed(mixed, rng)

    def perturb(self, x: Setting, rng: np.random.Generator, factors: tuple[float, float] = (0.8, 1.2)) -> Setting:
        """Every active field perturbed as in population based training; see `Field.perturb`."""
        new = {name: self.field(name).perturb(x[name], rng, factors) for name in self.active(x)}
        return self._completed(new, rng)

    def problem(self, x: Any) -> str | None:
        """What is wrong with `x`, in a sentence; None where nothing is."""
        if not isinstance(x, Mapping):
            return f"hyperparameters are a dict, not {type(x).__name__}"
        names = self.active(x)
        for name in x:
            if name not in names:
                return f"{name!r} is no field, or is not active beside the other values"
        for name in names:
            if name not in x:
                return f"{name!r} is missing"
            if (problem := self.field(name).problem(x[name])) is not None:
                return f"{name!r} {problem}"
        return None

    def valid(self, x: Setting) -> bool:
        """Whether `problem` finds none."""
        return self.problem(x) is None

    def vector(self, x: Setting) -> Vector:
        """Coordinates in [0, 1] [dim of `box`]; ½ where a field is not active.

        Raises:
            ValueError: `x` is not valid.
        """
        if (problem := self.problem(x)) is not None:
            raise ValueError(problem)
        v = np.full(self.box.dim, INACTIVE)
        for name in x:
            v[self._places[name]] = self.field(name).coordinates(x[name])
        return v

    def decode(self, v: Vector) -> Setting:
        """The hyperparameters at coordinates [dim of `box`]; those outside [0, 1] count as the nearest inside.

        Raises:
            ValueError: another length, or a coordinate is not finite.
        """
        v = np.asarray(v, dtype=np.float64)
        if v.shape != (self.box.dim,) or not np.isfinite(v).all():
            raise ValueError(f"expected {self.box.dim} finite coordinates, got shape {v.shape}")
        inside = np.clip(v, 0.0, 1.0)
        everything = {name: self.field(name).decode(inside[place]) for name, place in self._places.items()}
        names = self.active(everything)
        return {name: everything[name] for name in self.fields if name in names}

    def _completed(self, known: Mapping[str, Any], rng: np.random.Generator) -> Setting:
        """The known values of active fields, and draws for the others, in the order of declaration."""
        x: Setting = {}
        for name in self._order:
            field = self.fields[name]
            if not isinstance(field, When) or (field.name in x and field.met(x[field.name])):
                x[name] = known[name] if name in known else self.field(name).sample(rng)
        return {name: x[name] for name in self.fields if name in x}

    def _sorted(self) -> list[str]:
        """Names such that a field comes after the one its condition names."""
        order: list[str] = []
        left = list(self.fields)
        for name, field in self.fields.items():
            if isinstance(field, When):
                if field.name not in self.fields:
                    raise ValueError(f"{name!r} depends on {field.name!r}, which is no field")
                for value in field.values:
                    if (problem := self.field(field.name).problem(value)) is not None:
                        raise ValueError(f"{name!r} depends on {field.name!r} being {value!r}, which {problem}")
        while left:
            ready = [n for n in left if not isinstance(f := self.fields[n], When) or f.name in order]
            if not ready:
                raise ValueError(f"the conditions of {', '.join(map(repr, left))} go round in a circle")
            order += ready
            left = [name for name in left if name not in ready]
        return order


class HyperparameterSearcher(DecodedSearcher[Setting]):
    """A searcher of vectors that tunes hyperparameters.

    Args:
        space: the hyperparameters.
        vectors: a searcher over `space.box`; default differential evolution with 20 members.
        seed: of the default searcher.
        metric: the value of an outcome to maximise, where it has several.
    """

    def __init__(
        self,
        space: Hyperparameters,
        vectors: Searcher[Any] | None = None,
        *,
        seed: int = 0,
        metric: str | None = None,
    ) -> None:
        super().__init__(DifferentialEvolution(space.box, 20, seed=seed) if vectors is None else vectors, metric)
        self.space = space

    def decode(self, vector: Vector) -> Setting:
        """The hyperparameters at a vector."""
        return self.space.decode(vector)

    def refusal(self, vector: Vector) -> str | None:
        """None: every vector means something."""
        return None

    def price(self, value: Setting) -> float:
        """0: nothing is taken from fitness."""
        return 0.0

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """A small mixed space with a condition, by differential evolution and by CMA-ES."""
        space = Hyperparameters(
            {
                "rate": LogUniform(1e-4, 1e-1),
                "layers": Int(1, 8),
                "kind": Choice(["sgd", "adam", "lion"]),
                "momentum": When("kind", "sgd", Uniform(0.0, 0.99)),
            }
        )

        def worth(x: Setting) -> float:
            return -float((np.log10(x["rate"]) + 2.5) ** 2 + abs(x["layers"] - 5) + abs(x.get("momentum", 2.0) - 0.9))

        yield f"{cls.__name__}-de", Example(lambda seed: cls(space, seed=seed), worth)
        cma = lambda seed: cls(space, CMA(space.box.dim, 0.3, bounds=(0.0, 1.0), seed=seed))  # noqa: E731
        yield f"{cls.__name__}-cma", Example(cma, worth)
