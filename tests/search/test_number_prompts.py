import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heredity.search.number_prompts import Generation, ParseError, PromptCodec

GOLDEN = "5;0500,1000\n2;0583,0667\n\n4;0250,0750\n3;0000,0500\n1;0333,0333\n\n0;"


def history():
    first = Generation(np.array([[0.5, 1.0], [0.0, 3.0]]), np.array([-1.0, -9.0]))
    second = Generation(np.array([[-1.0, -1.0], [-1.5, 1.5], [-3.0, 0.0]]), np.array([0.5, -3.0, -2.0]))
    return [second, first]


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=5), st.integers(1, 5000))
def test_reading_what_was_written_is_off_by_half_a_level_at_most(x, levels):
    codec = PromptCodec(levels=levels)
    assert np.abs(codec.decode(codec.answer(x), len(x)) - x).max() <= 6 / (2 * levels) + 1e-9


def test_what_lies_outside_is_clipped():
    codec = PromptCodec()
    assert codec.integers([-7.0, 99.0]).tolist() == [0, 1000]


@pytest.mark.parametrize("text", ["12,,7", "12", "1,2,3", "1,x", "1,-2", "1,1001", "", "one, two", "1;2", "\n1,2"])
def test_a_malformed_answer_is_an_error(text):
    with pytest.raises(ParseError):
        PromptCodec().decode(text, 2)


def test_answers_may_be_loose_and_end_with_the_line():
    assert np.allclose(PromptCodec().decode(" 500, 1000\nand so on", 2), [0, 3])
    assert np.allclose(PromptCodec(spaced=True).decode("0 5 0 0,1 0 0 0", 2), [0, 3])


def test_a_known_history_gives_the_known_prompt():
    # Levels are .006 apart: .5 → 583, 1 → 667, −1 → 333. The first generation's best is worse than the second's.
    assert PromptCodec().encode(history()) == GOLDEN


def test_the_order_of_members_and_generations_does_not_matter():
    second, first = history()
    shuffled = [Generation(g.x[::-1], g.fitness[::-1]) for g in (first, second)]
    assert PromptCodec().encode(shuffled) == PromptCodec().encode(history())
    unsorted = PromptCodec(order="unsorted")
    assert unsorted.encode(shuffled) != unsorted.encode(history())
    equal = [Generation(np.array([[0.0, 1.0], [0.0, -1.0]]), np.array([1.0, 1.0]))]
    turned = [Generation(equal[0].x[::-1], equal[0].fitness)]
    assert PromptCodec().encode(equal) == PromptCodec().encode(turned)


def test_the_reverse_order_and_the_forms_of_fitness():
    best_first = PromptCodec(order="best_to_worst").encode(history())
    assert best_first.startswith("1;0333,0333\n3;0000,0500\n4;") and best_first.endswith("5;0500,1000\n\n0;")
    assert PromptCodec(fitness="none").encode(history()).endswith("0333,0333\n\n")
    raw = PromptCodec(fitness="raw").encode(history())
    # Half of |.5| above .5.
    assert raw.startswith("-9;0500,1000\n-1;") and raw.endswith("\n\n0.75;")
    assert PromptCodec(fitness="raw").target(-4.0) == "-2" and PromptCodec(fitness="raw").target(0.0) == "1"
    assert PromptCodec().encode(history(), target="-3").endswith("\n\n-3;")


def test_spaced_digits():
    assert PromptCodec(spaced=True).answer([0.0, 3.0]) == "0 5 0 0,1 0 0 0"


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="bounds"):
        PromptCodec(3, -3)
    with pytest.raises(ValueError, match="levels"):
        PromptCodec(levels=0)
    with pytest.raises(ValueError, match="at least one solution"):
        PromptCodec().encode([])
