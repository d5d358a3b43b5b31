import numpy as np
import pytest

from heredity.errors import EvaluationFailed
from heredity.search.box import Box
from heredity.search.cma_es import CMAES
from heredity.search.restarts import Restarts
from heredity.search.snes import SNES
from heredity.search.test_functions import TEST_FUNCTIONS


def spend(searcher, loss, evaluations):
    populations = []
    while evaluations > 0:
        x = searcher.ask_array()
        searcher.tell_array(-loss(x))
        evaluations -= len(x)
        populations.append(len(x))
    return populations


def sphere(x):
    return np.square(x - 1).sum(-1)


def test_the_first_run_is_that_of_the_searcher_alone():
    alone, within = CMAES(Box(-5, 5, dim=4), seed=3), Restarts(CMAES, Box(-5, 5, dim=4), seed=3)
    for _ in range(40):
        a, b = alone.ask(), within.ask()
        assert [c.id for c in a] == [c.id for c in b]
        assert all((x.value == y.value).all() for x, y in zip(a, b, strict=True))
        alone.tell(a, [-sphere(c.value) for c in a])
        within.tell(b, [-sphere(c.value) for c in b])
    assert within.restarts == 0 and within.best[1] == alone.best[1]


def test_ipop_doubles_the_population_up_to_the_limit():
    searcher = Restarts(SNES, Box(-5, 5, dim=2), 6, schedule="ipop", limit=4, tol_fun=1e-6, seed=0)
    populations = spend(searcher, sphere, 6_000)
    order = list(dict.fromkeys(populations))
    assert order == [6, 12, 24] and searcher.restarts > 3
    assert set(searcher.reasons) == {"tol_fun"}


def test_bipop_gives_both_regimes_about_the_same():
    problem = TEST_FUNCTIONS["rastrigin"](4, seed=1)
    searcher = Restarts(CMAES, Box(-5, 5, dim=4), schedule="bipop", seed=1)
    populations = spend(searcher, problem, 60_000)
    assert max(populations) >= 8 * searcher.first_population and min(populations) == searcher.first_population
    large, small = searcher.spent
    # A small run begins while they have spent less, and has at most half of the last large run's evaluations.
    assert 0.3 < small / large < 1.6
    assert "half of the last large run's evaluations" in searcher.reasons


def test_a_run_ends_when_its_candidates_are_all_one():
    # Rounding at 1e6 is 1e-10: candidates fall together before their fitness, which keeps 1e-8 apart, does.
    searcher = Restarts(CMAES, Box(-5, 5, dim=3), tol_fun=0.0, tol_x=1e-6, seed=0)
    spend(searcher, sphere, 2_000)
    assert searcher.reasons[0] == "tol_x"


def test_a_run_ends_when_it_stagnates():
    # Noise alone: neither best nor median get better.
    rng = np.random.default_rng(0)
    searcher = Restarts(SNES, Box(-5, 5, dim=2), 8, seed=0)
    spend(searcher, lambda x: rng.uniform(1, 2, len(x)), 8 * 400)
    assert searcher.reasons[0] == "stagnation"


@pytest.mark.parametrize("schedule", ["ipop", "bipop"])
def test_restarts_find_what_one_run_misses(schedule):
    # Rastrigin in 3-D: a single run of 7 candidates mostly stays in a local optimum, for good.
    found = {"one run": 0, "restarts": 0}
    for seed in range(8):
        problem = TEST_FUNCTIONS["rastrigin"](3, seed=seed)
        one = CMAES(Box(-5, 5, dim=3), seed=seed)
        many = Restarts(CMAES, Box(-5, 5, dim=3), schedule=schedule, seed=seed)
        spend(one, problem, 3_000)
        spend(many, problem, 15_000)
        found["one run"] += -one.best[1] < 1e-6
        found["restarts"] += -many.best[1] < 1e-6
    assert found["restarts"] >= found["one run"] + 3


def test_ids_go_on_over_runs_and_the_best_is_of_all():
    searcher = Restarts(SNES, Box(-5, 5, dim=2), tol_fun=10.0, seed=2)
    seen, best = [], -np.inf
    for _ in range(200):
        candidates = searcher.ask()
        seen += [c.id for c in candidates]
        told = [-float(sphere(c.value)) for c in candidates]
        best = max(best, *told)
        searcher.tell(candidates, told)
    assert searcher.restarts > 2 and seen == list(range(len(seen)))
    assert searcher.best[1] == best == -sphere(searcher.best[0].value)


def test_later_runs_begin_where_they_are_told_to():
    starts = Box(2.0, 3.0, dim=2)
    searcher = Restarts(SNES, Box(dim=2, scale=1e-3), starts=starts, tol_fun=1e9, seed=0)
    spend(searcher, sphere, 2_000)
    assert searcher.restarts > 1
    assert all(2 <= value <= 3 for value in searcher.searcher.space.start)


def test_a_saved_search_goes_on_in_a_later_run():
    def make():
        return Restarts(CMAES, Box(-5, 5, dim=3), schedule="bipop", tol_fun=1e-3, seed=4)

    straight, resumed = make(), make()
    spend(straight, sphere, 2_000)
    assert straight.restarts > 1
    resumed.load_state_dict(straight.state_dict())
    for searcher in (straight, resumed):
        spend(searcher, sphere, 3_000)
    assert resumed.restarts == straight.restarts and resumed.reasons == straight.reasons
    assert resumed.best[1] == straight.best[1] and (resumed.ask_array() == straight.ask_array()).all()


def test_a_generation_of_failures_is_an_error_and_no_end():
    searcher = Restarts(SNES, Box(-5, 5, dim=2), seed=0)
    searcher.ask_array()
    with pytest.raises(EvaluationFailed):
        searcher.tell_array(np.full(searcher.population, np.nan))
    assert searcher.restarts == 0
    spend(searcher, sphere, 100)
    assert searcher.best is not None


def test_misuse_is_named():
    box = Box(-1, 1, dim=2)
    with pytest.raises(ValueError, match="schedule"):
        Restarts(SNES, box, schedule="never")
    with pytest.raises(ValueError, match="limit"):
        Restarts(SNES, box, limit=0)
    with pytest.raises(ValueError, match="3 dimensions, space has 2"):
        Restarts(SNES, box, starts=Box(-1, 1, dim=3))
    state = Restarts(SNES, box, seed=0).state_dict()
    with pytest.raises(ValueError, match="kind"):
        Restarts(CMAES, box, seed=0).load_state_dict(state)
    with pytest.raises(ValueError, match="options"):
        Restarts(SNES, box, seed=0, mean_rate=0.5).load_state_dict(state)
