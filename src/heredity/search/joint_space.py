"""Spaces of architectures, of training recipes, and of both together, as named fields.

An architecture space is yours: fields, and a function from their values to free statistics, such as FLOPs and parameter
counts.
Source: arXiv 2006.02049, section 3; Sobol' sequences as in scipy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from heredity.search.base import Space
from heredity.search.fields import Choice, Field, When
from heredity.search.hyperparameters import Hyperparameters, Setting

Range: TypeAlias = "tuple[float | None, float | None]"
Statistics: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, float]]


class RecipeSpace(Hyperparameters):
    """Named fields with an encoding for predictors and with Sobol' samples.

    Args: as of `Hyperparameters`.

    An encoding has for every choice one coordinate per option, for every number one from −1 to 1, and for a field that
    depends on another one more that says whether it is present; all coordinates of an absent field are 0. So different
    codes are different settings.
    """

    def __init__(self, fields: Mapping[str, Field | When], *, rate: float | None = None) -> None:
        super().__init__(fields, rate=rate)
        self._widths = {name: self._width(name) for name in self.fields}
        self.width = sum(self._widths.values())

    def encode(self, x: Setting) -> Tensor:
        """A setting as float32 [width].

        Raises:
            ValueError: it is not valid.
        """
        if (problem := self.problem(x)) is not None:
            raise ValueError(problem)
        code: list[float] = []
        for name, width in self._widths.items():
            if name not in x:
                code += [0.0] * width
                continue
            field = self.field(name)
            if isinstance(field, Choice):
                code += [float(type(o) is type(x[name]) and o == x[name]) for o in field.options]
            else:
                code += [2 * float(v) - 1 for v in field.coordinates(x[name])]
            code += [1.0] if isinstance(self.fields[name], When) else []
        return torch.tensor(code, dtype=torch.float32)

    def at(self, unit: np.ndarray) -> Setting:
        """The setting at a point of the unit cube [number of fields]: a choice has equal bins."""
        x: Setting = {}
        for name, u in zip(self.fields, unit.tolist(), strict=True):
            field = self.field(name)
            if isinstance(field, Choice):
                x[name] = field.options[min(int(u * len(field.options)), len(field.options) - 1)]
            else:
                x[name] = field.decode(np.array([u]))
        names = self.active(x)
        return {name: value for name, value in x.items() if name in names}

    def sobol(self, n: int, seed: int = 0) -> list[Setting]:
        """`n` settings that fill the space evenly: the beginning of a scrambled Sobol' sequence.

        Equal ones can occur where all fields are choices. A power of two fills it most evenly.
        """
        return [self.at(unit) for unit in sobol_points(len(self.fields), n, seed)]

    def _width(self, name: str) -> int:
        field = self.field(name)
        width = len(field.options) if isinstance(field, Choice) else field.width
        return width + isinstance(self.fields[name], When)


class ArchSpace(RecipeSpace):
    """Architectures: fields, and statistics that cost no training.

    Args:
        fields, rate: as of `Hyperparameters`.
        statistics: architecture → positive numbers by name, always the same names; for instance FLOPs and parameters
            by `heredity.evaluation.compute`, or formulas.
    """

    def __init__(
        self, fields: Mapping[str, Field | When], statistics: Statistics, *, rate: float | None = None
    ) -> None:
        super().__init__(fields, rate=rate)
        self._statistics = statistics
        self._known: dict[str, dict[str, float]] = {}

    def statistics(self, x: Setting) -> dict[str, float]:
        """The statistics of an architecture.

        Raises:
            ValueError: a number is not finite and positive.
        """
        key = _key(x)
        if key not in self._known:
            found = {name: float(value) for name, value in self._statistics(x).items()}
            for name, value in found.items():
                if not (math.isfinite(value) and value > 0):
                    raise ValueError(f"the statistic {name!r} must be positive and finite, it is {value} for {x}")
            self._known[key] = found
        return dict(self._known[key])


class JointCandidate(NamedTuple):
    """An architecture and the recipe to train it with."""

    arch: Setting
    recipe: Setting


class JointSpace(Space[JointCandidate]):
    """Architectures together with recipes.

    Args:
        archs, recipes: the two spaces.
        within: ranges of statistics by name, (low, high), each None where it is open; nothing outside is valid.

    Raises:
        ValueError: a range names no statistic, or is empty.
    """

    def __init__(
        self, archs: ArchSpace, recipes: RecipeSpace, within: Mapping[str, Range] | None = None, tries: int = 1000
    ) -> None:
        self.archs, self.recipes, self.within, self.tries = archs, recipes, dict(within or {}), tries
        names = archs.statistics(archs.sample(np.random.default_rng(0)))
        for name, (low, high) in self.within.items():
            if name not in names:
                raise ValueError(f"{name!r} is no statistic of the architectures; known: {', '.join(names)}")
            if low is not None and high is not None and low > high:
                raise ValueError(f"the range of {name!r} is empty: {low} to {high}")

    def restricted(self, within: Mapping[str, Range]) -> JointSpace:
        """The same space with other ranges."""
        return JointSpace(self.archs, self.recipes, within, self.tries)

    def sample(self, rng: np.random.Generator) -> JointCandidate:
        """Draw both, the architecture until it lies within the ranges.

        Raises:
            ValueError: none does in many tries.
        """
        for _ in range(self.tries):
            arch = self.archs.sample(rng)
            if self._inside(arch):
                return JointCandidate(arch, self.recipes.sample(rng))
        raise ValueError(f"none of {self.tries} architectures lies within {self.within}")

    def mutate(self, x: JointCandidate, rng: np.random.Generator) -> JointCandidate:
        """Change fields of one of the two, chosen in proportion to how many it has."""
        counts = len(self.archs.active(x.arch)), len(self.recipes.active(x.recipe))
        if rng.random() < counts[0] / sum(counts):
            return JointCandidate(self.archs.mutate(x.arch, rng), dict(x.recipe))
        return JointCandidate(dict(x.arch), self.recipes.mutate(x.recipe, rng))

    def crossover(self, a: JointCandidate, b: JointCandidate, rng: np.random.Generator) -> JointCandidate:
        """Cross architectures, and recipes."""
        return JointCandidate(
            self.archs.crossover(a.arch, b.arch, rng), self.recipes.crossover(a.recipe, b.recipe, rng)
        )

    def valid(self, x: JointCandidate) -> bool:
        """Whether both are valid and the architecture lies within the ranges."""
        return self.archs.valid(x.arch) and self.recipes.valid(x.recipe) and self._inside(x.arch)

    def sobol(self, n: int, seed: int = 0) -> list[JointCandidate]:
        """The beginning of a Sobol' sequence over both, less those outside of the ranges."""
        split = len(self.archs.fields)
        points = sobol_points(split + len(self.recipes.fields), n, seed)
        found = [JointCandidate(self.archs.at(unit[:split]), self.recipes.at(unit[split:])) for unit in points]
        return [candidate for candidate in found if self._inside(candidate.arch)]

    def encode(self, x: JointCandidate) -> tuple[Tensor, Tensor]:
        """Architecture [width] and recipe [width]."""
        return self.archs.encode(x.arch), self.recipes.encode(x.recipe)

    def statistics(self, x: JointCandidate) -> dict[str, float]:
        """Those of the architecture."""
        return self.archs.statistics(x.arch)

    @staticmethod
    def key(x: JointCandidate) -> Hashable:
        """The same for equal candidates."""
        return _key(x.arch), _key(x.recipe)

    def _inside(self, arch: Setting) -> bool:
        if not self.within:
            return True
        found = self.archs.statistics(arch)
        return all(
            (low is None or found[name] >= low) and (high is None or found[name] <= high)
            for name, (low, high) in self.within.items()
        )


def sobol_points(dim: int, n: int, seed: int) -> np.ndarray:
    """The first n points [n, dim] of a scrambled Sobol' sequence, in [0, 1)."""
    from scipy.stats.qmc import Sobol

    if n < 1:
        raise ValueError(f"a sample needs at least one point, got {n}")
    drawn = Sobol(dim, scramble=True, seed=np.random.default_rng(seed)).random_base2(math.ceil(math.log2(n)))
    return np.asarray(drawn[:n])


def _key(x: Mapping[str, Any]) -> str:
    return json.dumps(dict(x), sort_keys=True, default=repr)
