"""A stand-in for a language model that edits networks by rules, and answers the same prompts as one would.

It knows kinds of places in code (a width, an activation, a learning rate, …) and moves for each. Asked to change a
block, it makes a random move, or now and then breaks the code. Shown what made another block better, it recognises
the moves that were made there and makes one of them here, if this block has such a place. Asked to unite two versions,
it takes each place from either. So whether showing it what worked helps is open.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from heredity.search.prompts import AFTER, SECOND, fences

Value: TypeAlias = "int | float | bool | str"
CHOICES: dict[str, tuple[str, ...]] = {
    "activation": ("ReLU", "SiLU", "GELU", "LeakyReLU", "Hardswish"),
    "norm": ("BatchNorm2d", "Identity"),
    "pool": ("MaxPool2d", "AvgPool2d"),
    "global pool": ("AdaptiveAvgPool2d", "AdaptiveMaxPool2d"),
    "optimizer": ("AdamW", "Adam", "NAdam", "RMSprop"),
}
FACTORS: dict[str, float] = {"rate": 1.5, "decay": 3.0}
STEPS: dict[str, tuple[float, float, float]] = {  # step, lowest, highest
    "kernel": (2, 1, 5),
    "depth": (1, 0, 4),
    "reduction": (2, 2, 8),
    "dropout": (0.1, 0.0, 0.5),
    "smoothing": (0.05, 0.0, 0.2),
}
SWITCHES = ("residual", "squeeze")
NARROW, WIDE = 4, 48  # widths stay between
BROKEN = (
    "I would rather not.",
    "```python\nclass Network(nn.Module\n```",
    "```python\nNetwork = undefined_network\n```",
    "Here it is:\n```python\nclass Network:",
)


@dataclass
class Site:
    """A place in code: what kind it is, what stands there, and where."""

    kind: str
    value: Value
    node: ast.Attribute | ast.Constant

    def put(self, value: Value) -> None:
        """Write another value there."""
        if isinstance(self.node, ast.Attribute):
            self.node.attr = str(value)
        else:
            self.node.value = value


@dataclass(frozen=True)
class Move:
    """A change of one kind of place: "up", "down", or what stands there afterwards."""

    kind: str
    to: str


def sites(tree: ast.AST) -> list[Site]:
    """The places of a block, in the order of its text."""
    found: list[Site] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            for kind, names in CHOICES.items():
                if node.attr in names:
                    found.append(Site(kind, node.attr, node))
        named: list[tuple[str, ast.expr]] = []
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            named = [(node.targets[0].id, node.value)]
        elif isinstance(node, ast.keyword) and node.arg:
            named = [(node.arg, node.value)]
        elif isinstance(node, ast.arguments) and node.defaults:
            named = [(a.arg, d) for a, d in zip(node.args[-len(node.defaults) :], node.defaults, strict=True)]
        for name, value in named:
            kind = name.rpartition("_")[2]
            known = kind == "width" or kind in FACTORS or kind in STEPS or kind in SWITCHES
            if known and isinstance(value, ast.Constant) and isinstance(value.value, (bool, int, float)):
                found.append(Site(kind, value.value, value))
    return sorted(found, key=lambda site: (site.node.lineno, site.node.col_offset))


def moved(site: Site, to: str) -> Value | None:
    """The value of a place after a move; None when the move is not possible there."""
    value: Value | None = None
    if site.kind in CHOICES or site.kind in SWITCHES:
        value = to if site.kind in CHOICES else to == "True"
    elif site.kind == "width":
        value = min(WIDE, max(NARROW, round(float(site.value) * (1.5 if to == "up" else 2 / 3))))
    elif site.kind in FACTORS:
        value = float(f"{float(site.value) * FACTORS[site.kind] ** (1 if to == 'up' else -1):.3g}")
    else:
        step, low, high = STEPS[site.kind]
        exact = min(high, max(low, float(site.value) + (step if to == "up" else -step)))
        value = int(exact) if isinstance(site.value, int) else round(exact, 3)
    return None if value == site.value else value


def moves(kind: str) -> list[Move]:
    """All moves of a kind of place."""
    if kind in CHOICES:
        return [Move(kind, name) for name in CHOICES[kind]]
    return [Move(kind, to) for to in (("True", "False") if kind in SWITCHES else ("up", "down"))]


def recognised(before: str, after: str) -> list[Move]:
    """The moves that lead from one version of a block to another, as far as they are moves."""
    old, new = sites(ast.parse(before)), sites(ast.parse(after))
    if [site.kind for site in old] != [site.kind for site in new]:
        return []
    found = []
    for a, b in zip(old, new, strict=True):
        if a.value != b.value:
            word = a.kind in CHOICES or a.kind in SWITCHES
            found.append(Move(a.kind, str(b.value) if word else "up" if float(b.value) > float(a.value) else "down"))
    return list(dict.fromkeys(found))


class RuleEditor:
    """A chat that answers prompts of `heredity.search.prompts` about blocks of `gene_nets`.

    Args:
        broken: probability that an answer is of no use, whatever was asked.
    """

    name = "rule editor"

    def __init__(self, broken: float = 0.1) -> None:
        self.broken = broken

    def reply(
        self,
        messages: list[dict[str, Any]],
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        max_tokens: int = 512,
        seed: int = 0,
    ) -> str:
        """An answer that depends on the last message and the seed."""
        rng = np.random.default_rng(seed)
        text = str(messages[-1]["content"])
        blocks = fences(text)
        if rng.random() < self.broken:
            return BROKEN[int(rng.integers(len(BROKEN)))]
        if f"\n{SECOND}\n" in text and len(blocks) == 2:
            return _answer("I united both.", united(blocks[0], blocks[1], rng))
        wanted = recognised(blocks[0], blocks[1]) if f"\n{AFTER}\n" in text and len(blocks) == 3 else []
        return _answer("I made a change.", changed(blocks[-1], wanted, rng))


def changed(block: str, wanted: Sequence[Move], rng: np.random.Generator) -> str:
    """A block after one of the wanted moves, or after any move where none of them is possible."""
    tree = ast.parse(block)
    places = sites(tree)
    for some in (wanted, [move for kind in dict.fromkeys(site.kind for site in places) for move in moves(kind)]):
        possible = [
            (site, value)
            for move in some
            for site in places
            if site.kind == move.kind and (value := moved(site, move.to)) is not None
        ]
        if possible:
            site, value = possible[int(rng.integers(len(possible)))]
            site.put(value)
            break
    return ast.unparse(tree)


def united(first: str, second: str, rng: np.random.Generator) -> str:
    """The first block with each place taken from either; the first as it is where the places do not correspond."""
    tree = ast.parse(first)
    mine, other = sites(tree), sites(ast.parse(second))
    if [site.kind for site in mine] == [site.kind for site in other]:
        for a, b in zip(mine, other, strict=True):
            if rng.random() < 0.5:
                a.put(b.value)
    return ast.unparse(tree)


def _answer(words: str, code: str) -> str:
    return f"{words}\n```python\n{code}\n```\n"
