"""How a model is rebuilt from its record: a registered class and its arguments, or a Hugging Face config.

No pickle: a record names a class by import path, which must be on the allow-list, or holds a transformers or peft
configuration. Weights come from safetensors.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from heredity.errors import LabError, MissingExtra, WeightsMissing
from heredity.lab.canonical import canonical, import_item, import_path, register, revive

if TYPE_CHECKING:
    from torch import Tensor, nn

    from heredity.lab.model import Model

T = TypeVar("T", bound=Callable[..., Any])
MARK = "_heredity_architecture"


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
    register(item)  # type: ignore[arg-type]
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
                raise TypeError(f"{import_path(item)} takes positional-only or *{parameter.name} arguments; name them")
        return named

    if isinstance(item, type):

        @functools.wraps(target)
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            target(self, *args, **kwargs)
            if type(self) is item:
                named = arguments(self, *args, **kwargs)
                named.pop(next(iter(signature.parameters)))
                setattr(self, MARK, (item, named))

        item.__init__ = init  # type: ignore[misc]
        return item

    @functools.wraps(item)
    def build(*args: Any, **kwargs: Any) -> Any:
        module = item(*args, **kwargs)
        setattr(module, MARK, (item, arguments(*args, **kwargs)))
        return module

    register(build)  # type: ignore[arg-type]
    return build  # type: ignore[return-value]


def describe(module: nn.Module) -> dict[str, Any] | None:
    """The JSON form of a module's architecture; None when it is neither decorated nor a Hugging Face model."""
    mark = getattr(module, MARK, None)
    if mark is not None:
        build, config = mark
        path = import_path(build)
        return {"kind": "class", "path": path, "config": canonical(config, path)}
    peft, transformers = sys.modules.get("peft"), sys.modules.get("transformers")
    if peft is not None and isinstance(module, peft.PeftModel):
        return {"kind": "peft", "config": _plain_config(module.active_peft_config.to_dict())}
    if transformers is not None and isinstance(module, transformers.PreTrainedModel):
        return {"kind": "transformers", "class": type(module).__name__, "config": module.config.to_dict()}
    return None


def _plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A peft configuration as JSON: sets sorted, enums by value."""
    plain: dict[str, Any] = {}
    for key, item in config.items():
        value = getattr(item, "value", item)
        plain[key] = sorted(value) if isinstance(value, (set, frozenset)) else value
    return plain


def module_state(module: nn.Module) -> Mapping[str, Tensor]:
    """What is stored of a module: its state dict; of a peft model the adapter alone."""
    peft = sys.modules.get("peft")
    if peft is not None and isinstance(module, peft.PeftModel):
        return peft.get_peft_model_state_dict(module)
    return module.state_dict()


def build(model: Model, into: nn.Module | None = None) -> nn.Module:
    """The module of a model, with its weights loaded; the global generators are left as they were.

    Args:
        model: the handle.
        into: a module to load the weights into, instead of building one.

    Raises:
        WeightsMissing: no architecture is recorded and `into` is not given.
        NotAllowed: the architecture names code outside the allow-list.
    """
    import torch

    spec = model.architecture
    weights = {name: tensor.clone() for name, tensor in model.weights().items()}
    if spec is not None and spec["kind"] == "peft" and into is None:
        return _build_peft(model, spec, weights)
    with torch.random.fork_rng(devices=[]):
        module = into if into is not None else _build_empty(model, spec)
    aliases: Mapping[str, str] = (spec or {}).get("tied", {})
    state = {**weights, **{alias: weights[kept] for alias, kept in aliases.items()}}
    result = module.load_state_dict(state, strict=False)
    if result.missing_keys or result.unexpected_keys:
        problem = (
            f"lacks {result.missing_keys[0]!r}"
            if result.missing_keys
            else f"has {result.unexpected_keys[0]!r} too many"
        )
        raise LabError(f"the weights of {model.id} do not fit {type(module).__name__}: the record {problem}")
    return module.eval()


def _build_empty(model: Model, spec: Mapping[str, Any] | None) -> nn.Module:
    if spec is None:
        raise WeightsMissing(
            f"model {model.id} was recorded without an architecture: load(into=your_module), "
            "or record it with @heredity.architecture on its class"
        )
    if spec["kind"] == "class":
        return import_item(spec["path"])(**{name: revive(item) for name, item in spec["config"].items()})
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra("loading a Hugging Face model", "hf") from error
    name = spec["class"]
    cls = getattr(transformers, name, None)
    if not (isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)):
        raise LabError(f"transformers {transformers.__version__} has no model class {name!r}")
    config = transformers.AutoConfig.for_model(**spec["config"])
    module = cls(config)
    return module if config.dtype is None else module.to(dtype=config.dtype)


def _build_peft(model: Model, spec: Mapping[str, Any], weights: dict[str, Tensor]) -> nn.Module:
    try:
        import peft
        import torch
    except ImportError as error:
        raise MissingExtra("loading an adapter", "hf") from error
    base = next((parent for role, parent in model.edges if role == "base"), None)
    if base is None:
        raise WeightsMissing(f"adapter {model.id} has no parent with the role 'base'; record it with base=…")
    make_config: Any = peft.PeftConfig.from_peft_type
    config = make_config(**spec["config"])
    with torch.random.fork_rng(devices=[]):
        module = peft.get_peft_model(base.load(), config)
    problem = peft.set_peft_model_state_dict(module, weights)
    if problem.unexpected_keys:
        raise LabError(
            f"the adapter {model.id} does not fit its base: {problem.unexpected_keys[0]!r} has no place there"
        )
    return module.eval()
