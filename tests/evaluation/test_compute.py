import pytest
import torch
from torch import nn

from heredity.evaluation.compute import MAFBudget, ResourceUsage, count_flops, count_parameters, peak_memory


def test_a_linear_layer():
    layer = nn.Linear(4, 8)
    assert count_flops(layer, torch.zeros(2, 4)) == 2 * 2 * 4 * 8
    x = torch.zeros(2, 4, requires_grad=True)
    assert count_flops(lambda: layer(x).sum().backward()) == 3 * 128  # the two gradients are products of the same size
    assert count_parameters(layer) == 40


def test_memory_counts_what_backward_needs():
    model = nn.Sequential(nn.Linear(10, 1000), nn.ReLU(), nn.Linear(1000, 1))
    weights = sum(p.nbytes for p in model.parameters())
    few, many = (peak_memory(model, torch.zeros(n, 10)) for n in (10, 100))
    # each row more keeps its input, and the hidden row once or twice
    assert many - few >= 90 * (1000 + 10) * 4
    assert few > 2 * weights


def test_a_budget_is_shared_by_tasks():
    assert MAFBudget(1e6).steps(1e3, memory_ratio=2, tasks=10) == 50
    with pytest.raises(ValueError, match="positive"):
        MAFBudget(1).steps(0)


def test_usage_adds_up():
    both = ResourceUsage.combine([ResourceUsage(1.0, 5, 10), ResourceUsage(2.0, 3, None)])
    assert both == ResourceUsage(3.0, 5, None)
