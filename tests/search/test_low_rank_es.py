import numpy as np
import pytest
import torch
from torch import nn

from heredity.search.box import Box
from heredity.search.low_rank_es import LowRankES, perturbed_linear
from heredity.search.vector import FlatParams


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Parameter(torch.randn(3, 2, 2))
        self.inner = nn.Linear(5, 4)
        self.scale = nn.Parameter(torch.randn(()))


@pytest.fixture
def flat():
    with torch.random.fork_rng():
        return FlatParams(Net())


@pytest.mark.parametrize("rank", [1, 3])
def test_factors_are_the_noise_of_built_candidates(flat, rank):
    searcher = LowRankES(flat, pairs=3, rank=rank, sigma=0.3, dtype=np.float64)
    factors, built = searcher.factors(), torch.from_numpy(searcher.ask_array().copy())
    center = flat.state(torch.from_numpy(searcher.center))
    assert factors["conv"][0].shape == (6, 3, rank) and factors["conv"][1].shape == (6, 4, rank)
    for k in range(6):
        state = flat.state(built[k])
        for name, factor in factors.items():
            own = (factor[0][k] @ factor[1][k].T).view(state[name].shape) if isinstance(factor, tuple) else factor[k]
            assert torch.allclose(state[name], (center[name] + own).to(state[name].dtype), atol=1e-6), name
    difference = (built[0] - torch.from_numpy(searcher.center))[13:33].view(4, 5)  # behind conv and scale
    assert torch.linalg.matrix_rank(difference, rtol=1e-6) == rank
    assert torch.allclose(built[::2] + built[1::2], 2 * torch.from_numpy(searcher.center).expand(3, -1), atol=1e-12)


def test_some_factors_are_those_of_all(flat):
    searcher = LowRankES(flat, pairs=3)
    everything, some = searcher.factors(), searcher.factors([4, 1])
    assert torch.equal(some["inner.weight"][0], everything["inner.weight"][0][[4, 1]])
    assert torch.equal(some["inner.bias"], everything["inner.bias"][[4, 1]])


def test_noise_has_the_deviation_sigma():
    weight = nn.Linear(40, 30, bias=False)
    built = LowRankES(FlatParams(weight), pairs=200, rank=4, sigma=0.5, seed=1).ask_array()
    noise = built - weight.weight.detach().numpy().reshape(-1)
    assert abs(noise.std() - 0.5) < 0.02 and abs(noise[::2].mean()) < 0.01


def test_one_update_by_hand_and_without_building(flat):
    told, built = (LowRankES(flat, pairs=2, rank=2, sigma=0.5, lr=0.1, step="sgd", dtype=np.float64) for _ in range(2))
    start, x = built.center, built.ask_array().copy()
    told.factors()
    for searcher in (told, built):
        searcher.tell_array([4.0, 1.0, 2.0, 3.0])  # centered ranks ½, −½, −1/6, 1/6
    noise = (x[::2] - start) / 0.5
    assert np.allclose(built.center, start + 0.1 * (noise[0] - noise[1] / 3) / 4 / 0.5, atol=1e-12)
    assert np.array_equal(built.center, told.center)
    assert np.array_equal(built.best[0].value, told.best[0].value) and np.allclose(built.best[0].value, x[0])


def test_a_forward_pass_with_factors_equals_one_with_built_weights():
    layer = nn.Linear(5, 4)
    flat = FlatParams(layer)
    searcher = LowRankES(flat, pairs=3, rank=2)
    factors, x = searcher.factors(), torch.randn(6, 7, 5, generator=torch.Generator().manual_seed(0))
    found = perturbed_linear(x, layer.weight.detach(), factors["weight"], layer.bias.detach() + factors["bias"])
    for k, vector in enumerate(searcher.ask_array()):
        flat.load(torch.from_numpy(vector.copy()), layer)
        assert torch.allclose(found[k], layer(x[k]), atol=1e-5)


def test_updates_of_rank_one_learn_a_matrix_of_full_rank():
    target = torch.randn(6, 6, generator=torch.Generator().manual_seed(3))
    layer = nn.Linear(6, 6, bias=False)
    nn.init.zeros_(layer.weight)
    searcher = LowRankES(FlatParams(layer), pairs=64, sigma=0.1, lr=0.05, lr_decay=0.99, seed=2)
    for _ in range(300):
        a, b = searcher.factors()["weight"]
        weights = torch.from_numpy(searcher.center).view(6, 6) + a @ b.transpose(1, 2)
        searcher.tell_array((-(weights - target).square().sum((1, 2))).numpy())
    assert np.square(searcher.center - target.numpy().reshape(-1)).sum() < 0.01 * float(target.square().sum())


def test_bounds_have_no_factors():
    searcher = LowRankES(Box(-1, 1, dim=3))
    assert np.abs(searcher.ask_array()).max() <= 1
    with pytest.raises(ValueError, match="without bounds"):
        searcher.factors()
