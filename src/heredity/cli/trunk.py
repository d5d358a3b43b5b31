"""The surviving trunk of a lineage: ancestors of what lives, everything else counted where it branched off.

Works on whole labs in plain lists indexed by birth: no recursion (a lineage may be a million births deep) and no object
per birth.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from heredity.lab.refs import direction_of

if TYPE_CHECKING:
    from heredity.lab import Lab


@dataclass(slots=True)
class Fold:
    """Births that are not drawn: how many, how many of them live, the best value among them."""

    births: int = 0
    living: int = 0
    best: float | None = None

    def add(self, other: Fold, *, low: bool = False) -> None:
        """Count another fold's births too; `low`: lower values are better."""
        self.births += other.births
        self.living += other.living
        if other.best is not None and (
            self.best is None or (other.best < self.best if low else other.best > self.best)
        ):
            self.best = other.best


@dataclass
class Forest:
    """All births by position, along primary parents.

    Args:
        ids: id of each.
        parents: position of the primary parent; -1 for roots and where the parent's record is missing.
        children: positions, oldest first.
        roots: where drawing starts.
        order: positions with parents before children; only what hangs below the roots.
        depths: generations below the root; -1 outside `order`.
        values: the metric, where measured.
        dead: whether a population let it go.
        names: of those that have any.
        any_deaths: whether any of these births has died.
        best: position of the best value, the first born of equals.
        low: whether lower values are better, as the births' searches say.
    """

    ids: list[str]
    parents: list[int]
    children: list[list[int]]
    roots: list[int]
    order: list[int]
    depths: list[int]
    values: list[float | None]
    dead: list[bool]
    names: dict[int, list[str]]
    any_deaths: bool
    best: int | None
    low: bool = False


def read_forest(lab: Lab, metric: str | None, root: str | None = None) -> Forest:
    """The lab's births, or those that descend from one; a few statements, whatever the size."""
    rows = lab.index.query("SELECT id, parent, time FROM births")
    rows.sort(key=lambda row: (row[2], row[0]))
    ids = [row[0] for row in rows]
    places = {birth: place for place, birth in enumerate(ids)}
    parents = [places.get(row[1], -1) for row in rows]
    children: list[list[int]] = [[] for _ in ids]
    for place, parent in enumerate(parents):
        if parent >= 0:
            children[parent].append(place)
    roots = [places[root]] if root is not None else [place for place, parent in enumerate(parents) if parent < 0]
    order, depths = list(roots), [-1] * len(ids)
    for place in roots:
        depths[place] = 0
    for place in order:  # grows while it is walked
        for child in children[place]:
            depths[child] = depths[place] + 1
        order.extend(children[place])
    values: list[float | None] = [None] * len(ids)
    for birth, value in lab.index.query("SELECT id, value FROM metrics WHERE metric = ?", (metric,)):
        if birth in places:
            values[places[birth]] = value
    dead = [False] * len(ids)
    for (birth,) in lab.index.query("SELECT id FROM deaths"):
        if birth in places:
            dead[places[birth]] = True
    names: dict[int, list[str]] = {}
    for name, birth in lab.index.query("SELECT name, id FROM names ORDER BY time, name"):
        if birth in places:
            names.setdefault(places[birth], []).append(name)
    low = metric is not None and direction_of(lab.index, metric) == "min"
    measured = ((-value if low else value, -place) for place in order if (value := values[place]) is not None)
    best = max(measured, default=None)
    any_deaths = any(dead[place] for place in order)
    return Forest(
        ids, parents, children, roots, order, depths, values, dead, names, any_deaths, -best[1] if best else None, low
    )


def tips(forest: Forest, most: int) -> list[int]:
    """The births whose descent is drawn: the best, the named and the newest, then living ones, or leaves where nothing
    has died, best first, until there are `most`."""
    always = {place for place in forest.names if forest.depths[place] >= 0}
    if forest.best is not None:
        always.add(forest.best)
    if forest.order:
        always.add(max(forest.order))
    if forest.any_deaths:
        candidates = [place for place in forest.order if not forest.dead[place]]
    else:
        candidates = [place for place in forest.order if not forest.children[place]]

    def rank(place: int) -> tuple[float, int]:
        value = forest.values[place]
        return (float("-inf") if value is None else -value if forest.low else value, place)

    candidates.sort(key=rank, reverse=True)
    return [*always, *(place for place in candidates if place not in always)][: max(most, len(always))]


