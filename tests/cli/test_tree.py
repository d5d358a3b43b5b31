"""heredity tree on the small lab, and on one made of journal lines alone."""

from __future__ import annotations


def test_ancestors_of_the_living_are_drawn_and_the_dead_folded(run, family):
    out = run("tree").out
    for name in ("ancestor", "maths", "chat", "merged", "first", "second", "third"):
        assert family.models[name].id[:6] in out
    assert family.lost.id[:6] not in out
    merged = next(line for line in out.splitlines() if "[merged]" in line)
    assert merged.endswith("… 2 extinct, best 4.5000") and f"+ {family.chat.id[:6]}" in merged
    assert "9 births" in out and "7 living" in out and f"best 10.50 {family.third.id[:6]}" in out
    assert next(line for line in out.splitlines() if "★" in line).split()[1] == family.third.id[:6]


def test_all_draws_every_birth(run, family):
    out = run("tree", "--all").out
    assert all(model.id[:6] in out for model in family.models.values()) and "extinct" not in out
    assert "○" in next(line for line in out.splitlines() if family.lost.id[:6] in line)


def test_depth_and_root_cut(run, family):
    out = run("tree", "--depth", "1").out
    assert family.maths.id[:6] in out and family.merged.id[:6] + "  merge" not in out
    assert "… 2 extinct + 4 living" in out  # below maths: merged, first, second, third live; lost and lost_too died
    below = run("tree", "--root", "merged", "--json").json
    assert below["births"] == 6 and below["roots"] == [family.merged.id]


def test_json_is_flat_and_counts_what_is_folded(run, family):
    tree = run("tree", "--json", "--metric", "loss").json
    assert tree["births"] == 9 and tree["living"] == 7 and tree["metric"] == "loss"
    assert tree["best"] == family.ancestor.id  # a loss of -3 is the highest
    nodes = {node["id"]: node for node in tree["nodes"]}
    assert nodes[family.merged.id]["parent"] == family.maths.id and nodes[family.merged.id]["depth"] == 2
    assert nodes[family.ancestor.id]["folded"] is None
    assert sum((node["folded"] or {"births": 0})["births"] for node in tree["nodes"]) + len(nodes) == 9


def test_hostile_names_are_printed_as_escapes(run, family):
    out = run("tree").out
    assert "evil [red]x[/red]\\n\\x1b[31mz\\u202e" in out and "\x1b" not in out


def test_an_unknown_root_is_bad_input(run):
    ended = run("tree", "--root", "nobody")
    assert ended.code == 2 and "no model is called 'nobody'" in ended.err and "hint: heredity log" in ended.err


def test_long_rows_without_branches_are_folded(run, journal_lab):
    out = run("tree", lab=journal_lab).out
    assert "37 births in a row" in out and "… 37 extinct" in out
    assert len(out.splitlines()) < 10
    assert len(run("tree", "--all", lab=journal_lab).out.splitlines()) == 82  # 81 births and the header


def test_a_lab_without_measurements_has_a_tree(run, journal_lab):
    tree = run("tree", "--json", lab=journal_lab).json
    assert tree["metric"] is None and tree["best"] is None and tree["births"] == 81
