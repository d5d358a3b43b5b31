"""Edits of Python code as seeded rewrites of its syntax tree, and pairs of functions before and after them.

`DISGUISES` keep what a function does and change how it looks, as somebody does who copies code: what a clone detector
has to see through. They are careful where they cannot know: names that are looked up by text stay, calls are not
reordered. A type that defines its own comparisons, or operators with side effects, can still tell.
Sources: the kinds of disguise are those of Roy, Cordy & Koschke, Comparison and Evaluation of Code Clone Detection
Techniques (2009), scenarios S2–S4; pairs before and after an edit as in arXiv 2501.12079.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from heredity.data.corpus import Document
from heredity.data.disguises import (
    change_constants,
    drop_docstrings,
    expand_augmented,
    flip_comparison,
    for_to_while,
    invert_if,
    rename,
    swap_statements,
)
from heredity.data.python_files import definitions, parse

Kind: TypeAlias = Literal["modernise", "bug", "api", "style", "security", "disguise"]
Rewrite: TypeAlias = Callable[[ast.Module, np.random.Generator], bool]


@dataclass(frozen=True)
class EditPair:
    """Code before and after an edit.

    Args:
        old, new: whole functions.
        message: what the edit does, in one line.
        lang: of the code.
        kind: of the edit.
        sites: how many edits were made.
    """

    old: str
    new: str
    message: str
    lang: str = "python"
    kind: str = ""
    sites: int = 1


@dataclass(frozen=True)
class CodeEdit:
    """A rewrite of a syntax tree.

    Args:
        name: short, unique among its kind.
        kind: what it is good for.
        rewrite: changes a tree in place; False when it found no place, and then the tree is as before.
        message: what it does, in a few words.
        needs_update: whether a test of the old code has to change; None where that depends.
    """

    name: str
    kind: Kind
    rewrite: Rewrite
    message: str = ""
    needs_update: bool | None = None

    def apply(self, tree: ast.AST, rng: np.random.Generator) -> ast.Module | None:
        """A changed copy of a module's or a function's tree; None where the edit has no place in it."""
        changed = copy.deepcopy(tree)
        module = changed if isinstance(changed, ast.Module) else ast.Module([changed], [])  # type: ignore[list-item]
        return ast.fix_missing_locations(module) if self.rewrite(module, rng) else None


DISGUISES: tuple[CodeEdit, ...] = (
    CodeEdit("rename", "disguise", rename, "rename identifiers", needs_update=False),
    CodeEdit("drop_docstrings", "disguise", drop_docstrings, "drop docstrings", needs_update=False),
    CodeEdit("swap_statements", "disguise", swap_statements, "swap independent statements", needs_update=False),
    CodeEdit("for_to_while", "disguise", for_to_while, "turn a for loop into a while loop", needs_update=False),
    CodeEdit("change_constants", "disguise", change_constants, "write constants otherwise", needs_update=False),
    CodeEdit("flip_comparison", "disguise", flip_comparison, "turn a comparison round", needs_update=False),
    CodeEdit("invert_if", "disguise", invert_if, "swap the branches of a condition", needs_update=False),
    CodeEdit("expand_augmented", "disguise", expand_augmented, "write x += 1 as x = x + 1", needs_update=False),
)


@dataclass(frozen=True)
class Function:
    """A function of a corpus.

    Args:
        code: normalised by `ast.unparse`: without comments, layout and decorators, at the margin.
        module, name: where it stands.
    """

    code: str
    module: str
    name: str


def functions(documents: Iterable[Document], lines: tuple[int, int] = (5, 40)) -> Iterator[Function]:
    """The functions and methods outside of functions in documents of kind "source", with so many lines of code.

    Args:
        lines: least and most lines of the normalised code with its docstring.
    """
    for document in documents:
        for name, node, _ in definitions(parse(document.text)):
            if isinstance(node, ast.ClassDef):
                continue
            plain = copy.copy(node)
            plain.decorator_list = []
            code = ast.unparse(plain)
            if lines[0] <= code.count("\n") + 1 <= lines[1] and _parses(code):
                yield Function(code, document.module, name)


def applied(code: str, edits: Sequence[CodeEdit], count: int, rng: np.random.Generator) -> tuple[str, list[CodeEdit]]:
    """Code after up to `count` edits, and those that were made: drawn without replacement, in random order.

    An edit without a place is passed over. Where the result would not parse, nothing is made.
    """
    tree = parse(code)
    made: list[CodeEdit] = []
    for index in rng.permutation(len(edits)):
        if len(made) < count and edits[index].rewrite(tree, rng):
            ast.fix_missing_locations(tree)
            made.append(edits[index])
    text = ast.unparse(tree)
    return (text, made) if made and _parses(text) else (code, [])


def edited_functions(
    documents: Iterable[Document],
    edits: Sequence[CodeEdit],
    joint: tuple[int, int] = (1, 5),
    seed: int = 0,
    lines: tuple[int, int] = (3, 20),
) -> list[EditPair]:
    """For each function the pair before and after some of the edits; functions where none has a place are left out.

    Args:
        documents: a part of `heredity.data.corpus.python_source`.
        joint: least and most edits of one pair, drawn uniformly; fewer are made where fewer have a place.
        seed: of everything drawn; a function's edits depend on it and on its place alone.
        lines: as in `functions`.
    """
    if not 1 <= joint[0] <= joint[1]:
        raise ValueError(f"joint is a range of at least one edit, got {joint}")
    pairs = []
    for number, function in enumerate(functions(documents, lines)):
        rng = np.random.default_rng((seed, number))
        new, made = applied(function.code, edits, int(rng.integers(joint[0], joint[1] + 1)), rng)
        if made and new != function.code:
            message = ", ".join(edit.message or edit.name for edit in made)
            kinds = {edit.kind for edit in made}
            pairs.append(
                EditPair(function.code, new, message, kind=made[0].kind if len(kinds) == 1 else "", sites=len(made))
            )
    return pairs


def _parses(code: str) -> bool:
    try:
        parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
