"""One tensor of several models becomes one: the contract that in-memory and streaming mergers share.

A `TensorMethod` is a frozen dataclass: its fields are the method's defaults. Numbers that may differ per tensor and per
model (weights, densities, the angle of a slerp) arrive resolved in `TensorParams`, so that gradients over layers,
filters and searched recipes sit above the method. Named methods are rows: a module of this package lists its own in a
constant `ROWS: dict[str, TensorMethod]`, and `method_for` finds them by walking the package.

Memory: besides its inputs and its output a method holds a few chunks of `CHUNK` values.
Source: the merge family of arXiv 2403.13187, section 3.1.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import importlib.util
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from heredity.errors import MergeError, NonFinite
from heredity.merging.base import check_finite, same_tensor

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class TensorParams:
    """Numbers of one merge of one tensor, already resolved; None leaves the method's own default.

    Attributes:
        weight: one weight per model.
        density: share of each task vector that is kept, per model, 0 to 1.
        gamma: share of the largest entries that is dropped, per model (breadcrumbs).
        epsilon: half-width of the range of keep probabilities, per model (della).
        t: position between two models, 0 (the first) to 1 (the second).
    """

    weight: tuple[float, ...] | None = None
    density: tuple[float, ...] | None = None
    gamma: tuple[float, ...] | None = None
    epsilon: tuple[float, ...] | None = None
    t: float | None = None


@dataclass(frozen=True, slots=True)
class FlatMerge:
    """One checked merge of one floating-point tensor: flat contiguous inputs, and where the result goes.

    Attributes:
        name: the tensor's name.
        tensors: one per model, one-dimensional, at least one entry.
        params: resolved numbers.
        base: the ancestor's tensor, for methods that take one.
        seed: seeds random masks.
        out: one-dimensional output, of the inputs' dtype.
        shape: the tensor's own shape, for methods that look at rows.
    """

    name: str
    tensors: list[Tensor]
    params: TensorParams
    base: Tensor | None
    seed: int
    out: Tensor
    shape: tuple[int, ...]


@dataclass(frozen=True)
class TensorMethod(ABC):
    """A way to merge tensors of one name; subclasses are frozen dataclasses and write `_merge`."""

    needs_base: ClassVar[bool] = False
    takes_base: ClassVar[bool] = False
    min_models: ClassVar[int] = 1
    max_models: ClassVar[int | None] = None
    takes: ClassVar[tuple[str, ...]] = ("weight",)  # the fields of TensorParams that mean something to the method

    def merge_tensor(
        self,
        name: str,
        tensors: Sequence[Tensor],
        params: TensorParams | None = None,
        *,
        base: Tensor | None = None,
        seed: int = 0,
        models: Sequence[str] | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Merge the tensors called `name`.

        Args:
            name: the tensor's name; random masks are counted per (seed, model index, name).
            tensors: one per model, equal shape and dtype, any floating dtype; others follow `merge_integer`.
            params: resolved numbers; default the method's own.
            base: the tensor of the common ancestor; ignored by methods that take none.
            seed: seeds random masks.
            models: what to call the models in messages; default "model 0", "model 1", …
            out: contiguous tensor of the same shape and dtype to write into; default a new one.

        Returns:
            The merged tensor, in the dtype of the inputs and on their device. Equal inputs (and base) are returned bit
            for bit wherever the method's weights leave them fixed.

        Raises:
            MergeError: wrong number of models or parameters, a missing base, unequal shapes or dtypes.
            NonFinite: an input or the result holds NaN or infinity; the message names model and tensor.
        """
        params = params or TensorParams()
        labels = list(models or (f"model {i}" for i in range(len(tensors))))
        self.check(name, params, len(tensors), has_base=base is not None)
        tensors = [tensor.detach() for tensor in tensors]
        base = base.detach() if base is not None and (self.takes_base or self.needs_base) else None
        first = tensors[0]
        for label, other in [*zip(labels, tensors, strict=True), *([("base", base)] if base is not None else [])]:
            if other.shape != first.shape or other.dtype != first.dtype:
                raise MergeError(
                    f"{name!r} differs: {labels[0]} has {tuple(first.shape)} {first.dtype}, "
                    f"{label} has {tuple(other.shape)} {other.dtype}"
                )
        if out is None:
            out = torch.empty_like(first, memory_format=torch.contiguous_format)
        elif out.shape != first.shape or out.dtype != first.dtype or not out.is_contiguous():
            raise MergeError(f"out for {name!r} must be contiguous {tuple(first.shape)} {first.dtype}")
        if not first.numel():
            return out
        if not first.is_floating_point():
            return out.copy_(merge_integer(name, tensors, labels))
        inputs = [*tensors, *([base] if base is not None else [])]
        if self.keeps_equal(params, len(tensors)) and all(same_tensor(first, other) for other in inputs[1:]):
            check_finite(first, name, labels[0])
            return out.copy_(first)
        flat = [tensor.contiguous().view(-1) for tensor in tensors]
        flat_base = None if base is None else base.contiguous().view(-1)
        with torch.no_grad():
            finite = self._merge(FlatMerge(name, flat, params, flat_base, seed, out.view(-1), tuple(first.shape)))
        if not finite:
            for label, tensor in [*zip(labels, tensors, strict=True), *([("base", base)] if base is not None else [])]:
                check_finite(tensor, name, label)
            raise NonFinite(f"merging {name!r} overflows {first.dtype}; use smaller weights or a wider dtype")
        return out

    @abstractmethod
    def _merge(self, job: FlatMerge) -> bool:
        """Write the merge into `job.out`; return whether every value was finite.

        An input's NaN must not vanish unseen: either it reaches a value whose finiteness is returned, or the method
        looks for it.
        """

    def keeps_equal(self, params: TensorParams, count: int) -> bool:
        """Whether `count` equal inputs (and base) must return the input exactly: true but for unnormalised weights."""
        return True

    def check_count(self, models: int, has_base: bool) -> None:
        """Raise `MergeError` when the method cannot merge that many models, or misses its base."""
        if models < self.min_models or (self.max_models is not None and models > self.max_models):
            most = self.max_models
            wanted = f"exactly {most}" if most == self.min_models else f"at least {self.min_models}"
            raise MergeError(
                f"{method_name(self)} merges {wanted} model{'s' if wanted[-1] != '1' else ''}; {models} given"
            )
        if self.needs_base and not has_base:
            raise MergeError(f"{method_name(self)} works on differences from a common ancestor: pass base=")

    def check(self, name: str, params: TensorParams, count: int, *, has_base: bool) -> None:
        """Raise `MergeError` when the method cannot merge that many models with these numbers."""
        self.check_count(count, has_base)
        if params.t is not None and "t" not in self.takes:
            raise MergeError(f"{method_name(self)} takes no t; it takes {', '.join(self.takes)}")
        for field in ("weight", "density", "gamma", "epsilon"):
            values = getattr(params, field)
            if values is None:
                continue
            if field not in self.takes:
                raise MergeError(f"{method_name(self)} takes no {field}; it takes {', '.join(self.takes)}")
            if len(values) != count:
                raise MergeError(f"{field} of {name!r} has {len(values)} values for {count} models")


