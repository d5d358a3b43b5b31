import numpy as np
import pytest

from heredity.errors import EvaluationFailed
from heredity.search.fields import Choice, Int, LogUniform, Uniform, When
from heredity.search.joint_space import ArchSpace, JointSpace, RecipeSpace
from heredity.search.nars import NARS

KERNEL = Choice([1, 3, 5, 7])


def statistics(arch):
    params = sum((arch["width"] * arch[f"kernel{block}"]) ** 2 for block in range(1, arch["depth"] + 1))
    return {"flops": 128.0 * params, "params": float(params)}


ARCHS = ArchSpace(
    {
        "width": Int(8, 128, log=True),
        "depth": Int(1, 3),
        "kernel1": KERNEL,
        "kernel2": When("depth", [2, 3], KERNEL),
        "kernel3": When("depth", 3, KERNEL),
    },
    statistics,
)
SPACE = JointSpace(ARCHS, RecipeSpace({"lr": LogUniform(1e-4, 1.0), "momentum": Uniform(0, 0.9)}))
QUICK = {"freeze_epochs": 10, "epochs": 10}


def truth(x):
    size, rate = np.log10(statistics(x.arch)["params"]) - 5, np.log10(x.recipe["lr"]) + 2.5
    return float(-(size**2) - rate**2 + 0.5 * size * rate)


def run(searcher, worth=truth):
    asked = []
    while batch := searcher.ask():
        searcher.tell(batch, [worth(candidate.value) for candidate in batch])
        asked += [candidate.value for candidate in batch]
    return asked


def missing(seed, searching):
    """How far below the pool's optimum sixty evaluations end."""
    searcher = NARS(SPACE, batch=15, rounds=4, pool=2048, pretrain=1024, seed=seed)
    values = [truth(x) for x in searcher.pool]
    if not searching:
        return max(values) - max(values[int(k)] for k in np.random.default_rng(seed).choice(2048, 60, replace=False))
    run(searcher)
    return max(values) - searcher.best[1]


@pytest.mark.slow
def test_sixty_evaluations_come_near_the_optimum_and_sixty_draws_less_often():
    near = sum(missing(seed, True) <= 0.05 for seed in range(10))
    by_chance = sum(missing(seed, False) <= 0.05 for seed in range(10))
    assert near >= 9 and by_chance < near


def test_everything_asked_is_different_and_within_the_ranges():
    space = SPACE.restricted({"flops": (1e5, 1e7)})
    searcher = NARS(space, batch=10, rounds=3, pool=200, pretrain=0, fit=QUICK, seed=2)
    asked = run(searcher)
    assert len(asked) == 30 and len({space.key(x) for x in asked}) == 30
    assert all(1e5 <= statistics(x.arch)["flops"] <= 1e7 for x in asked)
    assert len(searcher.pool) == 200  # the sequence goes on until the pool is full
    found = searcher.search(population=10)
    assert space.valid(found)


def test_a_larger_budget_is_not_worse_where_larger_is_better():
    searcher = NARS(SPACE, batch=24, rounds=2, pool=512, pretrain=512, seed=1)
    run(searcher, lambda x: float(np.log10(statistics(x.arch)["params"])))
    sizes = []
    for budget in (1e5, 1e6, 1e7, 1e8):
        found = searcher.search({"flops": (None, budget)}, population=20)
        assert statistics(found.arch)["flops"] <= budget
        sizes.append(statistics(found.arch)["params"])
    assert sizes == sorted(sizes) and sizes[-1] > 100 * sizes[0]


def test_searching_the_predictor_beats_its_pool():
    searcher = NARS(SPACE, batch=20, rounds=2, pool=64, pretrain=256, seed=3)
    run(searcher)
    found = searcher.search(population=20)
    assert searcher.predict([found])[0] >= searcher.predict(searcher.pool).max()


def test_a_closed_table_is_its_pool():
    table = SPACE.sobol(40, seed=5)
    searcher = NARS(SPACE, pool=[*table, table[0]], batch=8, rounds=None, pretrain=0, fit=QUICK)
    asked = run(searcher)
    assert sorted(map(SPACE.key, asked)) == sorted(map(SPACE.key, table))  # all of it, once
    assert searcher.ask() == []


def test_failures_teach_but_never_win():
    def worth(x):
        return float("nan") if x.recipe["lr"] > 0.01 else truth(x)

    searcher = NARS(SPACE, batch=20, rounds=3, pool=256, pretrain=0, seed=4)
    asked = run(searcher, worth)
    assert searcher.best[0].value.recipe["lr"] <= 0.01
    failed = [x.recipe["lr"] > 0.01 for x in asked]
    assert sum(failed[:20]) > 2 * sum(failed[40:])  # half of all rates fail; the predictor has learnt which


def test_a_part_of_later_batches_is_random():
    def late(fraction):
        searcher = NARS(SPACE, batch=20, rounds=2, pool=256, pretrain=0, fit=QUICK, random_fraction=fraction, seed=6)
        asked = run(searcher)
        return {SPACE.key(x) for x in asked[20:]}

    best, mixed = late(0.0), late(0.5)
    assert 10 <= len(best & mixed) < 20  # the ten best, and ten that were drawn from 226 others


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="batch ≥ 1"):
        NARS(SPACE, batch=0)
    with pytest.raises(ValueError, match="different candidates"):
        NARS(SPACE.restricted({"flops": (None, 128.0 * 64)}), pool=16, batch=100)  # width 8, kernel 1: few recipes
    searcher = NARS(SPACE, batch=8, pool=64, pretrain=0)
    with pytest.raises(EvaluationFailed, match="nothing to learn"):
        searcher.predict(searcher.pool)
