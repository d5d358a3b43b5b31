"""What mergekit's method names and parameters mean in terms of this package's tensor methods.

Source: mergekit 0.1 (docs, "Merge Methods").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from heredity.errors import RecipeError
from heredity.merging import linear, model_stock, slerp, task_vector
from heredity.merging.mergekit_schema import MergeConfig, ModelRef, Scalar, Source, unknown
from heredity.merging.methods import TensorMethod, TensorParams


class Value(Protocol):
    """Looks a parameter up for the tensor at hand, at a source if one is given."""

    def __call__(self, key: str, source: Source | None = None) -> Scalar | None:
        """The value, or None where nothing is said."""


@dataclass(frozen=True, slots=True)
class Made:
    """How to merge one tensor: which models are inputs, in order, and which is the base."""

    models: tuple[ModelRef, ...]
    base: ModelRef | None
    method: TensorMethod | None
    params: TensorParams


@dataclass(frozen=True, slots=True)
class Rule:
    """One of mergekit's methods.

    Attributes:
        name: mergekit's name.
        base: "origin" (differences from it), "optional" origin, "first" (the first of two models) or "none".
        per_model: parameters that each model has, with their defaults; None is required.
        whole: parameters of the whole tensor.
        build: the method, from the whole tensor's parameters.
    """

    name: str
    base: str
    per_model: tuple[tuple[str, float | None], ...]
    whole: tuple[str, ...]
    build: Callable[[dict[str, Scalar]], TensorMethod | None]

    @property
    def takes_base(self) -> bool:
        """Whether a base that is not among the models takes part."""
        return self.base != "none"

    def notes(self, config: MergeConfig) -> list[str]:
        """Sentences about what the configuration says in vain."""
        used = {name for name, _ in self.per_model} | set(self.whole) | {"int8_mask"}
        levels = [config.parameters, config.module_parameters]
        levels += [source.parameters for source in config.models]
        for piece in config.slices:
            levels += [piece.parameters, *(source.parameters for source in piece.sources)]
        idle = sorted({key for level in levels for key in level} - used)
        return [f"{self.name} does not use {', '.join(idle)}"] if idle else []

    def make(self, name: str, sources: Sequence[Source], base: ModelRef | None, value: Value, origin: str) -> Made:
        """Resolve everything for the tensor `name`."""
        listed = [source.model for source in sources]
        if self.base in ("origin", "first") and base is None:
            raise RecipeError(f"{origin}: {self.name} needs base_model")
        if self.base in ("origin", "first") and base not in listed:
            raise RecipeError(
                f"{origin}: base_model {base} is not among the sources of a slice; {self.name} needs it there"
            )
        if self.name == "slerp" and len(listed) != 2:
            raise RecipeError(f"{origin}: slerp merges exactly two models, one of them base_model; {len(listed)} given")
        if self.name == "passthrough" and len(listed) != 1:
            raise RecipeError(f"{origin}: passthrough takes exactly one model per slice; {len(listed)} given")
        apart = base if self.base in ("origin", "optional") and base in listed else None
        models = [source for source in sources if source.model != apart]
        if self.base == "first":
            models.sort(key=lambda source: source.model != base)
        if not models:
            raise RecipeError(f"{origin}: {self.name} needs a model beside base_model")
        params: dict[str, tuple[float, ...]] = {}
        for key, default in self.per_model:
            values = []
            for source in models:
                found = value(key, source)
                if found is None and default is None:
                    raise RecipeError(
                        f"{origin}: {self.name} needs {key!r} for {source.model}, none is set for {name!r}"
                    )
                values.append(default if found is None else float(found))
            params[key] = tuple(float(number) for number in values if number is not None)
        whole = {key: found for key in self.whole if (found := value(key)) is not None}
        if self.name == "slerp" and "t" not in whole:
            raise RecipeError(f"{origin}: slerp needs 't', none is set for {name!r}")
        t = float(whole["t"]) if "t" in whole else None
        resolved = TensorParams(
            weight=params.get("weight", params.get("scale")),
            density=params.get("density"),
            gamma=params.get("gamma"),
            epsilon=params.get("epsilon"),
            t=t,
        )
        method = self.build(whole)
        if self.name == "passthrough" and resolved.weight == (1.0,):
            method = None
        return Made(tuple(source.model for source in models), apart, method, resolved)


def _linear(whole: dict[str, Scalar]) -> TensorMethod:
    return linear.Linear(normalize=bool(whole.get("normalize", True)))


def _passthrough(_: dict[str, Scalar]) -> TensorMethod:
    return linear.Passthrough()


def _slerp(_: dict[str, Scalar]) -> TensorMethod:
    return slerp.ROWS["slerp"]


def _nuslerp(whole: dict[str, Scalar]) -> TensorMethod:
    if whole.get("nuslerp_row_wise") or not whole.get("nuslerp_flatten", True):
        raise RecipeError("nuslerp by rows or columns is not supported; leave nuslerp_row_wise and nuslerp_flatten out")
    return slerp.ROWS["nuslerp"]


def _multislerp(whole: dict[str, Scalar]) -> TensorMethod:
    return slerp.MultiSlerp(normalize=bool(whole.get("normalize_weights", True)), eps=float(whole.get("eps", 1e-8)))


def _model_stock(whole: dict[str, Scalar]) -> TensorMethod:
    return model_stock.ModelStock(filter_wise=bool(whole.get("filter_wise", False)))


def _task_vectors(row: str, normalize: bool, rescale: bool) -> Callable[[dict[str, Scalar]], TensorMethod]:
    def build(whole: dict[str, Scalar]) -> TensorMethod:
        method = task_vector.ROWS[row]
        assert isinstance(method, task_vector.GeneralizedTaskArithmetic)
        # mergekit rescales what is kept to the L1 norm of the whole task vector; DARE's paper divides by the density
        return replace(
            method,
            normalize=bool(whole.get("normalize", normalize)),
            rescale="l1" if whole.get("rescale", rescale) else None,
            lam=float(whole.get("lambda", 1.0)),
        )

    return build


def _differences(name: str, normalize: bool, rescale: bool, *extra: tuple[str, float]) -> Rule:
    return Rule(
        name,
        "origin",
        (("weight", None), ("density", 1.0), *extra),
        ("normalize", "rescale", "lambda"),
        _task_vectors(name, normalize, rescale),
    )


_RULES = [
    Rule("linear", "none", (("weight", None),), ("normalize",), _linear),
    Rule("passthrough", "none", (("scale", 1.0),), (), _passthrough),
    Rule("slerp", "first", (), ("t",), _slerp),
    Rule("nuslerp", "optional", (("weight", None),), ("nuslerp_flatten", "nuslerp_row_wise"), _nuslerp),
    Rule("multislerp", "optional", (("weight", None),), ("normalize_weights", "eps"), _multislerp),
    Rule("model_stock", "origin", (), ("filter_wise",), _model_stock),
    _differences("task_arithmetic", False, False),
    _differences("ties", True, False),
    _differences("dare_ties", False, True),
    _differences("dare_linear", False, True),
    _differences("breadcrumbs", False, False, ("gamma", 0.01)),
    _differences("breadcrumbs_ties", False, False, ("gamma", 0.01)),
    _differences("della", True, True, ("epsilon", 0.15)),
    _differences("della_linear", False, True, ("epsilon", 0.15)),
]
RULES = {rule.name: rule for rule in _RULES}
_NOT_SUPPORTED = ("karcher", "sce", "nearswap", "arcee_fusion", "ram", "ramplus_tl")


def rule_for(name: str, origin: str) -> Rule:
    """The rule of that name. Raises RecipeError with the nearest known name."""
    if name in RULES:
        return RULES[name]
    if name in _NOT_SUPPORTED:
        raise RecipeError(f"{origin}: merge_method {name!r} is not supported (supported: {', '.join(sorted(RULES))})")
    raise unknown("merge_method", name, origin, RULES)
