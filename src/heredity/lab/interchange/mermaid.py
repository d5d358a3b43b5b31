"""A lineage as a Mermaid flowchart, which GitHub draws in a README.

Up to a number of births all are drawn. Of more, the trunk: named births, then living ones, newest first, with their
primary ancestors; a run of births in which nothing branches becomes one edge that says how many.

Source: Mermaid's flowchart syntax; entity codes (#35;) for whatever could end a label or mean something in it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import TextIO

from heredity.lab.interchange.lineage import Lineage, printable

MOST = 60  # births drawn before only the trunk is; a wider drawing cannot be read
EDGES = 500  # edges that Mermaid draws unless its page was configured otherwise
TEXT = 50_000  # characters that Mermaid takes unless its page was configured otherwise
_SHOWN = 60  # characters of a name that are shown
_PLAIN = re.compile(r"[A-Za-z0-9 _.,+=-]")
# Fill, stroke; light enough that black letters can be read on them in a light and in a dark page.
_CLASSES = {
    "origin": ("#cfe8fc", "#1f6feb", ("init", "import")),
    "learnt": ("#d5f0d5", "#2da44e", ("train", "adapt", "distill")),
    "varied": ("#fbeec2", "#bf8700", ("mutate", "explore", "exploit", "grow", "prune")),
    "merged": ("#f3d9f7", "#a040b0", ("merge", "crossover")),
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a drawing holds.

    Args:
        births: boxes.
        edges: arrows.
        folded: births that are not drawn.
        characters: length of the text.
    """

    births: int
    edges: int
    folded: int
    characters: int


def write_mermaid(lineage: Lineage, file: TextIO, *, most: int = MOST, everything: bool = False) -> Drawn:
    """Write a lineage.

    Args:
        lineage: the births.
        file: what is written to.
        most: births to draw; of a larger lineage, the trunk.
        everything: draw all births, however many.
    """
    primary = lineage.primary()
    shown: Collection[str] = lineage.ids
    if not everything and len(lineage) > most:
        kept = _trunk(lineage, primary, most)
        shown = [birth for birth in lineage.ids if birth in kept]
    folded = len(lineage) - len(shown)
    boxes = {birth: f"m{place}" for place, birth in enumerate(shown)}
    lines = ["flowchart TD"]
    if folded:
        lines.append(f"  %% {len(shown)} of {len(lineage)} births: the trunk")
    classes: dict[str, list[str]] = {}
    links: list[str] = []
    for birth in lineage.births(shown):
        here = boxes[birth.id]
        lines.append(f'  {here}["{_label(birth.label, birth.operator, birth.names)}"]')
        for style, (_, _, kinds) in _CLASSES.items():
            if birth.record["kind"] in kinds:
                classes.setdefault(style, []).append(here)
        links += _links(birth.id, birth.edges, primary, boxes)
    lines += links
    for style, members in classes.items():
        fill, stroke, _ = _CLASSES[style]
        lines.append(f"  classDef {style} fill:{fill},stroke:{stroke},color:#000000")
        lines.append(f"  class {','.join(members)} {style}")
    text = "\n".join(lines) + "\n"
    file.write(text)
    return Drawn(len(shown), len(links), folded, len(text))


def _links(
    birth: str, edges: list[tuple[str, str]], primary: dict[str, str | None], boxes: dict[str, str]
) -> list[str]:
    """The arrow from the nearest drawn primary ancestor, and dotted ones from the other parents that are drawn."""
    links, here, skipped = [], boxes[birth], 0
    up = primary[birth]
    while up is not None and up not in boxes:
        up, skipped = primary[up], skipped + 1
    if up is not None:
        count = f'|"{skipped} birth{"s" if skipped > 1 else ""}"|' if skipped else ""
        links.append(f"  {boxes[up]} -->{count} {here}")
    others: dict[str, list[str]] = {}
    for place, (role, parent) in enumerate(edges):
        if place > 0 and parent in boxes:
            others.setdefault(parent, []).append(role)
    for parent, roles in others.items():
        links.append(f'  {boxes[parent]} -.->|"{escape(", ".join(dict.fromkeys(roles)))}"| {here}')
    return links


def _label(label: str, operator: str, names: list[str]) -> str:
    shown = label if len(label) <= _SHOWN else label[: _SHOWN - 1] + "…"
    return f"{escape(shown if names else label[:8])}<br>{escape(operator)}"


def escape(text: str) -> str:
    """Text that a quoted label shows as it is, whatever it holds.

    >>> escape('say "hi"')
    'say #34;hi#34;'
    """
    return "".join(
        mark if _PLAIN.match(mark) or (ord(mark) > 127 and mark.isprintable()) else f"#{ord(mark)};"
        for mark in printable(text)
    )


def _trunk(lineage: Lineage, primary: dict[str, str | None], most: int) -> set[str]:
    """At most `most` births: ends, where their lines of descent meet, and roots.

    n ends are joined by at most n - 1 forks, and a tree without a fork has one root more than that: 2n in all.
    """
    ends = _ends(lineage, primary, max(1, most // 2))
    seen: set[str] = set()
    below: Counter[str] = Counter()
    roots = set()
    for end in ends:
        here: str | None = end
        while here is not None and here not in seen:
            seen.add(here)
            up = primary[here]
            if up is None:
                roots.add(here)
            else:
                below[up] += 1
            here = up
    return {*ends, *roots, *(birth for birth, count in below.items() if count > 1)}


def _ends(lineage: Lineage, primary: dict[str, str | None], most: int) -> list[str]:
    """Named births, then living ones (leaves, where nothing has died), the newest first."""
    query = lineage.lab.index.query
    named = {birth for (birth,) in query("SELECT id FROM names")}
    dead = {birth for (birth,) in query("SELECT id FROM deaths")}
    if dead.isdisjoint(lineage.parents):  # none of these has died
        dead = {parent for parent in primary.values() if parent is not None}
    newest = lineage.ids[::-1]
    ranked = [birth for birth in newest if birth in named]
    ranked += [birth for birth in newest if birth not in named and birth not in dead]
    return ranked[:most]