@dataclass
class Trunk:
    """What is drawn of a forest.

    Args:
        drawn: by position.
        branches: drawn children of each drawn birth.
        folds: what is folded at a drawn birth.
        lost: what hangs on roots that are not drawn.
        lost_roots: how many such roots.
    """

    drawn: list[bool]
    branches: dict[int, list[int]] = field(default_factory=dict)
    folds: dict[int, Fold] = field(default_factory=dict)
    lost: Fold = field(default_factory=Fold)
    lost_roots: int = 0


def grow_trunk(forest: Forest, ends: Iterable[int], *, depth: int | None = None, everything: bool = False) -> Trunk:
    """The ancestors of some births, and everything else folded into them.

    Args:
        ends: positions.
        depth: generations to draw at most; deeper births are folded.
        everything: draw all births, whatever the ends.
    """
    drawn = [False] * len(forest.ids)
    if everything:
        for place in forest.order:
            drawn[place] = True
    for end in ends:
        place = end
        while place >= 0 and not drawn[place] and forest.depths[place] >= 0:
            drawn[place] = True
            place = forest.parents[place]
    if depth is not None:
        for place in forest.order:
            drawn[place] = drawn[place] and forest.depths[place] <= depth
    trunk = Trunk(drawn)
    below: dict[int, Fold] = {}
    roots = set(forest.roots)
    for place in reversed(forest.order):
        if drawn[place]:
            continue
        fold = below.pop(place, None) or Fold()
        fold.add(Fold(1, not forest.dead[place], forest.values[place]), low=forest.low)
        if place in roots:
            trunk.lost.add(fold, low=forest.low)
            trunk.lost_roots += 1
            continue
        parent = forest.parents[place]
        (trunk.folds if drawn[parent] else below).setdefault(parent, Fold()).add(fold, low=forest.low)
    for place in forest.order:
        if drawn[place]:
            trunk.branches[place] = [child for child in forest.children[place] if drawn[child]]
    return trunk


@dataclass(slots=True)
class Row:
    """One line of the drawing: a birth, or a run of births that is folded into a line.

    Args:
        place: the birth, or the first of the run.
        stem: strokes before the mark.
        run: the births of a folded run; empty for a single birth.
        first: whether a new root begins.
    """

    place: int
    stem: str
    run: list[int] = field(default_factory=list)
    first: bool = False


def lay_out(forest: Forest, trunk: Trunk, *, plain: set[int] | None = None, longest: int = 8) -> list[Row]:
    """Lines of the drawing, from the roots on.

    The child with most drawn descendants goes on straight below its parent and only its siblings are indented, so that
    depth costs no width: n births are indented at most log2(n) times.

    Args:
        plain: births that may be folded when they follow one another in a row; None folds no rows.
        longest: rows up to this length are never folded.
    """
    weight: dict[int, int] = {}
    for place in reversed(forest.order):
        if trunk.drawn[place]:
            weight[place] = 1 + sum(weight[child] for child in trunk.branches[place])
    rows: list[Row] = []
    stack = [Row(root, "", first=True) for root in reversed(forest.roots) if trunk.drawn[root]]
    bodies = {row.place: "" for row in stack}
    while stack:
        row = stack.pop()
        body = bodies.pop(row.place)
        run = _run_from(row.place, trunk, plain) if plain else []
        if len(run) > longest:
            rows.append(row)
            rows.append(Row(run[1], body, run=run[1:-1]))
            row = Row(run[-1], body)
        rows.append(row)
        branches = trunk.branches[row.place]
        if branches:
            heir = max(branches, key=lambda child: (weight[child], child))
            stack.append(Row(heir, body))
            bodies[heir] = body
            for child in reversed(branches):
                if child != heir:
                    stack.append(Row(child, body + "├─"))
                    bodies[child] = body + "│ "
    return rows


def _run_from(place: int, trunk: Trunk, plain: set[int]) -> list[int]:
    run = []
    while place in plain and len(trunk.branches[place]) == 1:
        run.append(place)
        place = trunk.branches[place][0]
    return run
