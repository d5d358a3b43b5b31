"""How a model is rebuilt from its record: a registered class and its arguments, or a Hugging Face config.

No pickle: a record names a class by import path, which must be on the allow-list, or holds a transformers or peft
configuration. Weights come from safetensors.
"""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

from heredity.errors import LabError, NotAllowed, WeightsMissing
from heredity.lab.canonical import canonical, import_item, import_path, register, revive

if TYPE_CHECKING:
    from torch import Tensor, nn

    from heredity.lab.model import Model

T = TypeVar("T", bound=Callable[..., Any])
MARK = "_heredity_architecture"
FACTORY = "_heredity_factory"


@dataclass(frozen=True, slots=True)
class Architecture:
    """How to build a module that is not decorated with `architecture`.

    Args:
        build: a class or module-level function that returns the module.
        config: its keyword arguments.
    """

    build: Callable[..., nn.Module]
    config: Mapping[str, Any] = field(default_factory=dict)

    def spec(self) -> dict[str, Any]:
        """The JSON form that a record holds."""
        path = canonical(self.build, "Architecture.build")["$code"]
        return {"kind": "class", "path": path, "config": canonical(dict(self.config), "Architecture.config")}


def architecture(item: T) -> T:
    """Decorate a module class, or a function that returns a module, so that its models can be rebuilt.

    The constructor's arguments are remembered on the module; they must have a canonical form.

    >>> import torch
    >>> @architecture
    ... class Tiny(torch.nn.Linear):
    ...     def __init__(self, width: int) -> None:
    ...         super().__init__(width, width)
    >>> describe(Tiny(3))["config"]
    {'width': 3}
    """
    register(item)
    target: Any = vars(item).get("__init__", item.__init__) if isinstance(item, type) else item  # type: ignore[misc]
    signature = inspect.signature(target)

    def arguments(*args: Any, **kwargs: Any) -> dict[str, Any]:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        named = dict(bound.arguments)
        for parameter in signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                named.update(named.pop(parameter.name))
            elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
                raise TypeError(
                    f"{import_path(item)} takes positional-only or *{parameter.name} arguments; an architecture's "
                    "arguments have names"
                )
        return named

    if isinstance(item, type):

        @functools.wraps(target)
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            # Bound first: the constructor may change what it is given. A subclass describes itself or stays unknown.
            named = arguments(self, *args, **kwargs) if type(self) is item else None
            target(self, *args, **kwargs)
            if named is not None:
                named.pop(next(iter(signature.parameters)))
                setattr(self, MARK, (item, named))

        item.__init__ = init  # type: ignore[misc]
        return item

    @functools.wraps(item)
    def build(*args: Any, **kwargs: Any) -> Any:
        named = arguments(*args, **kwargs)
        module = item(*args, **kwargs)
        setattr(module, MARK, (build, named))
        return module

    setattr(build, FACTORY, True)
    register(build)
    return cast("T", build)


def describe(module: nn.Module) -> dict[str, Any] | None:
    """The JSON form of a module's architecture; None when it is neither decorated nor a Hugging Face model."""
    mark = vars(module).get(MARK)  # getattr of a peft model would answer for the module that it wraps
    if mark is not None:
        build, config = mark
        path = import_path(build)
        return {"kind": "class", "path": path, "config": canonical(config, path)}
    peft, transformers = sys.modules.get("peft"), sys.modules.get("transformers")
    if peft is not None and isinstance(module, peft.PeftModel):
        return {"kind": "peft", "config": peft_config(module.active_peft_config.to_dict())}
    if transformers is not None and isinstance(module, transformers.PreTrainedModel):
        settings = transformers_config({**module.config.to_dict(), "architectures": [type(module).__name__]})
        settings.pop("transformers_version", None)  # of the installed package: a fact of the environment
        return {"kind": "transformers", "class": type(module).__name__, "config": settings}
    return None


