"""Flowcharts: whole, as a trunk, and with names that try to break out of their boxes."""

from __future__ import annotations

import html
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from species import Mutate

from heredity.lab.interchange.lineage import Lineage
from heredity.lab.interchange.mermaid import escape, write_mermaid

BOX = re.compile(r'  (m\d+)\["([^"]*)"\]')
ARROW = re.compile(r'  (m\d+) (-->|-\.->)(?:\|"([^"]*)"\|)? (m\d+)')


def draw(lineage, **options):
    file = io.StringIO()
    drawn = write_mermaid(lineage, file, **options)
    return file.getvalue(), drawn


def shown(label: str) -> str:
    """What a browser shows of a label."""
    return html.unescape(re.sub(r"#(\d+);", r"&#\1;", label))


def test_all_births_and_edges_of_a_small_lineage(pedigree):
    text, drawn = draw(Lineage(pedigree.lab))
    boxes = dict(BOX.findall(text))
    assert len(boxes) == drawn.births == 5 and drawn.folded == 0
    assert shown(boxes["m0"]) == "Darwin's ancestor<br>Import"
    arrows = [(parent, stroke, role, child) for parent, stroke, role, child in ARROW.findall(text)]
    assert sorted(arrows) == [
        ("m0", "-->", "", "m1"),
        ("m0", "-->", "", "m2"),
        ("m0", "-.->", "base", "m3"),
        ("m1", "-->", "", "m3"),
        ("m2", "-.->", "mate", "m3"),
        ("m3", "-->", "", "m4"),
    ]
    assert drawn.edges == 6 and drawn.characters == len(text)


def test_every_line_is_one_of_the_grammar(pedigree):
    text, _ = draw(Lineage(pedigree.lab))
    head, *lines = text.splitlines()
    assert head == "flowchart TD"
    for line in lines:
        known = (BOX, ARROW, re.compile(r"  class(Def)? [\w,]+ [\w:#,]+"))
        assert any(pattern.fullmatch(line) for pattern in known), line


@given(st.text())
def test_an_escaped_label_is_plain_and_shows_the_text(text):
    escaped = escape(text)
    assert not set(escaped) & set('"`<>&[](){}|\\:%@\n\r')
    assert re.fullmatch(r"(?:[^#;]|#\d+;)*", escaped)
    if text.isprintable() and "#" not in text:
        assert shown(escaped) == text


@pytest.fixture
def long_line(lab):
    """A root, thirty generations, a fork of two lines of ten, and a named birth half way up."""
    import torch

    model = lab.add({"w": torch.zeros(1)}, name="root")
    for seed in range(30):
        model = lab.derive(Mutate(), model, seed=seed, name="middle" if seed == 14 else None)
    for side in (100, 200):
        tip = model
        for seed in range(10):
            tip = lab.derive(Mutate(), tip, seed=side + seed)
    return lab


def test_the_trunk_has_ends_forks_and_roots_and_counts_what_is_between(long_line):
    text, drawn = draw(Lineage(long_line), most=10)
    # root → 14 births → middle → 14 births → fork → 9 births → tip, twice; nothing died: living means leaves
    assert (drawn.births, drawn.folded) == (5, 51 - 5)
    arrows = [(parent, label, child) for parent, _, label, child in ARROW.findall(text)]
    assert arrows == [
        ("m0", "14 births", "m1"),
        ("m1", "14 births", "m2"),
        ("m2", "9 births", "m3"),
        ("m2", "9 births", "m4"),
    ]
    assert "5 of 51 births" in text


def test_all_draws_all(long_line):
    _, drawn = draw(Lineage(long_line), most=10, everything=True)
    assert (drawn.births, drawn.edges, drawn.folded) == (51, 50, 0)


def test_the_dead_are_not_ends(long_line):
    newest = list(long_line.models())[-1]
    long_line.die([newest])
    text, _ = draw(Lineage(long_line), most=3)
    # one end may be drawn: the named birth comes before the living
    assert [shown(label) for _, label in BOX.findall(text)] == ["root<br>Import", "middle<br>Mutate"]


@pytest.mark.parametrize("most", [2, 3, 7, 20, 33])
def test_the_trunk_never_has_more_births_than_asked(long_line, most):
    assert draw(Lineage(long_line), most=most)[1].births <= most
