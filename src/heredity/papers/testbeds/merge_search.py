"""What a strategy that makes one model of several may use, and the operator that runs one.

A strategy is a module-level function (problem, settings) → weights, or several weights that answer by vote;
`heredity.papers.testbeds.merge_strategies` has them. Weights are those of whole models or, with `adapters`, the factors
of low-rank adapters of the ancestor. It may look at nothing but `problem.score`, which counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from heredity.data.experts import MLP
from heredity.errors import MergeError, NonFinite
from heredity.evaluation.outcome import Failed
from heredity.lab import Child, Context, Operator, Parents
from heredity.lab.architecture import Architecture
from heredity.lab.canonical import import_path
from heredity.merging.base import StateDict, Weights
from heredity.merging.mergers import merger_for
from heredity.merging.operators import vote_ensemble
from heredity.merging.recipe import MergeRecipe
from heredity.papers.testbeds.digit_experts import DigitTask, network, right
from heredity.papers.testbeds.lora_experts import expressed, factors, no_change


class Spent(Exception):
    """The evaluations are used up."""


class Problem:
    """What a strategy sees: the experts, their ancestor, and a score that counts and remembers the best.

    Args:
        models, base: weights.
        express: from what is merged to the network's weights, where they differ.
        task: its fitness images give the score, accuracy.
        evaluations: how many calls of `score` are allowed.
        seed: for all draws of the strategy.
    """

    def __init__(
        self,
        models: Sequence[Weights],
        base: Weights,
        task: DigitTask,
        evaluations: int,
        seed: int,
        *,
        express: Callable[[Weights], Weights] = dict,
    ) -> None:
        self.models, self.base, self.seed, self.express = list(models), base, seed, express
        self.x, self.y = task.fitness_images()
        self.left, self.used = evaluations, 0
        self.best: tuple[float, Weights] | None = None

    def score(self, weights: Weights) -> float:
        """Accuracy on the fitness images.

        Raises:
            Spent: no evaluation is left.
        """
        if self.left <= 0:
            raise Spent
        self.left, self.used = self.left - 1, self.used + 1
        value = float(right(network(self.express(weights)), self.x, self.y).mean())
        if self.best is None or value > self.best[0]:
            self.best = (value, weights)
        return value

    def merged(self, method: str | MergeRecipe, **numbers: Any) -> StateDict:
        """A merge of all experts by a named method or a recipe."""
        return merger_for(method, seed=self.seed, **numbers).merge(self.models, base=self.base)

    def try_merge(self, make: Callable[..., StateDict], *arguments: Any, **numbers: Any) -> float | Failed:
        """The score of what `make` makes; a merge that cannot be made is a failure, and costs an evaluation too."""
        try:
            child = make(*arguments, **numbers)
        except (MergeError, NonFinite) as error:
            if self.left <= 0:
                raise Spent from None
            self.left, self.used = self.left - 1, self.used + 1
            return Failed(str(error))
        return self.score(child)

    def until_spent(self, one_round: Callable[[], object]) -> Weights:
        """Repeat until no evaluation is left; the best child scored."""
        try:
            while True:
                one_round()
        except Spent:
            return self.winner

    @property
    def winner(self) -> Weights:
        """The best child scored so far, the earliest of equals."""
        assert self.best is not None
        return self.best[1]


Strategy = Callable[[Problem, Mapping[str, Any]], Weights | list[Weights]]


@dataclass(frozen=True)
class SearchMerge(Operator):
    """The child that a strategy finds from the positional parents; the ancestor goes in as `base=`.

    Notes the evaluations it used. The birth's seed draws everything.

    Args:
        adapters: the parents are low-rank adapters (`heredity.papers.testbeds.lora_experts`), and only their factors
            are merged.
    """

    strategy: Strategy
    task: DigitTask
    evaluations: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    adapters: bool = False
    kind: ClassVar[str] = "merge"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Search."""
        base = parents.role("base")
        assert base is not None
        held, ancestor = [dict(parent.weights()) for parent in parents], dict(base.weights())
        budget = (self.task, self.evaluations, context.seed)
        if self.adapters:
            express = partial(expressed, ancestor)
            problem = Problem([factors(expert) for expert in held], no_change(held[0]), *budget, express=express)
        else:
            problem = Problem(held, ancestor, *budget)
        found = self.strategy(problem, self.settings)
        members = [problem.express(weights) for weights in (found if isinstance(found, list) else [found])]
        specs = [Architecture(MLP, {"widths": list(network(weights).widths)}).spec() for weights in members]
        notes = {"evaluations": problem.used}
        if not isinstance(found, list):
            return Child(_detached(members[0]), specs[0], notes)
        whole = {f"members.{i}.{name}": t for i, one in enumerate(members) for name, t in _detached(one).items()}
        return Child(whole, {"kind": "class", "path": import_path(vote_ensemble), "config": {"members": specs}}, notes)


def _detached(weights: Weights) -> StateDict:
    return {name: tensor.detach().clone() for name, tensor in weights.items()}
