"""Newick: read back by an independent parser of quoted labels."""

from __future__ import annotations

import io
import sys

import torch
from hypothesis import given
from hypothesis import strategies as st

from heredity.lab.interchange.lineage import Lineage, printable
from heredity.lab.interchange.newick import quoted, write_newick
from heredity.lab.journal import encode_line


def read(text: str) -> list[tuple[str, str | None]]:
    """(label, parent's label) of every node of every tree, children first."""
    found: list[tuple[str, str | None]] = []
    levels: list[list[int]] = [[]]
    place, below = 0, []
    while place < len(text):
        mark = text[place]
        place += 1
        if mark == "(":
            levels.append([])
        elif mark == ")":
            below = levels.pop()
        elif mark == "'":
            label = ""
            while True:
                end = text.index("'", place)
                label += text[place:end]
                place = end + 1
                if text[place : place + 1] != "'":
                    break
                label += "'"
                place += 1
            for child in below:
                found[child] = (found[child][0], label)
            below = []
            levels[-1].append(len(found))
            found.append((label, None))
        else:
            assert mark in ",;\n", mark
            assert (mark == ",") == (len(levels) > 1) or mark == "\n"
    assert len(levels) == 1
    return found


def written(lineage: Lineage) -> str:
    file = io.StringIO()
    write_newick(lineage, file)
    return file.getvalue()


def test_primary_parents_come_back(pedigree):
    labels = {model.id: printable(model.name) if model.name else model.id for model in pedigree.all}
    expected = {(labels[model.id], labels[model.parents[0].id] if model.parents else None) for model in pedigree.all}
    assert set(read(written(Lineage(pedigree.lab)))) == expected


def test_each_root_is_a_tree_on_its_own_line(pedigree):
    pedigree.lab.add({"w": torch.zeros(2)}, name="stranger")
    lines = written(Lineage(pedigree.lab)).splitlines()
    assert len(lines) == 2 and all(line.endswith(";") for line in lines) and lines[1] == "'stranger';"


@given(st.text(st.characters(codec="utf-8")))
def test_any_label_comes_back(text):
    assert read(quoted(text) + ";") == [(printable(text), None)]


def test_a_lineage_deeper_than_the_stack(lab):
    depth = sys.getrecursionlimit() + 100
    lines = []
    for place in range(depth):
        key = f"{place:016x}" * 4
        parents = [{"role": "parent", "id": f"{place - 1:016x}"}] if place else []
        operator = {"type": "m:Op", "version": 1, "config": {}}
        birth = {"t": "birth", "id": key[:16], "key": key, "kind": "train", "seed": 0, "time": float(place)}
        lines.append(encode_line({**birth, "operator": operator, "parents": parents, "weights": key}))
    (lab.root / "births" / "w.jsonl").write_bytes(b"".join(lines))
    text = written(Lineage(lab))
    assert text.count("(") == text.count(")") == depth - 1
    assert len(read(text)) == depth
