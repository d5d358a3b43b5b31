"""Inside the sandbox: a user's evaluator beside the program that it judges. It imports nothing of Heredity's."""

from __future__ import annotations

import types
from typing import Any


def judge(program: types.ModuleType, source: str, file: str, function: str) -> Any:
    """What a function of an evaluator's source says of a program's module.

    Args:
        program: the module of the program.
        source: of the evaluator; file: where it came from; function: of it.
    """
    evaluator = types.ModuleType("evaluator")
    evaluator.__file__ = file
    exec(compile(source, file, "exec", dont_inherit=True), evaluator.__dict__)
    return getattr(evaluator, function)(program)
