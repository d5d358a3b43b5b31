"""The state of a training as plain values, and hyperparameters that are in force after it was loaded.

An optimiser's state brings its old learning rate with it, and a scheduler its old base rate: whoever changes
hyperparameters between save and load has to apply them afterwards. `apply_hyper` does, `read_hyper` reads them back.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

from heredity.errors import HeredityError


class HyperparameterLost(HeredityError, ValueError):
    """A hyperparameter that should be in force is not."""


@dataclass
class Training:
    """What trains: everything whose state must travel for a training to go on exactly.

    Args:
        module, optimizer, scheduler: as in any training script.
        generator: of the data's order; a copy of a member continues with another seed.
        extra: plain numbers, strings, lists, dicts and tensors of yours, e.g. a position in the data.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any = None
    generator: torch.Generator | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def save_training(training: Training) -> dict[str, Any]:
    """The state, copied: nothing in it shares memory with the training."""
    state = {
        "module": training.module.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "scheduler": None if training.scheduler is None else training.scheduler.state_dict(),
        "generator": None if training.generator is None else training.generator.get_state(),
        "extra": training.extra,
    }
    return copy.deepcopy(state)


def load_training(training: Training, state: Mapping[str, Any]) -> None:
    """Put a saved state in; `state` stays as it is, though torch's optimisers would go on in its very tensors."""
    state = copy.deepcopy(dict(state))
    training.module.load_state_dict(state["module"])
    training.optimizer.load_state_dict(state["optimizer"])
    if training.scheduler is not None:
        training.scheduler.load_state_dict(state["scheduler"])
    if training.generator is not None:
        training.generator.set_state(state["generator"])
    training.extra = state["extra"]


def apply_hyper(training: Training, hyper: Mapping[str, Any]) -> None:
    """Set those hyperparameters that the optimiser's groups have by that name; under a scheduler its base rate.

    Raises:
        ValueError: groups differ in one, or the scheduler keeps rates of its own: then pass an `apply` of yours.
    """
    groups = training.optimizer.param_groups
    for name in [name for name in hyper if any(name in group for group in groups)]:
        value, under = hyper[name], name == "lr" and _rescales(training.scheduler)
        if len({_number(group[name]) for group in groups}) > 1:
            raise ValueError(f"the optimiser's groups differ in {name!r}: pass an apply and a read of your own")
        for group in groups:
            old = group["initial_lr"] if under else None
            if under and not old:
                raise ValueError("a scheduler whose base rate is 0 cannot be rescaled: pass an apply of your own")
            new = _number(group[name]) * value / old if under else value
            if isinstance(group[name], Tensor):
                group[name].fill_(new)
            else:
                group[name] = new
            if under:
                group["initial_lr"] = value
        if under:
            for scheduler in _all_of(training.scheduler):
                scheduler.base_lrs = [value for _ in scheduler.base_lrs]
                scheduler._last_lr = [group["lr"] for group in groups]


def read_hyper(training: Training) -> dict[str, Any]:
    """The values in force in the optimiser's first group; of a rate under a scheduler, its base."""
    group = training.optimizer.param_groups[0]
    found = {name: _number(value) for name, value in group.items() if name != "params"}
    if _rescales(training.scheduler):
        found["lr"] = _number(group["initial_lr"])
        bases = [_number(base) for scheduler in _all_of(training.scheduler) for base in scheduler.base_lrs]
        found["lr"] = next((base for base in bases if base != found["lr"]), found["lr"])
    return found


def check_applied(hyper: Mapping[str, Any], found: Mapping[str, Any], where: str) -> None:
    """Whether all hyperparameters that can be read back are what they should be.

    Raises:
        HyperparameterLost: one is not.
    """
    for name, wanted in hyper.items():
        if name in found and not _same(found[name], wanted):
            raise HyperparameterLost(
                f"{where}: {name} should be {wanted} and is {found[name]}; the loaded state may have overwritten it: "
                "apply hyperparameters after load"
            )


def not_finite(state: Any, where: str = "") -> str | None:
    """The name of the first tensor of a saved state that holds NaN; None when there is none."""
    return next((name for name, tensor in tensors_of(state, where) if bool(torch.isnan(tensor).any())), None)


def tensors_of(state: Any, where: str = "") -> Iterator[tuple[str, Tensor]]:
    """All floating tensors of a nested state with where they stand."""
    if isinstance(state, Tensor) and state.is_floating_point():
        yield where, state
    elif isinstance(state, (Mapping, list, tuple)):
        for key, item in state.items() if isinstance(state, Mapping) else enumerate(state):
            yield from tensors_of(item, f"{where}.{key}" if where else str(key))


def pack(state: Any) -> tuple[dict[str, Tensor], Any]:
    """A nested state as tensors by number and a JSON value, which files and records can hold.

    Raises:
        TypeError: it holds something else than tensors, numbers, strings, None, lists, tuples and dicts.
    """
    tensors: dict[str, Tensor] = {}

    def form(value: Any, where: str) -> Any:
        if isinstance(value, Tensor):
            tensors[str(len(tensors))] = value.detach().clone().contiguous()
            return {"tensor": len(tensors) - 1}
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, (list, tuple)):
            return {type(value).__name__: [form(item, f"{where}[{i}]") for i, item in enumerate(value)]}
        if isinstance(value, Mapping):
            return {"dict": [[form(k, where), form(item, f"{where}.{k}")] for k, item in value.items()]}
        raise TypeError(f"a training's state{where} is {type(value).__name__}; save plain values and tensors alone")

    return tensors, form(state, "")


def unpack(tensors: Mapping[str, Tensor], form: Any) -> Any:
    """What `pack` packed; tensors are not copied."""
    if not isinstance(form, Mapping):
        return form
    ((tag, value),) = form.items()
    if tag == "tensor":
        return tensors[str(value)]
    if tag == "float":
        return float(value)
    if tag == "dict":
        return {unpack(tensors, k): unpack(tensors, item) for k, item in value}
    items = [unpack(tensors, item) for item in value]
    return tuple(items) if tag == "tuple" else items


def _rescales(scheduler: Any) -> bool:
    if isinstance(scheduler, (OneCycleLR, CyclicLR)):
        raise ValueError(f"{type(scheduler).__name__} keeps rates of its own: pass an apply and a read of your own")
    return any(True for _ in _all_of(scheduler))


def _all_of(scheduler: Any) -> Iterator[Any]:
    """A scheduler that has base rates, and those inside it."""
    if hasattr(scheduler, "base_lrs"):
        yield scheduler
    for inner in getattr(scheduler, "_schedulers", ()):
        yield from _all_of(inner)


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, (int, float)):
        return math.isclose(a, b, rel_tol=1e-6, abs_tol=0.0)  # rates may be float32 tensors
    return bool(a == b)
