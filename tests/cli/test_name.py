"""heredity name."""

from __future__ import annotations


def test_a_name_is_given_and_moved(run, family):
    assert run("name", "latest", "winner", "--json").json == {"id": family.third.id, "name": "winner", "before": None}
    assert run("show", "winner", "--json").json["id"] == family.third.id
    moved = run("name", "chat", "winner")
    assert moved.out == f"winner is {family.chat.id[:6]} (was {family.third.id[:6]})\n"
    assert run("show", "winner", "--json").json["id"] == family.chat.id


def test_naming_again_records_nothing(run, family):
    before = sum(path.stat().st_size for path in (family.path / "births").iterdir())
    assert run("name", "chat", "chat").code == 0
    assert sum(path.stat().st_size for path in (family.path / "births").iterdir()) == before


def test_names_that_would_be_references_are_refused(run):
    for name in ("best", "ab12", "a~1", " "):
        ended = run("name", "chat", name)
        assert ended.code == 2 and "cannot be a name" in ended.err
