"""Running a recipe: founders, baselines, a breeding population, an evolved merge; every child a recorded birth.

A run is a plain loop over a lab. Killed and started again, it recalls what is recorded and goes on.
Sources: arXiv 2503.01155 (population), arXiv 2403.13187 (recipes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from heredity.errors import BirthFailed, RecipeError
from heredity.evaluation.outcome import Failed, Ok, Outcome
from heredity.lab import Lab, Model, Request
from heredity.merging.births import GenomeConfig, Proposal, Succession
from heredity.merging.evolutionary import RecipeSearcher
from heredity.merging.genome import GenomeSearcher
from heredity.merging.merge_space import MergeSpace
from heredity.merging.methods import method_for
from heredity.merging.operators import Merge, MergeByRecipe, is_adapter, operator_for
from heredity.recipes.founders import Founders, founders_of
from heredity.recipes.schema import GridSection, MergingSection, PopulationSection, Recipe
from heredity.recipes.tasks import Task, build_task
from heredity.search.base import Candidate

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
    """

    what: str
    model: Model
    fitness: float | None
    accuracy: float | None
    low: float | None
    high: float | None
    tried: int
    failed: str | None = None


@dataclass(frozen=True)
class Evolution:
    """What a run found: the table, and the model with the highest fitness."""

    rows: tuple[Row, ...]
    winner: Model
    founders: Founders
    task: Task


def _silent(stage: str, done: int, total: int, best: float | None) -> None:
    """Report nothing."""


def evolve(recipe: Recipe, lab: Lab, *, folder: Path = Path(), report: Report = _silent) -> Evolution:
    """Run a recipe in a lab.

    Args:
        recipe: validated.
        lab: where everything is recorded.
        folder: what the recipe's relative paths are meant from.
        report: called as the run goes on.

    Raises:
        RecipeError: a founder or task cannot be read, or the founders do not fit each other.
        EvaluationFailed: every model of a stage failed.
    """
    return _Run(recipe, lab, folder, report).run()


