"""The graph beside `heredity log`: one line per birth, newest first, a column for each line of descent in view.

A column waits for a parent. A birth whose parent another column already waits for joins that column on the same line,
so that many children of one parent stay narrow:

    ●      child
    ├─●    its sibling
    ●      their parent
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

MOST_COLUMNS = 12  # lines of descent drawn side by side; births beyond stand alone


def draw(births: Iterable[tuple[str, str | None]], marks: Mapping[str, str]) -> Iterator[str]:
    """One line of graph per birth.

    Args:
        births: (id, the parent drawn to, None where it is out of view), newest first.
        marks: glyph of each birth.
    """
    waiting: list[str | None] = []
    for birth, parent in births:
        if birth in waiting:
            here = waiting.index(birth)
        else:
            joins = waiting.index(parent) if parent in waiting and parent is not None else -1
            free = (place for place in range(joins + 1, len(waiting)) if waiting[place] is None)
            here = next(free, len(waiting))
            if here == len(waiting):
                waiting.append(None)
        waiting[here] = None
        target = waiting.index(parent) if parent is not None and parent in waiting else None
        yield _line(waiting, here, target, marks[birth])
        if target is None and parent is not None and here < MOST_COLUMNS:
            waiting[here] = parent
        while waiting and waiting[-1] is None:
            waiting.pop()


def _line(waiting: list[str | None], here: int, target: int | None, mark: str) -> str:
    """Columns as they stand, the birth's mark, and the stroke that joins it to a column waiting for the same parent."""
    cells = []
    low, high = (here, here) if target is None else sorted((here, target))
    for place in range(len(waiting)):
        inside = low <= place < high
        if place == here:
            glyph = mark
        elif place == target:
            glyph = "├" if target < here else "┘"
        elif low < place < high:
            glyph = "┼" if waiting[place] is not None else "─"
        else:
            glyph = "│" if waiting[place] is not None else " "
        cells.append(glyph + ("─" if inside else " "))
    return "".join(cells).rstrip()
