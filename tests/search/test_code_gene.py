import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heredity.search.code_gene import MARKER, CodeGene

LINES = st.lists(st.sampled_from([MARKER, f"  {MARKER}\t", "x = 1", "", "\r", "# --option--", "y\x0c", f"{MARKER} x"]))


@given(LINES, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_blocks_and_markers_are_the_file_byte_for_byte(lines, end, last):
    source = end.join(lines) + (end if last else "")
    gene = CodeGene(source)
    assert "".join(gene.parts) == source
    assert len(gene.blocks) == 1 + sum(line.strip() == MARKER for line in re.split("\r\n|\r|\n", source))


@given(LINES, st.data())
def test_replacing_a_block_by_itself_changes_nothing_and_by_another_only_it(lines, data):
    gene = CodeGene("\n".join(lines))
    i = data.draw(st.integers(0, len(gene.blocks) - 1))
    assert gene.replace(i, gene.blocks[i]) == gene
    changed = gene.replace(i, "z = 3\n")
    assert changed.blocks == (*gene.blocks[:i], "z = 3\n", *gene.blocks[i + 1 :])
    assert [part.rstrip() for part in changed.parts[1::2]] == [part.rstrip() for part in gene.parts[1::2]]


def test_a_newline_is_added_only_before_a_marker():
    gene = CodeGene(f"a\n{MARKER}\nb\n")
    assert gene.replace(0, "c").source == f"c\n{MARKER}\nb\n"
    assert gene.replace(1, "c").source == f"a\n{MARKER}\nc"


def test_wrong_blocks_are_named():
    gene = CodeGene(f"a\n{MARKER}\nb\n")
    with pytest.raises(IndexError, match="blocks 0 to 1, not 2"):
        gene.replace(2, "")
    with pytest.raises(IndexError):
        gene.replace(-1, "")
    with pytest.raises(ValueError, match="between blocks only"):
        gene.replace(1, f"x\n {MARKER} \ny")
    with pytest.raises(ValueError, match="one line of comment"):
        CodeGene("", marker="OPTION")


def test_the_key_sees_the_tree_and_not_the_layout():
    source = 'def f(x):\n    """Say."""\n    return x + 1  # more\n'
    same = ["def f(x): return (x+1)", "\n\ndef f( x ):\n  # less\n  return x +\\\n 1\n"]
    other = ["def f(x): return 1 + x", "def f(y): return y + 1", "def f(x): return x + 1.0", "def f(x):"]
    keys = {CodeGene(text).key for text in (source, *same)}
    assert len(keys) == 1
    assert len(keys | {CodeGene(text).key for text in other}) == 5


def test_what_cannot_be_parsed_has_a_key_all_the_same():
    broken = ["def f(:", "def f(: ", "a\0b", "\ud800", "(" * 10_000]
    assert len({CodeGene(text).key for text in broken}) == 5


def test_a_function_with_nothing_but_a_docstring_keeps_a_body():
    assert CodeGene('def f(): "doc"').key == CodeGene("def f(): pass").key
