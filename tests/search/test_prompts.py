import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heredity.search.code_gene import MARKER, CodeGene
from heredity.search.prompts import (
    AFTER,
    AIMS,
    BEFORE,
    NOW,
    TEMPLATES,
    VOICES,
    EvolutionOfThought,
    LLMCrossover,
    LLMMutation,
    NoCode,
    carry_notes,
    extract_code,
    fenced,
    fences,
)

CODE = 'x = {"a": f"{1}", "b": {}}  # {braces} %s\n'


def test_code_of_labelled_bare_and_longest_fences_is_kept():
    assert extract_code("Text.\n```python\nx = 1\n```\nMore.") == "x = 1\n"
    assert extract_code("```\nx = 1\n```") == "x = 1\n"
    assert extract_code("~~~py\nx = 1\n~~~") == "x = 1\n"
    assert (
        extract_code("```python\nx = 1\n```\nor\n```python\nx = 1\ny = 2\n```\nor\n```\nz = 3\n```") == "x = 1\ny = 2\n"
    )
    assert extract_code("  ```python\nx = 1\n  ```") == "x = 1\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = 1", "no closed block"),
        ("", "no closed block"),
        ("```python\nx = 1\n", "no closed block"),
        ("Use `x = 1` or ```x = 1``` inline.", "no closed block"),
        ("```python\n\n```", "empty"),
        ("```python\ndef f(:\n```", "cannot be parsed"),
        ("```python\nx = '\0'\n```", "cannot be parsed"),
    ],
)
def test_replies_without_usable_code_say_why(text, reason):
    with pytest.raises(NoCode, match=reason):
        extract_code(text)


@given(st.lists(st.sampled_from(["x = 1", "```", "````python", "s = '''", "~~~", "  y", ""])))
def test_what_is_fenced_comes_out_whole(lines):
    code = "".join(line + "\n" for line in lines)
    assert fences("Before.\n" + fenced(code) + "After.") == [code if code else "\n"]


def test_notes_between_marks_are_carried_over_once():
    note = "# -- NOTE --\n# keep me\n# -- NOTE --\n"
    assert carry_notes(note + "x = 1\n", "x = 2\n") == note + "x = 2\n"
    assert carry_notes(note + "x = 1\n", note + "x = 2\n") == note + "x = 2\n"
    assert carry_notes("# -- NOTE --\nx = 1\n", "x = 2\n") == "x = 2\n"


def test_every_voice_and_aim_is_drawn_and_braces_survive():
    rng = np.random.default_rng(0)
    asked = [LLMMutation().request(CODE, rng) for _ in range(1000)]
    assert {request.kind for request in asked} == {f"{voice}/{aim}" for voice in VOICES for aim in AIMS}
    assert len(TEMPLATES) == 24
    assert all(fences(request.text) == [CODE] for request in asked)
    assert all(0.02 <= request.temperature <= 0.35 and request.top_p == 0.1 for request in asked)
    assert asked[0].messages() == [{"role": "user", "content": asked[0].text}]


def test_unknown_templates_are_named():
    with pytest.raises(ValueError, match="'pirate'"):
        LLMMutation([("pirate", "params")])
    with pytest.raises(ValueError, match="at least one"):
        LLMMutation([])


def test_a_thought_shows_exactly_one_differing_pair_and_the_block_to_change():
    origin = CodeGene(f"import a\n{MARKER}\nb = 1\n{MARKER}\nc = 1\n{MARKER}\nd = 1\n")
    elite = (
        origin.replace(1, "b = 2\n").replace(3, "d = 2\n").replace(2, "c  =  1  # as it was\n").replace(0, "import z\n")
    )
    assert EvolutionOfThought.differing(origin, elite) == [1, 3]
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(50):
        request = EvolutionOfThought().request("now = 1\n", origin, elite, rng)
        before, after, now = fences(request.text)
        assert now == "now = 1\n" and request.kind == "EoT"
        assert (before, after) in {("b = 1\n", "b = 2\n"), ("d = 1\n", "d = 2\n")}
        assert all(request.text.count(f"\n{word}\n") == 1 for word in (BEFORE, AFTER, NOW))
        seen.add(before)
    assert len(seen) == 2


def test_an_elite_without_a_change_has_no_thought():
    origin = CodeGene(f"import a\n{MARKER}\nb = 1\n")
    assert EvolutionOfThought().request("x", origin, origin.replace(0, "import c\n"), np.random.default_rng(0)) is None


def test_a_crossover_shows_both_versions_the_own_first():
    request = LLMCrossover().request("a = 1\n", "a = 2\n", np.random.default_rng(0))
    assert fences(request.text) == ["a = 1\n", "a = 2\n"] and 0.05 <= request.temperature <= 0.1
