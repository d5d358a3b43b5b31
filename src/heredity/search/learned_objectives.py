"""Objectives that are learned: LPG and learned drifts, with and without a sense of time.

A learned objective takes the place of a hand-made loss in reinforcement learning; one that is temporally aware is told
how far through its budget of updates an agent is. What searches for objectives is `heredity.search.meta_training`.
Sources: Jackson et al., Discovering Temporally-Aware Reinforcement Learning Algorithms (arXiv 2402.05828) and its
released code; LPG: Oh et al. (arXiv 2007.08794); LPO: Lu et al., Discovered Policy Optimisation (arXiv 2210.05639).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

TINY = 1e-8  # added to probabilities before their logarithm, as in the released code
Drift: TypeAlias = Callable[[Tensor, Tensor, "Tensor | float | None"], Tensor]


class LPG(nn.Module):
    """Learned Policy Gradient: a network that reads a rollout backwards and says what the policy and the prediction
    should have been.

    Args:
        targets: m, categories of the agent's prediction.
        width: of the recurrent layer. embed: of the layer that embeds predictions.
        temporal: whether it is told n / N and log N.
        seed: of the first parameters.
    """

    def __init__(
        self, targets: int = 8, width: int = 256, embed: int = 16, temporal: bool = True, *, seed: int = 0
    ) -> None:
        super().__init__()
        self.targets, self.width, self.temporal = targets, width, temporal
        inputs = 5 + (2 if temporal else 0)
        self.embed = nn.Sequential(nn.Linear(targets, embed), nn.ReLU(), nn.Linear(embed, 1))
        self.inner = nn.Linear(inputs, 3 * width)
        self.outer = nn.Linear(width, 3 * width)
        self.policy_head = nn.Linear(width, 1)
        self.target_head = nn.Linear(width, targets)
        _initialise(self, seed)

    def forward(  # noqa: PLR0917 - the order is the published one
        self,
        r: Tensor,
        d: Tensor,
        pi: Tensor,
        y: Tensor,
        y1: Tensor,
        frac: Tensor | float,
        log_n: Tensor | float,
    ) -> tuple[Tensor, Tensor]:
        """What a rollout of B workers and T steps teaches.

        Args:
            r, d, pi: [B, T] rewards, ends of episodes (0 or 1), probabilities of the actions that were taken.
            y, y1: [B, T, m] predictions for the states before and after a step; the latter do not count where d is 1.
            frac: n / N, updates so far over those there will be; log_n: log N. Numbers or [B].

        Returns:
            π̂ [B, T], negative where an action should become likelier, and ŷ [B, T, m], which sum to one.
        """
        d = d.to(r.dtype)
        after = self.embed(y1)[..., 0] * (1 - d)
        columns = [r, d, pi, self.embed(y)[..., 0], after]
        if self.temporal:
            columns += [_spread(frac, r), _spread(log_n, r)]
        hidden = self._backwards(self.inner(torch.stack(columns, dim=-1)), d)
        hidden = torch.relu(hidden)
        return self.policy_head(hidden)[..., 0], torch.softmax(self.target_head(hidden), dim=-1)

    def _backwards(self, drive: Tensor, d: Tensor) -> Tensor:
        """A GRU over [B, T, 3 · width] from the last step to the first.

        The state is cleared before a step that ended its episode: what came later belongs to another one.
        """
        state = torch.zeros_like(drive[:, 0, : self.width])
        seen: list[Tensor] = []
        for t in range(drive.shape[1] - 1, -1, -1):
            state = state * (1 - d[:, t, None])
            reset, update, new = drive[:, t].chunk(3, dim=-1)
            reset1, update1, new1 = self.outer(state).chunk(3, dim=-1)
            gate = torch.sigmoid(update + update1)
            proposal = torch.tanh(new + torch.sigmoid(reset + reset1) * new1)
            state = (1 - gate) * proposal + gate * state
            seen.append(state)
        return torch.stack(seen[::-1], dim=1)


def lpg_losses(outputs: tuple[Tensor, Tensor], pi_a: Tensor, y: Tensor, alpha_y: float = 0.5) -> Tensor:
    """log π(a)·π̂ + α_y · KL(y ‖ ŷ) for every step [B, T], from LPG's outputs; an agent minimises its mean."""
    pi_hat, y_hat = outputs
    divergence = (y * ((y + TINY).log() - (y_hat + TINY).log())).sum(-1)
    return (pi_a + TINY).log() * pi_hat + alpha_y * divergence


