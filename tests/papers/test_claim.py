"""The protocol: its hash, its cells, and what a card may not say."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from heredity.papers.card import Paper
from heredity.papers.catalogue import find_paper
from heredity.papers.claim import AllOf, Arm, Claim, Difference, Level, Pilot, Scale, protocol_form, sub_claims

GENOME = find_paper("genome")


def claim() -> Claim:
    assert GENOME.claim is not None
    return GENOME.claim


CHANGED: dict[str, Any] = {
    "says": "something else",
    "setting": "another world",
    "trial": "other:trial",
    "arms": (*claim().arms, Arm("more", "one more")),
    "metric": "fitness",
    "direction": "lower",
    "rule": AllOf((dataclasses.replace(sub_claims(claim().rule)[0], margin=0.01),)),
    "scales": (Scale("small", 6, "5 minutes", {"evaluations": 250}),),
    "metrics": {**claim().metrics, "more": "one more"},
    "worlds": claim().worlds[:3],
    "preconditions": (),
    "first_seed": 21,
    "pilots": (Pilot((0, 1, 2), "more"),),
    "level": 0.9,
    "resamples": 1000,
    "correction": "none",
    "clocked": ("evaluations",),
    "tolerance": 0.5,
    "version": 2,
}


def test_every_field_of_the_protocol_is_tried_below() -> None:
    assert set(CHANGED) == {field.name for field in dataclasses.fields(Claim)}


@pytest.mark.parametrize("field", CHANGED)
def test_the_hash_changes_with_every_field(field: str) -> None:
    assert dataclasses.replace(claim(), **{field: CHANGED[field]}).hash != claim().hash


def test_the_hash_changes_with_an_arms_setting_and_a_scales_budget() -> None:
    first, *others = claim().arms
    louder = dataclasses.replace(first, settings={**first.settings, "crossover": 0.31})
    assert dataclasses.replace(claim(), arms=(louder, *others)).hash != claim().hash
    small, *rest = claim().scales
    richer = dataclasses.replace(small, settings={"evaluations": 251})
    assert dataclasses.replace(claim(), scales=(richer, *rest)).hash != claim().hash


def test_the_hash_is_the_same_again_and_for_lists_and_tuples() -> None:
    assert dataclasses.replace(claim()).hash == claim().hash
    assert protocol_form(("a", 1)) == protocol_form(["a", 1])


def test_a_later_field_at_its_default_keeps_the_hash() -> None:
    @dataclasses.dataclass(frozen=True)
    class Old:
        x: int = 1

    later = dataclasses.make_dataclass(
        "Old", [("x", int, 1), ("y", int, dataclasses.field(default=0, metadata={"added": True}))], frozen=True
    )
    assert protocol_form(later()) == protocol_form(Old())
    assert protocol_form(later(y=1)) != protocol_form(Old())


def test_cells_are_arms_times_worlds_times_seeds_and_more_seeds_contain_fewer() -> None:
    cells = claim().cells("small")
    assert len(cells) == len(claim().arms) * 4 * 5
    assert {cell.seed for cell in cells} == set(range(20, 25))
    assert claim().cells("small", seeds=7)[: len(cells)] == cells
    few = claim().cells("small", seeds=1, arms=["genome"])
    assert [cell.arm for cell in few] == ["genome"] * 4


def test_an_arms_setting_wins_over_the_scales() -> None:
    small = Scale("small", 1, "x", {"evaluations": 5, "other": 1})
    arms = (Arm("a", "", "tested", {"evaluations": 9}), Arm("b", ""))
    made = Claim("s", "s", "m:f", arms, "m", "higher", Difference("d", "a", "b"), (small,), {"m": "m"})
    first, second = made.cells("small")
    assert (first.setting("evaluations"), second.setting("evaluations"), first.setting("other")) == (9, 5, 1)
    with pytest.raises(KeyError, match="neither the scale nor the arm 'b' sets 'lr'"):
        second.setting("lr")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": Difference("d", "a", "z")}, "arm 'z'"),
        ({"rule": Difference("d", "a", "b", metric="loss")}, "metric 'loss'"),
        ({"rule": Difference("d", "a", "b", world="mars")}, "world 'mars'"),
        ({"rule": Difference("d", "a", "b", weight="reported")}, "nothing decides"),
        ({"arms": (Arm("a", ""), Arm("a", ""), Arm("b", ""))}, "different names"),
        ({"metrics": {"n": "n"}}, "metric 'm'"),
        ({"pilots": (Pilot((11,), "x"),)}, r"seeds \[11\] were used by a pilot"),
        ({"scales": (Scale("small", 1, ""), Scale("small", 2, ""))}, "each scale once"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    fields: dict[str, Any] = {
        "says": "s",
        "setting": "s",
        "trial": "m:f",
        "arms": (Arm("a", ""), Arm("b", "")),
        "metric": "m",
        "direction": "higher",
        "rule": Difference("d", "a", "b"),
        "scales": (Scale("small", 3, ""),),
        "metrics": {"m": "m"},
    }
    Claim(**fields)
    with pytest.raises(ValueError, match=message):
        Claim(**{**fields, **changes})


def test_a_level_has_one_bound() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        Level("l", "a", "m")


def test_a_card_needs_a_module_name_and_authors() -> None:
    with pytest.raises(ValueError, match="snake_case"):
        Paper("Not-A-Slug", "merging", "T", ("A",), 2000, "arXiv 2000.00001", "s")
    with pytest.raises(ValueError, match="authors"):
        Paper("slug", "merging", "T", (), 2000, "arXiv 2000.00001", "s")