def merge_integer(name: str, tensors: Sequence[Tensor], models: Sequence[str]) -> Tensor:
    """Merge tensors that are not floating point, which no weighted sum is defined for.

    Rule: booleans (masks) and integer scalars (counters such as `num_batches_tracked`) are the first model's; other
    integer tensors must be equal in all models.

    Raises:
        MergeError: integer tensors differ, or the dtype is complex or quantised.
    """
    first = tensors[0]
    if first.is_complex() or first.is_quantized:
        raise MergeError(
            f"{name!r} has dtype {first.dtype}; only floating-point, integer and boolean tensors can merge"
        )
    if first.dtype == torch.bool or first.dim() == 0:
        return first
    for label, tensor in zip(models, tensors, strict=True):
        if not torch.equal(first, tensor):
            raise MergeError(f"integer tensor {name!r} differs between {models[0]} and {label} and cannot be averaged")
    return first


# --- rows -------------------------------------------------------------------------------------------------


@functools.cache
def rows() -> Mapping[str, TensorMethod]:
    """Every named method of the package, found by walking it: the union of its modules' `ROWS`."""
    import heredity.merging as package

    found: dict[str, TensorMethod] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(package.__path__)):
        if not _may_define_rows(f"{package.__name__}.{module}"):
            continue
        own: dict[str, TensorMethod] = getattr(importlib.import_module(f"{package.__name__}.{module}"), "ROWS", {})
        if clash := found.keys() & own.keys():
            raise MergeError(f"two modules of heredity.merging name a row {min(clash)!r}")
        found.update(own)
    return MappingProxyType(found)


def _may_define_rows(module: str) -> bool:
    """False when a module's source assigns no ROWS, so that modules without methods are not imported to be asked."""
    spec = importlib.util.find_spec(module)
    source = Path(spec.origin) if spec and spec.origin else None
    return (
        source is None
        or source.suffix != ".py"
        or not source.is_file()
        or "\nROWS: " in source.read_text(encoding="utf-8")
    )


def method_for(name: str, **settings: Any) -> TensorMethod:
    """The row called `name`, with some of its fields replaced.

    Raises:
        MergeError: no such row or field; the message says the nearest known name.

    Example:
        >>> method_for("ties", density=0.3).density
        0.3
    """
    known = rows()
    if name not in known:
        raise MergeError(f"no merge method {name!r}{_nearest(name, known)}")
    row = known[name]
    fields = [field.name for field in dataclasses.fields(row)]
    for setting in settings:
        if setting not in fields:
            raise MergeError(f"{name} has no setting {setting!r}{_nearest(setting, fields)}")
    return dataclasses.replace(row, **settings)


def method_name(method: TensorMethod) -> str:
    """The row's name when the method is one, else its class and settings."""
    return next((name for name, row in rows().items() if row == method), repr(method))


def _nearest(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"


def per_model(values: tuple[float, ...] | None, default: float, count: int) -> tuple[float, ...]:
    """Resolved numbers, or the method's default for every model."""
    return (default,) * count if values is None else values


def spread(value: float | Sequence[float] | None, count: int) -> tuple[float, ...] | None:
    """One number for every model, or numbers per model as a tuple; None stays None."""
    if value is None:
        return None
    return (float(value),) * count if isinstance(value, (int, float)) else tuple(float(x) for x in value)
