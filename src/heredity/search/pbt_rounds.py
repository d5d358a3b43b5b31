"""Rounds of training in a population: who trained what from whose weights, and what that makes of a schedule.

Source: Jaderberg et al., Population Based Training of Neural Networks (arXiv 1711.09846).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

Hyper: TypeAlias = dict[str, Any]
Schedule: TypeAlias = list[tuple[int, Hyper]]


@dataclass(frozen=True, slots=True)
class Task:
    """One round of one member.

    Args:
        member: who; round: its own count from 0; step: how many rounds its weights have been trained before.
        hyper: hyperparameters in force.
        parent: the candidate whose weights (with the optimiser's state) go on; None for a new model.
        donor: the member that was copied just before; None where nobody was.
        seed: of everything random in the round, so that copies do not see the same batches.
    """

    member: int
    round: int
    step: int
    hyper: Hyper
    parent: int | None
    donor: int | None
    seed: int

    def copy(self) -> Task:
        """One whose hyperparameters its receiver may change."""
        return replace(self, hyper=dict(self.hyper))


def lineage(tasks: Sequence[Task]) -> list[tuple[int, int, Literal["train", "exploit"]]]:
    """Edges (parent, child, kind) between rounds: "exploit" where the weights came from another member."""
    return [
        (task.parent, i, "train" if tasks[task.parent].member == task.member else "exploit")
        for i, task in enumerate(tasks)
        if task.parent is not None
    ]


def path(tasks: Sequence[Task], at: int | None) -> list[Task]:
    """The rounds that made the weights with which round `at` ended, the first one first."""
    found: list[Task] = []
    while at is not None:
        found.append(tasks[at].copy())
        at = tasks[at].parent
    return found[::-1]


def schedule_of(rounds: Sequence[Task]) -> Schedule:
    """(step, hyperparameters from there on), where they change."""
    found: Schedule = []
    for task in rounds:
        if not found or found[-1][1] != task.hyper:
            found.append((task.step, dict(task.hyper)))
    return found
