"""heredity lineage, heredity push, heredity pull."""

from __future__ import annotations

import csv
import io

import pytest

from heredity.lab.interchange.alife import read_alife


def test_every_format_is_written_to_standard_output(run, family):
    document = run("lineage").json
    assert [birth["id"] for birth in document["births"]] == [model.id for model in family.models.values()]
    rows = list(csv.DictReader(io.StringIO(run("lineage", "--format", "alife").out)))
    assert rows[3]["ancestor_list"] == "[1, 2, 0]" and rows[0]["taxon_label"] == "ancestor"
    assert len(run("lineage", "-f", "prov").json["entity"]) == 9
    assert run("lineage", "-f", "mermaid").out.startswith("flowchart TD\n")
    assert run("lineage", "-f", "newick").out.rstrip().endswith("'ancestor';")


def test_a_file_is_written_whole_and_said(run, family, tmp_path):
    ended = run("lineage", "maths", "-f", "alife", "-o", str(tmp_path / "x.csv"))
    assert ended.out == "" and "2 births" in ended.err
    assert [taxon.extra["taxon_label"] for taxon in read_alife(tmp_path / "x.csv")] == ["ancestor", "maths"]
    ended = run("lineage", "-o", str(tmp_path / "no" / "x.json"))
    assert ended.code == 2 and "cannot write" in ended.err and not (tmp_path / "no").exists()


def test_references_mean_models_with_their_ancestors(run, family):
    births = run("lineage", "maths", "chat").json["births"]
    assert [birth["names"] for birth in births] == [["ancestor"], ["maths"], ["chat"]]
    ended = run("lineage", "nobody")
    assert ended.code == 2 and ended.out == ""


def test_a_long_lineage_is_drawn_as_its_trunk(run, journal_lab):
    ended = run("lineage", "-f", "mermaid", lab=journal_lab)
    assert "the trunk" in ended.err and "--all" in ended.err and ended.out.count("[") < 60
    everything = run("lineage", "-f", "mermaid", "--all", lab=journal_lab)
    assert everything.out.count("[") == 81 and everything.err == ""


def test_an_unknown_format_is_bad_input(run):
    assert run("lineage", "-f", "yaml").code == 2


def test_a_lab_goes_elsewhere_and_comes_back(run, family, tmp_path):
    far, back = str(tmp_path / "far"), tmp_path / "back"
    pushed = run("push", far, "--json").json
    assert pushed["journals"] == 1 and pushed["damaged"] == pushed["conflicts"] == []
    assert run("push", far, "--json").json["bytes"] == 0
    pulled = run("pull", far, "--json", lab=back).json
    assert (pulled["births"], pulled["blobs"]) == (9, pushed["blobs"])
    assert run("lineage", lab=back).json["births"] == run("lineage").json["births"]
    assert run("verify", lab=back).code == 0


def test_people_are_told_what_was_copied(run, tmp_path):
    assert "blobs and 1 journal" in run("push", str(tmp_path / "far")).out
    assert "nothing was missing" in run("push", str(tmp_path / "far")).out
    assert "9 new births" in run("pull", str(tmp_path / "far"), lab=tmp_path / "back").out


def test_weights_may_stay_at_home(run, tmp_path):
    assert run("push", str(tmp_path / "far"), "--weights", "none", "--json").json["blobs"] == 0
    assert run("push", str(tmp_path / "far"), "--weights", "some").code == 2


def test_a_conflict_is_a_finding(run, family, tmp_path):
    far = tmp_path / "far"
    run("push", str(far))
    (journal,) = (far / "births").iterdir()
    journal.write_bytes(b"x" * 100)
    ended = run("push", str(far))
    assert ended.code == 1 and f"births/{journal.name}" in ended.out
    assert journal.read_bytes() == b"x" * 100


def test_nothing_to_pull_makes_no_lab(run, tmp_path):
    ended = run("pull", str(tmp_path / "nothing"), lab=tmp_path / "new")
    assert ended.code == 2 and "there is no lab at" in ended.err and not (tmp_path / "new").exists()


@pytest.mark.parametrize("command", ["lineage", "push", "pull"])
def test_help_says_what_it_does(run, command):
    ended = run(command, "--help", lab=None)
    assert ended.code == 0 and "Example: heredity" in " ".join(ended.out.split())
