"""The trunk: what is drawn, what is folded, and that nothing is counted twice or lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from heredity.cli.trunk import Forest, grow_trunk, lay_out, tips


def forest(parents: list[int], values: list[float | None] | None = None, dead: set[int] = frozenset()) -> Forest:
    count = len(parents)
    children: list[list[int]] = [[] for _ in parents]
    depths = [0] * count
    for place, parent in enumerate(parents):
        if parent >= 0:
            children[parent].append(place)
            depths[place] = depths[parent] + 1
    numbers = values or [None] * count
    best = max((place for place in range(count) if numbers[place] is not None), key=lambda p: numbers[p], default=None)
    return Forest(
        ids=[str(place) for place in range(count)],
        parents=parents,
        children=children,
        roots=[place for place in range(count) if parents[place] < 0],
        order=list(range(count)),
        depths=depths,
        values=numbers,
        dead=[place in dead for place in range(count)],
        names={},
        any_deaths=bool(dead),
        best=best,
    )


def test_only_ancestors_of_the_ends_are_drawn_and_clades_are_folded_where_they_branch():
    #     0 ─ 1 ─ 2 (end)
    #     │   └ 3 ─ 4      folded at 1: two births, best 0.9
    #     └ 5              folded at 0
    grown = grow_trunk(forest([-1, 0, 1, 1, 3, 0], [0.1, 0.2, 0.3, 0.4, 0.9, 0.5]), [2])
    assert [place for place, drawn in enumerate(grown.drawn) if drawn] == [0, 1, 2]
    assert (grown.folds[1].births, grown.folds[1].best) == (2, 0.9)
    assert (grown.folds[0].births, grown.folds[0].best) == (1, 0.5)


def test_where_lower_is_better_folds_and_ends_go_by_the_lowest():
    low = forest([-1, 0, 1, 1, 3, 0], [0.6, 0.2, 0.3, 0.4, 0.9, 0.5])
    low.low, low.best = True, 1
    grown = grow_trunk(low, [2])
    assert (grown.folds[1].births, grown.folds[1].best) == (2, 0.4)
    assert tips(low, 3)[-1] == 2  # after the best and the newest, of the leaves 2, 4 and 5
    low.low = False
    assert tips(low, 3)[-1] == 4


def test_roots_without_a_drawn_descendant_are_counted_apart():
    grown = grow_trunk(forest([-1, 0, -1, 2]), [1])
    assert grown.lost_roots == 1 and grown.lost.births == 2


def test_depth_folds_what_is_deeper():
    grown = grow_trunk(forest([-1, 0, 1, 2]), [3], depth=1)
    assert grown.drawn == [True, True, False, False] and grown.folds[1].births == 2


def test_ends_are_the_living_where_something_died_and_the_leaves_where_nothing_did():
    values = [0.5, 0.4, 0.3, 0.2]
    assert set(tips(forest([-1, 0, 0, 0], values, dead={1, 2}), 10)) == {0, 3}
    assert set(tips(forest([-1, 0, 0, 0], values), 10)) == {0, 1, 2, 3}  # 0 is the best
    assert set(tips(forest([-1, 0, 0, 0], values), 1)) == {0, 3}  # the best and the newest always


def test_the_largest_branch_goes_straight_on_and_the_others_are_indented():
    tree = forest([-1, 0, 0, 2, 3])
    rows = lay_out(tree, grow_trunk(tree, (), everything=True))
    assert [(row.place, row.stem) for row in rows] == [(0, ""), (1, "├─"), (2, ""), (3, ""), (4, "")]


def test_a_long_row_of_plain_births_becomes_one_line():
    tree = forest([-1, *range(20)])  # a chain of 21
    plain = set(range(1, 21))
    rows = lay_out(tree, grow_trunk(tree, (), everything=True), plain=plain, longest=8)
    # 0, the first of the row, the folded ones, the last that has a child, the end.
    assert [(row.place, len(row.run)) for row in rows] == [(0, 0), (1, 0), (2, 17), (19, 0), (20, 0)]


def test_a_lineage_of_two_hundred_thousand_generations_is_drawn_without_recursion():
    tree = forest([-1, *range(200_000)])
    rows = lay_out(tree, grow_trunk(tree, [200_000]), plain=set(range(1, 200_000)))
    assert len(rows) == 5 and max(len(row.stem) for row in rows) == 0


@given(st.lists(st.integers(0, 40), min_size=1, max_size=80), st.lists(st.integers(0, 79), max_size=5))
def test_every_birth_is_drawn_once_or_counted_in_one_fold(choices, ends):
    parents = [-1 if place == 0 or choice == 0 else choice % place for place, choice in enumerate(choices)]
    tree = forest(parents)
    trunk = grow_trunk(tree, [end % len(parents) for end in ends])
    rows = lay_out(tree, trunk, plain=set(range(len(parents))), longest=3)
    shown = [place for row in rows for place in (row.run or [row.place])]
    folded = sum(fold.births for fold in trunk.folds.values()) + trunk.lost.births
    assert len(shown) == len(set(shown)) == sum(trunk.drawn)
    assert len(shown) + folded == len(parents)
    # Only siblings of the largest branch are indented, so a stem is at most two marks per halving.
    assert all(len(row.stem) <= 2 * len(parents).bit_length() for row in rows)
