import math

import pytest
import torch

from heredity.search.learned_objectives import LPG, DriftNet, lpg_loss, lpg_losses, mirror_loss, ppo_drift


def rollout(batch=3, steps=8, m=4, seed=0):
    g = torch.Generator().manual_seed(seed)

    def simplex():
        return torch.softmax(torch.randn(batch, steps, m, generator=g), -1)

    d = torch.zeros(batch, steps)
    d[:, 4] = 1  # the fifth step ends an episode
    return torch.randn(batch, steps, generator=g), d, torch.rand(batch, steps, generator=g), simplex(), simplex()


@pytest.mark.parametrize("temporal", [False, True])
def test_a_drift_and_its_slope_vanish_where_the_policy_has_not_changed(temporal):
    somewhere = 0
    for seed in range(5):
        net = DriftNet(temporal, width=16, seed=seed).double()
        adv = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        ratio = torch.ones(50, dtype=torch.float64, requires_grad=True)
        f = net(ratio, adv, 0.4)
        f.sum().backward()
        assert (f == 0).all() and (ratio.grad == 0).all()
        away = torch.stack([net(ratio.detach() * k, adv, 0.4) for k in (0.2, 0.5, 2, 5)])
        assert (away >= 0).all()
        somewhere += int((away > 0).any())
    assert somewhere >= 3  # a random net may be negative, and so cut off, on one side or on both


def test_only_a_temporal_drift_knows_the_time():
    ratio, adv = torch.linspace(0.5, 2, 20), torch.linspace(-2, 2, 20)
    plain, temporal = DriftNet(False, seed=1), DriftNet(True, seed=1)
    assert torch.equal(plain(ratio, adv, 0.1), plain(ratio, adv, 0.9))
    assert not torch.equal(temporal(ratio, adv, 0.1), temporal(ratio, adv, 0.9))
    with pytest.raises(ValueError, match="frac"):
        temporal(ratio, adv)


def test_ppo_s_drift_gives_ppo_s_clipped_loss_and_gradient():
    g = torch.Generator().manual_seed(2)
    old, adv = torch.randn(500, generator=g).double(), torch.randn(500, generator=g).double()
    new = (old + 0.4 * torch.randn(500, generator=g).double()).requires_grad_()
    (mine,) = torch.autograd.grad(mirror_loss(new, old, adv, ppo_drift(0.2)), new)
    ratio = (new - old).exp()
    # min(ρA, clip(ρ)A) is ρA − max(0, ρA − clip(ρ)A).
    clipped = -torch.minimum(ratio * adv, ratio.clamp(0.8, 1.2) * adv).mean()
    (theirs,) = torch.autograd.grad(clipped, new)
    assert torch.allclose(mirror_loss(new, old, adv, ppo_drift(0.2)), clipped, atol=1e-6)
    assert torch.allclose(mine, theirs, atol=1e-6)


def test_lpg_looks_ahead_within_the_episode_only():
    lpg = LPG(targets=4, width=12, seed=3)
    r, d, pi, y, y1 = rollout()
    before, _ = lpg(r, d, pi, y, y1, 0.2, 3.0)

    def changed(step):
        other = r.clone()
        other[:, step] += 5
        return (lpg(other, d, pi, y, y1, 0.2, 3.0)[0] != before).any(0).tolist()

    # Step 4 ends an episode: what happens there is seen from 0 to 4, what happens at 6 from 5 and 6, at 2 from 0 to 2.
    assert changed(4) == [True] * 5 + [False] * 3
    assert changed(6) == [False] * 5 + [True, True, False]
    assert changed(2) == [True] * 3 + [False] * 5


def test_what_is_predicted_after_the_end_does_not_count():
    lpg = LPG(targets=4, width=12, seed=3)
    r, d, pi, y, y1 = rollout()
    other = y1.clone()
    other[:, 4] = other[:, 4].flip(-1)
    assert torch.equal(lpg(r, d, pi, y, y1, 0.0, 1.0)[0], lpg(r, d, pi, y, other, 0.0, 1.0)[0])


def test_without_time_lpg_ignores_it_exactly():
    r, d, pi, y, y1 = rollout()
    blind, aware = LPG(4, 12, temporal=False), LPG(4, 12, temporal=True)
    for one, two, equal in ((blind, blind, True), (aware, aware, False)):
        a, b = one(r, d, pi, y, y1, 0.0, 2.0), two(r, d, pi, y, y1, 0.9, 5.0)
        assert torch.equal(a[0], b[0]) == equal and torch.equal(a[1], b[1]) == equal
    assert torch.allclose(blind(r, d, pi, y, y1, 0, 0)[1].sum(-1), torch.ones(3, 8))


def test_the_loss_raises_what_lpg_favours_and_puts_the_prediction_first_in_the_divergence():
    pi_a = torch.tensor([[0.5]], requires_grad=True)
    y = torch.tensor([[[0.25, 0.75]]])
    y_hat = torch.tensor([[[0.5, 0.5]]])
    loss = lpg_losses((torch.tensor([[-1.0]]), y_hat), pi_a, y, alpha_y=0.5).mean()
    # log ½ · (−1) + ½ (¼ log(¼/½) + ¾ log(¾/½))
    expected = math.log(2) + 0.5 * (0.25 * math.log(0.5) + 0.75 * math.log(1.5))
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    loss.backward()
    assert float(pi_a.grad) < 0  # descending makes the action likelier


def test_meta_gradients_reach_lpg_and_what_it_reads_does_not_carry_the_agent_s():
    lpg = LPG(4, 12, seed=1)
    r, d, pi, y, y1 = rollout()
    pi.requires_grad_()
    y.requires_grad_()
    y1.requires_grad_()
    loss = lpg_loss(lpg, pi, y, y1, r, d, 3, 10)
    grads = torch.autograd.grad(loss, [pi, y, *lpg.parameters(), y1], allow_unused=True)
    assert grads[-1] is None and all(g is not None and g.abs().sum() > 0 for g in grads[:2])
    # the agent's gradient of log π is π̂ / (π · number of steps), as if π̂ were a constant
    pi_hat, _ = lpg(r, d, pi.detach(), y.detach(), y1.detach(), 0.3, math.log(10))
    assert torch.allclose(grads[0], pi_hat / (pi + 1e-8) / pi.numel(), rtol=1e-4)
    assert sum(float(g.abs().sum()) for g in grads[2:-1]) > 0
