"""heredity log: order, graph, filters, metrics, JSON."""

from __future__ import annotations

import pytest

from heredity.cli.log import parse_since


def ids_in(out: str, family) -> list[str]:
    """Names of the small lab's models in the order of the lines that show their ids."""
    short = {model.id[:6]: name for name, model in family.models.items()}
    return [
        short[word] for line in out.splitlines() for word in line.split() if word in short and "+ " + word not in line
    ]


def test_the_newest_birth_comes_first(run, family):
    assert ids_in(run("log").out, family) == [
        "third", "second", "first", "lost_too", "lost", "merged", "chat", "maths", "ancestor",
    ]  # fmt: skip


def test_a_line_says_kind_operator_change_values_and_names(run, family):
    lines = run("log").out.splitlines()
    assert "mutate" in lines[1] and "Shift amount 0.5→0.25" in lines[1] and "score 9.7500" in lines[1]
    assert "✗ failed" in lines[0] and "seed 1" in lines[0]
    merge = next(line for line in lines if "[merged]" in line)
    assert "◆" in merge and f"+ {family.chat.id[:6]}" in merge and f"+ {family.ancestor.id[:6]}" in merge
    assert "data.split=chat" in next(line for line in lines if "[chat]" in line)


def test_side_branches_join_the_column_of_their_parent(run, family):
    lines = run("log").out.splitlines()
    # first and lost are both children of merged: the line of lost, drawn later, joins the column that waits for merged.
    lost = next(line for line in lines if family.lost.id[:6] in line)
    assert lost.startswith("├─●")
    assert next(line for line in lines if family.lost_too.id[:6] in line).startswith("│ ●")


def test_count_limits_and_says_how_many_are_older(run):
    out = run("log", "-n", "2").out
    assert len(out.splitlines()) == 3 and "… 7 older births" in out
    assert "older" not in run("log", "--all").out


def test_filters(run, family):
    merges = run("log", "--kind", "merge").out
    assert len(merges.splitlines()) == 1 and family.merged.id[:6] in merges
    assert len(run("log", "--since", "1h", "--json").json) == 9
    assert run("log", "--since", "2001-01-01", "--json").json != []
    assert run("log", "--since", "2999-01-01").out == "no births match\n"


def test_a_filter_draws_to_the_nearest_ancestor_in_view(run, family):
    lines = run("log", "--kind", "train").out.splitlines()
    assert [line[0] for line in lines] == ["●", "●"]  # both parents are out of view: no strokes


def test_json_is_a_list_with_the_documented_shape(run, family):
    third = run("log", "-n", "1", "--json").json[0]
    assert third["id"] == family.third.id
    assert third["parents"] == [{"role": "parent", "id": family.second.id}]
    assert third["metrics"] == {"score": 10.5, "loss": -10.5} and third["failures"] == ["no answer could be read"]
    assert set(third) == {
        "id", "time", "kind", "operator", "type", "change", "seed", "parents", "names", "metrics", "failures", "labels",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--metric", "scor"], "did you mean score?"),
        (["--kind", "mrge"], "kinds here: init, merge, mutate, train"),
        (["--since", "soon"], "is no time"),
    ],
)
def test_bad_filters_name_what_would_be_right(run, arguments, says):
    ended = run("log", *arguments)
    assert ended.code == 2 and ended.out == "" and says in ended.err and ended.err.startswith("heredity: ")


def test_since_counts_back_from_now():
    assert parse_since("90s", 100.0) == 10.0
    assert parse_since("1w", 604_800.0) == 0.0
    assert parse_since("1970-01-02T00:00:00+00:00", 0.0) == 86_400.0
