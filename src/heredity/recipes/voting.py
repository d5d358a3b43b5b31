"""The stage of the vote: the best of the living population answer together.

Classifiers become one recorded model, an `Ensemble`. Of language models the answers are counted, on a probe that holds
the answers of all but the fittest member, so that no weights are stacked and adapters can vote too.
Source: arXiv 2503.01155, section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence

from heredity.errors import RecipeError
from heredity.evaluation.outcome import Failed, Ok, Outcome
from heredity.lab import Model, Probe, Request
from heredity.lab.conditions import fixed_conditions
from heredity.language.probes import Answers, Labels, VotedAnswers
from heredity.merging.operators import Ensemble, is_adapter
from heredity.recipes.rows import Ground, Row


def check_vote(ground: Ground) -> None:
    """Refuse founders that cannot vote on this task, before anything runs.

    Raises:
        RecipeError: they have no recorded architecture or are adapters, and the task is none of text.
    """
    if isinstance(ground.task.fitness, (Answers, Labels)):
        return
    for model in ground.founders.models:
        if is_adapter(model):
            raise RecipeError("ensemble: adapters vote on tasks of text only (task.data); set ensemble: null")
        if model.architecture is None:
            raise RecipeError(
                f"ensemble: {model} came as weights alone, and an ensemble has to build its members; "
                "give a model folder, or ensemble: null"
            )


def vote(ground: Ground, members: Sequence[Model]) -> Row:
    """The line of the vote.

    Args:
        members: the fittest first; it decides ties between texts.
    """
    voters = tuple(members)
    what = f"vote of {len(voters)}"
    row = (_of_texts if isinstance(ground.task.fitness, (Answers, Labels)) else _of_labels)(ground, what, voters)
    ground.report(what, 1, 1, row.fitness)
    return row


def _of_labels(ground: Ground, what: str, members: tuple[Model, ...]) -> Row:
    request = Request(Ensemble(), members, {}, 0, ground.labels("ensemble", 0), keep=False)
    [(_, answer)] = ground.lab.as_completed([request], measure=ground.task.fitness)
    if isinstance(answer, Exception):
        raise answer
    outcome = ground.lab.outcome(ground.task.fitness, answer)
    if isinstance(outcome, Failed):
        return Row(what, answer, None, None, None, None, 1, outcome.reason, members)
    return ground.row(what, answer, outcome["fitness"], 1, members)


def _of_texts(ground: Ground, what: str, members: tuple[Model, ...]) -> Row:
    fitness = _counted(ground, ground.task.fitness, members)
    accuracy = fitness if ground.task.test is None else _counted(ground, ground.task.test, members)
    if not isinstance(fitness, Ok) or not isinstance(accuracy, Ok):
        failed = next(outcome for outcome in (fitness, accuracy) if isinstance(outcome, Failed))
        return Row(what, members[0], None, None, None, None, 1, failed.reason, members)
    mean, low, high = (accuracy.values.get(f"vote_accuracy{end}") for end in ("", "_low", "_high"))
    return Row(what, members[0], fitness["vote_fitness"], mean, low, high, 1, members=members)


def _counted(ground: Ground, probe: Probe, members: Sequence[Model]) -> Outcome:
    assert isinstance(probe, (Answers, Labels))
    with fixed_conditions(1, 0):  # as in a recorded evaluation: answers do not depend on the number of cores
        others = tuple(tuple(probe.answers(model)) for model in members[1:])
    return ground.lab.measure(VotedAnswers(probe, others), members[0])
