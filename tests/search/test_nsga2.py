"""NSGA-II: it reaches known fronts, keeps constraints, and lets no failure in."""

import numpy as np
import pytest

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Failed, Ok
from heredity.search.base import Space
from heredity.search.box import Box
from heredity.search.nsga2 import NSGA2
from heredity.search.pareto import dominates, hypervolume
from heredity.search.pareto_problems import zdt


def front_values(searcher):
    return [values for _, values in searcher.front]


@pytest.mark.parametrize("seed", [11, 12])
def test_it_comes_close_to_the_front_of_zdt1(seed):
    # The whole front is worth .8764 from (1.1, 1.1), a hundred points evenly on it about .870.
    problem = zdt(1)
    searcher = NSGA2(problem.space, 100, seed=seed)
    for _ in range(180):
        searcher.tell_array(problem(searcher.ask_array()))
    assert hypervolume(front_values(searcher), (-1.1, -1.1)) >= 0.86


def test_arrays_and_single_candidates_are_the_same_search():
    problem = zdt(1, dim=5)
    whole, single = NSGA2(problem.space, 12, seed=1), NSGA2(problem.space, 12, seed=1)
    for _ in range(5):
        whole.tell_array(problem(whole.ask_array()))
        candidates = single.ask()
        single.tell(candidates, [tuple(problem(c.value)) for c in candidates])
    assert (whole.ask_array() == single.ask_array()).all()
    assert whole.best[1] == single.best[1]


def test_no_member_is_dominated_by_anything_told_and_best_has_the_highest_first_objective():
    problem = zdt(2, dim=4)
    searcher, told = NSGA2(problem.space, 8, seed=2), []
    for _ in range(6):
        candidates = searcher.ask()
        told += [tuple(problem(c.value).tolist()) for c in candidates]
        searcher.tell(candidates, told[-len(candidates) :])
        assert not any(dominates(other, values) for other in told for values in front_values(searcher))
        assert searcher.best[1] == max(told)
    half = searcher.ask(4)
    values = [tuple(problem(c.value).tolist()) for c in half]
    searcher.tell(half, values)  # of a generation that is not complete
    assert not any(dominates(other, member) for other in told + values for member in front_values(searcher))


def constrained(x):
    """Maximise −x₀ and −x₁ where x₀ + x₁ ≥ 1 and x₀ ≤ .8: the front is the line x₀ + x₁ = 1, x₀ ≤ .8."""
    return Ok({"a": -x[0], "b": -x[1], "sum": 1 - x[0] - x[1], "right": x[0] - 0.8})


@pytest.mark.parametrize("low", [0.0, -3.0])
def test_members_become_feasible_also_when_none_was_at_the_start(low):
    start = low + 0.3
    searcher = NSGA2(Box(low, 2.0, dim=2), 20, constraints=("sum", "right"), seed=3)
    founders = searcher.ask()
    outcomes = [constrained(np.minimum(c.value, start)) for c in founders]  # all break the first constraint
    searcher.tell(founders, outcomes)
    assert searcher.best is None
    assert searcher.front == []
    assert all(violation > 0 for _, _, violation in searcher.members)
    for _ in range(60):
        candidates = searcher.ask()
        searcher.tell(candidates, [constrained(c.value) for c in candidates])
    assert all(violation == 0 for _, _, violation in searcher.members)
    values = np.array(front_values(searcher))
    assert (values.sum(axis=1) <= -1).all()
    assert values.sum(axis=1).mean() > -1.05
    assert (-values[:, 0] <= 0.8).all()


def test_of_the_infeasible_those_survive_that_violate_less():
    searcher = NSGA2(Box(0.0, 1.0, dim=2), 4, constraints=("g",), seed=0)
    searcher.tell(searcher.ask(), [(9.0, 9.0, g) for g in (4.0, 3.0, 2.0, 1.0)])
    searcher.tell(searcher.ask(), [(0.0, 0.0, g) for g in (0.5, 1.5, 9.0, -1.0)])
    assert sorted(violation for *_, violation in searcher.members) == [0.0, 0.5, 1.0, 1.5]
    assert [values for _, values in searcher.front] == [(0.0, 0.0)]


