"""Outcomes: a NaN is a failure with a name, never a number."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Failed, Graded, Ok, Pending, outcome_of, pack, unpack


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_a_failure_that_names_it(value: float) -> None:
    outcome = outcome_of({"accuracy": 0.5, "loss": value})
    assert isinstance(outcome, Failed)
    assert "loss" in outcome.reason
    with pytest.raises(ValueError, match="loss"):
        Ok({"loss": value})


def test_a_number_is_called_value() -> None:
    assert outcome_of(0.25) == Ok({"value": 0.25})


def test_what_is_no_number_is_a_failure() -> None:
    assert outcome_of({"loss": "low"}) == Failed("loss is str, not a number")  # type: ignore[dict-item]
    assert isinstance(outcome_of({}), Failed)


@pytest.mark.parametrize("outcome", [Failed("no"), Pending()])
def test_reading_a_value_that_is_not_there_says_why(outcome: Failed | Pending) -> None:
    with pytest.raises(EvaluationFailed, match="accuracy"):
        outcome["accuracy"]


def test_an_outcome_survives_a_worker() -> None:
    outcome = Ok({"a": 1.0})
    assert pickle.loads(pickle.dumps(outcome)) == outcome
    with pytest.raises(KeyError, match="measured"):
        outcome["b"]


def test_which_examples_were_right_is_kept_and_told_apart() -> None:
    outcome = outcome_of(Graded({"accuracy": 2 / 3}, [True, False, True]))
    assert outcome == Ok({"accuracy": 2 / 3}, "101")
    assert pickle.loads(pickle.dumps(outcome)) == outcome
    assert outcome != Ok({"accuracy": 2 / 3}, "110") and outcome != Ok({"accuracy": 2 / 3})
    assert "101" not in repr(outcome)  # thousands of examples would drown the values


def test_graded_values_that_are_not_finite_fail_as_ever() -> None:
    assert outcome_of(Graded({"accuracy": float("nan")}, [True])) == Failed("accuracy is nan")


def test_marks_are_right_or_wrong_and_nothing_else() -> None:
    with pytest.raises(ValueError, match="one character"):
        Ok({"a": 1.0}, "12")
    with pytest.raises(ValueError, match="True or False"):
        Graded({"a": 1.0}, [0.5])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="at least one"):
        Graded({"a": 1.0}, [])


@given(st.text("01", min_size=1))
def test_packing_loses_nothing(right: str) -> None:
    assert unpack(pack(right)) == right
    assert len(pack(right)) <= len(right) / 4 + 1 + len(f"{len(right)}:")


@pytest.mark.parametrize("text", ["", "5:a", "0:", "5:xy", "a8"])
def test_what_was_not_packed_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        unpack(text)
