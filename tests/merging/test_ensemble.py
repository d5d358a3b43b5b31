import pytest
import torch
from torch import nn

from heredity.errors import MergeError, NonFinite
from heredity.merging.ensemble import VoteEnsemble, majority_vote


class Fixed(nn.Module):
    def __init__(self, logits):
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, x):
        return self.logits.expand(len(x), -1)


def test_majority():
    assert majority_vote(torch.tensor([[0, 0, 1], [1, 1, 1], [0, 1, 1]])).tolist() == [0, 1, 1]


def test_ties_go_to_the_higher_mean_probability_then_to_the_lower_label():
    labels = torch.tensor([[0, 2], [2, 0]])
    assert majority_vote(labels).tolist() == [0, 0]
    probabilities = torch.tensor([[0.2, 0.1, 0.7], [0.6, 0.1, 0.3]])
    assert majority_vote(labels, probabilities).tolist() == [2, 0]
    # A probable label without votes does not win.
    assert majority_vote(torch.tensor([[0], [0]]), torch.tensor([[0.0, 1.0]])).tolist() == [0]


def test_ensemble_votes():
    x = torch.zeros(2, 1)
    sure, unsure, other = Fixed([0.0, 9.0, 0.0]), Fixed([1.0, 0.0, 0.0]), Fixed([1.0, 0.0, 0.5])
    assert VoteEnsemble([sure, unsure, other]).predict(x).tolist() == [
        0,
        0,
    ]  # two votes to one, however sure the one is
    assert VoteEnsemble([sure, unsure]).predict(x).tolist() == [1, 1]  # a tie, and the sure one decides it
    assert VoteEnsemble([unsure]).predict(x).tolist() == [0, 0]


def test_trouble_is_named():
    with pytest.raises(MergeError, match="at least one member"):
        VoteEnsemble([])
    with pytest.raises(NonFinite, match="member 1"):
        VoteEnsemble([Fixed([1.0, 0.0]), Fixed([float("nan"), 0.0])])(torch.zeros(1, 1))
    with pytest.raises(ValueError, match="members, samples"):
        majority_vote(torch.zeros(3))
    with pytest.raises(ValueError, match=r"0\.\.1"):
        majority_vote(torch.tensor([[2]]), torch.tensor([[0.5, 0.5]]))
