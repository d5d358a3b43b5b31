"""The ALife standard's CSV, out and in."""

from __future__ import annotations

import csv
import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heredity.errors import LabError
from heredity.lab.interchange.alife import Taxon, read_alife, taxa_of, write_alife, write_taxa
from heredity.lab.interchange.lineage import Lineage

# The example of the standard itself: quoted ids in lists, "none" for what still exists, columns of its own.
STANDARD = """id,ancestor_list,origin_time,destruction_time,shape
0,"['none']",0,1,circle
1,"['0']",1,2,square
3,"['1']",2,none,square
"""


def test_a_lab_goes_out_and_comes_back(pedigree, tmp_path):
    path = tmp_path / "lineage.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        write_alife(Lineage(pedigree.lab), file)
    taxa = read_alife(path)
    number = {taxon.extra["heredity_id"]: taxon.id for taxon in taxa}
    assert sorted(number.values()) == [0, 1, 2, 3, 4]
    for taxon, model in zip(taxa, pedigree.all, strict=True):
        assert taxon.extra["heredity_id"] == model.id
        # the same parent in two roles is one ancestor
        assert taxon.ancestors == tuple(dict.fromkeys(number[parent.id] for parent in model.parents))
        assert taxon.origin_time == model.record["time"]
        assert taxon.extra["weights_sha256"] == model.weights_sha256
    assert taxa[3].ancestors == (1, 2, 0) and taxa[0].ancestors == ()
    assert [taxon.destruction_time == math.inf for taxon in taxa] == [True, True, True, True, False]
    assert taxa[0].extra["metric_norm"] == "25.0" and taxa[1].extra["metric_norm"] == ""
    assert taxa[4].extra["taxon_label"].startswith("evil") and "\n" not in taxa[4].extra["taxon_label"]


def test_the_text_is_what_the_standard_asks(pedigree):
    file = io.StringIO(newline="")
    write_alife(Lineage(pedigree.lab), file)
    rows = list(csv.DictReader(io.StringIO(file.getvalue(), newline="")))
    assert rows[0]["ancestor_list"] == "[none]" and rows[3]["ancestor_list"] == "[1, 2, 0]"
    assert all(row["id"].isdecimal() for row in rows)


def test_reading_gives_what_the_lineage_has(pedigree, tmp_path):
    with (tmp_path / "x.csv").open("w", newline="", encoding="utf-8") as file:
        write_alife(Lineage(pedigree.lab), file)
    for read, made in zip(read_alife(tmp_path / "x.csv"), taxa_of(Lineage(pedigree.lab)), strict=True):
        assert (read.id, read.ancestors, read.origin_time) == (made.id, made.ancestors, made.origin_time)
        assert {name: text for name, text in read.extra.items() if text} == {
            name: text for name, text in made.extra.items() if text
        }


def test_the_standards_own_example_is_read(tmp_path):
    (tmp_path / "toy.csv").write_text(STANDARD)
    assert read_alife(tmp_path / "toy.csv") == [
        Taxon(0, (), 0.0, 1.0, {"shape": "circle"}),
        Taxon(1, (0,), 1.0, 2.0, {"shape": "square"}),
        Taxon(3, (1,), 2.0, None, {"shape": "square"}),
    ]


@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.floats(allow_nan=False)),
            st.sets(st.integers(0, 30), max_size=3),
            st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=12),
        ),
        min_size=1,
        max_size=31,
    )
)
def test_whatever_is_written_is_read(tmp_path_factory, rows):
    # ancestors among the rows that exist, so that the phylogeny is closed
    taxa = [
        Taxon(place, tuple(sorted(ancestors & set(range(len(rows))))), time, math.inf, {"note": note})
        for place, (time, ancestors, note) in enumerate(rows)
    ]
    path = tmp_path_factory.mktemp("csv") / "phylogeny.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        write_taxa(taxa, file)
    assert read_alife(path) == taxa


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,time\n0,1\n", "no column ancestor_list"),
        ("id,ancestor_list\n-1,[none]\n", "'-1' is no whole number"),
        ("id,ancestor_list\n0,[none]\n0,[none]\n", "id 0 more than once"),
        ("id,ancestor_list\n0,[7]\n", "ancestor 7 of 0 is not in the file"),
        ("id,ancestor_list\n0,7\n", "not like"),
        ("id,ancestor_list,origin_time\n0,[],soon\n", "'soon' is no number"),
        ("id,ancestor_list\n0,[none],more\n", "more fields"),
        ('id,ancestor_list\n0,"[none]\n', "CSV"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, said):
    (tmp_path / "wrong.csv").write_text(text)
    with pytest.raises(LabError, match=said):
        read_alife(tmp_path / "wrong.csv")


def test_no_file_is_an_error_of_one_line(tmp_path):
    with pytest.raises(LabError, match="cannot read"):
        read_alife(tmp_path / "nothing.csv")