def lpg_loss(  # noqa: PLR0917 - the order is the published one
    lpg: Callable[..., tuple[Tensor, Tensor]],
    pi_a: Tensor,
    y: Tensor,
    y1: Tensor,
    r: Tensor,
    d: Tensor,
    n: int,
    N: int,
    alpha_y: float = 0.5,
) -> Tensor:
    """The loss that an agent minimises, usable in any training script.

    What LPG reads carries no gradient; what it says carries LPG's own, which plain agents ignore and meta-gradients
    need.

    Args:
        lpg: an `LPG`, or what computes as one.
        pi_a: [B, T] probabilities of the actions taken. y, y1: [B, T, m] predictions before and after each step.
        r, d: [B, T] rewards and ends of episodes.
        n: updates before this one. N: how many there will be.
        alpha_y: weight of the prediction's loss.
    """
    outputs = lpg(r, d, pi_a.detach(), y.detach(), y1.detach(), n / N, math.log(N))
    return lpg_losses(outputs, pi_a, y, alpha_y).mean()


class DriftNet(nn.Module):
    """Learned drift of mirror learning, f(ρ, A) ≥ 0: what a policy's change costs, zero with zero slope at ρ = 1.

    Nothing in it has a bias, and every input vanishes at ρ = 1; the time multiplies inputs, as it would break that
    standing alone. The logarithm of the budget is left out: it is for a single horizon.

    Args:
        temporal: whether it is told n / N.
        width: of its hidden layer.
        seed: of the first parameters.
    """

    def __init__(self, temporal: bool = False, width: int = 128, *, seed: int = 0) -> None:
        super().__init__()
        self.temporal = temporal
        self.net = nn.Sequential(
            nn.Linear(16 if temporal else 8, width, bias=False), nn.Tanh(), nn.Linear(width, 1, bias=False)
        )
        _initialise(self, seed)

    def forward(self, ratio: Tensor, adv: Tensor, frac: Tensor | float | None = None) -> Tensor:
        """f [...] of probability ratios and advantages [...].

        Raises:
            ValueError: it is temporal and was not told the time.
        """
        change, log = 1 - ratio, ratio.log()
        x = torch.stack(
            [
                change,
                change**2,
                change * adv,
                change**2 * adv,
                log,
                log**2,
                log * adv,
                log**2 * adv,
            ],
            dim=-1,
        )
        if self.temporal:
            if frac is None:
                raise ValueError("a temporal drift needs frac, the share of the budget that is spent")
            time = torch.as_tensor(frac, dtype=x.dtype, device=x.device)
            x = torch.cat([x, x * time[..., None]], dim=-1)
        return torch.relu(self.net(x)[..., 0] - 1e-6)


def ppo_drift(eps: float = 0.2) -> Drift:
    """The drift with which mirror learning is PPO with clipping: relu((ρ − clip(ρ, 1 ± ε)) · A)."""

    def drift(ratio: Tensor, adv: Tensor, frac: Tensor | float | None = None) -> Tensor:
        return torch.relu((ratio - ratio.clamp(1 - eps, 1 + eps)) * adv)

    return drift


def mirror_loss(
    logp: Tensor, logp_old: Tensor, adv: Tensor, drift: Drift | nn.Module, frac: Tensor | float | None = None
) -> Tensor:
    """−mean(ρA − f(ρ, A)), to be minimised; ρ is the ratio of probabilities of the actions [...] taken.

    Args:
        logp, logp_old: [...] log-probabilities under the policy and under the one that acted.
        adv: [...] advantages, normalised by the caller.
        drift: f. frac: n / N, for a temporal one.
    """
    ratio = torch.exp(logp - logp_old)
    return -(ratio * adv - drift(ratio, adv, frac)).mean()


def _spread(value: Tensor | float, like: Tensor) -> Tensor:
    found = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    return (found[:, None] if found.ndim == 1 else found).expand_as(like)


@torch.no_grad()
def _initialise(module: nn.Module, seed: int) -> None:
    """Linear layers as PyTorch draws them, U(±1/√inputs), from a generator of their own."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            bound = 1 / math.sqrt(layer.in_features)
            parameters: list[Any] = [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
            for parameter in parameters:
                parameter.uniform_(-bound, bound, generator=generator)
