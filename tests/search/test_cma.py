import json

import numpy as np
import pytest

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Failed, Ok, Pending
from heredity.search.cma import CMA


def sphere(x, centre=0.0):
    return -float(((x - centre) ** 2).sum())


def generations(cma, count, score=sphere):
    for _ in range(count):
        candidates = cma.ask()
        cma.tell(candidates, [score(c.value) for c in candidates])
    return cma


def test_planted_quadratic_is_found():
    # A badly scaled quadratic in 12 dimensions, maximum at x*, within 1,500 evaluations.
    rng = np.random.default_rng(0)
    target = rng.uniform(-1, 1, 12)
    scale = 10 ** np.linspace(0, 1, 12)
    cma = CMA(12, 1 / 6, seed=1)
    assert cma.population == 4 + 7  # ⌊3 ln 12⌋ = ⌊7.45⌋
    generations(cma, 1500 // 11, lambda x: -float((scale * (x - target) ** 2).sum()))
    assert np.linalg.norm(cma.best[0].value - target) < 0.05
    assert np.linalg.norm(cma.mean - target) < 0.05


def test_same_seed_same_samples_and_the_global_generator_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    a, b, c = (generations(CMA(5, 0.3, seed=s), 4) for s in (7, 7, 8))
    assert a.mean.tolist() == b.mean.tolist() != c.mean.tolist()
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


@pytest.mark.parametrize("diagonal", [False, True])
def test_resumed_equals_uninterrupted_bit_for_bit(diagonal):
    def make():
        return CMA(6, 0.3, np.full(6, 0.5), bounds=(0, 1), diagonal=diagonal, seed=3)

    whole = make()
    generations(whole, 5)
    half = whole.ask()
    whole.tell(half[2:4], [sphere(c.value) for c in half[2:4]])  # two of the generation are told, the others are out
    state = json.loads(json.dumps(whole.state_dict()))  # JSON alone: no pickle
    resumed = make()
    resumed.load_state_dict(state)
    again = resumed.ask()
    assert [c.id for c in again] == [c.id for c in half[:2] + half[4:]]
    assert [c.value.tolist() for c in again] == [c.value.tolist() for c in half[:2] + half[4:]]
    for cma in (whole, resumed):
        cma.tell(again, [sphere(c.value) for c in again])
        generations(cma, 20)
    assert resumed.mean.tolist() == whole.mean.tolist() and resumed.sigma == whole.sigma
    assert resumed.best[1] == whole.best[1] and resumed.best[0].id == whole.best[0].id


def test_state_of_another_configuration_is_refused():
    state = generations(CMA(3, 0.5), 2).state_dict()
    with pytest.raises(ValueError, match="seed=0, this CMA has 1"):
        CMA(3, 0.5, seed=1).load_state_dict(state)
    state = json.loads(json.dumps(state))
    state["told"][0][0] = -1e9  # a record that does not lead to the saved mean
    with pytest.raises(ValueError, match="another mean"):
        CMA(3, 0.5).load_state_dict(state)


def test_tells_come_in_parts_and_out_of_order():
    whole, parts = CMA(4, 0.3, seed=2), CMA(4, 0.3, seed=2)
    for _ in range(5):
        candidates = whole.ask()
        whole.tell(candidates, [sphere(c.value) for c in candidates])
        first = parts.ask(3)
        rest = parts.ask()
        assert parts.ask() == []  # all are out
        for c in reversed(first + rest):
            parts.tell([c], [sphere(c.value)])
    assert whole.mean.tolist() == parts.mean.tolist() and whole.best[0].id == parts.best[0].id


def test_failures_get_the_worst_rank_and_never_win():
    # Everything with a positive first coordinate fails, although it would be better.
    cma = CMA(3, 0.5, seed=0)
    for _ in range(60):
        candidates = cma.ask()
        cma.tell(
            candidates,
            [Failed("too far") if c.value[0] > 0 else Ok({"value": sphere(c.value, 0.3)}) for c in candidates],
        )
    x, fitness = cma.best
    assert x.value[0] <= 0 and fitness <= -0.09
    assert cma.mean[0] < 0.05 and abs(cma.mean[1] - 0.3) < 0.1


def test_nan_is_a_failure_and_all_failed_is_an_error():
    cma = CMA(3, 0.5)
    candidates = cma.ask()
    cma.tell(candidates[1:], [float("nan")] * (len(candidates) - 1))
    assert cma.best is None
    with pytest.raises(EvaluationFailed, match="all 7 candidates of generation 0 failed"):
        cma.tell(candidates[:1], [Failed("broken")])


def test_bounds_hold_and_the_optimum_at_a_bound_is_found():
    cma = CMA(4, 0.3, np.full(4, 0.5), bounds=(np.zeros(4), 1.0), seed=1)
    for _ in range(60):
        candidates = cma.ask()
        assert all(c.value.min() >= 0 and c.value.max() <= 1 for c in candidates)
        cma.tell(candidates, [sphere(c.value, 2.0) for c in candidates])
    assert cma.mean.min() > 0.99


def test_diagonal_above_a_hundred_dimensions():
    assert not CMA(100, 0.1).diagonal and CMA(101, 0.1).diagonal and not CMA(101, 0.1, diagonal=False).diagonal
    assert generations(CMA(120, 0.3, np.ones(120), seed=0), 100).best[1] > -60  # from −120


def test_metric_is_chosen_by_name():
    cma = CMA(3, 0.5, metric="accuracy")
    candidates = cma.ask()
    cma.tell(candidates, [Ok({"accuracy": c.id / 10, "loss": 1.0}) for c in candidates])
    assert cma.best[0].id == candidates[-1].id


def test_misuse_is_named():
    cma = CMA(3, 0.5)
    candidates = cma.ask()
    with pytest.raises(ValueError, match="with 1 outcomes"):
        cma.tell(candidates, [0.0])
    with pytest.raises(ValueError, match="pending"):
        cma.tell(candidates[:1], [Pending()])
    cma.tell(candidates[:1], [0.0])
    with pytest.raises(ValueError, match="told before"):
        cma.tell(candidates[:1], [0.0])
    for options, message in [
        ({"dim": 1, "sigma0": 1}, "two dimensions"),
        ({"dim": 2, "sigma0": 0.0}, "sigma0"),
        ({"dim": 2, "sigma0": 1, "x0": [0.0, float("nan")]}, "finite numbers"),
        ({"dim": 2, "sigma0": 1, "x0": [0.0, 2.0], "bounds": (0, 1)}, "outside the bounds at coordinate 1"),
        ({"dim": 2, "sigma0": 1, "bounds": (1, 0)}, "below the upper"),
        ({"dim": 2, "sigma0": 1, "population": 1}, "two candidates"),
    ]:
        with pytest.raises(ValueError, match=message):
            CMA(**options)
