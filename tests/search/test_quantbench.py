import copy

import numpy as np
import pytest
import torch
from torch import nn

from heredity.search.quantbench import QuantBench, distinct_configs, quantize_weights, rounded


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def net():
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3))
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(generator=generator)
    return model


def test_eight_bits_err_by_half_a_step_at_most():
    weight = normal(6, 3, 3, 3)
    rows = weight.flatten(1)
    half = (rows.amax(1) - rows.amin(1)) / 255 / 2
    error = (rounded(weight, 8) - weight).flatten(1).abs().amax(1)
    assert (error <= half * 1.001).all() and (error > 0).all()


@pytest.mark.parametrize("scheme", ["asym_minmax", "mse"])
def test_two_bits_are_four_values_a_channel_or_a_layer(scheme):
    weight = normal(6, 50)
    assert all(len(row.unique()) <= 4 for row in rounded(weight, 2, scheme))
    assert len(rounded(weight, 2, scheme, per_channel=False).unique()) <= 4
    assert len(rounded(weight, 2, scheme).unique()) > 4


def test_values_by_hand():
    # From −1 to 2 in steps of 1: −1, 0, 1, 2.
    weight = torch.tensor([[-1.0, 2.0, 0.4, 0.6, 1.4]])
    assert rounded(weight, 2).tolist() == [[-1, 2, 0, 1, 1]]


def test_a_smaller_range_errs_less():
    weight = normal(1, 2000)
    errors = {s: float((rounded(weight, 3, s) - weight).square().mean()) for s in ("asym_minmax", "mse")}
    assert errors["mse"] < 0.8 * errors["asym_minmax"]


def test_ranges_of_no_extent_are_kept():
    weight = torch.full((2, 5), 0.3)
    assert torch.equal(rounded(weight, 2), weight) and torch.equal(rounded(weight, 2, "mse"), weight)


def test_thirty_two_bits_keep_everything_and_the_model_is_left_alone():
    model = net()
    before = copy.deepcopy(model.state_dict())
    same, coarse = quantize_weights(model, 32), quantize_weights(model, [32, 2, 32])
    assert all(torch.equal(value, before[name]) for name, value in same.state_dict().items())
    changed = [name for name, value in coarse.state_dict().items() if not torch.equal(value, before[name])]
    assert changed == ["3.weight"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    named = quantize_weights(model, {"3": 2})
    assert all(
        torch.equal(a, b) for a, b in zip(named.state_dict().values(), coarse.state_dict().values(), strict=True)
    )


def test_wrong_widths_are_named():
    for bits, message in (([8, 8], "3 layers"), ({"1": 8}, "'1' is no layer"), ([8, 0, 8], "3 needs at least one bit")):
        with pytest.raises(ValueError, match=message):
            quantize_weights(net(), bits)


def test_a_bench_measures_what_quantised_networks_reach():
    model, x = net().eval(), normal(40, 1, 4, 4, seed=1)
    y = model(x).argmax(1)  # so that the network itself is perfect
    bench = QuantBench.build(model, (x, y), 4, (2, 8), 3, fixed={"5": 8})
    assert bench.layers == ("0", "3") and bench.accuracies.min() < bench.accuracies.max()
    assert len({tuple(row) for row in bench.configs}) == len(bench.configs)
    for row, accuracy in zip(bench.configs, bench.accuracies, strict=True):
        other = quantize_weights(model, [*(int(b) for b in row), 8])
        assert accuracy == float((other(x).argmax(1) == y).double().mean())


def test_samples_divide_without_replacement():
    bench = QuantBench(("a", "b"), distinct_configs(2, 9, (2, 3, 4), 0), np.arange(9.0))
    first, second = bench.sample(4, 1)
    assert sorted([*first.accuracies, *second.accuracies]) == list(range(9)) and len(first.accuracies) == 4
    assert first.accuracies.tolist() != bench.sample(4, 2)[0].accuracies.tolist()
    with pytest.raises(ValueError, match="cannot draw 9"):
        bench.sample(9)


def test_top_shares_are_of_the_true_best():
    truth = np.random.default_rng(0).permutation(50).astype(float)
    bench = QuantBench(("a",), np.zeros((50, 1), dtype=np.int64), truth)
    guess = truth.copy()
    guess[truth < 40] = -guess[truth < 40]  # wrong outside the ten best
    assert bench.spearman_top_k(guess, 0.2) == pytest.approx(1) and bench.spearman_top_k(guess, 0.4) < 1
    assert bench.spearman_top_k(truth, 50) == pytest.approx(1)
    assert bench.spearman_top_k(-truth, 50) == pytest.approx(-1)


def test_more_mixtures_than_there_are_is_refused():
    assert len(distinct_configs(2, 4, (2, 8), 0)) == 4
    with pytest.raises(ValueError, match="fewer than 5"):
        distinct_configs(2, 5, (2, 8), 0)
