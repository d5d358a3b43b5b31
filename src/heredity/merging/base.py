"""The contract of a merger: several state dicts in, one state dict out.

Laws (checked for every merger by `heredity.testing.mergers`): equal parents return the parent, bit for bit;
parents are never modified; keys, shapes and dtypes are kept; arithmetic is float32 or wider; randomness is counted
per tensor name, so that the result depends neither on the order of tensors nor on the global generator;
mismatches name the first offender and both sides.
Source: the family contract in the specification of arXiv 2403.13187.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import torch

from heredity.errors import MergeError, NonFinite

if TYPE_CHECKING:
    from torch import Tensor

StateDict: TypeAlias = dict[str, "Tensor"]
Weights: TypeAlias = Mapping[str, "Tensor"]


class Merger(ABC):
    """Several models of one architecture become one. Configuration lives in the constructor.

    The contract suite `heredity.testing.mergers` asks a merger for tiny `examples`, for the number of models it merges
    and for laws that it does not keep, with the reason.
    """

    @abstractmethod
    def merge(self, models: Sequence[Weights], *, base: Weights | None = None) -> StateDict:
        """Merge state dicts of equal keys and shapes.

        Args:
            models: one or more parents, in order.
            base: the common ancestor, where the method works on differences from it.

        Raises:
            MergeError: keys, shapes or dtypes differ, or a base is needed and missing.
            NonFinite: a parent holds NaN or infinity.
        """

    @classmethod
    def examples(cls) -> Iterable[tuple[str, Merger]]:
        """Names and tiny instances for the contract suite; by default one, made without arguments."""
        return [(cls.__name__, cls())]

    def model_counts(self) -> tuple[int, int | None]:
        """The fewest and the most models that can be merged; None is no limit."""
        return 1, None

    def exceptions(self) -> Mapping[str, str]:
        """Laws of the contract suite that this merger does not keep, by the name of the check, each with its reason."""
        return {}


def check_compatible(
    models: Sequence[Weights], base: Weights | None = None, *, names: Sequence[str] | None = None
) -> None:
    """Raise `MergeError` naming the first differing key, shape or dtype and both sides.

    Args:
        models: parents, at least one.
        base: the common ancestor, if any; it is compared with the first parent.
        names: what to call the parents in messages; default "model 0", "model 1", …
    """
    if not models:
        raise MergeError("nothing to merge: the list of models is empty")
    labels = list(names or (f"model {i}" for i in range(len(models))))
    first = models[0]
    others = list(zip(labels[1:], models[1:], strict=True))
    if base is not None:
        others.append(("base", base))
    for label, other in others:
        missing = [key for key in first if key not in other]
        extra = [key for key in other if key not in first]
        if missing or extra:
            key = missing[0] if missing else extra[0]
            has, lacks = (labels[0], label) if missing else (label, labels[0])
            more = len(missing) + len(extra) - 1
            raise MergeError(
                f"keys differ: {has} has {key!r}, {lacks} has not" + (f" (and {more} more differences)" if more else "")
            )
        for key, tensor in first.items():
            if tensor.shape != other[key].shape:
                raise MergeError(
                    f"shapes differ at {key!r}: {labels[0]} has {tuple(tensor.shape)}, "
                    f"{label} has {tuple(other[key].shape)}{_vocabulary_hint(key)}"
                )
            if tensor.dtype != other[key].dtype:
                raise MergeError(
                    f"dtypes differ at {key!r}: {labels[0]} has {tensor.dtype}, {label} has {other[key].dtype}; "
                    "convert one of them first"
                )


def _vocabulary_hint(key: str) -> str:
    embedding = any(part in key for part in ("embed", "wte", "lm_head"))
    return "; the models have different vocabularies" if embedding else ""


def check_finite(tensor: Tensor, name: str, owner: str) -> None:
    """Raise `NonFinite` naming the tensor and its owner when a floating tensor holds NaN or infinity."""
    if not tensor.is_floating_point():
        return
    flat = tensor.detach().reshape(-1)
    wide = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    bad = 0
    for start in range(0, flat.numel(), 1 << 20):
        chunk = flat[start : start + (1 << 20)]
        # a sum keeps NaN and infinity and is cheaper than a look at every value, which is left to doubtful chunks
        if not math.isfinite(float(chunk.sum(dtype=wide))):
            bad += int((~torch.isfinite(chunk)).sum())
    if bad:
        raise NonFinite(f"{owner} has {bad} non-finite values in {name!r}")


def same_tensor(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of one shape and dtype hold the same values."""
    return (a.data_ptr() == b.data_ptr() and a.stride() == b.stride() and a.device == b.device) or torch.equal(a, b)


def tensor_generator(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator counted per tensor: seeded by `seed` and names, so that draws do not depend on order."""
    digest = hashlib.sha256("\x1f".join([str(seed), *map(str, names)]).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") & 0x7FFF_FFFF_FFFF_FFFF)