class _Run:
    def __init__(self, recipe: Recipe, lab: Lab, folder: Path, report: Report) -> None:
        self.recipe, self.lab, self.report = recipe, lab, report
        self.task = build_task(recipe, folder)
        self.founders = founders_of(recipe, lab, folder, report)

    def run(self) -> Evolution:
        recipe = self.recipe
        rows: list[Row] = []
        base = self.founders.base
        if base is not None and not is_adapter(self.founders.models[0]):
            rows.append(self._row("ancestor", base, self._fitness("ancestor", [base])[0], 1))
        rows.append(self._best("best founder", self.founders.models, "founders"))
        if rows[-1].failed is not None:
            raise RecipeError(f"no founder could be evaluated; the first: {rows[-1].failed}")
        rows.append(self._best("uniform soup", self._born([self._request(Merge("linear"))], "soup"), "soup"))
        if recipe.grid is not None:
            operators = list(grid_of(recipe.grid, has_base=base is not None or is_adapter(self.founders.models[0])))
            rows.append(self._best("best grid merge", self._born(map(self._request, operators), "grid"), "grid"))
        mixture: Sequence[float] | None = None
        if recipe.population is not None:
            row, mixture = self._population(recipe.population)
            rows.append(row)
        if recipe.merging is not None:
            rows.append(self._merging(recipe.merging, mixture))
        winner = max((row.fitness, -place, row) for place, row in enumerate(rows) if row.fitness is not None)[2].model
        if not winner.has_weights:
            self.lab.rebuild(winner)
        self.lab.name(winner, f"{recipe.name}-winner")
        return Evolution(tuple(rows), winner, self.founders, self.task)

    # Stages

    def _population(self, section: PopulationSection) -> tuple[Row, Sequence[float]]:
        searcher = GenomeSearcher(len(self.founders.models), genome_config(section, self.recipe.seed), metric="fitness")
        individuals: dict[int, Model] = dict(enumerate(self.founders.models))
        stage = "GENOME+" if section.succession is not None else "GENOME"
        evaluated = 0
        while not searcher.done:
            candidates = searcher.ask()
            answers = self._bear(candidates, individuals, len(searcher.history))
            outcomes: list[Outcome] = []
            for candidate, answer in zip(candidates, answers, strict=True):
                if isinstance(answer, Model):
                    individuals[candidate.id] = answer
                    outcomes.append(self.lab.outcome(self.task.fitness, answer))
                else:
                    outcomes.append(Failed(str(answer)))
            generations = len(searcher.history)
            searcher.tell(candidates, outcomes)
            evaluated += len(candidates)
            for generation in searcher.history[generations:]:
                self._bury(generation.deaths, individuals, searcher)
            best = searcher.best
            self.report(stage, len(searcher.history), section.generations + 1, best[1] if best else None)
        assert searcher.best is not None
        candidate, fitness = searcher.best
        row = self._row(stage, individuals[candidate.id], fitness, evaluated)
        return row, searcher.mixture(candidate.id)

    def _bear(
        self, candidates: Sequence[Candidate[Proposal]], individuals: Mapping[int, Model], generation: int
    ) -> list[Model | Exception]:
        """The children of proposals, evaluated; a founder is evaluated as it is."""
        answers: dict[int, Model | Exception] = {}
        requests: dict[int, Request] = {}
        for place, candidate in enumerate(candidates):
            if candidate.value.kind == "founder":
                answers[place] = individuals[candidate.id]
            else:
                requests[place] = self._proposed(candidate.value, individuals, generation)
        founders = [model for model in answers.values() if isinstance(model, Model)]
        self.lab.measure_all(self.task.fitness, founders)
        places = list(requests)
        for index, answer in self.lab.as_completed(requests.values(), measure=self.task.fitness):
            if isinstance(answer, Exception) and not isinstance(answer, BirthFailed):
                raise answer
            answers[places[index]] = answer
        return [answers[place] for place in range(len(candidates))]

    def _proposed(self, proposal: Proposal, individuals: Mapping[int, Model], generation: int) -> Request:
        parents = [individuals[i] for i in proposal.parents]
        positional = [p for p, role in zip(parents, proposal.roles, strict=True) if role in ("parent", "mate")]
        roles: dict[str, Model | str] = {
            role: p for role, p in zip(proposal.roles, parents, strict=True) if role not in ("parent", "mate")
        }
        operator = operator_for(proposal, self.recipe.adapters)
        if proposal.kind in ("init", "crossover"):
            roles |= self._roles(proposal.method)
        elif is_adapter(parents[0]):
            roles |= self._roles("linear")
        return Request(operator, positional, roles, proposal.seed, self._labels("population", generation))

    def _bury(self, deaths: Sequence[int], individuals: dict[int, Model], searcher: GenomeSearcher) -> None:
        """Record deaths, and drop weights that no open birth needs; they can be rebuilt."""
        founders = {model.id for model in self.founders.models}
        dead = [individuals[i] for i in deaths if i in individuals and individuals[i].id not in founders]
        known = set(self.lab.dead([model.id for model in dead]))
        self.lab.die([model for model in dead if model.id not in known], "not selected")
        needed = {individuals[i].id for i in searcher.needed if i in individuals}
        self.lab.drop([model for model in dead if model.id not in needed and model.has_weights])

    def _merging(self, section: MergingSection, mixture: Sequence[float] | None) -> Row:
        space = merge_space(section, self.founders.models)
        start = None
        if section.start == "population" and mixture is not None:
            start = space.start(mixture)
        searcher = RecipeSearcher(space, start=start, sigma0=section.sigma, seed=self.recipe.seed, metric="fitness")
        stage, done, number = "evolved recipe", 0, 0
        best: tuple[float, Model] | None = None
        while done < section.evaluations:
            candidates = searcher.ask()
            trying = candidates[: section.evaluations - done]
            requests = [
                Request(
                    MergeByRecipe(candidate.value),
                    self.founders.models,
                    self._roles(section.method),
                    self.recipe.seed,
                    self._labels("merging", number),
                    keep=False,
                )
                for candidate in trying
            ]
            outcomes: list[Outcome] = [Failed("not tried")] * len(trying)
            tried: list[Model] = []
            for index, answer in self.lab.as_completed(requests, measure=self.task.fitness):
                if isinstance(answer, BirthFailed):
                    outcomes[index] = Failed(str(answer))
                elif isinstance(answer, Exception):
                    raise answer
                else:
                    tried.append(answer)
                    outcomes[index] = self.lab.outcome(self.task.fitness, answer)
            searcher.tell(trying, outcomes)
            done, number = done + len(trying), number + 1
            best = self._keep_best(tried, best)
            self.report(stage, done, section.evaluations, best[0] if best else None)
        if best is None:
            raise BirthFailed(f"none of the {done} merges could be evaluated")
        return self._row(stage, best[1], best[0], done)

    def _keep_best(self, tried: Sequence[Model], best: tuple[float, Model] | None) -> tuple[float, Model] | None:
        """The best so far; all others die."""
        losers: list[Model] = []
        for model in sorted(tried, key=lambda model: model.id):
            fitness = self._value(model)
            if fitness is None or (best is not None and fitness <= best[0]):
                losers.append(model)
            else:
                losers += [best[1]] if best is not None else []
                best = (fitness, model)
        known = set(self.lab.dead([model.id for model in losers]))
        self.lab.die([model for model in losers if model.id not in known], "not selected")
        return best

    # Rows

    def _request(self, operator: Merge) -> Request:
        roles = self._roles(operator.method)
        return Request(operator, self.founders.models, roles, self.recipe.seed, self._labels("baseline", 0), keep=False)

    def _roles(self, method: str) -> dict[str, Model | str]:
        """The base, where the method or an adapter needs it."""
        base = self.founders.base
        needs = is_adapter(self.founders.models[0]) or method_for(method).needs_base
        return {"base": base} if base is not None and needs else {}

    def _labels(self, stage: str, generation: int) -> dict[str, object]:
        return {"run": self.recipe.name, "stage": stage, "generation": generation}

    def _born(self, requests: Iterator[Request] | Sequence[Request], stage: str) -> list[Model]:
        asked = list(requests)
        models = []
        for _, answer in self.lab.as_completed(asked, measure=self.task.fitness):
            if isinstance(answer, Model):
                models.append(answer)
            elif not isinstance(answer, BirthFailed):
                raise answer
            self.report(stage, len(models), len(asked), None)
        if not models:
            raise BirthFailed(f"none of the {len(asked)} merges of stage {stage!r} could be made")
        return sorted(models, key=lambda model: model.id)

    def _fitness(self, stage: str, models: Sequence[Model]) -> list[float]:
        outcomes = self.lab.measure_all(self.task.fitness, models)
        for model, outcome in zip(models, outcomes, strict=True):
            if isinstance(outcome, Failed):
                raise RecipeError(f"the task cannot be evaluated on {model} ({stage}): {outcome.reason}")
        return [outcome["fitness"] for outcome in outcomes]

    def _best(self, what: str, models: Sequence[Model], stage: str) -> Row:
        self.lab.measure_all(self.task.fitness, models)
        usable = [(fitness, model) for model in models if (fitness := self._value(model)) is not None]
        if not usable:
            outcome = self.lab.outcome(self.task.fitness, models[0])
            reason = outcome.reason if isinstance(outcome, Failed) else "no fitness"
            return Row(what, models[0], None, None, None, None, len(models), reason)
        fitness, model = max(usable, key=lambda pair: pair[0])
        self.report(stage, len(models), len(models), fitness)
        return self._row(what, model, fitness, len(models))

    def _value(self, model: Model) -> float | None:
        outcome = self.lab.outcome(self.task.fitness, model)
        return outcome["fitness"] if isinstance(outcome, Ok) else None

    def _row(self, what: str, model: Model, fitness: float, tried: int) -> Row:
        if self.task.test is None:
            return Row(what, model, fitness, None, None, None, tried)
        outcome = self.lab.measure(self.task.test, model)
        if isinstance(outcome, Failed):
            raise RecipeError(f"{model} cannot be evaluated on the held-out examples: {outcome.reason}")
        low, high = outcome.values.get("accuracy_low"), outcome.values.get("accuracy_high")
        return Row(what, model, fitness, outcome["accuracy"], low, high, tried)


