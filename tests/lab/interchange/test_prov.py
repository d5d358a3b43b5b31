"""PROV-JSON: the structure that the member submission gives, and what it says of a pedigree."""

from __future__ import annotations

import io
import json
from datetime import datetime

import pytest

from heredity.lab.interchange.lineage import Lineage
from heredity.lab.interchange.prov import prov_document, write_prov

# Relation → its formal attributes: those that must be there, and what kind of record each refers to.
REFERENCES = {
    "used": {"prov:activity": "activity", "prov:entity": "entity"},
    "wasGeneratedBy": {"prov:entity": "entity", "prov:activity": "activity"},
    "wasDerivedFrom": {
        "prov:generatedEntity": "entity",
        "prov:usedEntity": "entity",
        "prov:activity": "activity",
        "prov:generation": "wasGeneratedBy",
        "prov:usage": "used",
    },
    "wasAssociatedWith": {"prov:activity": "activity", "prov:agent": "agent"},
}
TIMES = ("prov:startTime", "prov:endTime", "prov:time")


def check_structure(document: dict) -> None:
    """Every identifier has a declared prefix, every reference a record of the right kind, every value a JSON form."""
    assert set(document) == {"prefix", "entity", "activity", "agent", *REFERENCES}
    declared = {*document["prefix"], "prov", "xsd"}
    for kind, records in document.items():
        if kind == "prefix":
            continue
        for name, attributes in records.items():
            for qualified in (name, *attributes):
                prefix, colon, local = qualified.partition(":")
                assert colon and prefix in declared, qualified
                assert local and not set(local) & set(" /\\\"'<>{}|^`:;,#?=\n"), qualified
            for attribute, value in attributes.items():
                for single in value if isinstance(value, list) else [value]:
                    typed = isinstance(single, dict)
                    assert set(single) == {"$", "type"} if typed else isinstance(single, (str, int, float, bool))
                if attribute in TIMES:
                    assert datetime.fromisoformat(value).tzinfo is not None
            for attribute, referred in REFERENCES.get(kind, {}).items():
                assert attributes[attribute] in document[referred]


def test_the_structure_is_that_of_prov_json(pedigree):
    file = io.StringIO()
    write_prov(Lineage(pedigree.lab), file)
    document = json.loads(file.getvalue())
    check_structure(document)
    assert len(document["entity"]) == len(document["activity"]) == 5 and len(document["agent"]) == 1


def test_births_are_derivations_with_roles(pedigree):
    document = prov_document(Lineage(pedigree.lab))
    merged = pedigree.merged.id
    used = {
        (use["prov:entity"], use["prov:role"])
        for use in document["used"].values()
        if use["prov:activity"] == f"birth:{merged}"
    }
    assert used == {(f"model:{parent.id}", role) for role, parent in pedigree.merged.edges}
    derived = [one for one in document["wasDerivedFrom"].values() if one["prov:generatedEntity"] == f"model:{merged}"]
    assert [one["prov:usedEntity"] for one in derived if one["heredity:primary"]] == [f"model:{pedigree.one.id}"]
    assert len(derived) == 3
    assert document["entity"][f"model:{pedigree.ancestor.id}"]["metric:norm"] == 25.0
    assert "heredity:diedAt" in document["entity"][f"model:{pedigree.last.id}"]
    (agent,) = document["agent"].values()
    assert agent["prov:label"].startswith("heredity ")


def test_a_model_in_two_roles_is_one_derivation(pedigree):
    from species import Average

    twice = pedigree.lab.derive(Average(), pedigree.one, pedigree.two, base=pedigree.two)
    document = prov_document(Lineage(pedigree.lab, [twice.id]))
    check_structure(document)
    ways = [one for one in document["wasDerivedFrom"].values() if one["prov:generatedEntity"] == f"model:{twice.id}"]
    uses = [use for use in document["used"].values() if use["prov:activity"] == f"birth:{twice.id}"]
    assert len(ways) == 2 and len(uses) == 3
    roles = next(one["heredity:role"] for one in ways if one["prov:usedEntity"] == f"model:{pedigree.two.id}")
    assert isinstance(roles, list) and len(roles) == 2 and "base" in roles


def test_hostile_metric_names_are_qualified_names(pedigree):
    pedigree.lab.append(
        {"t": "measurement", "key": "k", "id": pedigree.one.id, "probe": {"type": "m:P"}, "values": {'a "b"/ü:.': 1.5}}
    )
    document = prov_document(Lineage(pedigree.lab))
    check_structure(document)
    assert document["entity"][f"model:{pedigree.one.id}"]["metric:a%20%22b%22%2F%C3%BC%3A%2E"] == 1.5


def test_an_independent_reader_takes_it(pedigree):
    model = pytest.importorskip("prov.model", reason="the independent reader, prov, is not installed")
    file = io.StringIO()
    write_prov(Lineage(pedigree.lab), file)
    document = model.ProvDocument.deserialize(content=file.getvalue(), format="json")
    assert len(list(document.get_records(model.ProvEntity))) == 5
    assert len(list(document.get_records(model.ProvActivity))) == 5
    # ancestor → one, two; three parents of merged; merged → last
    assert len(list(document.get_records(model.ProvDerivation))) == 6
    assert document == model.ProvDocument.deserialize(content=document.serialize(format="json"), format="json")
