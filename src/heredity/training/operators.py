"""Recorded beginnings of a lifetime: a network whose first weights a search found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from heredity.errors import EvaluationFailed
from heredity.lab import Architecture, Child, Context, Operator, Parents
from heredity.search.box import Box
from heredity.search.vector import FlatParams

Part: TypeAlias = Literal["search", "held_out"]
Losses: TypeAlias = Callable[[NDArray[Any], Part], NDArray[Any]]
DRAWS = 16
LEAST_SCALE = 1e-3  # of tensors that a network always begins with, such as the gain of a normalisation


class InitObjective(Protocol):
    """What a search of first weights minimises, as a frozen dataclass of yours: its fields are its configuration."""

    def losses(self, params: FlatParams, parents: Parents) -> Losses:
        """A function (vectors [n, P], part) → loss of each [n].

        It uses one fixed set of examples for "search", the same in every generation, and another for "held_out".
        """


@dataclass(frozen=True)
class EvolvedInit(Operator):
    """A network born by a search over all its weights, as the start of training by gradients.

    After each generation the best so far is scored on held-out examples if it is new; the child is the one that was
    best there, so that a search that fits its examples too well stops counting.
    Source: arXiv 2305.02374, section on pre-training.

    Args:
        architecture: a class or module-level function and its arguments.
        objective: see `InitObjective`.
        searcher: a class or module-level function (box, seed=…, **options) → `Searcher` of vectors, such as
            `heredity.search.differential_evolution.clu_de`.
        options: of the searcher.
        generation: candidates of one round of ask and tell.
        evaluations: how many candidates are scored, a multiple of `generation`.
        start: where candidates begin: "default", normal with each tensor's mean and deviation as the architecture
            draws them; or "uniform" in [−1, 1], in which they then stay, the paper's.

    Notes `objective` and `held_out`, the child's losses, `searched`, the lowest loss on the search's examples,
    `rounds` and `chosen`, the round that found the child.
    """

    architecture: Architecture
    objective: Any
    searcher: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    generation: int = 20
    evaluations: int = 1000
    start: Literal["default", "uniform"] = "default"
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Search.

        Raises:
            ValueError: the evaluations are no multiple of the generation.
            EvaluationFailed: no candidate had a finite loss.
        """
        rounds, rest = divmod(self.evaluations, self.generation)
        if rest or rounds < 1:
            raise ValueError(f"{self.evaluations} evaluations are no whole number of rounds of {self.generation}")
        params = FlatParams(_built(self.architecture, 0))
        losses: Losses = self.objective.losses(params, parents)
        searcher = self.searcher(self._box(params), seed=context.seed, **self.options)
        best: tuple[float, float, int, NDArray[Any]] | None = None
        known = None
        for number in range(rounds):
            candidates = searcher.ask(self.generation)
            if len(candidates) != self.generation:
                raise ValueError(f"the searcher gave {len(candidates)} candidates for a round of {self.generation}")
            found = losses(np.stack([candidate.value for candidate in candidates]), "search")
            searcher.tell(candidates, [-float(value) for value in found])
            winner, fitness = searcher.best
            if winner.id != known:
                known = winner.id
                held = float(losses(winner.value[None], "held_out")[0])
                if np.isfinite(held) and (best is None or held < best[0]):
                    best = (held, -fitness, number, winner.value)
            context.progress(number + 1, rounds)
        if best is None:
            raise EvaluationFailed("no candidate had a finite loss on the held-out examples")
        held, objective, chosen, vector = best
        notes = {
            "objective": objective,
            "held_out": held,
            "searched": -searcher.best[1],
            "rounds": rounds,
            "chosen": chosen,
        }
        return Child(params.state(torch.from_numpy(np.ascontiguousarray(vector))), self.architecture.spec(), notes)

    def _box(self, params: FlatParams) -> Box:
        if self.start == "uniform":
            return Box(-1.0, 1.0, dim=params.size)
        mean, scale = default_spread(self.architecture)
        return Box(start=mean.double().numpy(), scale=scale.double().numpy())


def default_spread(architecture: Architecture) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [P] of an architecture's own first weights, equal within a tensor; of 16 draws."""
    params = FlatParams(_built(architecture, 0))
    draws = torch.stack([params.flatten(_built(architecture, seed)) for seed in range(DRAWS)])
    mean, scale = torch.empty(params.size), torch.empty(params.size)
    start = 0
    for shape in params.shapes.values():
        where = slice(start, start + int(np.prod(shape)))
        part = draws[:, where]
        mean[where] = part.mean()
        scale[where] = max(float(part.std()), LEAST_SCALE)
        start = where.stop
    return mean, scale


def _built(architecture: Architecture, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return architecture.build(**architecture.config)