def test_failures_are_never_members():
    searcher = NSGA2(Box(0.0, 1.0, dim=2), 8, seed=4)
    failed = set()
    for _ in range(5):
        candidates = searcher.ask()
        bad = [Failed("broken"), (np.nan, 9.0), (np.inf, np.inf), float("nan")]
        failed.update(c.id for c in candidates[:4])
        searcher.tell(candidates, bad + [tuple(c.value) for c in candidates[4:]])
        assert not failed & {c.id for c, *_ in searcher.members}
        assert not failed & {c.id for c, _ in searcher.front}


def test_a_generation_of_failures_is_an_error_and_the_members_stay():
    searcher = NSGA2(Box(0.0, 1.0, dim=2), 4, seed=5)
    with pytest.raises(EvaluationFailed, match="all 4 candidates of generation 0"):
        searcher.tell(searcher.ask(), [np.nan] * 4)
    searcher.tell_array(searcher.ask_array())
    before = [values for _, values, _ in searcher.members]
    assert len(before) == 4
    searcher.ask_array()
    with pytest.raises(EvaluationFailed):
        searcher.tell_array(np.full((4, 2), np.nan))
    assert [values for _, values, _ in searcher.members] == before
    searcher.tell_array(searcher.ask_array())


def test_metrics_name_the_objectives():
    searcher = NSGA2(Box(0.0, 1.0, dim=2), 4, metrics=("b", "a"), seed=0)
    searcher.tell(searcher.ask(), [Ok({"a": float(k), "time": 99.0, "b": -float(k)}) for k in range(4)])
    assert searcher.best[1] == (0.0, 0.0)
    assert sorted(front_values(searcher)) == [(-3.0, 3.0), (-2.0, 2.0), (-1.0, 1.0), (0.0, 0.0)]


class Subsets(Space[tuple[int, ...]]):
    """Subsets of 16 things."""

    def sample(self, rng):
        return tuple(int(bit) for bit in rng.integers(0, 2, 16))

    def mutate(self, x, rng):
        place = int(rng.integers(16))
        return (*x[:place], 1 - x[place], *x[place + 1 :])

    def crossover(self, a, b, rng):
        return tuple(int(v) for v in np.where(rng.random(16) < 0.5, a, b))

    def valid(self, x):
        return len(x) == 16


def test_any_space_will_do():
    # Worth and weight both grow: things 0 … 15 weigh 1 each and are worth 1 … 16. The front has one best set of each
    # size: 17 members, the k most valuable things.
    searcher = NSGA2(Subsets(), 40, seed=6)
    for _ in range(150):
        candidates = searcher.ask()
        searcher.tell(candidates, [(float(np.dot(c.value, range(1, 17))), -float(sum(c.value))) for c in candidates])
    best = {k: sum(range(17 - k, 17)) for k in range(17)}
    found = {-int(weight): worth for worth, weight in front_values(searcher)}
    assert found == best


def test_wrong_configurations_and_tells_are_named():
    box = Box(0.0, 1.0, dim=2)
    with pytest.raises(ValueError, match="at least four"):
        NSGA2(box, 3)
    with pytest.raises(ValueError, match="crossover is a probability"):
        NSGA2(box, crossover=1.5)
    with pytest.raises(ValueError, match="not negative"):
        NSGA2(box, eta_mutation=-1)
    searcher = NSGA2(box, 4)
    candidates = searcher.ask()
    with pytest.raises(ValueError, match="others have 2"):
        searcher.tell(candidates, [(1.0, 2.0), (1.0, 2.0), (1.0, 2.0), (1.0, 2.0, 3.0)])
    searcher.tell(candidates, [(1.0, 2.0)] * 4)
    searcher.ask_array()
    with pytest.raises(ValueError, match=r"shape \(4, 2\)"):
        searcher.tell_array(np.ones((4, 3)))
    with pytest.raises(ValueError, match="at least 0"):
        searcher.tell_array(np.ones((4, 2)), -np.ones(4))
    with pytest.raises(ValueError, match="use ask"):
        NSGA2(Subsets()).ask_array()
