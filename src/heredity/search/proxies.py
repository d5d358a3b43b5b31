"""Training-free proxies: numbers of an untrained network that may rank it among others; and tables of them.

All look at the model as it is, on one batch, and change nothing of it; higher is meant to be better. What has no finite
value raises `EvaluationFailed`.
Sources: zero-cost proxies for lightweight NAS (arXiv 2101.08134: grad_norm, snip, synflow), NAS without training (arXiv
2006.04647: nwot; its first version: jacov), Zen-NAS (arXiv 2102.01063), TE-NAS (arXiv 2102.11535: the condition number
of the tangent kernel), DisWOT (arXiv 2303.15678: distillation losses at initialisation).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from heredity.errors import EvaluationFailed
from heredity.evaluation.compute import count_flops, count_parameters
from heredity.evaluation.ntk import empirical_ntk
from heredity.evaluation.ranking import kendall, spearman, spearman_top_k
from heredity.search.base import Batch, Proxy
from heredity.search.layer_stats import LayerStats

_BATCH_NORM = nn.modules.batchnorm._BatchNorm


def params(model: nn.Module, batch: Batch) -> float:
    """How many parameters."""
    return float(count_parameters(model))


def flops(model: nn.Module, batch: Batch) -> float:
    """Floating-point operations of one forward pass on one input."""
    with working_copy(model) as net, torch.no_grad():
        return float(count_flops(net.eval(), batch[0][:1]))


def grad_norm(model: nn.Module, batch: Batch) -> float:
    """Σ over layers of ‖∂L/∂W‖, L the cross-entropy."""
    layers = LayerStats.collect(model, batch, want=("W", "G")).values()
    return _finite(sum(float(layer["G"].norm()) for layer in layers), "grad_norm")


def snip(model: nn.Module, batch: Batch) -> float:
    """Σ |W ⊙ ∂L/∂W|, L the cross-entropy."""
    layers = LayerStats.collect(model, batch, want=("W", "G")).values()
    return _finite(sum(float((layer["W"] * layer["G"]).abs().sum()) for layer in layers), "snip")


def synflow(model: nn.Module, batch: Batch) -> float:
    """Σ |W| ⊙ ∂R/∂|W|, R the output for an input of ones of the network with absolute weights; logarithm.

    The sum itself spans hundreds of orders of magnitude; its logarithm ranks alike.
    """
    layers = LayerStats.collect(model, batch, want=("W", "VG")).values()
    total = sum(float((layer["W"].double().abs() * layer["VG"]).sum()) for layer in layers)
    return _finite(math.log(total) if total > 0 else -math.inf, "synflow")


def nwot(model: nn.Module, batch: Batch) -> float:
    """log |det K|, K_ij the number of ReLUs on which inputs i and j agree."""
    n = len(batch[0])
    kernel = torch.zeros(n, n, dtype=torch.float64)

    def count(_module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        on = (inputs[0].detach().flatten(1) > 0).double()
        kernel.add_(on @ on.T + (1 - on) @ (1 - on).T)

    with working_copy(model) as net, torch.no_grad():
        units = [module for module in net.modules() if isinstance(module, nn.ReLU)]
        if not units:
            raise EvaluationFailed("nwot looks at nn.ReLU modules, and the model has none")
        for module in units:
            module.register_forward_hook(count)
        net(batch[0])
    return _finite(float(torch.linalg.slogdet(kernel).logabsdet), "nwot")


def jacov(model: nn.Module, batch: Batch) -> float:
    """−Σ (log(v + k) + 1/(v + k)) over the eigenvalues v of the correlations of the inputs' Jacobians, k = 1e-5."""
    with working_copy(model) as net, torch.enable_grad():
        x = batch[0].detach().clone().requires_grad_()
        (jacobian,) = torch.autograd.grad(net(x).sum(), x)
    rows = jacobian.flatten(1).double()
    if not torch.isfinite(rows).all() or (rows.std(1) == 0).any():
        raise EvaluationFailed("jacov: an input has no gradient that varies, or one that is not finite")
    values = torch.linalg.eigvalsh(torch.corrcoef(rows)) + 1e-5
    return _finite(-float((values.log() + 1 / values).sum()), "jacov")


