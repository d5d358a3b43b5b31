"""Trees in Newick's notation, along primary parents: one tree, on a line of its own, for each root.

Every birth is a node, also one with a single child. Labels are quoted: the name where there is one, else the id.
A mate, a donor or a base cannot be said in this notation; the other formats keep them.

Source: the Newick standard of 1986 as PHYLIP documents it (quoted labels double their quotes).
"""

from __future__ import annotations

from typing import TextIO

from heredity.lab.interchange.lineage import Lineage, printable


def write_newick(lineage: Lineage, file: TextIO) -> None:
    """Write a lineage; no recursion, for a lineage may be deeper than the stack."""
    children: dict[str | None, list[str]] = {}
    for birth, parent in lineage.primary().items():
        children.setdefault(parent, []).append(birth)
    names: dict[str, str] = {}
    for name, birth in lineage.lab.index.query("SELECT name, id FROM names ORDER BY time, name"):
        names.setdefault(birth, name)
    for root in children.get(None, []):
        _write_tree(root, children, names, file)


def _write_tree(root: str, children: dict[str | None, list[str]], names: dict[str, str], file: TextIO) -> None:
    # (birth, whether its children are written, what stands before it)
    stack = [(root, False, "")]
    while stack:
        birth, done, before = stack.pop()
        below = children.get(birth, [])
        if below and not done:
            file.write(f"{before}(")
            stack.append((birth, True, ""))
            stack += [(child, False, "," if place else "") for place, child in reversed(list(enumerate(below)))]
            continue
        file.write(f"{'' if done else before}{')' if done else ''}{quoted(names.get(birth, birth))}")
    file.write(";\n")


def quoted(label: str) -> str:
    """A label that any reader takes as it is.

    >>> quoted("Darwin's (best)")
    "'Darwin''s (best)'"
    """
    return "'" + printable(label).replace("'", "''") + "'"
