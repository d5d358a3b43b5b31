"""What `VectorSearcher` does beyond the contract's laws, seen through the plainest method."""

import numpy as np
import pytest

from heredity.errors import EvaluationFailed
from heredity.search.box import Box
from heredity.search.generations import VectorSearcher
from heredity.search.snes import SNES


class OnDemand(VectorSearcher):
    """Makes candidates when they are wanted: candidate k is k plus a number drawn per generation, and 100."""

    def __init__(self, population=4, seed=0):
        super().__init__(Box(-10, 20, dim=2), population, seed=seed)
        self.made, self.offset = [], 0.0

    def _draw(self, rng):
        self.offset = rng.random()

    def _vectors(self, places):
        self.made += list(places)
        return np.array([[k + self.offset, 100.0] for k in places])

    def _learn(self, x, fitness):
        assert x.shape == (0, 2)

    def _method_state(self):
        return {}

    def _load_method_state(self, state):
        pass


def test_a_whole_generation_as_an_array_is_the_one_asked_singly():
    one, other = SNES(3, population=6), SNES(3, population=6)
    for _ in range(3):
        x, candidates = one.ask_array(), other.ask()
        assert np.array_equal(x, [c.value for c in candidates])
        one.tell_array([float(v) for v in x[:, 0]])
        other.tell(candidates, [float(c.value[0]) for c in candidates])
    assert one.best[0].id == other.best[0].id and np.array_equal(one.center, other.center)


def test_arrays_are_read_only_and_keep_their_values():
    searcher = SNES(3, population=6)
    x = searcher.ask_array()
    kept = x.copy()
    with pytest.raises(ValueError, match="read-only"):
        x[0] = 0
    searcher.tell_array(np.arange(6.0))
    searcher.ask_array()
    assert np.array_equal(x, kept)


def test_mixing_the_two_ways_is_refused():
    searcher = SNES(3, population=6)
    with pytest.raises(ValueError, match="ask with ask_array first"):
        searcher.tell_array(np.zeros(6))
    searcher.ask(2)
    with pytest.raises(ValueError, match="one by one"):
        searcher.ask_array()
    with pytest.raises(ValueError, match="ask with ask_array first"):
        searcher.tell_array(np.zeros(6))


def test_a_lost_generation_raises_and_the_next_goes_on():
    searcher = SNES(3, population=4)
    searcher.ask_array()
    with pytest.raises(EvaluationFailed, match="all 4 candidates of generation 0 failed"):
        searcher.tell_array([np.nan] * 4)
    assert searcher.generation == 1 and searcher.ask()[0].id == 4


def test_candidates_made_on_demand_are_made_only_when_wanted():
    searcher = OnDemand()
    first = searcher.ask(1)
    assert searcher.made == [0]
    searcher.tell(first, [1.0])
    rest = searcher.ask()
    # 100 is folded at 20 to −60, at −10 to 40, at 20 to 0.
    assert searcher.made == [0, 1, 2, 3] and all(c.value[1] == 0.0 for c in rest)
    searcher.tell(rest, [0.0, 5.0, 2.0])
    assert searcher.made == [0, 1, 2, 3, 2]  # the best is made again to be kept
    assert searcher.best[0].id == 2 and np.array_equal(searcher.best[0].value, rest[1].value)
    whole = searcher.ask_array()
    assert np.allclose(whole[:, 0], np.arange(4) + searcher.offset)


def test_candidates_made_on_demand_are_the_same_after_loading():
    searcher, again = OnDemand(), OnDemand()
    searcher.tell(searcher.ask(2), [1.0, 2.0])
    again.load_state_dict(searcher.state_dict())
    assert again.best[0].id == 1 and np.array_equal(again.best[0].value, searcher.best[0].value)
    assert [c.value.tolist() for c in again.ask()] == [c.value.tolist() for c in searcher.ask()]
