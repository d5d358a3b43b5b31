"""What a recipe would do: models to make and evaluate, and the disk they take; nothing is run or written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from heredity.data.experts import MLP
from heredity.language.probes import Answers, Labels
from heredity.recipes.evolution import genome_config, grid_of
from heredity.recipes.schema import Recipe
from heredity.recipes.tasks import build_task


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Args:
        name: as the run reports it.
        births: models made, at most.
        evaluations: models evaluated on the fitness examples, at most.
        stored: models whose weights lie on disk at one time, at most.
    """

    name: str
    births: int
    evaluations: int
    stored: int


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Args:
        stages: in order.
        task: the examples, in words.
        model_bytes: size of one founder's weights.
    """

    stages: tuple[Stage, ...]
    task: str
    model_bytes: int

    @property
    def births(self) -> int:
        """Models made, at most."""
        return sum(stage.births for stage in self.stages)

    @property
    def evaluations(self) -> int:
        """Evaluations on the fitness examples, at most."""
        return sum(stage.evaluations for stage in self.stages)

    @property
    def disk(self) -> int:
        """Bytes of weights that lie on disk at one time, at most."""
        return sum(stage.stored for stage in self.stages) * self.model_bytes


def plan(recipe: Recipe, folder: Path) -> Plan:
    """Count what a recipe would do.

    Raises:
        RecipeError: its task cannot be read.
    """
    task = build_task(recipe, folder)
    builtin = isinstance(recipe.founders, str)
    founders = 8 if isinstance(recipe.founders, str) else len(recipe.founders)
    has_base = builtin or recipe.base is not None
    stages = [
        Stage("founders", founders + has_base, founders + has_base, founders + has_base),
        Stage("uniform soup", 1, 1, 0),
    ]
    if recipe.grid is not None:
        count = len(list(grid_of(recipe.grid, has_base=has_base)))
        stages.append(Stage("grid of merges", count, count, 0))
    if recipe.population is not None:
        config = genome_config(recipe.population, recipe.seed)
        size, generations = config.population, config.generations
        first = max(size, founders) if config.init == "parents" else size
        moves = size + 1 if config.succession is not None else 0  # elites of before the move stand for selection again
        children = size // 2 * (config.crossover > 0) + (moves + size) * (config.mutate > 0)
        most = first + generations * (moves + children)
        stages.append(Stage("population", most, most, 3 * size + moves + children))
    if recipe.ensemble is not None:
        # Of texts the members' answers are counted and no model is made; members answer once more for that.
        text = isinstance(task.fitness, (Answers, Labels))
        count = recipe.ensemble
        stages.append(Stage(f"vote of {count}", 0 if text else 1, count if text else 1, 0))
    if recipe.merging is not None:
        stages.append(Stage("evolved recipe", recipe.merging.evaluations, recipe.merging.evaluations, 1))
    if recipe.data_flow is not None:
        section = recipe.data_flow
        # The path that goes through everything is as deep as all its models together, as often as they repeat.
        stages.append(
            Stage("evolved path", section.evaluations, section.evaluations, section.repeats * section.parents)
        )
    return Plan(tuple(stages), task.sizes, _size_of_founder(recipe, folder))


def _size_of_founder(recipe: Recipe, folder: Path) -> int:
    if isinstance(recipe.founders, str):
        return sum(
            parameter.numel() * parameter.element_size() for parameter in MLP((64, *recipe.hidden, 10)).parameters()
        )
    path = folder / recipe.founders[0].path
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    return sum(file.stat().st_size for file in files)
