"""Outcomes: a NaN is a failure with a name, never a number."""

import pickle

import pytest

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Failed, Ok, Pending, outcome_of


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
