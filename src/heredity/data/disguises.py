"""Rewrites of a syntax tree that keep what the code does. Each changes a module in place and says whether it did.

A rewrite draws one place from those it finds, or all of a kind where the docstring says so.
"""

from __future__ import annotations

import ast
import builtins
import keyword
from collections.abc import Iterator
from typing import TypeAlias, TypeVar

import numpy as np

Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"
Rng: TypeAlias = np.random.Generator
Node = TypeVar("Node", bound=ast.AST)

# What people call things; a disguise by made-up names would be seen by the names alone.
_WORDS = (
    "value item data result node name key index line text part entry size count buf obj arg out res tmp first last "
    "left right start stop end pos cur prev total limit mode flag state info path base other source target body "
    "head"
)
NAMES = tuple(_WORDS.split())
VERBS = ("get", "make", "find", "check", "read", "build", "run", "load", "parse", "update", "handle", "apply")
BY_TEXT = frozenset({"locals", "globals", "vars", "eval", "exec", "dir", "super"})
TURNED = {ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE, ast.Eq: ast.Eq, ast.NotEq: ast.NotEq}


def rename(module: ast.Module, rng: Rng) -> bool:
    """New names for functions that stand at the margin, their parameters and their local names; all of them.

    What is reached by text stays: attributes, keywords, names declared global, and everything in code that looks into
    its own scope. Names that are bound in nested functions or classes stay, too.
    """
    changed = False
    for function in [node for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]:
        mapping = _new_names(function, rng)
        if mapping:
            _Renamer(mapping).visit(function)
            changed = True
    return changed


def drop_docstrings(module: ast.Module, rng: Rng) -> bool:
    """No docstring, anywhere."""
    changed = False
    for node in ast.walk(module):
        holds_text = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if holds_text and ast.get_docstring(node, clean=False) is not None:  # type: ignore[arg-type]
            node.body = node.body[1:] or [ast.Pass()]  # type: ignore[attr-defined]
            changed = True
    return changed


def swap_statements(module: ast.Module, rng: Rng) -> bool:
    """Two neighbouring assignments of plain names change places where neither reads or writes what the other writes.

    At most one of them may call something, and then the other assigns a constant, so that no call sees the change.
    """
    places = [
        (body, i)
        for body in _bodies(module)
        for i in range(len(body) - 1)
        if _independent(body[i], body[i + 1], module)
    ]
    if not places:
        return False
    body, i = places[rng.integers(len(places))]
    body[i], body[i + 1] = body[i + 1], body[i]
    return True


def for_to_while(module: ast.Module, rng: Rng) -> bool:
    """A for loop without else becomes a while loop over its iterator."""
    places = [
        (body, i)
        for body in _bodies(module)
        for i, node in enumerate(body)
        if isinstance(node, ast.For) and not node.orelse
    ]
    if not places:
        return False
    body, i = places[rng.integers(len(places))]
    loop = body[i]
    assert isinstance(loop, ast.For)
    name = _fresh({node.id for node in _all(module, ast.Name)}, ("items", "source", "it", "steps", "queue"), rng)
    template = ast.parse(
        f"{name} = iter(0)\nwhile True:\n    try:\n        x = next({name})\n    except StopIteration:\n        break"
    )
    begin, turn = template.body
    assert isinstance(begin, ast.Assign) and isinstance(begin.value, ast.Call) and isinstance(turn, ast.While)
    step = turn.body[0]
    assert isinstance(step, ast.Try) and isinstance(step.body[0], ast.Assign)
    begin.value.args = [loop.iter]
    step.body[0].targets = [loop.target]
    turn.body += loop.body
    body[i : i + 1] = [begin, turn]
    return True


