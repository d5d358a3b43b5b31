"""Searching paths: what is no path is a failure inside, length has its price, and a search goes on where it stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Failed, Ok
from heredity.merging.data_flow import DataFlowRecipe, DataFlowSpace
from heredity.merging.path_search import PathSearcher, Vector
from heredity.search.base import Candidate, Searcher, Told


class Given(Searcher[Vector]):
    """Hands out given vectors and remembers what it is told."""

    def __init__(self, vectors: Sequence[Sequence[float]]) -> None:
        self.waiting = [Candidate(i, np.array(vector)) for i, vector in enumerate(vectors)]
        self.told: dict[int, Told] = {}

    def ask(self, n: int | None = None) -> list[Candidate[Vector]]:
        out, self.waiting = self.waiting[:n], self.waiting[len(self.waiting[:n]) :]
        return out

    def tell(self, candidates: Sequence[Candidate[Vector]], outcomes: Sequence[Told]) -> None:
        self.told |= {c.id: o for c, o in zip(candidates, outcomes, strict=True)}

    @property
    def best(self) -> None:
        return None

    def state_dict(self) -> Mapping[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        raise NotImplementedError


def test_empty_paths_are_failures_and_are_never_handed_out() -> None:
    vectors = Given([[-1, -1, 1, 1, 1, 1], [1, -1, 1, 1, 1, 1], [float("nan"), 1, 1, 1, 1, 1]])
    searcher = PathSearcher(DataFlowSpace((2,), repeats=1), vectors)
    [candidate] = searcher.ask()
    assert candidate.id == 1
    assert candidate.value.path == (0,)
    assert set(vectors.told) == {0, 2}
    assert all(isinstance(told, Failed) for told in vectors.told.values())


def test_layers_beyond_the_limit_cost() -> None:
    ones = [1.0] * 4
    vectors = Given([[1, -1, 1, 1, *ones], [-1, 1, -1, -1, *ones], [1, 1, 1, 1, *ones]])
    searcher = PathSearcher(DataFlowSpace((2,), repeats=2, max_length=2), vectors, per_layer=0.1, metric="fitness")
    candidates = searcher.ask()
    searcher.tell(candidates, [Ok({"fitness": 1.0, "other": 3.0}), Ok({"fitness": 0.5}), Failed("no")])
    # Three layers where two are free cost 0.1; one layer costs nothing.
    assert vectors.told[0] == pytest.approx(0.9)
    assert vectors.told[1] == 0.5
    assert isinstance(vectors.told[2], Failed)
    with pytest.raises(ValueError, match="told before"):
        searcher.tell(candidates[:1], [1.0])


def closeness(recipe: DataFlowRecipe) -> float:
    """Highest, 0, for the path 1, 0 with the scale 0.5 between them."""
    return -float(recipe.path != (1, 0)) - abs(recipe.scale[1][0] - 0.5)


def test_a_planted_path_is_found_and_a_saved_search_goes_on_exactly() -> None:
    def searcher() -> PathSearcher:
        return PathSearcher(DataFlowSpace((2,), repeats=2), sigma0=0.3, seed=1)

    def rounds(search: PathSearcher, n: int) -> None:
        for _ in range(n):
            candidates = search.ask()
            search.tell(candidates, [closeness(candidate.value) for candidate in candidates])

    whole, first, second = searcher(), searcher(), searcher()
    rounds(whole, 60)
    assert whole.best is not None
    assert whole.best[0].value.path == (1, 0)
    assert whole.best[1] > -0.01
    rounds(first, 20)
    second.load_state_dict(first.state_dict())
    rounds(second, 40)
    assert second.best is not None
    assert second.best[0].value == whole.best[0].value


def test_a_batch_without_any_path_is_an_error() -> None:
    space = DataFlowSpace((1,), repeats=1, margin=-100.0)  # starts a hundred away from any path
    with pytest.raises(EvaluationFailed):
        PathSearcher(space, sigma0=0.01).ask()
