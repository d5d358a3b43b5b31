"""Recorded merges: operators that wrap the family's parts, so that a child's lineage says how it was mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from heredity.errors import MergeError
from heredity.lab import Context, Model, Operator, Parents
from heredity.merging.adapters import AdapterMerger
from heredity.merging.base import StateDict, Weights
from heredity.merging.births import Proposal
from heredity.merging.breeding import crossover, mutate, succeed
from heredity.merging.mergers import MethodMerger, merger_for
from heredity.merging.methods import TensorMethod, method_for
from heredity.merging.recipe import MergeRecipe

SUCCESSION_ROLES = ("previous", "best_own", "best", "worst")


Space = Literal["factors", "delta"]


def _held(models: Sequence[Model]) -> list[Weights]:
    # Merging compares addresses to find tied tensors, so that all of them must be held at once, not mapped one by one.
    return [dict(model.weights()) for model in models]


def is_adapter(model: Model) -> bool:
    """Whether a model is an adapter on a base, rather than a whole network."""
    return (model.architecture or {}).get("kind") == "peft"


def _ancestor(parents: Parents) -> Weights | None:
    """The common ancestor given as base; the base that adapters sit on is none of their weights."""
    base = parents.role("base")
    return None if base is None or is_adapter(parents[0]) else dict(base.weights())


def _scaling(model: Model) -> float:
    """How an adapter's product is scaled: α / r, or α / √r with rank-stabilised LoRA."""
    config: Any = (model.architecture or {})["config"]
    rank = config["r"] ** 0.5 if config.get("use_rslora") else config["r"]
    return float(config["lora_alpha"]) / rank


def _adapter_merger(parents: Parents, method: TensorMethod | str, space: Space, **numbers: Any) -> AdapterMerger:
    return AdapterMerger(method, space, scaling=tuple(_scaling(parent) for parent in parents), **numbers)


@dataclass(frozen=True)
class Merge(Operator):
    """One child of several parents by a named method; the ancestor goes in as `base=`.

    Args:
        method: a row of `heredity.merging.methods`: linear, ties, dare_ties, slerp, model_stock, …
        weight: one for all parents or one per parent; default the method's own.
        density: share of each task vector kept, likewise.
        t: position between two parents.
        normalize, lam: settings of methods that have them; default the method's own.
        space: LoRA adapters only: mix the factors A and B, or their product.

    Random masks are drawn from the birth's seed.
    """

    method: str
    weight: float | tuple[float, ...] | None = None
    density: float | tuple[float, ...] | None = None
    t: float | None = None
    normalize: bool | None = None
    lam: float | None = None
    space: Space = "factors"
    kind: ClassVar[str] = "merge"

    def apply(self, parents: Parents, context: Context) -> StateDict:
        """Merge the positional parents."""
        settings = {name: getattr(self, name) for name in ("normalize", "lam") if getattr(self, name) is not None}
        method = method_for(self.method, **settings)
        numbers: dict[str, Any] = {"weight": self.weight, "density": self.density, "t": self.t, "seed": context.seed}
        if is_adapter(parents[0]):
            return _adapter_merger(parents, method, self.space, **numbers).merge(_held(parents))
        merger = MethodMerger(method, **numbers)
        return merger.merge(_held(parents), base=_ancestor(parents))


@dataclass(frozen=True)
class MergeByRecipe(Operator):
    """One child of several parents by a recipe: weights and densities per group of layers, parent and filter.

    Source: arXiv 2403.13187, section 3.1.
    """

    recipe: MergeRecipe
    kind: ClassVar[str] = "merge"

    def apply(self, parents: Parents, context: Context) -> StateDict:
        """Merge the positional parents; of adapters the factors, which are differences already."""
        weights, base = _held(parents), _ancestor(parents)
        if is_adapter(parents[0]):
            base = {name: torch.zeros_like(tensor) for name, tensor in weights[0].items()}
        return merger_for(self.recipe, seed=context.seed).merge(weights, base=base)


@dataclass(frozen=True)
class Crossover(Operator):
    """A child between two parents, each with its share. Source: arXiv 2503.01155, section 3.1.

    Args:
        weights: one share per parent.
        method: how they are mixed; linear by default.
        space: LoRA adapters only: mix the factors A and B, or their product.
    """

    weights: tuple[float, ...]
    method: str = "linear"
    space: Space = "factors"
    kind: ClassVar[str] = "crossover"

    def apply(self, parents: Parents, context: Context) -> StateDict:
        """Mix the positional parents."""
        if is_adapter(parents[0]):
            merger = _adapter_merger(parents, self.method, self.space, weight=self.weights, seed=context.seed)
            return merger.merge(_held(parents))
        return crossover(_held(parents), self.weights, self.method, base=_ancestor(parents), seed=context.seed)


@dataclass(frozen=True)
class Mutate(Operator):
    """A copy with Gaussian noise on some entries. Source: arXiv 2503.01155, section 3.1.

    Args:
        gene: share of entries that change, 0 to 1.
        sigma: standard deviation of the noise.
    """

    gene: float = 0.1
    sigma: float = 1e-3
    kind: ClassVar[str] = "mutate"

    def apply(self, parents: Parents, context: Context) -> StateDict:
        """Disturb the primary parent."""
        return mutate(dict(parents[0].weights()), self.gene, self.sigma, seed=context.seed)


@dataclass(frozen=True)
class Succeed(Operator):
    """A step of succession: from the primary parent towards its own best, the best, and away from the worst.

    The other individuals are parents with the roles previous (or other, for a member that never moved), best_own, best
    and worst. Source: arXiv 2503.01155, section 3.2 (GENOME+).

    Args:
        coefficients: how far towards (previous or other, best_own, best, worst).
        clip: bound the step by the distance to the farthest of them.
    """

    coefficients: tuple[float, ...]
    clip: bool = False
    kind: ClassVar[str] = "explore"

    def apply(self, parents: Parents, context: Context) -> StateDict:
        """Move the primary parent."""
        others = []
        for role in SUCCESSION_ROLES:
            model = parents.role(role)
            if model is None and role == "previous":
                model = parents.role("other")
            if model is None:
                raise MergeError(f"succession needs a parent with the role {role!r}")
            others.append(model)
        return succeed(dict(parents[0].weights()), _held(others), self.coefficients, clip=self.clip)


def operator_for(proposal: Proposal, space: Space = "factors") -> Operator:
    """The operator that makes the child of a proposal.

    Args:
        space: how crossovers mix LoRA adapters.

    Raises:
        MergeError: a founder is not born.
    """
    if proposal.kind in ("init", "crossover"):
        return Crossover(proposal.coefficients, proposal.method, space)
    if proposal.kind == "mutate":
        return Mutate(proposal.gene, proposal.sigma)
    if proposal.kind == "succeed":
        return Succeed(proposal.coefficients, proposal.clip)
    raise MergeError("a founder is evaluated as it is; there is no birth to make")
