import itertools

import numpy as np
import pytest
import torch

from heredity.errors import EvaluationFailed
from heredity.search.expression import Expression
from heredity.search.layer_stats import INPUTS, LayerStats
from heredity.search.mq_proxies import EXHAUSTIVE, SENSITIVITIES, BitTask, MQProxy, allocate


def stats(layers=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(2, 3 + k) for k in range(layers)]
    return LayerStats(
        {
            f"l{k}": {name: torch.randn(*((4, 2) if name == "A" else shape), generator=generator) for name in INPUTS}
            for k, shape in enumerate(shapes)
        }
    )


@pytest.mark.parametrize("name", sorted(SENSITIVITIES))
def test_every_rule_is_linear_in_the_bits(name):
    proxy = MQProxy.of(stats(), name)
    assert np.isfinite(proxy.sensitivities).all()
    assert proxy([2, 4, 8]) == pytest.approx(np.dot(proxy.sensitivities, [2, 4, 8]))
    assert proxy.predict(np.array([[2, 4, 8], [1, 1, 1]])) == pytest.approx([proxy([2, 4, 8]), proxy([1, 1, 1])])


def test_rules_by_hand():
    given = stats()
    assert MQProxy.of(given, "mean_bits")([2, 3, 4]) == 9
    assert MQProxy.of(given, "bparams").sensitivities == (6, 8, 10)
    assert MQProxy.of(given, "bparams", per_weight=True).sensitivities == (1, 1, 1)
    for rule, text in (
        ("snip", "l1(mul(W, G))"),
        ("hawq_trace", "sum(H)"),
        ("synflow", "dot(abs(W), VG)"),
        ("fisher", "sum(square(G))"),
    ):
        formula = MQProxy.of(given, Expression.parse(text))
        assert MQProxy.of(given, rule).sensitivities == pytest.approx(formula.sensitivities)


def test_orthogonal_layers_matter_more():
    a, b = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    given = LayerStats({"a": {"A": a}, "again": {"A": 2 * a}, "b": {"A": b}})
    first, second, third = MQProxy.of(given, "ompq").sensitivities
    # ORM of equal outputs is 1, of orthogonal ones 0: exp(−1), exp(−1), exp(0).
    assert (first, second, third) == pytest.approx((np.exp(-1), np.exp(-1), 1))


def test_rules_without_a_value_fail():
    flat = LayerStats({"a": {"A": torch.ones(3, 2)}})
    with pytest.raises(EvaluationFailed, match="qe"):
        MQProxy.of(flat, "qe")
    with pytest.raises(ValueError, match="unknown rule 'magic'"):
        MQProxy.of(flat, "magic")
    with pytest.raises(ValueError, match="3 layers need"):
        MQProxy.of(stats(), "snip")([2, 3])


def test_partial_correlation_sees_beyond_the_size():
    configs = np.array(list(itertools.product((2, 3, 4), repeat=3)))
    size, first = configs.mean(1), configs[:, 0].astype(float)
    task = BitTask(stats(), configs, size + 3 * first)
    assert task.partial_correlation(size) == 0  # the size itself
    assert task.correlation(MQProxy((1.0, 1.0, 1.0))) > 0.3
    assert task.partial_correlation(size + 3 * first) > 0.99
    assert task.partial_correlation(configs[:, 1].astype(float)) < 0.5
    assert task.correlation(MQProxy((0.0, 0.0, 0.0))) == -1  # a constant


def test_a_task_checks_its_shapes():
    with pytest.raises(ValueError, match="need configs of that shape"):
        BitTask(stats(), np.zeros((4, 2), dtype=np.int64), np.zeros(4))


def test_allocation_is_the_best_that_fits():
    proxy, sizes, choices = MQProxy((1.0, 5.0, 2.0)), (10, 20, 5), (2, 4, 8)
    for budget in (70, 100, 150, 230, 280):
        bits = allocate(proxy, sizes, budget, choices)
        fitting = [b for b in itertools.product(choices, repeat=3) if np.dot(b, sizes) <= budget]
        assert np.dot(bits, sizes) <= budget and proxy(bits) == max(map(proxy, fitting))
    with pytest.raises(ValueError, match="more than the budget of 60"):
        allocate(proxy, sizes, 60, choices)


def test_many_layers_are_filled_by_gain_per_bit():
    layers, choices = 12, (2, 3, 4)
    assert len(choices) ** layers > EXHAUSTIVE
    gains = np.random.default_rng(0).normal(size=layers)
    sizes, budget = (7,) * layers, 7 * 30
    bits = allocate(MQProxy(tuple(gains)), sizes, budget, choices)
    # Equal sizes: the layers that gain most get four bits until six bits beyond two each are spent; losses get none.
    order = np.argsort(-gains)
    assert [bits[k] for k in order[:3]] == [4, 4, 4] and sum(bits) == 30 and {bits[k] for k in order[3:]} == {2}
    assert set(allocate(MQProxy((-1.0,) * layers), sizes, 7 * 48, choices)) == {2}
