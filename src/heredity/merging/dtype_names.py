"""Types of tensors' elements by torch's names, so that a merge is planned, and a simple one run, without loading torch.

Source: the codes of the safetensors format, and `torch.promote_types` for floating types.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# The format's codes: torch's name of the type, and bytes per element.
CODES: dict[str, tuple[str, int]] = {
    "F64": ("float64", 8),
    "F32": ("float32", 4),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "I64": ("int64", 8),
    "I32": ("int32", 4),
    "I16": ("int16", 2),
    "I8": ("int8", 1),
    "U64": ("uint64", 8),
    "U32": ("uint32", 4),
    "U16": ("uint16", 2),
    "U8": ("uint8", 1),
    "BOOL": ("bool", 1),
    "C64": ("complex64", 8),
}
CODE_OF = {name: code for code, (name, _) in CODES.items()}
_SIZES = dict(CODES.values())


def item_size(name: str) -> int:
    """Bytes of an element."""
    return _SIZES[name]


def is_floating(name: str) -> bool:
    """Whether it is a type of real floating-point numbers."""
    return name.startswith(("float", "bfloat"))


def promoted(names: Iterable[str]) -> str:
    """The narrowest of float16, bfloat16, float32 and float64 that holds all floating types among the names exactly.

    Raises:
        ValueError: none of them is one of these four.
    """
    found = {name for name in names if is_floating(name)}
    if not found or not found <= {"float16", "bfloat16", "float32", "float64"}:
        raise ValueError(f"one of float16, bfloat16, float32 and float64 is needed, got {sorted(found)}")
    if len(found) == 1:
        return found.pop()
    return "float64" if "float64" in found else "float32"


def name_of(dtype: torch.dtype) -> str:
    """The name of torch's own."""
    return str(dtype).removeprefix("torch.")


def torch_dtype(name: str) -> torch.dtype:
    """torch's own; loads torch."""
    import torch

    dtype: torch.dtype = getattr(torch, name)
    return dtype