def ntk_cond(model: nn.Module, batch: Batch) -> float:
    """−log10 of the condition number of the tangent kernel of the summed outputs, in evaluation mode."""
    with working_copy(model) as net:
        values = torch.linalg.eigvalsh(empirical_ntk(net.eval(), batch[0], outputs="sum_logits").double())
    low, high = float(values[0]), float(values[-1])
    if not 0 < low < math.inf:  # rounding gives singular kernels eigenvalues of either sign
        raise EvaluationFailed(f"ntk_cond: the kernel is singular, its smallest eigenvalue is {low:.3g}")
    return _finite(-math.log10(high / low), "ntk_cond")


@dataclass(frozen=True)
class Zen(Proxy):
    """log E‖f(x) − f(x + a·ε)‖₁ + Σ log √(mean batch variance) over batch norms, for normal weights and inputs.

    Args:
        feature: the module whose output f is; empty: what enters the last adaptive pooling, else the last linear layer.
        amount: a.
        repeats: draws of weights and inputs.
        seed: of these.
    """

    feature: str = ""
    amount: float = 0.01
    repeats: int = 1
    seed: int = 0

    def __call__(self, model: nn.Module, batch: Batch, /) -> float:
        """Score; of the batch only its shape counts, and the given weights do not."""
        scores = []
        for repeat in range(self.repeats):
            generator = torch.Generator().manual_seed(1_000_003 * self.seed + repeat)
            with working_copy(model) as net, torch.no_grad():
                gaussian_(net.train(), generator)
                scaling = _log_deviations(net)
                x = torch.randn(batch[0].shape, generator=generator, dtype=batch[0].dtype)
                noise = torch.randn(batch[0].shape, generator=generator, dtype=batch[0].dtype)
                feature = watch(net, self.feature) if self.feature else _before_pooling(net)
                net(x)
                first, parts = feature[-1], list(scaling)
                net(x + self.amount * noise)
                gap = float((first - feature[-1]).abs().flatten(1).sum(1).mean())
            scores.append((math.log(gap) if gap > 0 else -math.inf) + sum(parts))
        return _finite(sum(scores) / len(scores), "zen")


@dataclass(frozen=True)
class DistillationProxy(Proxy):
    """−loss of a distillation between an untrained teacher and the student; the proxies `kd:*` of the literature.

    Args:
        teacher: maker of a teacher, called once per score: fix its seed.
        loss: (student's, teacher's) → scalar, for instance a temperature-softened divergence of logits.
        feature: the module whose output is compared in both; empty means the models' outputs.
    """

    teacher: Callable[[], nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor]
    feature: str = ""

    def __call__(self, model: nn.Module, batch: Batch, /) -> float:
        """Score."""
        seen = []
        for source in (model, self.teacher()):
            with working_copy(source) as net, torch.no_grad():
                feature = watch(net, self.feature)
                net(batch[0])
                seen.append(feature[-1])
        return _finite(-float(self.loss(seen[0], seen[1])), "the distillation loss")


# Those that need nothing but the network; `DistillationProxy` (kd:*) and `search.diswot.DisWOT` need a teacher.
PROXIES: dict[str, Proxy] = {
    "params": params,
    "flops": flops,
    "grad_norm": grad_norm,
    "snip": snip,
    "synflow": synflow,
    "nwot": nwot,
    "zen": Zen(),
    "jacov": jacov,
    "ntk_cond": ntk_cond,
}


