"""Running a recipe: founders, baselines, a breeding population, an evolved merge; every child a recorded birth.

A run is a plain loop over a lab. Killed and started again, it recalls what is recorded and goes on.
Sources: arXiv 2503.01155 (population), arXiv 2403.13187 (recipes).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from heredity.errors import BirthFailed, RecipeError
from heredity.evaluation.outcome import Failed
from heredity.lab import Lab, Model, Request, engine
from heredity.lab.evolved import Evolved
from heredity.merging.births import GenomeConfig, Proposal, Succession
from heredity.merging.genome import GenomeSearcher
from heredity.merging.methods import method_for
from heredity.merging.operators import Merge, is_adapter, operator_for
from heredity.recipes.founders import Founders, founders_of
from heredity.recipes.refining import check_paths, evolve_path, evolve_recipe
from heredity.recipes.rows import Ground, Report, Row, winner_of
from heredity.recipes.schema import GridSection, PopulationSection, Recipe
from heredity.recipes.tasks import Task, build_task
from heredity.recipes.voting import check_vote, vote
from heredity.search.base import Candidate


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
    task = build_task(recipe, folder)
    ground = Ground(recipe, lab, task, founders_of(recipe, lab, folder, report), report)
    if recipe.data_flow is not None:
        check_paths(ground.founders.models)
    if recipe.ensemble is not None:
        check_vote(ground)
    return _Run(ground).run()


class _Run:
    def __init__(self, ground: Ground) -> None:
        self.ground, self.recipe, self.lab = ground, ground.recipe, ground.lab
        self.task, self.founders, self.report = ground.task, ground.founders, ground.report

    def run(self) -> Evolution:
        recipe, ground = self.recipe, self.ground
        rows: list[Row] = []
        base = self.founders.base
        if base is not None and not is_adapter(self.founders.models[0]):
            rows.append(ground.row("ancestor", base, self._fitness("ancestor", [base])[0], 1))
        rows.append(ground.best("best founder", self.founders.models, "founders"))
        if rows[-1].failed is not None:
            raise RecipeError(f"no founder could be evaluated; the first: {rows[-1].failed}")
        rows.append(ground.best("uniform soup", self._born([self._request(Merge("linear"))], "soup"), "soup"))
        if recipe.grid is not None:
            operators = list(grid_of(recipe.grid, has_base=base is not None or is_adapter(self.founders.models[0])))
            rows.append(ground.best("best grid merge", self._born(map(self._request, operators), "grid"), "grid"))
        mixture: Sequence[float] | None = None
        if recipe.population is not None:
            row, mixture, living = self._population(recipe.population)
            rows.append(row)
            if recipe.ensemble is not None:
                rows.append(vote(ground, living[: recipe.ensemble]))
        if recipe.merging is not None:
            rows.append(evolve_recipe(ground, recipe.merging, mixture))
        if recipe.data_flow is not None:
            rows.append(evolve_path(ground, recipe.data_flow, rows))
        winner = winner_of(rows).model
        if not winner.has_weights:
            self.lab.rebuild(winner)
        self.lab.name(winner, f"{recipe.name}-winner")
        return Evolution(tuple(rows), winner, self.founders, self.task)

    # Stages

    def _population(self, section: PopulationSection) -> tuple[Row, Sequence[float], list[Model]]:
        """The best individual, the founders' shares in it, and the living, fittest first, of equals the oldest."""
        searcher = GenomeSearcher(len(self.founders.models), genome_config(section, self.recipe.seed), metric="fitness")
        individuals: dict[int, Model] = dict(enumerate(self.founders.models))
        stage = "GENOME+" if section.succession is not None else "GENOME"
        closed = 0

        def birth(candidate: Candidate[Proposal]) -> Request | Model:
            if candidate.value.kind == "founder":
                return individuals[candidate.id]
            return self._proposed(candidate.value, individuals, len(searcher.history))

        def report(found: Evolved) -> None:
            nonlocal closed
            individuals.update({i: self.lab[birth] for i, birth in found.births.items() if i not in individuals})
            for generation in searcher.history[closed:]:
                self._bury(generation.deaths, individuals, searcher)
            closed = len(searcher.history)
            if found.told and not found.exhausted:
                self.report(stage, closed, section.generations + 1, found.value if searcher.best else None)

        found = engine.Evolution(
            self.lab,
            searcher,
            birth=birth,
            probe=self.task.fitness,
            metric="fitness",
            direction="maximize",
            name=f"{self.recipe.name}: {stage}",
            evaluations=None,
        ).run(report)
        assert searcher.best is not None
        candidate, fitness = searcher.best
        row = self.ground.row(stage, individuals[candidate.id], fitness, found.told)
        ranked = sorted(searcher.members, key=lambda member: (-member.fitness, member.id))
        living = list(dict.fromkeys(individuals[member.id] for member in ranked))
        return row, searcher.mixture(candidate.id), living

    def _proposed(self, proposal: Proposal, individuals: Mapping[int, Model], generation: int) -> Request:
        parents = [individuals[i] for i in proposal.parents]
        positional = [p for p, role in zip(parents, proposal.roles, strict=True) if role in ("parent", "mate")]
        roles: dict[str, Model | str] = {
            role: p for role, p in zip(proposal.roles, parents, strict=True) if role not in ("parent", "mate")
        }
        operator = operator_for(proposal, self.recipe.adapters)
        if proposal.kind in ("init", "crossover"):
            roles |= self.ground.roles(proposal.method)
        elif is_adapter(parents[0]):
            roles |= self.ground.roles("linear")
        return Request(operator, positional, roles, proposal.seed, self.ground.labels("population", generation))

    def _bury(self, deaths: Sequence[int], individuals: dict[int, Model], searcher: GenomeSearcher) -> None:
        """Record deaths, and drop weights that no open birth needs; they can be rebuilt."""
        founders = {model.id for model in self.founders.models}
        dead = [individuals[i] for i in deaths if i in individuals and individuals[i].id not in founders]
        self.ground.die(dead)
        needed = {individuals[i].id for i in searcher.needed if i in individuals}
        self.lab.drop([model for model in dead if model.id not in needed and model.has_weights])

    # Births and numbers

    def _request(self, operator: Merge) -> Request:
        roles = self.ground.roles(operator.method)
        return Request(
            operator, self.founders.models, roles, self.recipe.seed, self.ground.labels("baseline", 0), keep=False
        )

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


def grid_of(section: GridSection, *, has_base: bool) -> Iterator[Merge]:
    """The plain merges of a grid; those that need an ancestor only where there is one."""
    for name in section.methods:
        method = method_for(name)
        if method.needs_base and not has_base:
            continue
        if not method.needs_base:
            yield Merge(name)
        elif getattr(method, "sparsify", None) is not None:  # methods that keep every entry have no density to try
            yield from (Merge(name, density=d, lam=s) for d in section.densities for s in section.scales)
        else:
            yield from (Merge(name, lam=s) for s in section.scales)
