"""The Python files of an installation: found, decoded and parsed, never imported or executed."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import io
import platform
import sys
import sysconfig
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

TEST_FOLDERS = frozenset({"test", "tests", "idle_test"})
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def read_modules(
    packages: Sequence[str], exclude_tests: bool, skipped: Counter[str]
) -> Iterator[tuple[str, str, ast.Module]]:
    """Name, text and syntax tree of every module, in the order of the names.

    Args:
        packages: "stdlib" for all of the standard library, or top-level names of installed packages or modules.
        exclude_tests: leave out folders test, tests and idle_test, and files test_*.py and conftest.py.
        skipped: files left out are counted here as "encoding", "syntax" or "empty".

    Raises:
        ValueError: a package is not installed or holds no Python file.
    """
    files = {module: path for package in packages for module, path in _files(package, exclude_tests)}
    for module, path in sorted(files.items()):
        try:
            text = decode(path.read_bytes())
        except (SyntaxError, UnicodeDecodeError):  # detect_encoding raises SyntaxError for an unknown encoding
            skipped["encoding"] += 1
            continue
        if not text.strip():
            skipped["empty"] += 1
            continue
        try:
            tree = parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            skipped["syntax"] += 1
            continue
        yield module, text, tree


def _files(package: str, exclude_tests: bool) -> Iterator[tuple[str, Path]]:
    if package == "stdlib":
        base = Path(sysconfig.get_path("stdlib"))
        # By name: what else lies in the folder (site-packages, _sysconfigdata of one build) differs between machines.
        tops = sys.stdlib_module_names | {"test"}
        paths = [p for top in tops for p in (base / f"{top}.py", *(base / top).rglob("*.py")) if p.is_file()]
        found = [(p, p.relative_to(base)) for p in paths]
    else:
        found = list(_installed(package))
    count = 0
    for path, relative in found:
        parts = relative.with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        # The reference text is a Python file of 0.7 million characters; `reference_prose` reads it.
        if module == "pydoc_data.topics" or not all(part.isidentifier() for part in parts):
            continue
        tested = TEST_FOLDERS.intersection(parts[:-1]) or parts[-1].startswith("test_") or parts[-1] == "conftest"
        if not (exclude_tests and tested):
            count += 1
            yield module, path
    if not count:
        raise ValueError(f"{package!r} holds no Python file to read")


def _installed(package: str) -> Iterator[tuple[Path, Path]]:
    # The spec of a dotted name would import its parents; that of a top-level name imports nothing.
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None:
        raise ValueError(f'package {package!r} must be "stdlib" or an installed top-level name')
    for folder in map(Path, spec.submodule_search_locations or ()):
        yield from ((path, package / path.relative_to(folder)) for path in folder.rglob("*.py"))
    if not spec.submodule_search_locations and spec.origin and spec.origin.endswith(".py"):
        yield Path(spec.origin), Path(f"{package}.py")


def decode(data: bytes) -> str:
    """Text of a file in the encoding that it declares (PEP 263), with "\\n" at the end of lines.

    Raises:
        SyntaxError: unknown encoding, or not UTF-8 without declaring another.
        UnicodeDecodeError: bytes that are not of the declared encoding.
    """
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def parse(text: str) -> ast.Module:
    """Syntax tree of a text.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: it is not Python, or nested too deeply.
    """
    with warnings.catch_warnings():  # old escapes such as "\d" warn; they are not ours to repair
        warnings.simplefilter("ignore")
        return ast.parse(text)


def versions(packages: Iterable[str]) -> tuple[str, ...]:
    """Python's name and version, then those of the distributions that hold these packages."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    names: list[str] = []
    for package in packages:
        if package == "stdlib" or package in sys.stdlib_module_names:
            names.append(python)
            continue
        owners = importlib.metadata.packages_distributions().get(package, [])
        names += [f"{owner} {importlib.metadata.version(owner)}" for owner in sorted(set(owners))] or [package]
    return tuple(dict.fromkeys([python, *names]))  # Python's parser decides what is read of every package


def definitions(node: ast.AST, prefix: str = "", in_class: bool = False) -> Iterator[tuple[str, Definition, bool]]:
    """Qualified name, node and whether it stands in a class, of every class and function outside of functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + child.name, child, in_class
        elif isinstance(child, ast.ClassDef):
            yield prefix + child.name, child, in_class
            yield from definitions(child, f"{prefix}{child.name}.", True)
        elif isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield from definitions(child, prefix, in_class)


def parameters(args: ast.arguments, bound: bool) -> tuple[str, ...]:
    """Names with their stars, in order; `bound` leaves out the first (self or cls)."""
    names = [a.arg for a in (*args.posonlyargs, *args.args)][bound:]
    names += [f"*{args.vararg.arg}"] if args.vararg else []
    names += [a.arg for a in args.kwonlyargs]
    return (*names, *([f"**{args.kwarg.arg}"] if args.kwarg else []))