@dataclass(frozen=True)
class ProxyTable:
    """Scores of several models by several proxies on one batch.

    Args:
        scores: proxy → scores [models]; −∞ where there is none.
        reasons: (proxy, place of the model) → why there is none.
    """

    scores: Mapping[str, NDArray[np.float64]]
    reasons: Mapping[tuple[str, int], str] = field(default_factory=dict)

    @classmethod
    def compute(cls, models: Sequence[nn.Module], batch: Batch, proxies: Mapping[str, Proxy] = PROXIES) -> ProxyTable:
        """Score all models with all proxies."""
        scores = {name: np.full(len(models), -np.inf) for name in proxies}
        reasons: dict[tuple[str, int], str] = {}
        for name, proxy in proxies.items():
            for place, model in enumerate(models):
                try:
                    scores[name][place] = _finite(proxy(model, batch), name)
                except EvaluationFailed as error:
                    reasons[name, place] = str(error)
        return cls(scores, reasons)

    def rank_correlation(self, truth: Sequence[float], top: int | float = 0.2) -> dict[str, dict[str, float]]:
        """Proxy → spearman, kendall, pearson and spearman_top_k with true values [models].

        A model without a score counts as worse than all that have one. A constant proxy has −1 everywhere.
        """
        y = np.asarray(truth, dtype=np.float64)
        found: dict[str, dict[str, float]] = {}
        for name, given in self.scores.items():
            known = np.isfinite(given)
            lowest = given[known].min() - max(1.0, float(np.ptp(given[known]))) if known.any() else 0.0
            x = np.where(known, given, lowest)
            varies = np.ptp(x) > 0 and np.ptp(y) > 0
            found[name] = {
                "spearman": spearman(x, y),
                "kendall": kendall(x, y),
                "pearson": float(stats.pearsonr(x, y).statistic) if varies else -1.0,
                "spearman_top_k": spearman_top_k(x, y, top),
            }
        return found


@contextmanager
def working_copy(model: nn.Module) -> Iterator[nn.Module]:
    """A copy to do with as one likes, while the global generator is seeded alike for all; it is put back after."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield copy.deepcopy(model)


@torch.no_grad()
def gaussian_(model: nn.Module, generator: torch.Generator) -> None:
    """Give convolutions and linear maps weights from N(0, 1) and biases 0, norms the scale 1 and the shift 0."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)):
            module.weight.normal_(generator=generator)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, (_BATCH_NORM, nn.GroupNorm, nn.LayerNorm)) and module.weight is not None:
            module.weight.fill_(1.0)
            if module.bias is not None:
                module.bias.zero_()


def watch(model: nn.Module, name: str) -> list[Tensor]:
    """A list to which every forward pass appends the output of the module of that name; "" is the model itself.

    Raises:
        ValueError: there is no such module.
    """
    seen: list[Tensor] = []
    try:
        module = model.get_submodule(name)
    except AttributeError:
        known = ", ".join(name for name, _ in model.named_children())
        raise ValueError(f"{type(model).__name__} has no module {name!r}; at its top are {known}") from None
    module.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    return seen


def _before_pooling(model: nn.Module) -> list[Tensor]:
    """A list to which every forward pass appends what enters the last adaptive pooling, else the last linear layer."""
    seen: list[Tensor] = []
    pools = [m for m in model.modules() if isinstance(m, nn.modules.pooling._AdaptiveAvgPoolNd)]
    heads = [m for m in model.modules() if isinstance(m, nn.Linear)]
    if not pools + heads:
        raise ValueError(f"{type(model).__name__} has neither a pooling nor a linear layer; name the feature")
    (pools or heads)[-1].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    return seen


def _log_deviations(model: nn.Module) -> list[float]:
    """A list to which each batch norm appends ½ log of the mean variance of its input's channels, when it runs."""
    seen: list[float] = []

    def note(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        variance = float(inputs[0].transpose(0, 1).flatten(1).var(1, unbiased=False).mean())
        seen.append(0.5 * math.log(variance) if variance > 0 else -math.inf)

    for module in model.modules():
        if isinstance(module, _BATCH_NORM):
            module.register_forward_pre_hook(note)
    return seen


def _finite(value: float, name: str) -> float:
    if not math.isfinite(value):
        raise EvaluationFailed(f"{name} is {value}")
    return value
