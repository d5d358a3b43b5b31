import json

import numpy as np
import pytest

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Failed
from heredity.search.base import Space
from heredity.search.random_search import RandomSearch


class Box(Space):
    def sample(self, rng):
        return rng.uniform(-1, 1, 2)

    def mutate(self, x, rng):
        return x + rng.normal(0, 0.1, 2)

    def crossover(self, a, b, rng):
        return (a + b) / 2

    def valid(self, x):
        return bool((np.abs(x) <= 1).all())


def sphere(x):
    return -float((x**2).sum())


def test_finds_the_middle_of_a_box_in_time():
    search = RandomSearch(Box(), seed=0)
    candidates = search.ask(1000)
    search.tell(candidates, [sphere(c.value) for c in candidates])
    # The chance that none of 1,000 draws falls within .1 of the centre is (1 − π·.01/4)^1000 ≈ 4e-4.
    assert search.best[1] > -0.01 and sphere(search.best[0].value) == search.best[1]


def test_resumed_equals_uninterrupted_in_parts_and_out_of_order():
    whole, first = RandomSearch(Box(), seed=4), RandomSearch(Box(), seed=4)
    candidates = whole.ask(10)
    whole.tell(candidates, [sphere(c.value) for c in candidates])
    asked = first.ask(6)
    first.tell(asked[4:], [sphere(c.value) for c in asked[4:]])
    resumed = RandomSearch(Box(), seed=4)
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    rest = asked[:4] + resumed.ask(4)
    for c in reversed(rest):
        resumed.tell([c], [sphere(c.value)])
    assert resumed.best[0].id == whole.best[0].id and resumed.best[1] == whole.best[1]
    assert resumed.state_dict() == whole.state_dict()


def test_failures_never_win():
    search = RandomSearch(Box())
    a, b = search.ask(2)
    search.tell([a, b], [float("nan"), -7.0])
    assert search.best[0].id == b.id
    with pytest.raises(EvaluationFailed, match="all 1 candidates"):
        search.tell(search.ask(), [Failed("broken")])
    assert search.best[1] == -7.0


def test_a_candidate_is_told_once():
    search = RandomSearch(Box())
    (a,) = search.ask()
    search.tell([a], [1.0])
    with pytest.raises(ValueError, match="told before"):
        search.tell([a], [1.0])
