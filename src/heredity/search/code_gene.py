"""A candidate that is source code: one Python file, cut at marker lines into blocks that can be changed alone.

Source: Morris, Jurado & Zutty, LLM Guided Evolution (arXiv 2403.11446), whose genomes are files with `# --OPTION--`.
"""

from __future__ import annotations

import ast
import hashlib
import re
from dataclasses import dataclass
from functools import cached_property

MARKER = "# --OPTION--"
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")  # as Python counts lines


@dataclass(frozen=True)
class CodeGene:
    """Source code in blocks.

    Args:
        source: the file. Lines that are the marker, alone but for spaces around it, stand between blocks.
        marker: the text of such a line; a comment, so that the file runs as it is.

    Blocks and markers together are the file, byte for byte.

    >>> gene = CodeGene("import math\\n# --OPTION--\\nx = 1\\n")
    >>> gene.blocks
    ('import math\\n', 'x = 1\\n')
    >>> gene.replace(1, "x = 2\\n").source
    'import math\\n# --OPTION--\\nx = 2\\n'
    """

    source: str
    marker: str = MARKER

    def __post_init__(self) -> None:
        if not self.marker.startswith("#") or self.marker != self.marker.strip() or "\n" in self.marker:
            raise ValueError(f"a marker is one line of comment without spaces around it, got {self.marker!r}")

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """Blocks and marker lines in turn, beginning and ending with a block."""
        parts = [""]
        for line in _LINE.findall(self.source):
            if line.strip() == self.marker:
                parts += [line, ""]
            else:
                parts[-1] += line
        return tuple(parts)

    @property
    def blocks(self) -> tuple[str, ...]:
        """The text between marker lines; block 0 comes before the first of them."""
        return self.parts[::2]

    def replace(self, i: int, code: str) -> CodeGene:
        """A gene with another block `i`; a newline is added where a marker would not be a line of its own.

        Raises:
            IndexError: there is no such block.
            ValueError: the code holds a marker line, which would make more blocks.
        """
        parts = list(self.parts)
        if not 0 <= i < len(self.blocks):
            raise IndexError(f"the gene has blocks 0 to {len(self.blocks) - 1}, not {i}")
        if any(line.strip() == self.marker for line in _LINE.findall(code)):
            raise ValueError(f"the code of block {i} holds a line {self.marker!r}, which stands between blocks only")
        if 2 * i + 1 < len(parts) and code and not code.endswith(("\n", "\r")):
            code += "\n"
        if i and code and not parts[2 * i - 1].endswith(("\n", "\r")):
            parts[2 * i - 1] += "\n"
        parts[2 * i] = code
        return CodeGene("".join(parts), self.marker)

    @cached_property
    def key(self) -> str:
        """The same for sources whose syntax tree is the same: layout, comments and docstrings do not count.

        Source that cannot be parsed is known by its text.
        """
        try:
            tree = ast.parse(self.source)
            _without_docstrings(tree)
            text = ast.dump(tree)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            text = "text:" + self.source
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _without_docstrings(tree: ast.AST) -> None:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
