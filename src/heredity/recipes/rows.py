"""What all stages of a run share: lab, task and founders, and the rows of the table that they fill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from heredity.errors import RecipeError
from heredity.evaluation.outcome import Failed, Ok
from heredity.lab import Lab, Model
from heredity.merging.methods import method_for
from heredity.merging.operators import is_adapter
from heredity.recipes.founders import Founders
from heredity.recipes.schema import Recipe
from heredity.recipes.tasks import Task

# (stage, done, total, best fitness so far): called whenever something ended.
Report: TypeAlias = Callable[[str, int, int, float | None], None]


@dataclass(frozen=True)
class Row:
    """One line of a run's table.

    Args:
        what: e.g. "uniform soup".
        model: the handle.
        fitness: on the examples the search may look at; None where the model could not be evaluated.
        accuracy, low, high: on held-out examples with the 95 % interval; None where there are none.
        tried: how many models were evaluated to find it.
        failed: why there is no fitness.
        members: of a vote: the models that vote, the fittest first. Such a row is never the winner. `model` is their
            recorded ensemble, or, where answers in text are counted, the fittest member.
    """

    what: str
    model: Model
    fitness: float | None
    accuracy: float | None
    low: float | None
    high: float | None
    tried: int
    failed: str | None = None
    members: tuple[Model, ...] = ()


@dataclass(frozen=True)
class Ground:
    """What stages work on.

    Args:
        recipe: validated.
        lab: where everything is recorded.
        task: probes of fitness and of held-out examples.
        founders: in the lab.
        report: called as the run goes on.
    """

    recipe: Recipe
    lab: Lab
    task: Task
    founders: Founders
    report: Report

    def labels(self, stage: str, generation: int) -> dict[str, object]:
        """Of a birth."""
        return {"run": self.recipe.name, "stage": stage, "generation": generation}

    def roles(self, method: str) -> dict[str, Model | str]:
        """The base, where the method or an adapter needs it."""
        base = self.founders.base
        needs = is_adapter(self.founders.models[0]) or method_for(method).needs_base
        return {"base": base} if base is not None and needs else {}

    def value(self, model: Model) -> float | None:
        """The recorded fitness of a model; None where evaluating it failed."""
        outcome = self.lab.outcome(self.task.fitness, model)
        return outcome["fitness"] if isinstance(outcome, Ok) else None

    def die(self, models: Sequence[Model]) -> None:
        """Record deaths, once each."""
        known = set(self.lab.dead([model.id for model in models]))
        self.lab.die([model for model in models if model.id not in known], "not selected")

    def row(self, what: str, model: Model, fitness: float, tried: int, members: tuple[Model, ...] = ()) -> Row:
        """The line of a model, measured on the held-out examples.

        Raises:
            RecipeError: it cannot be measured on them.
        """
        if self.task.test is None:
            return Row(what, model, fitness, None, None, None, tried, members=members)
        outcome = self.lab.measure(self.task.test, model)
        if isinstance(outcome, Failed):
            raise RecipeError(f"{model} cannot be evaluated on the held-out examples: {outcome.reason}")
        low, high = outcome.values.get("accuracy_low"), outcome.values.get("accuracy_high")
        return Row(what, model, fitness, outcome["accuracy"], low, high, tried, members=members)

    def best(self, what: str, models: Sequence[Model], stage: str) -> Row:
        """The line of the model with the highest fitness; of the first one, with the reason, when all fail.

        The others die, but for founders.
        """
        self.lab.measure_all(self.task.fitness, models)
        usable = [(fitness, model) for model in models if (fitness := self.value(model)) is not None]
        if not usable:
            outcome = self.lab.outcome(self.task.fitness, models[0])
            reason = outcome.reason if isinstance(outcome, Failed) else "no fitness"
            return Row(what, models[0], None, None, None, None, len(models), reason)
        fitness, model = max(usable, key=lambda pair: pair[0])
        founders = {founder.id for founder in self.founders.models}
        self.die([loser for loser in models if loser != model and loser.id not in founders])
        self.report(stage, len(models), len(models), fitness)
        return self.row(what, model, fitness, len(models))


def winner_of(rows: Sequence[Row]) -> Row:
    """The row with the highest fitness, the first of equals; votes of several models do not count."""
    usable = [row for row in rows if row.fitness is not None and not row.members]
    return max(usable, key=lambda row: row.fitness or 0.0)
