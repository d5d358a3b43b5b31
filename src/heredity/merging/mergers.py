"""The generic merger: any named method over whole state dicts or modules, with numbers per model or per recipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor, nn

from heredity.errors import MergeError
from heredity.merging.base import Merger, StateDict, Weights, check_compatible
from heredity.merging.methods import TensorMethod, TensorParams, method_for, rows, spread
from heredity.merging.recipe import MergeRecipe


@dataclass(frozen=True)
class MethodMerger(Merger):
    """Merges state dicts tensor by tensor with one method.

    Attributes:
        method: a method, or the name of a row.
        weight: one for all models or one per model; default the method's own.
        density: share of each task vector kept, likewise.
        t: position between two models.
        recipe: numbers per group of layers, model and filter, instead of the three above; its method must be this one.
        seed: seeds random masks and picks.

    Example:
        >>> import torch
        >>> a, b, base = ({"w": torch.tensor([x, -x])} for x in (1.0, 3.0, 0.0))
        >>> MethodMerger("ties").merge([a, b], base=base)["w"]
        tensor([ 2., -2.])
    """

    method: TensorMethod | str
    weight: float | Sequence[float] | None = None
    density: float | Sequence[float] | None = None
    t: float | None = None
    recipe: MergeRecipe | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.method, str):
            object.__setattr__(self, "method", method_for(self.method))
        for name in ("weight", "density"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, (int, float)):
                object.__setattr__(self, name, tuple(float(x) for x in value))
        if self.recipe is not None:
            if any(value is not None for value in (self.weight, self.density, self.t)):
                raise MergeError("a recipe carries weights, densities and t itself: give either the recipe or those")
            if self.recipe.tensor_method() != self.method:
                raise MergeError(f"the recipe is for {self.recipe.method!r}; make its merger with merger_for(recipe)")

    def merge(self, models: Sequence[Weights], *, base: Weights | None = None) -> StateDict:
        method = self._method
        takes_base = method.takes_base or method.needs_base
        check_compatible(models, base if takes_base else None)
        if self.recipe is not None and self.recipe.models != len(models):
            raise MergeError(f"the recipe merges {self.recipe.models} models; {len(models)} given")
        if self.recipe is None:
            method.check_count(len(models), base is not None)
        origin = base if takes_base else None
        aliases = tied_names([*models, *([origin] if origin is not None else [])])
        merged: StateDict = {}
        for name in models[0]:
            if name in aliases:
                continue
            chosen, params = self._resolve(name, len(models))
            merged[name] = method.merge_tensor(
                name,
                [models[i][name] for i in chosen],
                params,
                base=None if origin is None else origin[name],
                seed=self.seed,
                models=[f"model {i}" for i in chosen],
            )
        return {name: merged[aliases.get(name, name)] for name in models[0]}

    @property
    def _method(self) -> TensorMethod:
        assert not isinstance(self.method, str)
        return self.method

    def _resolve(self, name: str, count: int) -> tuple[tuple[int, ...], TensorParams]:
        if self.recipe is not None:
            return self.recipe.resolve(name)
        weight, density = spread(self.weight, count), spread(self.density, count)
        return tuple(range(count)), TensorParams(weight=weight, density=density, t=self.t)

    @classmethod
    def examples(cls) -> Iterable[tuple[str, Merger]]:
        for name, row in rows().items():
            yield name, cls(row)
            if "sparsify" in {field.name for field in fields(row)} and getattr(row, "sparsify", None):
                yield f"{name} density 0.5", cls(row, density=0.5, seed=1)

    def model_counts(self) -> tuple[int, int | None]:
        if self.recipe is not None:
            return self.recipe.models, self.recipe.models
        return self._method.min_models, self._method.max_models

    def exceptions(self) -> Mapping[str, str]:
        if self.density is not None and self.density != 1.0:
            return {"one parent": "a share of the parent's task vector is dropped on purpose"}
        return {}


def merger_for(
    name: str | MergeRecipe,
    *,
    weight: float | Sequence[float] | None = None,
    density: float | Sequence[float] | None = None,
    t: float | None = None,
    seed: int = 0,
    **settings: Any,
) -> MethodMerger:
    """The merger of a named row, or of a recipe.

    Args:
        name: a row's name, or a recipe.
        weight: one for all models or one per model.
        density: share kept, one for all models or one per model.
        t: position between two models.
        seed: seeds random masks and picks.
        settings: fields of the row to replace, such as lam, normalize or rescale.

    Raises:
        MergeError: no such row or setting; the message says the nearest known name.
    """
    if isinstance(name, MergeRecipe):
        if settings or any(value is not None for value in (weight, density, t)):
            raise MergeError("a recipe carries all settings itself; only the seed may be given beside it")
        return MethodMerger(name.tensor_method(), recipe=name, seed=seed)
    return MethodMerger(method_for(name, **settings), weight=weight, density=density, t=t, seed=seed)


def merge_modules(models: Sequence[nn.Module], merger: Merger | str, *, base: nn.Module | None = None) -> StateDict:
    """Merge the state dicts of modules; tensors that are tied in all of them are merged once and stay tied.

    Args:
        models: modules of equal state-dict keys.
        merger: a merger, or the name of a row.
        base: the common ancestor, where the method needs one.

    Raises:
        MergeError: keys, shapes or dtypes differ, or a state dict holds something other than tensors.
        NonFinite: a parent holds NaN or infinity.
    """
    if isinstance(merger, str):
        merger = merger_for(merger)
    states = [_tensors_of(module) for module in models]
    origin = None if base is None else _tensors_of(base)
    check_compatible(states, origin)
    aliases = tied_names([*states, *([origin] if origin is not None else [])])
    once = [{name: tensor for name, tensor in state.items() if name not in aliases} for state in states]
    ground = None if origin is None else {name: t for name, t in origin.items() if name not in aliases}
    merged = merger.merge(once, base=ground)
    return {name: merged[aliases.get(name, name)] for name in states[0]}


def tied_names(models: Sequence[Weights]) -> dict[str, str]:
    """Names that share their memory with another name in every model, each with the (least) name that stands for it."""

    def groups(model: Weights) -> dict[tuple[object, ...], list[str]]:
        found: dict[tuple[object, ...], list[str]] = {}
        for name in sorted(model):
            tensor = model[name]
            if tensor.numel() and tensor.device.type != "meta":
                found.setdefault((tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype), []).append(name)
        return found

    shared = [set(map(tuple, (names for names in groups(model).values() if len(names) > 1))) for model in models]
    everywhere = set.intersection(*shared) if shared else set()
    return {name: names[0] for names in everywhere for name in names[1:]}


def _tensors_of(module: nn.Module) -> StateDict:
    state = module.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise MergeError(
                f"{name!r} in the state dict of {type(module).__name__} is no tensor but {type(value).__name__}"
            )
    return dict(state)
