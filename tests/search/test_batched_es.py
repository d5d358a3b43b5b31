"""Each batched method learns what the single searcher of its name learns from the same noise."""

import numpy as np
import pytest
import torch

from heredity.errors import EvaluationFailed
from heredity.search.batched_es import BatchedCEM, BatchedOpenES, BatchedPGPE, BatchedSNES, rank_weights
from heredity.search.box import Box
from heredity.search.cem import CEM
from heredity.search.open_es import OpenES
from heredity.search.pgpe import PGPE
from heredity.search.shaping import centered_ranks
from heredity.search.snes import SNES

SPACE = Box(-4.0, 5.0, dim=6, start=[0.5] * 6, scale=[1.0, 0.5, 2.0, 1.0, 1.0, 0.1])


def fed(single, noises):
    """A searcher that draws the given noise."""

    class Fed(single):
        def _normal(self, rng, shape, out=None):
            return noises[self.generation]

    return Fed


@pytest.mark.parametrize(
    ("batched", "single", "options"),
    [
        (BatchedSNES, SNES, {"population": 11, "mean_rate": 0.8}),
        (BatchedPGPE, PGPE, {"population": 12, "lr_decay": 0.95}),
        (BatchedPGPE, PGPE, {"population": 12, "step": "adam"}),
        (BatchedOpenES, OpenES, {"pairs": 6, "sigma_decay": 0.9, "sigma_limit": 0.3, "weight_decay": 0.01}),
        (BatchedOpenES, OpenES, {"pairs": 6, "shaping": "pair", "lr_decay": 0.8, "lr_limit": 0.1}),
        (BatchedCEM, CEM, {"population": 12, "elites": 5, "smoothing": 0.7, "noise": 0.1, "noise_decay": 0.05}),
    ],
)
def test_equals_the_single_searcher(batched, single, options):
    together = batched(SPACE, [5, 6, 7], **options, dtype=torch.float64)
    history = []
    for generation in range(25):
        x = together.ask()
        fitness = -(x - 1).square().sum(2).round(decimals=3)  # rounded: some are equal
        fitness[0, 0] = torch.nan
        fitness[1, :6] = torch.inf
        fitness[2] = torch.nan if generation == 3 else fitness[2]
        history.append((together._noise().clone(), x, fitness))
        together.tell(fitness)
    for run in range(3):
        alone = fed(single, [noise[run].numpy() for noise, _, _ in history])(SPACE, **options)
        for generation, (_, x, fitness) in enumerate(history):
            assert np.allclose(alone.ask_array(), x[run].numpy(), atol=1e-9), (run, generation)
            if run == 2 and generation == 3:
                with pytest.raises(EvaluationFailed):
                    alone.tell_array(fitness[run].numpy())
            else:
                alone.tell_array(fitness[run].numpy())
        assert np.allclose(alone.center, together.center[run].numpy(), atol=1e-9)
        assert np.isclose(alone.best[1], float(together.best[1][run]))
        assert np.allclose(alone.best[0].value, together.best[0][run].numpy(), atol=1e-9)


def test_rank_weights_are_the_averaged_centered_ranks():
    values = torch.randint(0, 4, (6, 9), generator=torch.Generator().manual_seed(0)).double()
    values[2, :3] = -torch.inf
    order = torch.argsort(values, dim=1, descending=True, stable=True)
    assert np.allclose(rank_weights(values, order), centered_ranks(values.numpy(), ties="average"))


def test_a_hundred_spheres_in_float32():
    # 10 000 evaluations each. float32 near 1 has steps of 10⁻⁷, squared and summed some 10⁻¹³.
    searcher = BatchedSNES(10, range(100), population=50)
    for _ in range(200):
        searcher.tell(-(searcher.ask() - 1).square().sum(2))
    assert searcher.best[1].min() > -1e-10


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="even population, got 5"):
        BatchedPGPE(2, [0], population=5)
    with pytest.raises(ValueError, match='"centered_rank" or "pair"'):
        BatchedOpenES(2, [0], shaping="z_score")
    with pytest.raises(ValueError, match="at least one seed"):
        BatchedSNES(2, [])
    with pytest.raises(ValueError, match="between 2 and the population 10, got 11"):
        BatchedCEM(2, [0], population=10, elites=11)
