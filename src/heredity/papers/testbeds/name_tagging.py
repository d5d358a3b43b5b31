"""A tagging task without a download: which part a name plays in Python source, from the tokens around it.

Tokens are the NAMEs of the standard library's files, tags what syntax tree and scopes say of them. Features are hashed
once into integers [N, columns], one non-zero of a sparse row for each, so that every learner reads the same matrix.
"""

from __future__ import annotations

import ast
import builtins
import io
import keyword
import tokenize
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from heredity.data.corpus import python_source

Integers: TypeAlias = NDArray[np.int64]
Place: TypeAlias = tuple[int, int]
Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

TAGS = (
    "keyword",
    "function definition",
    "class definition",
    "parameter",
    "keyword argument",
    "attribute",
    "method call",
    "call",
    "import",
    "local",
    "outer local",
    "global",
    "builtin",
    "class variable",
)
DIMENSIONS = 2**17
# Columns of the feature matrix: what each is made of.
WORD, SHAPES, CONTEXT = (0,), (1, 2, 3, 4, 5, 6, 7), (8, 9, 10, 11, 12)
COLUMNS = 13
GROUPS = {"all": (*WORD, *SHAPES, *CONTEXT), "shape": SHAPES, "context": CONTEXT, "word": WORD}
PER_FILE = 2000  # names read of one file, so that no file is a large part of everything
BUILTINS = frozenset(dir(builtins))


@dataclass(frozen=True)
class Tagged:
    """Names with their tags.

    Args:
        features: [N, COLUMNS] columns of a sparse matrix, below DIMENSIONS.
        tags: [N] places in TAGS.
        files: [N] number of the file.
    """

    features: Integers
    tags: Integers
    files: Integers


def read_names(count: int) -> Tagged:
    """The names of the standard library, file by file in the corpus' own order, until there are `count`.

    Raises:
        ValueError: there are fewer.
    """
    corpus = python_source(split=(1.0, 0.0, 0.0))
    features, tags, files, total = [], [], [], 0
    for number, document in enumerate(corpus.train):
        found, roles = _names_of(document.text)
        if not len(roles):
            continue
        features.append(found)
        tags.append(roles)
        files.append(np.full(len(roles), number))
        total += len(roles)
        if total >= count:
            return Tagged(np.concatenate(features), np.concatenate(tags), np.concatenate(files))
    raise ValueError(f"the standard library has {total} tagged names, {count} are wanted")


def divide(files: Integers, test: int, seed: int, share: float = 1 / 6, block: int = 8) -> tuple[Integers, Integers]:
    """Rows of the training names in order, and of the test names: of different files.

    Args:
        files: [N] number of each row's file.
        test: how many test names.
        seed: which files, which of their names, which order.
        share: of all names, in test files.
        block: consecutive names that stay together while blocks of all files are shuffled.

    Raises:
        ValueError: the test files have fewer names.
    """
    rng = np.random.default_rng(seed)
    names, sizes = np.unique(files, return_counts=True)
    order = rng.permutation(len(names))
    held = order[: int(np.searchsorted(np.cumsum(sizes[order]), share * len(files))) + 1]
    in_test = np.isin(files, names[held])
    pool, rest = np.flatnonzero(in_test), np.flatnonzero(~in_test)
    if len(pool) < test:
        raise ValueError(f"the test files hold {len(pool)} names, {test} are wanted")
    blocks = np.array_split(rest, range(block, len(rest), block))
    shuffled = np.concatenate([blocks[i] for i in rng.permutation(len(blocks))])
    return shuffled, rng.choice(pool, size=test, replace=False)


def roles(tree: ast.Module, lines: Sequence[str]) -> dict[Place, str]:
    """(line from 1, column in characters) of names → tag; keywords are not among them."""
    found: dict[Place, str] = {}
    _visit(tree, [_Names(_bound(tree), False)], found, lines)
    return found


def _names_of(text: str) -> tuple[Integers, Integers]:
    """Features [n, COLUMNS] and tags [n] of a file's names."""
    lines = text.split("\n")
    known = roles(ast.parse(text), lines)
    tokens = [
        token
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER)
    ]
    forms = ["<>", "<>", *(_form(token) for token in tokens), "<>", "<>"]
    rows, tags = [], []
    for place, token in enumerate(tokens, 2):
        if token.type != tokenize.NAME:
            continue
        tag = "keyword" if keyword.iskeyword(token.string) else known.get(token.start)
        if tag is None:  # names in a `global` statement, after `except … as`, in patterns
            continue
        rows.append(_features(forms[place - 2 : place + 3]))
        tags.append(TAGS.index(tag))
        if len(tags) == PER_FILE:
            break
    return np.array(rows, dtype=np.int64).reshape(-1, COLUMNS), np.array(tags, dtype=np.int64)


def _form(token: tokenize.TokenInfo) -> str:
    kinds = {tokenize.STRING: "<str>", tokenize.NUMBER: "<num>", tokenize.NEWLINE: "<line>"}
    kinds |= {tokenize.INDENT: "<in>", tokenize.DEDENT: "<out>"}
    return kinds.get(token.type, token.string)


