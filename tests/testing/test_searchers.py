"""Every searcher that the packages hold keeps the contract; and the contract notices searchers that do not."""

import numpy as np
import pytest

from heredity.search.base import Example
from heredity.search.snes import SNES
from heredity.testing.searchers import all_searchers, searcher_checks

CHECKS = [
    pytest.param(check, id=f"{name}-{law}")
    for name, example in all_searchers()
    for law, check in searcher_checks(example)
]


@pytest.mark.parametrize("check", CHECKS)
def test_keeps_the_contract(check):
    check()


class Clock(SNES):
    def _draw(self, rng):
        return super()._draw(np.random.default_rng())


class Global(SNES):
    def _draw(self, rng):
        return super()._draw(np.random.default_rng(np.random.randint(2**31)))  # noqa: NPY002


class Shared(SNES):
    def _generation(self):
        x = super()._generation()
        self._noise = x  # learns from what the user can edit
        return x

    def ask(self, n=None):
        asked = super().ask(n)
        for place, candidate in enumerate(asked):
            object.__setattr__(candidate, "value", self._x[place])
        return asked


class Forgetful(SNES):
    def _method_state(self):
        return {**super()._method_state(), "sigma": np.ones(self.dim)}


class Stuck(SNES):
    def _draw(self, rng):
        return np.ones((self.population, self.dim)) * self.seed + super()._draw(rng) * 0

    def _learn(self, x, fitness):
        pass


class Gullible(SNES):
    def tell(self, candidates, outcomes):
        super().tell(candidates, [1.0 if isinstance(o, float) and np.isnan(o) else o for o in outcomes])


@pytest.mark.parametrize(
    ("kind", "law"),
    [
        (Clock, "same seed, same candidates"),
        (Global, "global generators untouched"),
        (Shared, "editing a candidate corrupts nothing"),
        (Forgetful, "save, load, continue"),
        (Stuck, "improves"),
        (Gullible, "failures never win"),
        (Gullible, "all failed is an error"),
    ],
)
def test_a_broken_searcher_is_noticed(kind, law):
    (_, example), *_ = kind.examples()
    with pytest.raises(AssertionError):
        dict(searcher_checks(example))[law]()


def test_an_excuse_has_to_be_needed():
    (_, example), *_ = SNES.examples()
    excused = Example(example.make, example.fitness, exceptions={"improves": "it does"})
    with pytest.raises(AssertionError, match="is kept"):
        dict(searcher_checks(excused))["improves"]()
    with pytest.raises(ValueError, match="name no law"):
        list(searcher_checks(Example(example.make, example.fitness, exceptions={"flies": "no"})))
