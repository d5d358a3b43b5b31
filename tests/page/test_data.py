"""What the page is told of a lab."""

from __future__ import annotations

import json
from typing import Any

import torch

import heredity as hd
from heredity.lab import Lab
from heredity.page.data import DETERMINISTIC, KEPT, LabReader, to_json


def flat(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """Chunks put together, with the pool resolved, by id."""
    pool: list[Any] = []
    births: dict[str, Any] = {}
    ids: list[str] = []
    found: dict[str, Any] = {"values": {}, "deaths": {}, "events": [], "names": {}}
    for chunk in chunks:
        pool += chunk["pool"]
        for row in chunk.get("births", []):
            ids.append(row[0])
            parents = [
                (ids[parent] if isinstance(parent, int) else parent, pool[role])
                for parent, role in zip(row[4][::2], row[4][1::2], strict=True)
            ]
            births[row[0]] = (row[1], pool[row[2]], pool[row[3]], parents, row[5], pool[row[6]], *row[10:])
        for metric, pairs in chunk.get("values", {}).items():
            for place, value in zip(pairs[::2], pairs[1::2], strict=True):
                found["values"][ids[place], metric] = value
        deaths = chunk.get("deaths", [])
        for place, _, reason in zip(deaths[::3], deaths[1::3], deaths[2::3], strict=True):
            found["deaths"][ids[place]] = pool[reason]
        found["events"] += [(event[0], event[1], pool[event[3]]) for event in chunk.get("events", [])]
        if "names" in chunk:
            found["names"] = {name: ids[place] for name, place in chunk["names"]}
    return {"births": births, **found}


def test_what_was_right_is_told_once_and_again_when_measured_anew(journal: Any) -> None:
    line = journal.value(0, accuracy=0.5)
    line["probe"]["id"] = "p" * 12
    journal.write(journal.birth(0, []), {**line, "right": "2:8"}, journal.birth(1, []), journal.value(1, right=1.0))
    with Lab(journal.lab, mode="r") as lab:
        reader = LabReader(lab)
        chunk = reader.read() or {}
        ((place, probe, right),) = chunk["right"]  # a metric of that name is none
        assert chunk["births"][place][0] == line["id"] and right == "2:8"
        assert chunk["pool"][probe] == ["accuracy", "p" * 12, 0]
        assert reader.read() is None
        journal.write({**line, "right": "2:4"})
        lab.index.refresh()
        assert (reader.read() or {})["right"] == [[place, probe, "2:4"]]


def test_reading_in_steps_tells_the_same_as_reading_at_once(journal: Any) -> None:
    with Lab(journal.lab, mode="r") as lab:
        steps = LabReader(lab)
        told = [steps.read()]
        journal.evolve(30)
        lab.index.refresh()
        told.append(steps.read())
        child, id5 = journal.birth(30, [3, 7]), journal.birth(5, [])["id"]
        journal.write(child, journal.value(30, fitness=2.0, loss=1.0), {"t": "name", "id": child["id"], "name": "new"})
        journal.write({"t": "death", "ids": [child["id"]], "reason": "old"}, {"t": "note", "id": id5, "text": "hm"})
        lab.index.refresh()
        told.append(steps.read())
        assert steps.read() is None  # nothing more was recorded
        journal.write(journal.value(30, fitness=3.0, loss=1.0))  # a newer value counts
        lab.index.refresh()
        told.append(steps.read())
        at_once = flat([LabReader(lab).read()])
    assert flat(told) == at_once
    assert at_once["values"][child["id"], "fitness"] == 3.0
    assert at_once["births"][child["id"]][3] == [(edge["id"], edge["role"]) for edge in child["parents"]]
    assert at_once["events"] == [(id5, "note", {"text": "hm"})]
    assert at_once["deaths"][child["id"]] == "old"
    assert at_once["names"] == {"new": child["id"]}
    assert "births" not in told[3] and "pool" in told[3]  # what was told is not told again


def test_a_name_that_moves_is_told(journal: Any) -> None:
    journal.evolve(3)
    first, second = journal.birth(0, [])["id"], journal.birth(1, [])["id"]
    with Lab(journal.lab, mode="r") as lab:
        reader = LabReader(lab)
        journal.write({"t": "name", "id": first, "name": "winner"})
        lab.index.refresh()
        assert reader.read()["names"] == [["winner", 0]]
        journal.write({"t": "name", "id": second, "name": "winner"})
        lab.index.refresh()
        assert reader.read()["names"] == [["winner", 1]]


def test_equal_values_are_said_once_and_large_seeds_are_text(journal: Any) -> None:
    journal.write(*(journal.birth(number, [], seed=2**60 + number) for number in range(4)))
    with Lab(journal.lab, mode="r") as lab:
        chunk = LabReader(lab).read()
    assert len({row[3] for row in chunk["births"]}) == 1  # one operator for all four
    assert sum(isinstance(value, dict) and "config" in value for value in chunk["pool"]) == 1
    assert [row[5] for row in chunk["births"]] == [str(2**60 + number) for number in range(4)]


def test_a_missing_parent_is_told_by_its_id(journal: Any) -> None:
    journal.write(journal.birth(2, [1]))
    with Lab(journal.lab, mode="r") as lab:
        chunk = LabReader(lab).read()
    assert chunk["births"][0][4][0] == journal.birth(1, [])["id"]


def test_a_journal_that_was_replaced_is_noticed(journal: Any) -> None:
    journal.evolve(5)
    with Lab(journal.lab, mode="r") as lab:
        reader = LabReader(lab)
        reader.read()
        assert not reader.replaced()
        journal.path.unlink()
        journal.path = journal.path.with_name("other.jsonl")
        journal.write(journal.birth(99, []))
        lab.index.refresh()
        assert reader.replaced()


def test_a_real_lab_is_told_whole(tmp_path: Any) -> None:
    with hd.Lab(tmp_path / "lab") as lab:
        root = lab.add({"w": torch.zeros(2)}, name="root")
        with lab.step("scale", parents=[root], config={"by": 2.0}) as step:
            child = step.commit({"w": torch.ones(2)}, labels={"island": 1}, notes={"loss": 0.5})
        lab.tag(child, "good")
        lab.die([root], "replaced")
        reader = LabReader(lab)
        chunk = reader.read()
        assert reader.about() == {"name": "lab", "path": str(tmp_path / "lab"), "version": hd.__version__}
    told = flat([chunk])
    assert told["births"][child.id][3] == [(root.id, "parent")]
    assert told["births"][child.id][5] == {"island": 1}
    assert told["births"][child.id][6] == child.weights_sha256[:16]
    assert told["births"][child.id][11] == KEPT | told["births"][child.id][11] & DETERMINISTIC
    assert told["events"] == [(child.id, "tag", {"tags": ["good"]})]
    assert told["deaths"] == {root.id: "replaced"}


def test_json_cannot_end_its_script_element() -> None:
    hostile = {"</script><script>alert(1)</script>": "<!-- \u2028 \u2029 & ]]>", "lone": "\ud800"}
    text = to_json(hostile)
    assert text.isascii()
    assert not set("<>&") & set(text)
    assert json.loads(text) == hostile
