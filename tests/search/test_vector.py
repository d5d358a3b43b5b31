import pytest
import torch
from torch import nn

from heredity.search.vector import FlatParams


def net():
    torch_net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    for i, p in enumerate(torch_net.parameters()):
        nn.init.constant_(p, float(i + 1))
    return torch_net


def test_round_trip():
    module = net()
    flat = FlatParams(module)
    assert flat.size == 3 * 4 + 4 + 4 * 2 + 2 and flat.names == ["0.weight", "0.bias", "2.weight", "2.bias"]
    vector = flat.flatten(module)
    assert vector.tolist() == [1.0] * 12 + [2.0] * 4 + [3.0] * 8 + [4.0] * 2
    other = torch.arange(26.0)
    flat.load(other, module)
    assert torch.equal(flat.flatten(module), other)
    assert torch.equal(flat.flatten(flat.state(other)), other)
    module.load_state_dict(flat.state(other))


def test_shapes_lay_out_the_vector():
    flat = FlatParams(net())
    assert flat.shapes == {"0.weight": (4, 3), "0.bias": (4,), "2.weight": (2, 4), "2.bias": (2,)}
    assert list(flat.shapes) == flat.names and sum(torch.Size(s).numel() for s in flat.shapes.values()) == flat.size
    assert FlatParams(net(), lambda name: name == "2.bias").shapes == {"2.bias": (2,)}


def test_copies_share_no_storage():
    module = net()
    flat = FlatParams(module)
    vector = flat.flatten(module)
    state = flat.state(vector)
    vector.zero_()
    assert state["0.weight"].sum() == 12 and module[0].weight.sum() == 12


def test_filter_keeps_the_rest_of_the_template():
    module = net()
    flat = FlatParams(module, lambda name: name.endswith("bias"))
    state = flat.state(torch.zeros(6))
    assert state["0.bias"].sum() == 0 and torch.equal(state["0.weight"], module[0].weight)


def test_tied_parameters_are_counted_once_and_set_together():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(2, 2, bias=False)
            self.b = nn.Linear(2, 2, bias=False)
            self.b.weight = self.a.weight

    flat = FlatParams(Tied())
    assert flat.size == 4
    state = flat.state(torch.arange(4.0))
    assert torch.equal(state["a.weight"], state["b.weight"]) and set(state) == {"a.weight", "b.weight"}


def test_dtype_is_kept():
    module = nn.Linear(2, 2).to(torch.bfloat16)
    flat = FlatParams(module)
    assert flat.flatten(module).dtype == torch.float32
    assert flat.state(torch.zeros(6))["weight"].dtype == torch.bfloat16
    assert FlatParams(nn.Linear(2, 2).double()).flatten(nn.Linear(2, 2).double()).dtype == torch.float64


def test_buffers_are_refused_or_carried():
    module = nn.BatchNorm1d(3)
    with pytest.raises(ValueError, match="running_mean"):
        FlatParams(module)
    flat = FlatParams(module, buffers="carry")
    assert flat.size == 6
    assert torch.equal(flat.state(torch.zeros(6))["running_var"], torch.ones(3))


def test_misfits_are_named():
    flat = FlatParams(net())
    with pytest.raises(ValueError, match=r"shape \(26,\), it has \(3,\)"):
        flat.state(torch.zeros(3))
    with pytest.raises(ValueError, match=r"'0.weight' should have shape \(4, 3\), it is missing"):
        flat.flatten({})
    with pytest.raises(ValueError, match=r"has no parameter '0\.weight'"):
        flat.load(torch.zeros(26), nn.Linear(1, 1))
    with pytest.raises(ValueError, match="no parameter is left"):
        FlatParams(net(), lambda name: False)