def change_constants(module: ast.Module, rng: Rng) -> bool:
    """Up to three constants: an integer as a sum, a text as two that are joined.

    Docstrings, f-strings, annotations, patterns and defaults stay.
    """
    taboo = _ids_of_kept_constants(module)
    places = [node for node in _all(module, ast.Constant) if id(node) not in taboo and _can_change(node.value)]
    if not places:
        return False
    chosen = {id(places[i]) for i in rng.permutation(len(places))[: int(rng.integers(1, 4))]}
    _ConstantSplitter(chosen, rng).visit(module)
    return True


def flip_comparison(module: ast.Module, rng: Rng) -> bool:
    """Half of the comparisons a < b, rounded up, become b > a where neither side calls anything."""
    places = [
        node
        for node in _all(module, ast.Compare)
        if len(node.ops) == 1 and type(node.ops[0]) in TURNED and not _has(node, ast.Call, ast.Await, ast.NamedExpr)
    ]
    if not places:
        return False
    for i in rng.permutation(len(places))[: (len(places) + 1) // 2]:
        node = places[i]
        node.ops = [TURNED[type(node.ops[0])]()]
        node.left, node.comparators = node.comparators[0], [node.left]
    return True


def invert_if(module: ast.Module, rng: Rng) -> bool:
    """if c: A else: B becomes if not c: B else: A."""
    places = [node for node in _all(module, ast.If) if node.orelse]
    if not places:
        return False
    node = places[rng.integers(len(places))]
    negated = isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not)
    node.test = node.test.operand if negated else ast.UnaryOp(ast.Not(), node.test)  # type: ignore[attr-defined]
    node.body, node.orelse = node.orelse, node.body
    return True


def expand_augmented(module: ast.Module, rng: Rng) -> bool:
    """x += 1 becomes x = x + 1, for all plain names x and numbers; a list would be changed in place, so others stay."""
    changed = False
    for body in _bodies(module):
        for i, node in enumerate(body):
            if not (isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name)):
                continue
            if isinstance(node.value, ast.Constant) and isinstance(node.value.value, int | float):
                value = ast.BinOp(ast.Name(node.target.id, ast.Load()), node.op, node.value)
                body[i] = ast.Assign([node.target], value)
                changed = True
    return changed


# Names


class _Renamer(ast.NodeTransformer):
    def __init__(self, mapping: dict[str, str]) -> None:
        self.mapping = mapping

    def visit_Name(self, node: ast.Name) -> ast.Name:
        node.id = self.mapping.get(node.id, node.id)
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.arg = self.mapping.get(node.arg, node.arg)
        self.generic_visit(node)
        return node

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.ExceptHandler:
        node.name = self.mapping.get(node.name, node.name) if node.name else None
        self.generic_visit(node)
        return node

    def _function(self, node: Function) -> Function:
        node.name = self.mapping.get(node.name, node.name)
        self.generic_visit(node)
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = _function  # noqa: N815


def _new_names(function: Function, rng: Rng) -> dict[str, str]:
    used = {node.id for node in _all(function, ast.Name)} | {node.arg for node in _all(function, ast.arg)}
    if used & BY_TEXT:
        return {}
    arguments = function.args
    parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    parameters += [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
    own = [a.arg for a in parameters]
    local = {node.id for node in _all(function, ast.Name) if isinstance(node.ctx, ast.Store)}
    local |= {node.name for node in _all(function, ast.ExceptHandler) if node.name}
    kept = {"self", "cls", "mcs", "_"} | {word.arg for word in _all(function, ast.keyword) if word.arg}
    for node in ast.walk(function):
        if isinstance(node, ast.Global | ast.Nonlocal):
            kept |= set(node.names)
        elif isinstance(node, ast.alias):
            kept.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.MatchAs | ast.MatchStar) and node.name:
            kept.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            kept.add(node.rest)
        elif node is not function and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            kept |= {a.arg for a in _all(node.args, ast.arg)}
            if not isinstance(node, ast.Lambda):
                kept.add(node.name)
        elif isinstance(node, ast.ClassDef):
            kept |= {name.id for name in _all(node, ast.Name) if isinstance(name.ctx, ast.Store)} | {node.name}
    wanted = [name for name in dict.fromkeys([*own, *sorted(local)]) if name not in kept and not _dunder(name)]
    taken = used | kept | {function.name} | set(dir(builtins))
    mapping = {}
    for name in wanted:
        mapping[name] = _fresh(taken, NAMES, rng)
        taken.add(mapping[name])
    if not _dunder(function.name) and function.name not in local | set(own):
        stem = f"{VERBS[rng.integers(len(VERBS))]}_{NAMES[rng.integers(len(NAMES))]}"
        mapping[function.name] = _fresh(taken, (stem,), rng)
    return mapping


