import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from heredity.search.layer_stats import LayerStats, curvature, random_signs, synaptic_flow


def net(seed=0):
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(12, 4)
    ).double()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(generator=generator)
    return model


def batch(n=6):
    generator = torch.Generator().manual_seed(9)
    return torch.randn(n, 1, 4, 4, dtype=torch.float64, generator=generator), torch.arange(n) % 4


def test_layers_are_in_order_with_the_wanted_statistics():
    stats = LayerStats.collect(net(), batch(), activations=2)
    assert list(stats) == ["0", "5"] and list(stats["0"]) == ["W", "VG", "A", "G", "H"]
    assert stats["0"]["A"].shape == (2, 3, 2, 2) and stats["5"]["A"].shape == (2, 4)
    only = LayerStats.collect(net(), batch(), want=("W", "A"), layers=["5"])
    assert list(only) == ["5"] and set(only["5"]) == {"W", "A"}


def test_gradients_are_autograds():
    model = net().eval()
    loss = functional.cross_entropy(model(batch()[0]), batch()[1])
    expected = torch.autograd.grad(loss, [model[0].weight, model[5].weight])
    stats = LayerStats.collect(model, batch())
    assert torch.equal(stats["0"]["G"], expected[0]) and torch.equal(stats["5"]["G"], expected[1])


def test_hessian_times_a_vector_is_the_difference_of_gradients():
    model, step = net().eval(), 1e-5
    weights = [model[0].weight, model[5].weight]
    vector = random_signs(weights, torch.Generator().manual_seed(1))
    _, (product,) = curvature(model, batch(), functional.cross_entropy, weights, [vector])

    def moved(sign):
        other = copy.deepcopy(model)
        with torch.no_grad():
            for layer, v in zip((other[0], other[5]), vector, strict=True):
                layer.weight.add_(sign * step * v)
        return curvature(other, batch(), functional.cross_entropy, [other[0].weight, other[5].weight])[0]

    for h, up, down in zip(product, moved(1), moved(-1), strict=True):
        assert torch.allclose(h, (up - down) / (2 * step), atol=1e-3 * float(h.abs().max()))


def test_many_draws_give_the_trace():
    # L = ½ Σ over the batch and outputs of (Wx)², mean over the batch: the Hessian's trace is outputs · mean ‖x‖².
    model = nn.Linear(3, 2, bias=False).double()
    x = batch()[0].flatten(1)[:, :3]
    stats = LayerStats.collect(model, (x, x), lambda y, _: 0.5 * y.square().sum() / len(y), ("H",), draws=4000, seed=3)
    trace = 2 * float(x.square().sum(1).mean())
    # One draw deviates by √(2·off-diagonal²) of each output, here .6 of the trace; 4,000 draws by a hundredth of that.
    assert float(stats[""]["H"].sum()) == pytest.approx(trace, rel=0.05)


def test_synaptic_flow_of_two_linear_layers():
    # R = 1ᵀ|W2||W1|1, so that ∂R/∂|W1| = (|W2|ᵀ1) ⊗ 1 and ∂R/∂|W2| = 1 ⊗ |W1|1.
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False)).double()
    first, second = synaptic_flow(model, torch.zeros(7, 3, dtype=torch.float64), ["0", "2"])
    w1, w2 = model[0].weight.abs(), model[2].weight.abs()
    assert torch.allclose(first, w2.sum(0)[:, None].expand(4, 3))
    assert torch.allclose(second, w1.sum(1)[None].expand(2, 4))


def test_synaptic_flow_ignores_running_statistics():
    model = net()
    before = synaptic_flow(model, batch()[0], ["0", "5"])
    model[1].running_var.fill_(100.0)
    assert all(torch.equal(a, b) for a, b in zip(before, synaptic_flow(model, batch()[0], ["0", "5"]), strict=True))


def test_nothing_of_the_model_or_the_generators_changes_and_it_repeats():
    model = net().train()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    a, b = (LayerStats.collect(model, batch(), draws=2, seed=4) for _ in range(2))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters()) and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a[name][key], b[name][key]) for name in a for key in a[name])


def test_wrong_requests_are_named():
    with pytest.raises(ValueError, match="unknown statistic 'Q'"):
        LayerStats.collect(net(), batch(), want=("Q",))
    with pytest.raises(ValueError, match="'1' is no convolution"):
        LayerStats.collect(net(), batch(), layers=["1"])