def _features(window: Sequence[str]) -> list[int]:
    """Hashes of the word, its prefixes, suffixes and shape, and of the two tokens on either side."""
    before2, before, word, after, after2 = window
    parts = (
        word,
        word[:1],
        word[:2],
        word[:3],
        word[-1:],
        word[-2:],
        word[-3:],
        _shape(word),
        before2,
        before,
        after,
        after2,
        f"{before} {after}",
    )
    return [zlib.crc32(f"{column} {part}".encode()) % DIMENSIONS for column, part in enumerate(parts)]


def _shape(word: str) -> str:
    """ "get_Value2" → "x_Xx9": runs of a kind of letter once."""
    kinds = ["_" if c == "_" else "9" if c.isdigit() else "X" if c.isupper() else "x" for c in word]
    return "".join(kind for i, kind in enumerate(kinds) if i == 0 or kind != kinds[i - 1])


# Roles


@dataclass(frozen=True)
class _Names:
    """What a scope binds, and whether it is the body of a class."""

    bound: frozenset[str]
    in_class: bool


def _visit(node: ast.AST, scopes: list[_Names], found: dict[Place, str], lines: Sequence[str]) -> None:
    """Tag the names of a node's children. The first scope is the module."""
    for child in ast.iter_child_nodes(node):
        inner = scopes
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            is_class = isinstance(child, ast.ClassDef)
            start = lines[child.lineno - 1].find(child.name, child.col_offset + len("class" if is_class else "def"))
            found[child.lineno, start] = "class definition" if is_class else "function definition"
        if isinstance(child, ast.ClassDef):
            outside = [*child.bases, *child.keywords, *child.decorator_list]
            _visit(_group(outside), scopes, found, lines)
            inside = [*scopes, _Names(_bound(child), True)]
            _visit(_group(child.body), inside, found, lines)
            continue
        if isinstance(child, Scope):
            body = [child.body] if isinstance(child, ast.Lambda) else child.body
            marks: list[ast.AST | None] = [child.args]
            if not isinstance(child, ast.Lambda):
                marks += [*child.decorator_list, child.returns]
            _visit(_group(marks), scopes, found, lines)
            _visit(_group(body), [*scopes, _Names(_bound(child), False)], found, lines)
            continue
        if isinstance(child, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            inner = [*scopes, _Names(_bound(child), False)]
        _tag(child, scopes, found, lines)
        _visit(child, inner, found, lines)


def _group(nodes: Sequence[ast.AST | None]) -> ast.AST:
    """A node whose children these are."""
    return ast.Module(body=[node for node in nodes if node is not None], type_ignores=[])  # type: ignore[misc]


def _tag(node: ast.AST, scopes: list[_Names], found: dict[Place, str], lines: Sequence[str]) -> None:
    def put(line: int, byte: int, tag: str) -> None:
        text = lines[line - 1]
        column = byte if text.isascii() else len(text.encode()[:byte].decode(errors="replace"))
        found.setdefault((line, column), tag)

    if isinstance(node, ast.Call):  # before the function itself is visited
        called = node.func
        if isinstance(called, ast.Name):
            put(called.lineno, called.col_offset, "call")
        elif isinstance(called, ast.Attribute) and called.end_lineno is not None and called.end_col_offset is not None:
            put(called.end_lineno, called.end_col_offset - len(called.attr.encode()), "method call")
    elif isinstance(node, ast.Attribute) and node.end_lineno is not None and node.end_col_offset is not None:
        put(node.end_lineno, node.end_col_offset - len(node.attr.encode()), "attribute")
    elif isinstance(node, ast.Name):
        put(node.lineno, node.col_offset, _scope_of(node.id, scopes))
    elif isinstance(node, ast.arg):
        put(node.lineno, node.col_offset, "parameter")
    elif isinstance(node, ast.keyword) and node.arg is not None:
        put(node.lineno, node.col_offset, "keyword argument")
    elif isinstance(node, ast.alias):
        put(node.lineno, node.col_offset, "import")


def _scope_of(name: str, scopes: list[_Names]) -> str:
    """Which scope a use of a name reads."""
    innermost = scopes[-1]
    if len(scopes) > 1 and name in innermost.bound:
        return "class variable" if innermost.in_class else "local"
    if any(name in scope.bound and not scope.in_class for scope in scopes[1:-1]):
        return "outer local"
    return "builtin" if name in BUILTINS and name not in scopes[0].bound else "global"


def _bound(scope: ast.AST) -> frozenset[str]:
    """Names that a module, class, function, lambda or comprehension binds itself."""
    names: set[str] = set()
    elsewhere: set[str] = set()
    if isinstance(scope, Scope):
        arguments = scope.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        names.update(argument.arg for argument in every if argument is not None)
    for node in _own(scope):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            elsewhere.update(node.names)
    return frozenset(names - elsewhere)


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes in a scope that are not in another one inside of it."""
    if isinstance(scope, Scope | ast.ClassDef):
        waiting: list[ast.AST] = [scope.body] if isinstance(scope, ast.Lambda) else list(scope.body)
    else:
        waiting = list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop()
        yield node
        closed = Scope | ast.ClassDef | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
        if not isinstance(node, closed):
            waiting.extend(ast.iter_child_nodes(node))
