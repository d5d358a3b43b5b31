"""Reading a lineage: parents first, whatever the clocks say."""

from __future__ import annotations

import io
import json

import pytest

import heredity as hd
from heredity.errors import DamagedRecord, UnknownModel
from heredity.lab.interchange.document import write_json
from heredity.lab.interchange.lineage import Lineage
from heredity.lab.journal import encode_line


def line(name: str, parents: list[str], time: float) -> bytes:
    key = name * 64
    return encode_line(
        {
            "t": "birth", "id": key[:16], "key": key, "kind": "mutate", "seed": 0, "labels": {}, "time": time,
            "operator": {"type": "evo:Mutate", "version": 1, "config": {}}, "weights": "f" * 64, "bytes": 4,
            "parents": [{"role": "parent", "id": parent * 16} for parent in parents], "environment": "e",
        }
    )  # fmt: skip


def test_parents_come_first_even_when_their_clock_was_ahead(lab):
    # a ← b ← c, where b's machine is an hour fast
    (lab.root / "births" / "w.jsonl").write_bytes(line("b", ["a"], 3600.0) + line("c", ["b"], 2.0) + line("a", [], 1.0))
    assert [birth[0] for birth in Lineage(lab).ids] == ["a", "b", "c"]


def test_births_without_an_order_are_in_the_order_of_time(lab):
    (lab.root / "births" / "w.jsonl").write_bytes(line("a", [], 3.0) + line("b", [], 1.0) + line("c", [], 2.0))
    assert [birth[0] for birth in Lineage(lab).ids] == ["b", "c", "a"]


def test_a_cycle_is_named(lab):
    (lab.root / "births" / "w.jsonl").write_bytes(line("a", ["b"], 1.0) + line("b", ["a"], 2.0))
    with pytest.raises(DamagedRecord, match="own ancestors"):
        Lineage(lab)


def test_a_parent_that_is_in_no_journal_is_told(lab):
    (lab.root / "births" / "w.jsonl").write_bytes(line("b", ["a"], 1.0))
    lineage = Lineage(lab)
    assert lineage.missing == {"a" * 16} and lineage.primary() == {"b" * 16: None}


def test_references_bring_their_ancestors_and_nothing_else(pedigree):
    assert set(Lineage(pedigree.lab, [pedigree.one.id]).ids) == {pedigree.ancestor.id, pedigree.one.id}
    assert len(Lineage(pedigree.lab, [pedigree.merged.id, pedigree.two.id])) == 4
    with pytest.raises(UnknownModel):
        Lineage(pedigree.lab, ["nobody"])


def test_more_births_than_one_portion_are_read_in_order(lab):
    chain = []
    for place in range(1203):  # two portions of 500, and a rest
        key = f"{place:016x}" * 4
        parents = [{"role": "parent", "id": f"{place - 1:016x}"}] if place else []
        chain.append(
            encode_line(
                {
                    "t": "birth", "id": key[:16], "key": key, "kind": "train", "seed": place, "time": float(place),
                    "operator": {"type": "m:Op", "version": 1, "config": {}}, "parents": parents, "weights": key,
                }
            )
        )  # fmt: skip
    (lab.root / "births" / "w.jsonl").write_bytes(b"".join(chain))
    assert [birth.record["seed"] for birth in Lineage(lab)] == list(range(1203))


def test_the_json_document_holds_what_the_lab_knows(pedigree):
    file = io.StringIO()
    write_json(Lineage(pedigree.lab), file)
    document = json.loads(file.getvalue())
    assert document["format"] == 1 and document["missing"] == []
    births = {birth["id"]: birth for birth in document["births"]}
    assert list(births) == [model.id for model in pedigree.all]
    merged = births[pedigree.merged.id]
    roles = [(edge["role"], edge["id"]) for edge in merged["parents"]]
    assert roles == [(role, parent.id) for role, parent in pedigree.merged.edges]
    assert roles[0] == ("parent", pedigree.one.id) and roles[-1] == ("base", pedigree.ancestor.id)
    assert merged["labels"] == {"generation": 2} and merged["key"] == pedigree.merged.key
    assert births[pedigree.ancestor.id]["metrics"] == {"norm": 25.0}
    assert list(births[pedigree.one.id]["failures"].values()) == ["no test images"]
    assert births[pedigree.last.id]["death"]["reason"] == "too old" and merged["death"] is None
    assert births[pedigree.one.id]["operator"]["config"] == {"sigma": 0.5}


def test_an_empty_lab_is_an_empty_document(tmp_path):
    with hd.Lab(tmp_path / "empty") as empty:
        file = io.StringIO()
        write_json(Lineage(empty), file)
    assert json.loads(file.getvalue())["births"] == []
