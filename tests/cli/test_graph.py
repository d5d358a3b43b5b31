"""The graph beside the log: one mark per line, strokes that join births of one parent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from heredity.cli.graph import MOST_COLUMNS, draw


def drawn(births: list[tuple[str, str | None]]) -> list[str]:
    return list(draw(births, {birth: "●" for birth, _ in births}))


def test_a_chain_is_one_column():
    assert drawn([("c", "b"), ("b", "a"), ("a", None)]) == ["●", "●", "●"]


def test_siblings_join_one_column():
    assert drawn([("c", "p"), ("b", "p"), ("a", "p"), ("p", None)]) == ["●", "├─●", "├─●", "●"]


def test_an_older_branch_is_kept_beside_a_newer_one():
    # x←y and a←b interleaved: two lines of descent, then both roots.
    assert drawn([("y", "x"), ("b", "a"), ("x", None), ("a", None)]) == ["●", "│ ●", "● │", "  ●"]


def test_a_stroke_crosses_columns_in_between():
    births = [("c", "p"), ("y", "x"), ("b", "p"), ("x", None), ("p", None)]
    assert drawn(births) == ["●", "│ ●", "├─┼─●", "│ ●", "●"]


def test_a_birth_left_of_the_column_of_its_parent_ends_its_own():
    # q waits in column 0 for p's other child's parent: it joins column 1 to its right, which stays.
    births = [("r", "q"), ("s", "p"), ("q", "p"), ("p", None)]
    assert drawn(births) == ["●", "│ ●", "●─┘", "  ●"]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_every_line_has_one_mark_and_bounded_width(parents):
    # Birth i has the parent parents[i] modulo i, so parents come before children; newest first is the reverse.
    births = [(str(i), str(choice % i) if i else None) for i, choice in enumerate(parents)][::-1]
    lines = drawn(births)
    assert len(lines) == len(births)
    assert all(line.count("●") == 1 for line in lines)
    assert max(map(len, lines)) <= 2 * (MOST_COLUMNS + 1)
