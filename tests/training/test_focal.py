import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from heredity.training.focal import FocalLoss


def test_without_focus_and_weights_it_is_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    targets = torch.randint(4, (50,), generator=generator)
    plain = FocalLoss(gamma=0, alpha=None)
    assert abs(plain(logits, targets) - functional.cross_entropy(logits, targets)) < 1e-12
    binary = functional.binary_cross_entropy_with_logits(logits[:, 0], (targets > 1).double())
    assert abs(plain(logits[:, 0], (targets > 1).long()) - binary) < 1e-12


def test_a_known_value():
    # (1 − .9)² · −ln .9 = .01 · .1053605 = .0010536
    logit = torch.tensor([math.log(9.0)], dtype=torch.float64)
    assert FocalLoss(2, 1.0)(logit, torch.tensor([1])).item() == pytest.approx(0.0010536, abs=1e-7)
    both = torch.stack([torch.zeros(1, dtype=torch.float64), logit], 1)
    assert FocalLoss(2, (1.0, 1.0))(both, torch.tensor([1])).item() == pytest.approx(0.0010536, abs=1e-7)


@given(st.floats(-8, 8), st.floats(0, 5), st.floats(0, 1), st.sampled_from([0, 1]))
def test_two_classes_by_one_logit_and_by_two_agree(x, gamma, alpha, label):
    loss = FocalLoss(gamma, alpha)
    one = loss(torch.tensor([x], dtype=torch.float64), torch.tensor([label]))
    two = loss(torch.tensor([[0.0, x]], dtype=torch.float64), torch.tensor([label]))
    assert torch.allclose(one, two, rtol=1e-6, atol=1e-12)


def test_weights_are_of_the_positive_class_and_the_mean_is_over_examples():
    logits, targets = torch.zeros(4, dtype=torch.float64), torch.tensor([1, 0, 0, 0])
    # p = ½ everywhere: each is weight · ¼ · ln 2.
    expected = (0.25 + 3 * 0.75) * 0.25 * math.log(2) / 4
    assert FocalLoss()(logits, targets).item() == pytest.approx(expected)
    assert FocalLoss(reduction="sum")(logits, targets).item() == pytest.approx(4 * expected)


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("shape", ["binary", "classes"])
def test_slopes_stay_finite_where_the_answer_is_sure(gamma, shape):
    logits = torch.tensor([90.0, -90.0] if shape == "binary" else [[90.0, -90.0], [-90.0, 90.0]], requires_grad=True)
    FocalLoss(gamma, None)(logits, torch.tensor([1, 1])).backward()
    assert torch.isfinite(logits.grad).all()


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="gamma"):
        FocalLoss(-1)
    with pytest.raises(ValueError, match="alpha"):
        FocalLoss(alpha=2.0)
    with pytest.raises(ValueError, match="2 class weights were given for 3 classes"):
        FocalLoss()(torch.zeros(2, 3), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="shape"):
        FocalLoss()(torch.zeros(3), torch.zeros(2))
