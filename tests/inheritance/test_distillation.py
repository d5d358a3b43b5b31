import math

import pytest
import torch
from torch.nn import functional

from heredity.inheritance.distillation import (
    channel_correlation,
    distillation_loss,
    diswot_loss,
    kl_to_teacher,
    similarity_preserving,
    soft_cross_entropy,
)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_divergence_by_hand():
    # Teacher (1/2, 1/2), student (1/4, 3/4): ½ log 2 + ½ log ⅔.
    teacher, student = torch.zeros(1, 2), torch.tensor([[1.0, 3.0]]).log()
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert float(kl_to_teacher(student, teacher)) == pytest.approx(expected)
    assert float(kl_to_teacher(student, teacher, reduction="numel")) == pytest.approx(expected / 2)


def test_temperature_divides_the_logits_and_equal_logits_cost_nothing():
    s, t = normal(4, 5, seed=1), normal(4, 5, seed=2)
    assert torch.allclose(kl_to_teacher(s, t, 3.0), kl_to_teacher(s / 3, t / 3))
    assert float(kl_to_teacher(t, t)) == pytest.approx(0, abs=1e-12) and float(kl_to_teacher(s, t)) > 0


def test_a_mask_picks_places():
    s, t = normal(2, 3, 5, seed=1), normal(2, 3, 5, seed=2)
    mask = torch.tensor([[1, 0, 1], [0, 0, 0]], dtype=torch.bool)
    assert torch.allclose(kl_to_teacher(s, t, mask=mask), kl_to_teacher(s[0, [0, 2]], t[0, [0, 2]]))
    with pytest.raises(ValueError, match="mask is empty"):
        kl_to_teacher(s, t, mask=torch.zeros(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="mask should have shape"):
        kl_to_teacher(s, t, mask=mask[0])


def test_no_gradient_reaches_the_teacher():
    s, t = normal(4, 5, seed=1).requires_grad_(), normal(4, 5, seed=2).requires_grad_()
    for loss in (kl_to_teacher(s, t), soft_cross_entropy(s, t)):
        assert torch.autograd.grad(loss, (s, t), allow_unused=True)[1] is None


def test_soft_cross_entropy_is_the_divergence_and_the_teachers_entropy():
    s, t = normal(4, 5, seed=1).requires_grad_(), normal(4, 5, seed=2)
    q = (t / 2).softmax(1)
    entropy = -(q * q.log()).sum(1).mean()
    a, b = soft_cross_entropy(s, t, 2.0), kl_to_teacher(s, t, 2.0)
    assert torch.allclose(a, b + entropy)
    assert torch.allclose(torch.autograd.grad(a, s)[0], torch.autograd.grad(b, s)[0])


def test_ends_of_alpha_and_the_square_of_tau():
    s, t, y = normal(4, 5, seed=1), normal(4, 5, seed=2), torch.tensor([0, 1, 2, 3])
    assert torch.allclose(distillation_loss(s, t, y, alpha=0.0), functional.cross_entropy(s, y))
    assert torch.allclose(distillation_loss(s, t, y, alpha=1.0, tau=4.0), 16 * kl_to_teacher(s, t, 4.0))
    with pytest.raises(ValueError, match="alpha"):
        distillation_loss(s, t, y, alpha=1.5)


def test_channels_equal_a_loop_and_forget_size_and_sign():
    fs, ft = normal(3, 4, 2, 2, seed=1), normal(3, 4, 5, seed=2)
    total = 0.0
    for s, t in zip(fs.flatten(2), ft, strict=True):
        gap = functional.normalize(s @ s.T, dim=1) - functional.normalize(t @ t.T, dim=1)
        total += float(gap.square().sum())
    assert float(channel_correlation(fs, ft)) == pytest.approx(total / 12)
    assert torch.allclose(channel_correlation(-3 * fs, ft), channel_correlation(fs, ft))
    with pytest.raises(ValueError, match="one n and C"):
        channel_correlation(fs, ft[:, :3])


def test_of_one_pixel_and_one_image_channels_are_the_semantic_metric():
    from heredity.search.diswot import semantic_similarity

    # n images of one pixel are n "classes": F Fᵀ is then the rank-one w wᵀ.
    s, t = normal(3, 4, seed=1), normal(3, 4, seed=2)
    assert torch.allclose(channel_correlation(s[:, :, None], t[:, :, None]), semantic_similarity(t, s))


def test_the_dagger_loss_adds_its_terms_and_can_be_trained():
    logits, features = (normal(3, 5, seed=1), normal(3, 5, seed=2)), (normal(3, 4, 2, seed=3), normal(3, 4, 6, seed=4))
    y = torch.tensor([0, 1, 2])
    whole = diswot_loss(logits, features, y, relation=2.0, semantic=3.0)
    parts = distillation_loss(*logits, y) + 2 * similarity_preserving(*features) + 3 * channel_correlation(*features)
    assert torch.allclose(whole, parts)
    student = features[0].clone().requires_grad_()
    optimizer = torch.optim.Adam([student], 0.05)
    for _ in range(200):
        loss = similarity_preserving(student, features[1]) + channel_correlation(student, features[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    start = similarity_preserving(*features) + channel_correlation(*features)
    assert float(loss.detach()) < 0.5 * float(start)
