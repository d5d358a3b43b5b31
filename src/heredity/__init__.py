"""Heredity: descent with modification, for neural networks.

An operator turns parents, evidence and a seed into a child; the lab records the birth.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heredity.lab import Lab as Lab
    from heredity.lab import Model as Model
    from heredity.lab import Operator as Operator
    from heredity.lab import Probe as Probe
    from heredity.lab import Request as Request
    from heredity.lab.engine import Evolution as Evolution
    from heredity.lab.evolved import Evolved as Evolved

__version__ = "0.1.0.dev0"

# Resolved on first use: importing heredity must not import torch.
_LAB = ("Architecture", "Child", "Context", "Lab", "Model", "Operator", "Parents", "Probe", "Request", "architecture")
_ENGINE = {"Evolution": "heredity.lab.engine", "Evolved": "heredity.lab.evolved"}
_LAZY = {**dict.fromkeys(_LAB, "heredity.lab"), **_ENGINE}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'heredity' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