def transformers_config(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A transformers configuration as JSON, without the place that it was loaded from."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(settings)))  # turns number keys into the text that files hold
    plain.pop("_name_or_path", None)
    return plain


def peft_config(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A peft configuration as JSON: sets sorted, enums by value, trainable, without the place of its base.

    The base is an edge of the lineage; a file that was saved for inference would load with frozen weights.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, (set, frozenset)):
            return sorted(value)
        raise LabError(f"the adapter's configuration holds {type(value).__name__}, which JSON cannot hold")

    kept = {name: value for name, value in settings.items() if name != "runtime_config"}
    return {
        **json.loads(json.dumps(kept, default=plain)),
        "base_model_name_or_path": None,
        "inference_mode": False,
    }


def module_state(module: nn.Module) -> Mapping[str, Tensor]:
    """What is stored of a module: its state dict; of a peft model the adapter alone."""
    peft = sys.modules.get("peft")
    if peft is not None and isinstance(module, peft.PeftModel):
        return peft.get_peft_model_state_dict(module, adapter_name=module.active_adapter)
    return module.state_dict()


def is_adapter(model: Model) -> bool:
    """Whether a model is a peft adapter, whose weights make sense on its base alone."""
    return (model.architecture or {}).get("kind") == "peft"


def base_of(model: Model) -> Model | None:
    """The whole model an adapter sits on: its parent with the role base, or its primary parent or what that sits on."""
    edges = model.edges
    parent = next((parent for role, parent in edges if role == "base"), edges[0][1] if edges else None)
    while parent is not None and is_adapter(parent):
        parent = base_of(parent)
    return parent if is_adapter(model) else None


def build(model: Model, into: nn.Module | None = None) -> nn.Module:
    """The module of a model, with its weights loaded; the global generators are left as they were.

    Args:
        model: the handle.
        into: a module to load the weights into, instead of building one; it keeps its own dtypes and device.

    Raises:
        WeightsMissing: no architecture is recorded and `into` is not given.
        NotAllowed: the architecture names code outside the allow-list.
        LabError: the weights do not fit the module.
    """
    import torch

    spec = model.architecture
    weights = model.weights()
    if spec is not None and spec["kind"] in ("transformers", "peft") and into is None:
        from heredity.lab.hf_modules import build_peft, build_transformers

        make = build_peft if spec["kind"] == "peft" else build_transformers
        return make(model, spec, {name: tensor.clone() for name, tensor in weights.items()})
    with torch.random.fork_rng(devices=[]):
        module = into if into is not None else _build_empty(model, spec)
    tied: Mapping[str, str] = (spec or {}).get("tied", {})
    state = {
        **weights,
        **{alias: weights[kept] for alias, kept in tied.items() if kept in weights and alias not in weights},
    }
    if into is None:
        _take_dtypes(module, state)
    _load_state(module, state, model.id)
    return module.eval()


def _take_dtypes(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a newly built module the dtypes of the record; tied parameters stay tied."""
    for name, tensor in module.state_dict(keep_vars=True).items():
        recorded = state.get(name)
        if recorded is not None and recorded.dtype != tensor.dtype:
            tensor.data = tensor.data.to(recorded.dtype)


def _load_state(module: nn.Module, state: Mapping[str, Tensor], birth: str) -> None:
    import torch

    own = module.state_dict()
    try:
        result: Any = module.load_state_dict(dict(state), strict=False)
    except RuntimeError as error:  # torch lists every shape that differs
        first = next((line.strip() for line in str(error).splitlines() if "size mismatch" in line), str(error))
        raise LabError(f"the weights of {birth} do not fit {type(module).__name__}: {first}") from error
    filled = {tensor.data_ptr() for name, tensor in own.items() if name in state and isinstance(tensor, torch.Tensor)}
    # The second name of a tied tensor is filled through the first.
    missing = [name for name in result.missing_keys if own[name].data_ptr() not in filled or not own[name].numel()]
    if missing:
        raise LabError(f"the weights of {birth} do not fit {type(module).__name__}: the record lacks {missing[0]!r}")
    if result.unexpected_keys:
        raise LabError(
            f"the weights of {birth} do not fit {type(module).__name__}: the record has "
            f"{result.unexpected_keys[0]!r} too many"
        )


def _build_empty(model: Model, spec: Mapping[str, Any] | None) -> nn.Module:
    import torch

    if spec is None:
        raise WeightsMissing(
            f"model {model.id} was recorded without an architecture: load(into=your_module), "
            "or record it with @heredity.architecture on its class"
        )
    if spec["kind"] == "class":
        item = import_item(spec["path"])
        ours = not isinstance(item, type) and item.__module__.partition(".")[0] == "heredity"
        if (isinstance(item, type) and not issubclass(item, torch.nn.Module)) or (ours and not hasattr(item, FACTORY)):
            raise NotAllowed(f"the record names {spec['path']!r} as an architecture, but it builds no module")
        try:
            module = item(**{name: revive(value) for name, value in spec["config"].items()})
        except TypeError as error:
            raise LabError(f"{spec['path']} cannot be built as model {model.id} records it: {error}") from error
        if not isinstance(module, torch.nn.Module):
            raise LabError(f"{spec['path']} returned {type(module).__name__} where model {model.id} needs a module")
        return module
    raise LabError(f"model {model.id} has the unknown architecture kind {spec['kind']!r}; a newer version made it?")
