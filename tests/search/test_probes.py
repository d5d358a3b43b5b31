import pytest
import torch
from torch import nn

import heredity as hd
from heredity.data.probes import Upright
from heredity.evaluation.outcome import Failed
from heredity.evaluation.probes import Accuracy
from heredity.search.probes import Behaviour

X = torch.linspace(-1, 1, 12).view(3, 4)


@hd.architecture
class Wide(nn.Module):
    def __init__(self, hidden: int = 6) -> None:
        super().__init__()
        self.inner, self.outer, self.drop = nn.Linear(4, hidden), nn.Linear(hidden, 2), nn.Dropout(0.5)

    def forward(self, x):
        return self.outer(self.drop(torch.relu(self.inner(x))))


@hd.architecture
class Mute(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return "nothing"


def permuted(net: Wide) -> Wide:
    """Another numbering of the hidden units, and one more that is dead: other weights, same function."""
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    twin = Wide(7)
    with torch.no_grad():
        for p in twin.parameters():
            p.zero_()
        twin.inner.weight[:6], twin.inner.bias[:6] = net.inner.weight[order], net.inner.bias[order]
        twin.outer.weight[:, :6], twin.outer.bias[:] = net.outer.weight[:, order], net.outer.bias
    return twin


def test_other_weights_of_the_same_function_behave_alike(tmp_path):
    torch.manual_seed(0)
    net = Wide()
    with hd.Lab(tmp_path / "lab") as lab:
        a, b, c = lab.add(net), lab.add(permuted(net)), lab.add(Wide())
        seen = [o["behaviour"] for o in lab.measure_all(Behaviour(X), [a, b, c])]
        assert a.weights_sha256 != b.weights_sha256
        assert seen[0] == seen[1] != seen[2]
        assert all(value == int(value) and 0 <= value < 2**53 for value in seen)
        # the measurement is recorded and recalled in another session
    with hd.Lab(tmp_path / "lab", mode="r") as again:
        assert again.measure(Behaviour(X), a.id)["behaviour"] == seen[0]


def test_a_change_below_the_bits_does_not_count_and_one_above_does(tmp_path):
    torch.manual_seed(1)
    net = Wide()
    with hd.Lab(tmp_path / "lab") as lab:
        a = lab.add(net)
        with torch.no_grad():
            net.outer.weight += 1e-3
        b = lab.add(net)
        assert lab.measure(Behaviour(X), a) != lab.measure(Behaviour(X), b)
        # Outputs of about 1 move by about 1e-3, below half a unit of 3 bits; no value lies near a boundary here.
        assert lab.measure(Behaviour(X, 3), a) == lab.measure(Behaviour(X, 3), b)


def test_what_gives_no_numbers_is_a_failure(tmp_path):
    net = Wide()
    with hd.Lab(tmp_path / "lab") as lab:
        assert isinstance(lab.measure(Behaviour(torch.full((1, 4), float("inf"))), lab.add(net)), Failed)
        outcome = lab.measure(Behaviour(X), lab.add(Mute()))
        assert isinstance(outcome, Failed) and "str" in outcome.reason


def test_models_alike_on_the_probes_own_inputs_are_measured_once(tmp_path):
    lab = hd.Lab(tmp_path / "lab")
    probe = Accuracy(X, torch.zeros(3, dtype=torch.long))
    torch.manual_seed(0)
    wide = Wide()
    first = lab.measure(probe, lab.add(wide), by="behaviour")
    order = torch.tensor([3, 1, 5, 0, 2, 4])  # the same function with its hidden units in another order
    shuffled = Wide()
    shuffled.load_state_dict(
        {
            "inner.weight": wide.inner.weight[order],
            "inner.bias": wide.inner.bias[order],
            "outer.weight": wide.outer.weight[:, order],
            "outer.bias": wide.outer.bias,
        }
    )
    twin, other = lab.add(shuffled), lab.add(Wide())
    assert lab.measure(probe, twin, by="behaviour") == first
    assert "Accuracy" not in twin.measurements
    lab.measure(probe, other, by="behaviour")
    assert "Accuracy" in other.measurements
    with pytest.raises(ValueError, match="does not say on which inputs"):
        lab.measure(Upright(), twin, by="behaviour")
    with pytest.raises(ValueError, match='"behaviour" or a probe'):
        lab.measure(probe, twin, by="hash")