def genome_config(section: PopulationSection, seed: int) -> GenomeConfig:
    """The population's settings as the searcher takes them."""
    rule = section.succession
    return GenomeConfig(
        population=section.size,
        generations=section.generations,
        init="parents" if section.start == "founders" else "pairs",
        crossover=section.crossover,
        mutate=section.mutate,
        gene=section.gene,
        sigma=section.sigma,
        elite=section.elite,
        selection=section.selection,
        merge=section.merge,
        succession=None if rule is None else Succession(**rule.model_dump()),
        patience=section.patience,
        seed=seed,
    )


def merge_space(section: MergingSection, models: Sequence[Model]) -> MergeSpace:
    """The space of recipes for given founders."""
    return MergeSpace.of(
        [model.weights() for model in models],
        section.method,
        granularity=0 if section.granularity == "all" else section.granularity,
        filters=section.filters or None,
        allow_negative=section.negative,
    )


def grid_of(section: GridSection, *, has_base: bool) -> Iterator[Merge]:
    """The plain merges of a grid; those that need an ancestor only where there is one."""
    for name in section.methods:
        method = method_for(name)
        if method.needs_base and not has_base:
            continue
        if not method.needs_base:
            yield Merge(name)
        elif "density" in method.takes:
            yield from (Merge(name, density=d, lam=s) for d in section.densities for s in section.scales)
        else:
            yield from (Merge(name, lam=s) for s in section.scales)
