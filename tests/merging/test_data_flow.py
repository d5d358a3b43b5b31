import numpy as np
import pytest
import torch
from torch import nn

from heredity.errors import MergeError
from heredity.merging.data_flow import DataFlowModel, DataFlowRecipe, DataFlowSpace


def net(layers, seed):
    torch.manual_seed(seed)
    return (
        nn.Linear(3, 6),
        nn.ModuleList(nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(layers)),
        nn.Linear(6, 2),
    )


@pytest.fixture
def two():
    state = torch.random.get_rng_state()
    a, b = net(2, 0), net(3, 1)
    torch.random.set_rng_state(state)
    return a, b


def x():
    return torch.linspace(-1, 1, 12).reshape(4, 3)


def test_the_first_model_alone_is_that_model_exactly(two):
    (prefix, a, suffix), (_, b, _) = two
    space = DataFlowSpace((2, 3))
    model = DataFlowModel.of(space.decode(space.x0), [a, b], prefix, suffix)
    assert torch.equal(model(x()), suffix(a[1](a[0](prefix(x())))))


def test_path_order_repeats_and_scales(two):
    (prefix, a, suffix), (_, b, _) = two
    # Slots of two repetitions of (a0 a1 b0 b1 b2): a1, b0, then a1 again.
    active = torch.zeros(10, dtype=torch.bool)
    active[[1, 2, 6]] = True
    scale = torch.ones(5, 5)
    scale[0, 1], scale[1, 2], scale[2, 1] = 0.5, 2.0, -1.0
    model = DataFlowModel([a, b], prefix, suffix, active, scale)
    expected = suffix(a[1](-1.0 * b[0](2.0 * a[1](0.5 * prefix(x())))))
    torch.testing.assert_close(model(x()), expected)


def test_layers_are_shared_not_copied(two):
    (prefix, a, suffix), (_, b, _) = two
    model = DataFlowModel.of(DataFlowRecipe((True,) * 10, ((1.0,) * 5,) * 5), [a, b], prefix, suffix)
    assert model.stacks[0][0] is a[0]
    own = sum(p.numel() for part in (prefix, a, b, suffix) for p in part.parameters())
    assert sum(p.numel() for p in model.parameters()) == own


def test_the_state_dict_carries_the_path(two):
    (prefix, a, suffix), (_, b, _) = two
    ones = torch.ones(5, 5)
    first = DataFlowModel([a, b], prefix, suffix, torch.tensor([1, 0, 0, 0, 0]).bool(), ones)
    second = DataFlowModel([a, b], prefix, suffix, torch.tensor([0, 0, 0, 0, 1]).bool(), ones)
    assert not torch.equal(first(x()), second(x()))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x()), second(x()))


def test_layers_may_be_called_in_another_way(two):
    (prefix, a, suffix), _ = two
    model = DataFlowModel(
        [a],
        prefix,
        suffix,
        torch.tensor([True, False]),
        torch.ones(2, 2),
        call=lambda layer, hidden: layer(hidden) + hidden,
    )
    hidden = prefix(x())
    torch.testing.assert_close(model(x()), suffix(a[0](hidden) + hidden))


def test_space_contract():
    space, rng = DataFlowSpace((2, 3), repeats=3, max_length=4), np.random.default_rng(0)
    assert space.dim == 15 + 25
    assert space.decode(space.x0).path == (0, 1)
    for _ in range(50):
        a, b = space.sample(rng), space.sample(rng)
        for candidate in (a, space.mutate(a, rng), space.crossover(a, b, rng)):
            assert space.valid(candidate) and space.decode(candidate).path
    long = DataFlowRecipe((True,) * 15, ((1.0,) * 5,) * 5)
    assert space.penalty(long, 0.5) == 0.5 * 11 and space.penalty(space.decode(space.x0)) == 0


def test_empty_paths_and_misfits_are_refused(two):
    (prefix, a, suffix), _ = two
    space = DataFlowSpace((2,), repeats=1)
    empty = np.concatenate([[-1.0, -1.0], np.ones(4)])
    assert not space.valid(empty)
    with pytest.raises(MergeError, match="no slot is active"):
        space.decode(empty)
    with pytest.raises(MergeError, match="no slot is active"):
        DataFlowModel([a], prefix, suffix, torch.zeros(2).bool(), torch.ones(2, 2))
    with pytest.raises(MergeError, match=r"\(2, 2\)"):
        DataFlowModel([a], prefix, suffix, torch.ones(2).bool(), torch.ones(3, 3))
    with pytest.raises(MergeError, match="whole number of repetitions"):
        DataFlowRecipe((True,) * 3, ((1.0, 1.0),) * 2)
    with pytest.raises(MergeError, match="square"):
        DataFlowRecipe((True,), ((1.0, 1.0),))
    with pytest.raises(MergeError, match="NaN"):
        DataFlowRecipe((True,), ((float("nan"),),))
