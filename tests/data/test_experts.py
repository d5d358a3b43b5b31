import pytest
import torch
from torch import nn

from heredity.data.composed import EIGHT_FOUNDERS, EIGHT_PAIRS
from heredity.data.digits import load_digits
from heredity.data.experts import (
    MLP,
    FounderSpec,
    TrainState,
    accuracy,
    ancestor,
    founder_data,
    founders,
    train,
)
from heredity.data.shifts import Shift
from heredity.errors import NonFinite


@pytest.fixture(scope="module")
def digits():
    return load_digits(train=300, seed=0)


def equal(a, b):
    return set(a) == set(b) and all(torch.equal(a[k], b[k]) for k in a)


def test_construction_is_seeded_and_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    a, b, c = MLP([64, 32, 10], 0), MLP([64, 32, 10], 0), MLP([64, 32, 10], 1)
    assert equal(a.state_dict(), b.state_dict()) and not equal(a.state_dict(), c.state_dict())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert sum(p.numel() for p in MLP().parameters()) == 64 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10
    assert a.layers[0].weight.abs().max() <= 64**-0.5


def test_training_learns_and_is_deterministic(digits):
    before = torch.random.get_rng_state()
    first, second = MLP([64, 64, 10]), MLP([64, 64, 10])
    for module in (first, second):
        train(module, digits.train_x, digits.train_y, epochs=20, lr=3e-3, seed=5)
    assert equal(first.state_dict(), second.state_dict())
    assert accuracy(first, digits.test_x, digits.test_y) > 0.85  # 300 images; chance is .1
    assert torch.equal(torch.random.get_rng_state(), before)


def test_saved_and_continued_equals_uninterrupted_bit_for_bit(digits):
    saved = []
    whole = MLP([64, 32, 10])
    end = train(whole, digits.train_x, digits.train_y, epochs=4, lr=1e-3, seed=1, on_epoch=saved.append)
    assert [s.epoch for s in saved] == [1, 2, 3, 4]
    half = TrainState.from_tensors({k: v.clone() for k, v in saved[1].tensors().items()}, 2)
    resumed_module = MLP([64, 32, 10], seed=99)  # its own weights must not matter
    resumed = train(resumed_module, digits.train_x, digits.train_y, epochs=4, lr=1e-3, seed=1, state=half)
    assert equal(resumed.weights, end.weights) and equal(resumed.moments, end.moments)
    assert equal(resumed_module.state_dict(), whole.state_dict())
    forgetful = TrainState(saved[1].weights, {}, 2)  # without the optimiser's moments it is another run
    other = train(MLP([64, 32, 10]), digits.train_x, digits.train_y, epochs=4, lr=1e-3, seed=1, state=forgetful)
    assert not equal(other.weights, end.weights)


def test_epochs_see_different_orders_and_states_are_not_shared(digits):
    states = []
    module = MLP([64, 16, 10])
    train(module, digits.train_x, digits.train_y, epochs=2, lr=1e-3, seed=1, on_epoch=states.append)
    assert not equal(states[0].weights, states[1].weights)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert states[1].weights["layers.0.weight"].abs().sum() > 0


def test_divergence_is_an_error(digits):
    with pytest.raises(NonFinite, match="lower lr"):
        train(MLP([64, 32, 10]), digits.train_x, digits.train_y, epochs=3, lr=1e30, seed=0)


def test_a_foreign_state_is_refused(digits):
    state = TrainState(MLP([64, 10]).state_dict(), {"exp_avg/other": torch.zeros(1)}, 1)
    with pytest.raises(ValueError, match="does not fit"):
        train(MLP([64, 10]), digits.train_x, digits.train_y, epochs=2, lr=1e-3, seed=0, state=state)
    with pytest.raises(ValueError, match="unexpected tensor"):
        TrainState.from_tensors({"biases/x": torch.zeros(1)}, 1)


def test_founders_specialise_and_leave_the_ancestor(digits):
    parent = ancestor(digits.train_x, digits.train_y, epochs=15, widths=(64, 64, 10))
    before = {k: v.clone() for k, v in parent.state_dict().items()}
    specs = (FounderSpec("turned", (Shift("rotate90", 1.0),)), FounderSpec("few", (), classes=(3, 7)))
    turned, few = founders(parent, specs, digits.train_x, digits.train_y, epochs=20)
    assert equal(parent.state_dict(), before)
    turned_x = torch.rot90(digits.test_x, 1, dims=(-2, -1))
    child = MLP([64, 64, 10])
    child.load_state_dict(turned)
    assert accuracy(child, turned_x, digits.test_y) > accuracy(parent, turned_x, digits.test_y) + 0.3
    _, labels = founder_data(specs[1], digits.train_x, digits.train_y, seed=0)
    assert set(labels.tolist()) == {3, 7}
    assert equal(few, founders(parent, specs, digits.train_x, digits.train_y, epochs=20)[1])
    with pytest.raises(ValueError, match="differ"):
        founders(parent, (specs[0], specs[0]), digits.train_x, digits.train_y)


def test_eight_founders_and_pairs():
    singles = [spec.shifts[0] for spec in EIGHT_FOUNDERS]
    assert len(set(singles)) == 8
    for pair in EIGHT_PAIRS:
        assert len(set(pair)) == 2 and set(pair) <= set(singles)
    for single in singles:
        assert sum(single in pair for pair in EIGHT_PAIRS) == 2


def test_accuracy_counts_nan_as_wrong():
    class Broken(nn.Module):
        def forward(self, x):
            logits = torch.zeros(len(x), 10)
            logits[:, 0] = 1
            logits[0, 3] = float("nan")
            return logits

    # Four images of class 0: the first has a NaN, the other three are right.
    assert accuracy(Broken(), torch.zeros(4, 1, 8, 8), torch.zeros(4, dtype=torch.long)) == 0.75
