import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from heredity.errors import EvaluationFailed
from heredity.evaluation.similarity import relation_similarity
from heredity.search.proxies import PROXIES, DistillationProxy, ProxyTable, Zen, gaussian_


class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, 3)

    def forward(self, x):
        return self.fc(self.pool(self.features(x)).flatten(1))


def built(seed=0, width=4):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Net(width)


def batch(n=8):
    return torch.randn(n, 1, 5, 5, generator=torch.Generator().manual_seed(0)), torch.arange(n) % 3


@pytest.mark.parametrize("name", sorted(PROXIES))
def test_every_proxy_is_finite_repeats_and_leaves_everything_alone(name):
    model, state = built(), torch.get_rng_state()
    before = copy.deepcopy(model.state_dict())
    first = PROXIES[name](model, batch())
    assert math.isfinite(first) and first == PROXIES[name](model, batch())
    assert model.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_closed_forms_of_a_linear_network():
    model = nn.Linear(2, 3, bias=False)
    x, y = torch.tensor([[1.0, 0.5], [-1.0, 2.0]]), torch.tensor([0, 2])
    gradient = torch.autograd.grad(functional.cross_entropy(model(x), y), model.weight)[0]
    assert PROXIES["params"](model, (x, y)) == 6
    assert PROXIES["flops"](model, (x, y)) == 12  # two for each multiply-add
    assert PROXIES["grad_norm"](model, (x, y)) == pytest.approx(float(gradient.norm()))
    assert PROXIES["snip"](model, (x, y)) == pytest.approx(float((gradient * model.weight.detach()).abs().sum()))
    # R = 1ᵀ|W|1 and Σ |W| ∂R/∂|W| = R
    assert PROXIES["synflow"](model, (x, y)) == pytest.approx(math.log(float(model.weight.detach().abs().sum())))
    # The summed outputs of f = Wx have the kernel K·x·x', here 3·[[1.25, 0], [0, 5]]: condition 4.
    assert PROXIES["ntk_cond"](model, (x, y)) == pytest.approx(-math.log10(4))


def test_nwot_counts_agreeing_units():
    # Units of the three inputs are on: (1, 0), (0, 1), (1, 1): agreements [[2, 0, 1], [0, 2, 1], [1, 1, 2]], det 4.
    x = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
    assert PROXIES["nwot"](nn.Sequential(nn.ReLU()), (x, x)) == pytest.approx(math.log(4))
    with pytest.raises(EvaluationFailed, match="has none"):
        PROXIES["nwot"](nn.Linear(2, 2), (x, x))
    with pytest.raises(EvaluationFailed):  # two inputs of one pattern: the kernel is singular
        PROXIES["nwot"](nn.Sequential(nn.ReLU()), (torch.ones(2, 2), x))


def test_jacov_of_uncorrelated_jacobians():
    # f = Σ_d x_d³/3 has the Jacobian x²; rows (3, 0, 0, 1) and (0, 1, 3, 0), whose correlation is −4/6.
    class Cube(nn.Module):
        def forward(self, x):
            return (x**3 / 3).sum(1, keepdim=True)

    x = torch.tensor([[3.0, 0.0, 0.0, 1.0], [0.0, 1.0, 3.0, 0.0]]).sqrt()
    expected = -sum(math.log(v + 1e-5) + 1 / (v + 1e-5) for v in (1 / 3, 5 / 3))
    assert PROXIES["jacov"](Cube(), (x, x)) == pytest.approx(expected, rel=1e-4)


def test_zen_ignores_the_given_weights_and_adds_what_norms_take_away():
    a, b = built(0), built(1)
    assert Zen("features")(a, batch()) == Zen("features")(b, batch()) == Zen()(a, batch())
    assert Zen("features", repeats=2)(a, batch()) != Zen("features")(a, batch())
    # f = Wx without norm: the gap is amount·‖Wε‖₁, so that ten times the amount adds log 10.
    linear = nn.Sequential(nn.Linear(4, 4, bias=False))
    x = torch.zeros(6, 4)
    assert Zen("0", amount=0.1)(linear, (x, x)) - Zen("0", amount=0.01)(linear, (x, x)) == pytest.approx(
        math.log(10), abs=1e-3
    )


def test_gaussian_start():
    model = built(width=32)
    gaussian_(model, torch.Generator().manual_seed(0))
    weight = model.features[3].weight.detach()
    assert abs(float(weight.mean())) < 0.05 and abs(float(weight.std()) - 1) < 0.05  # 9,216 normal numbers
    assert not model.features[3].bias.any() and (model.features[1].weight == 1).all()


def test_distillation_losses_are_proxies():
    teacher = built(1)
    proxy = DistillationProxy(lambda: teacher, lambda s, t: relation_similarity(t, s), "features")
    assert proxy(teacher, batch()) == 0 and proxy(built(2), batch()) < 0


def test_a_table_keeps_reasons_and_ranks_the_scoreless_last():
    def broken(model, batch):
        if model.fc.weight.shape[1] == 4:
            raise EvaluationFailed("too thin")
        return float(model.fc.weight.shape[1])

    models = [built(0, width) for width in (4, 6, 8, 5)]
    table = ProxyTable.compute(
        models, batch(), {"broken": broken, "params": PROXIES["params"], "same": lambda m, b: 1.0}
    )
    assert table.scores["broken"].tolist() == [-np.inf, 6, 8, 5]
    assert table.reasons == {("broken", 0): "too thin"}
    found = table.rank_correlation([0.1, 0.3, 0.4, 0.2], top=2)
    # Width ranks the truth perfectly, the failed one is rightly last.
    assert [found["broken"][name] for name in ("spearman", "kendall", "spearman_top_k")] == pytest.approx([1, 1, 1])
    # The failed one stands at 5 − (8 − 5) = 2: numbers 2, 6, 8, 5 against .1, .3, .4, .2.
    assert found["broken"]["pearson"] == pytest.approx(np.corrcoef([2, 6, 8, 5], [0.1, 0.3, 0.4, 0.2])[0, 1])
    assert found["params"]["kendall"] == 1
    assert found["same"] == {"spearman": -1, "kendall": -1, "pearson": -1, "spearman_top_k": -1}