def _fresh(taken: set[str], names: tuple[str, ...], rng: Rng) -> str:
    name = names[rng.integers(len(names))]
    number = 2
    while name in taken or keyword.iskeyword(name):
        name = f"{name.rstrip('0123456789')}{number}"
        number += 1
    return name


def _dunder(name: str) -> bool:
    return name.startswith("__")


# Statements


def _bodies(module: ast.AST) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(module):
        for field in ("body", "orelse", "finalbody"):
            body = getattr(node, field, None)
            if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
                yield body


def _independent(a: ast.stmt, b: ast.stmt, module: ast.Module) -> bool:
    for node in (a, b):
        if not (isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets)):
            return False
        if _has(node, ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr):
            return False
    (reads, writes), (other_reads, other_writes) = _names(a), _names(b)
    if writes & (other_reads | other_writes) or other_writes & reads:
        return False
    declared = {name for node in ast.walk(module) if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names}
    if (writes | other_writes) & declared or ast.dump(a) == ast.dump(b):
        return False
    calls = [_has(node, ast.Call) for node in (a, b)]
    constant = [isinstance(node.value, ast.Constant) for node in (a, b)]  # type: ignore[attr-defined]
    nested = len(_all(module, ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) > 1
    return not any(calls) or ((constant[0] or constant[1]) and not nested)


def _names(node: ast.stmt) -> tuple[set[str], set[str]]:
    reads = {name.id for name in _all(node, ast.Name) if isinstance(name.ctx, ast.Load)}
    return reads, {name.id for name in _all(node, ast.Name) if isinstance(name.ctx, ast.Store)}


# Constants


class _ConstantSplitter(ast.NodeTransformer):
    def __init__(self, chosen: set[int], rng: Rng) -> None:
        self.chosen, self.rng = chosen, rng

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if id(node) not in self.chosen:
            return node
        value = node.value
        if isinstance(value, int):
            part = int(self.rng.integers(1, min(value, 2**31)))
            return ast.BinOp(ast.Constant(value - part), ast.Add(), ast.Constant(part))
        assert isinstance(value, str)
        cut = int(self.rng.integers(1, len(value)))
        return ast.BinOp(ast.Constant(value[:cut]), ast.Add(), ast.Constant(value[cut:]))


def _can_change(value: object) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool) and value >= 2) or (
        isinstance(value, str) and len(value) >= 4
    )


def _ids_of_kept_constants(module: ast.Module) -> set[int]:
    kept: list[ast.AST | None] = []
    for node in ast.walk(module):
        if isinstance(node, ast.JoinedStr | ast.pattern | ast.Expr):
            # An expression statement of a text is a docstring or a comment; of anything else its constants may change.
            kept += [node] if not isinstance(node, ast.Expr) or isinstance(node.value, ast.Constant) else []
        elif isinstance(node, ast.arguments):
            kept += [*node.defaults, *node.kw_defaults]
        elif isinstance(node, ast.arg | ast.AnnAssign):
            kept.append(node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            kept.append(node.returns)
    return {id(part) for root in kept if root is not None for part in ast.walk(root)}


def _all(root: ast.AST, *kinds: type[Node]) -> list[Node]:
    return [node for node in ast.walk(root) if isinstance(node, kinds)]


def _has(root: ast.AST, *kinds: type[ast.AST]) -> bool:
    return any(isinstance(node, kinds) for node in ast.walk(root))
