"""Candidates without weights as births: what comes back is what went in, and who came from whom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import heredity as hd
from heredity.errors import RecipeError
from heredity.lab.evolved import Evolved
from heredity.recipes.genotypes import Genotype, Kin, Point, Traced, genotype_request, key_of, value_of
from heredity.search.base import Candidate, Space
from heredity.search.cells import Cell

NAMES = st.from_regex(r"[a-z]{1,3}", fullmatch=True)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(NAMES, inner),
    max_leaves=6,
)


@given(PLAIN)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    weights = Genotype(value).apply(None, None).weights  # type: ignore[arg-type]
    assert value_of(SimpleNamespace(weights=lambda: weights)) == value  # type: ignore[arg-type]


def test_vectors_and_graphs_come_back_from_a_lab(tmp_path: Path) -> None:
    cell = Cell(((0, 1), (1, 2)), ("relu",))
    x = (0.1, 1 / 3, -2e300)
    with hd.Lab(tmp_path / "lab") as lab:
        assert value_of(lab.derive(Genotype(cell))) == cell
        assert tuple(value_of(lab.derive(Point(x)))) == x


def test_foreign_values_are_refused_by_name() -> None:
    @dataclass(frozen=True)
    class Mine:
        a: int = 1

    for value in (object(), {1, 2}, Mine()):
        with pytest.raises(RecipeError, match="numbers, texts, tuples, dicts, or Cells"):
            key_of(value)


class Numbers(Space[int]):
    """A mutant is one more, a mixture the sum."""

    def sample(self, rng: np.random.Generator) -> int:
        return int(rng.integers(10))

    def mutate(self, x: int, rng: np.random.Generator) -> int:
        return x + 1

    def crossover(self, a: int, b: int, rng: np.random.Generator) -> int:
        return a + b

    def valid(self, x: int) -> bool:
        return True


def test_parents_are_the_nearest_that_were_born(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with hd.Lab(tmp_path / "lab") as lab:
        space = Traced(Numbers())
        kin = Kin(space, genotype_request)
        result = Evolved("kin", "value", "maximize", "generational", 0, None)
        evolution: Any = SimpleNamespace(result=result, model=lambda i: lab[result.births[i]])

        def born(i: int, value: int) -> hd.Model:
            wanted = kin(Candidate(i, value), evolution)
            model = wanted if isinstance(wanted, hd.Model) else lab.derive_all([wanted])[0]
            result.births[i] = model.id
            return model

        three, five = born(0, 3), born(1, 5)
        nine = born(2, space.mutate(space.crossover(3, 5, rng), rng))  # nobody has seen the 8 between
        assert nine.parents == [three, five]
        assert nine.kind == "crossover"
        ten = born(3, space.mutate(9, rng))
        assert (ten.kind, ten.parents) == ("mutate", [nine])
        assert born(4, 5) == five, "what was born is not born again"
        unseen = space.mutate(space.mutate(ten_value := 10, rng), rng)
        assert born(5, unseen).parents == [ten], f"{ten_value + 1} was not born"
