"""Recorded merges: operators that wrap the family's parts, so that a child's lineage says how it was mixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from heredity.errors import MergeError, NotAllowed
from heredity.lab import Child, Context, Model, Operator, Parents, architecture
from heredity.lab.architecture import FACTORY
from heredity.lab.canonical import canonical, import_item, import_path, revive
from heredity.lab.hf_modules import transformers_class
from heredity.merging.adapters import AdapterMerger
from heredity.merging.base import StateDict, Weights
from heredity.merging.births import Proposal
from heredity.merging.breeding import crossover, mutate, succeed
from heredity.merging.data_flow import DataFlowRecipe
from heredity.merging.depth import config_of_path
from heredity.merging.ensemble import VoteEnsemble
from heredity.merging.mergers import MethodMerger, merger_for
from heredity.merging.methods import TensorMethod, method_for
from heredity.merging.path_folding import PathKind, Step, fold_path, path_steps
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
    rank: float = config["r"] ** 0.5 if config.get("use_rslora") else config["r"]
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


@dataclass(frozen=True)
class FlowThrough(Operator):
    """A network whose data passes through layers of several parents in a new order; input scales are folded in.

    What stands outside the layers (embeddings, final norm, head) is the primary parent's, and so is the architecture
    but for its depth: a transformers configuration gets its new number of layers, a registered class says itself what
    its arguments become, by a static method `with_layers(config, layers) -> config`.
    Source: arXiv 2403.13187, section 3.2.

    Args:
        recipe: the path and its scales.
        layers: how many layers of each parent the recipe counts, in order.
        blocks: how the layers take a scale in, see `heredity.merging.path_folding`.
    """

    recipe: DataFlowRecipe
    layers: tuple[int, ...]
    blocks: PathKind = "residual"
    kind: ClassVar[str] = "merge"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Fold the path through the positional parents."""
        adapter = next((parent for parent in parents if is_adapter(parent)), None)
        if adapter is not None:
            raise MergeError(f"parent {adapter.id} is an adapter and has no layers of its own: merge whole models")
        weights = fold_path(_held(parents), self.recipe, self.layers, self.blocks)
        specs = [parent.architecture for parent in parents]
        steps = path_steps(self.recipe, self.layers)
        return Child(
            weights, architecture_of_path(specs, steps), {"path": [[step.model, step.layer] for step in steps]}
        )


def blocks_of(model: Model) -> PathKind:
    """How the layers of a model take a scale in: a transformers model's are residual, other networks are chains."""
    return "residual" if (model.architecture or {}).get("kind") == "transformers" else "sequential"


def architecture_of_path(specs: Sequence[Mapping[str, Any] | None], steps: Sequence[Step]) -> Mapping[str, Any] | None:
    """The first parent's architecture with the layers of a path; None where it is not known.

    Raises:
        MergeError: nothing says how it changes with its layers, or parents' layers do not fit one network.
    """
    first = specs[0]
    if first is None:
        return None
    if first["kind"] == "transformers":
        return {**first, "config": config_of_path([(spec or {}).get("config", {}) for spec in specs], steps)}
    item: Any = import_item(first["path"])
    if not hasattr(item, "with_layers"):
        raise MergeError(
            f"{first['path']} does not say how its arguments change with its layers; "
            "give it a static method with_layers(config, layers) -> config"
        )
    try:
        config = item.with_layers(first["config"], [step.layer for step in steps])
    except ValueError as error:
        raise MergeError(f"a path through layers of {first['path']}: {error}") from error
    return {**first, "config": canonical(config, f"{first['path']}.with_layers")}


@dataclass(frozen=True)
class Ensemble(Operator):
    """The parents as one model that answers by vote of their labels, a tie by the higher mean probability.

    Its weights are all members' (members.0.…, members.1.…), its module a `VoteEnsemble`. Members are classifiers of
    the same classes that are built from their record; they give logits, or an object with `logits`.
    Source: arXiv 2503.01155, section 3.3.
    """

    kind: ClassVar[str] = "merge"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Stack the positional parents."""
        members: list[dict[str, Any]] = []
        tied: dict[str, str] = {}
        for number, parent in enumerate(parents):
            spec = parent.architecture
            if spec is None or spec["kind"] not in ("class", "transformers"):
                found = "has no recorded architecture" if spec is None else "is an adapter on a base"
                raise MergeError(f"member {number} ({parent.id}) {found}: an ensemble cannot build it")
            members.append({name: value for name, value in spec.items() if name != "tied"})
            tied |= {f"members.{number}.{a}": f"members.{number}.{b}" for a, b in spec.get("tied", {}).items()}
        spec = {"kind": "class", "path": import_path(vote_ensemble), "config": {"members": members}}
        weights = {
            f"members.{number}.{name}": tensor
            for number, parent in enumerate(parents)
            for name, tensor in parent.weights().items()
        }
        return Child(weights, {**spec, "tied": tied} if tied else spec)


@architecture
def vote_ensemble(members: Sequence[Mapping[str, Any]]) -> VoteEnsemble:
    """The ensemble of members described by their architectures' JSON forms; weights are theirs to load.

    Raises:
        NotAllowed: a member names code outside the allow-list.
    """
    return VoteEnsemble([_member(spec) for spec in members])


def _member(spec: Mapping[str, Any]) -> torch.nn.Module:
    if spec["kind"] == "transformers":
        # A revived form has tuples, which strict configurations refuse where they ask for lists.
        cls, config = transformers_class({**spec, "config": _plain(spec["config"])})
        module: torch.nn.Module = cls(config)
        return module
    item: Any = import_item(spec["path"])
    ours = not isinstance(item, type) and item.__module__.partition(".")[0] == "heredity"
    if (isinstance(item, type) and not issubclass(item, torch.nn.Module)) or (ours and not hasattr(item, FACTORY)):
        raise NotAllowed(f"a member's record names {spec['path']!r} as an architecture, but it builds no module")
    member: torch.nn.Module = item(**{name: revive(value) for name, value in spec["config"].items()})
    return member


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


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
