"""DisWOT: how much alike an untrained student and an untrained teacher see a batch, as a proxy for distillation.

Source: Dong, Li & Wei, DisWOT: Student Architecture Search for Distillation WithOut Training (arXiv 2303.15678) and the
authors' code.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from heredity.errors import EvaluationFailed
from heredity.evaluation.similarity import relation_similarity
from heredity.search.base import Batch, Proxy
from heredity.search.proxies import gaussian_, watch, working_copy

Mode = Literal["channel", "class"]


def semantic_similarity(teacher: Tensor, student: Tensor, mode: Mode = "channel") -> Tensor:
    """A distance ≥ 0 of what two classifiers' heads attend to; 0 when alike.

    Args:
        teacher, student: gradients of the loss with respect to the head's weight [K, C].
        mode: "channel": for each class k the channels' Gram matrix w_k w_kᵀ, rows of length one, Σ_k ‖·‖² / (C·K); both
            need the same C. "class": the classes' Gram matrix W Wᵀ, rows of length one, ‖·‖² / K²; C may differ (ours,
            not the paper's).

    Raises:
        ValueError: shapes do not fit.

    A row of w_k w_kᵀ of length one is sign(w_ki)·w_k/‖w_k‖: direction and signs count, sizes do not. Zeros stay zero.
    """
    if teacher.dim() != 2 or student.dim() != 2 or len(teacher) != len(student):
        raise ValueError(f"heads [K, C] of the same K are compared, got {tuple(teacher.shape)}, {tuple(student.shape)}")
    if mode == "class":
        rows = [functional.normalize(w @ w.T, dim=1) for w in (teacher, student)]
        return torch.square(rows[0] - rows[1]).sum() / len(teacher) ** 2
    if teacher.shape[1] != student.shape[1]:
        shapes = f"{teacher.shape[1]} and {student.shape[1]}"
        raise ValueError(f'heads of {shapes} channels cannot be compared by channel; use mode="class"')
    # [K, C, C]: sign(w_ki)·w_kj/‖w_k‖
    maps = [w.sign()[:, :, None] * functional.normalize(w, dim=1)[:, None, :] for w in (teacher, student)]
    return torch.square(maps[0] - maps[1]).sum() / teacher.numel()


@dataclass(frozen=True)
class DisWOT(Proxy):
    """−(semantic distance + relation distance) of a student and a teacher, both untrained, on one batch; at most 0.

    Args:
        teacher: maker of a teacher. Its weights are never changed; copies are.
        head: name of the linear layer that gives the logits, in both.
        feature: name of the module whose output [n, ...] is related, in both.
        repeats: initialisations that the score is averaged over.
        share: modules of equal shape in both, which the student takes from the teacher of each repeat, so that both
            describe the same coordinates (ours; empty is the paper's).
        init: "gaussian" draws all weights of both from N(0, 1), from the seed; None takes both as they are. Without
            norm layers normal weights explode: use None.
        terms: "semantic", "relation" or both; the released search uses the first alone.
        mode: of the semantic term.
        seed: of the initialisations.
    """

    teacher: Callable[[], nn.Module]
    head: str = "fc"
    feature: str = "features"
    repeats: int = 1
    share: Sequence[str] = ()
    init: Literal["gaussian"] | None = "gaussian"
    terms: Sequence[Literal["semantic", "relation"]] = ("semantic", "relation")
    mode: Mode = "channel"
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.terms or set(self.terms) - {"semantic", "relation"} or self.repeats < 1:
            raise ValueError(f'terms are "semantic" and "relation", repeats ≥ 1; got {self.terms}, {self.repeats}')
        if self.init not in ("gaussian", None):
            raise ValueError(f'init must be "gaussian" or None, got {self.init!r}')

    def __call__(self, model: nn.Module, batch: Batch, /) -> float:
        """Score a student: minus the sum of `distances`."""
        return -sum(self.distances(model, batch).values())

    def distances(self, model: nn.Module, batch: Batch) -> dict[str, float]:
        """Each term's distance ≥ 0, the mean over repeats.

        Raises:
            EvaluationFailed: one is not finite, as when normal weights explode.
            ValueError: a named module is missing, or is shared and differs.
        """
        teacher, total = self.teacher(), dict.fromkeys(self.terms, 0.0)
        for repeat in range(self.repeats):
            with working_copy(teacher) as old, working_copy(model) as young:
                if self.init == "gaussian":
                    for role, net in enumerate((old, young)):
                        start = torch.Generator().manual_seed(2_000_003 * self.seed + 2 * repeat + role)
                        gaussian_(net, start)
                for name in self.share:
                    _share(old, young, name)
                weights, features = zip(*(self._seen(net, batch) for net in (old, young)), strict=True)
                if "semantic" in total:
                    total["semantic"] += float(semantic_similarity(weights[0], weights[1], self.mode))
                if "relation" in total:
                    total["relation"] += float(relation_similarity(features[0], features[1]))
        for term, value in total.items():
            if not math.isfinite(value):
                raise EvaluationFailed(f"the {term} distance is {value}; without norm layers use init=None")
        return {term: value / self.repeats for term, value in total.items()}

    def _seen(self, net: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """∂ cross-entropy / ∂ head's weight [K, C], and the features [n, ...]; with statistics of the batch."""
        net.train()
        seen = watch(net, self.feature)
        head = net.get_submodule(self.head)
        if not isinstance(head, nn.Linear):
            raise ValueError(f"the head {self.head!r} should be nn.Linear, it is {type(head).__name__}")
        with torch.enable_grad():
            loss = functional.cross_entropy(net(batch[0]), batch[1])
            (gradient,) = torch.autograd.grad(loss, head.weight)
        return gradient, seen[-1].detach()


def _share(teacher: nn.Module, student: nn.Module, name: str) -> None:
    given = copy.deepcopy(teacher.get_submodule(name).state_dict())
    try:
        student.get_submodule(name).load_state_dict(given)
    except RuntimeError as error:
        raise ValueError(f"teacher and student cannot share {name!r}: {error}") from None
