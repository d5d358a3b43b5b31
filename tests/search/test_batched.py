from itertools import pairwise

import numpy as np
import pytest
import torch

from heredity.errors import EvaluationFailed
from heredity.search.batched import halved_sum, scattered
from heredity.search.batched_es import BatchedCEM, BatchedOpenES, BatchedPGPE, BatchedSNES
from heredity.search.box import Box

KINDS = [BatchedSNES, BatchedPGPE, BatchedOpenES, BatchedCEM]
SIZES = {BatchedOpenES: {"pairs": 7}, BatchedCEM: {"population": 14}, BatchedPGPE: {"population": 14}}


def make(kind, seeds=(3, 9, 4), dim=5, **options):
    space = Box(-4.0, 5.0, dim=dim, start=[0.5] * dim)
    return kind(space, seeds, **SIZES.get(kind, {}), **options)


def fitness(x):
    return -((x - 1) ** 2).cumsum(-1)[..., -1]


def run(searcher, generations):
    for _ in range(generations):
        searcher.tell(fitness(searcher.ask()))
    return searcher


def same(a, b):
    return all(torch.equal(u, v) for u, v in zip(a, b, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_the_same_in_any_company(kind, dtype):
    together = run(make(kind, range(17), dim=7, dtype=dtype), 40)
    few = run(make(kind, [12, 5], dim=7, dtype=dtype), 40)
    alone = run(make(kind, [5], dim=7, dtype=dtype), 40)
    for searcher, row in ((few, 1), (alone, 0)):
        assert torch.equal(searcher.center[row], together.center[5])
        assert same([t[row] for t in searcher.best], [t[5] for t in together.best])
    assert not torch.equal(together.center[5], together.center[6])


@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_threads_changes_no_bit(kind):
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(run(make(kind, range(40), dim=120), 4).center)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


@pytest.mark.parametrize("kind", KINDS)
def test_all_runs_improve_and_stay_in_bounds(kind):
    searcher = make(kind, range(8))
    x = searcher.ask()
    assert x.min() >= -4 and x.max() <= 5
    first = fitness(x).max(dim=1).values
    run(searcher, 40)
    assert (searcher.best[1] > first).all()
    assert torch.allclose(fitness(searcher.best[0]).double(), searcher.best[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_resumes_between_and_inside_generations(kind):
    straight = run(make(kind, lr_decay=0.9) if kind in (BatchedPGPE, BatchedOpenES) else make(kind), 70)
    again = make(kind, lr_decay=0.9) if kind in (BatchedPGPE, BatchedOpenES) else make(kind)
    straight.ask()
    again.load_state_dict(straight.state_dict())
    assert torch.equal(again.ask(), straight.ask())
    assert torch.equal(run(again, 50).center, run(straight, 50).center) and same(again.best, straight.best)
    with pytest.raises(ValueError, match="seeds"):
        make(kind, (1, 2, 3)).load_state_dict(straight.state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_failures_stay_with_their_run(kind):
    clean, dirty = make(kind), make(kind)
    for generation in range(12):
        values = fitness(clean.ask())
        clean.tell(values)
        values = fitness(dirty.ask())
        values[1] = torch.nan if generation % 3 == 1 else values[1]  # run 1 is lost every third generation
        values[2, ::3] = torch.inf
        kept = dirty.center[1].clone()
        dirty.tell(values)
        assert torch.equal(dirty.center[1], kept) == (generation % 3 == 1)
    assert torch.equal(clean.center[0], dirty.center[0]) and dirty.learned.tolist() == [12, 8, 12]
    assert torch.isfinite(dirty.center).all() and torch.isfinite(dirty.best[1]).all()


def test_all_lost_raises_and_goes_on():
    searcher = make(BatchedSNES)
    with pytest.raises(ValueError, match="ask first"):
        searcher.tell(torch.zeros(3, 8))
    searcher.ask()
    with pytest.raises(ValueError, match="should have shape"):
        searcher.tell(torch.zeros(3, 2))
    with pytest.raises(EvaluationFailed, match="all 3 runs failed in generation 0"):
        searcher.tell(torch.full((3, searcher.population), torch.nan))
    assert searcher.generation == 1 and torch.isneginf(searcher.best[1]).all()
    run(searcher, 1)
    assert torch.isfinite(searcher.best[1]).all()


def test_editing_what_was_asked_changes_nothing():
    clean, edited = make(BatchedSNES), make(BatchedSNES)
    x = edited.ask()
    edited_fitness = fitness(x)
    x.zero_()
    edited.tell(edited_fitness)
    assert torch.equal(edited.center, run(clean, 1).center) and same(edited.best, clean.best)


@pytest.mark.parametrize("bounds", [(-1.0, 2.0), (-1.0, None), (None, 2.0), (None, None)])
def test_folds_as_the_box(bounds):
    space = Box(*bounds, dim=3)
    x = np.random.default_rng(0).standard_normal((40, 3)) * 9
    if None in bounds:
        x = np.clip(x, -3, 4)
    batch = BatchedSNES(space, [0], dtype=torch.float64)
    assert np.allclose(batch.fold(torch.from_numpy(x)).numpy(), space.fold(x), atol=1e-12)


def test_sums_by_halves():
    for n in (1, 2, 3, 7, 50):
        rows = torch.randn(4, n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
        assert torch.allclose(halved_sum(rows.clone()), rows.sum(1), atol=1e-12)


def test_seeds_are_scattered():
    found = [scattered(seed) for seed in range(-100, 1000)]
    assert len(set(found)) == len(found) and all(0 <= value < 2**32 for value in found)
    assert 14 < np.mean([(a ^ b).bit_count() for a, b in pairwise(found)]) < 18


def test_noise_is_normal_and_new_in_every_generation():
    searcher = BatchedSNES(10, [1, 2], population=50)
    drawn = []
    for _ in range(20):  # 8 generations to a block
        searcher.ask()
        drawn.append(searcher._noise().clone())
        searcher.tell(torch.zeros(2, 50))
    noise = torch.stack(drawn)
    assert len({tuple(row.tolist()) for row in noise[:, :, 0].reshape(-1, 10)}) == 40
    assert abs(float(noise.mean())) < 5 / 20000**0.5 and abs(float(noise.std()) - 1) < 5 / 40000**0.5
