"""A recipe's founders as models of a lab, checked to fit each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from heredity.data.composed import EIGHT_FOUNDERS
from heredity.data.operators import LearnShift, TrainAncestor
from heredity.errors import HeredityError, MergeError, RecipeError
from heredity.lab import Lab, Model, Request
from heredity.merging.base import check_compatible
from heredity.merging.operators import is_adapter
from heredity.recipes.schema import Founder, Recipe


@dataclass(frozen=True)
class Founders:
    """The population's beginning.

    Args:
        models: the founders, in the recipe's order.
        base: their common ancestor, or the base that adapters sit on; None when the recipe names none.
    """

    models: tuple[Model, ...]
    base: Model | None


def founders_of(
    recipe: Recipe, lab: Lab, folder: Path, report: Callable[[str, int, int, float | None], None]
) -> Founders:
    """Add a recipe's founders to a lab; those that are there already are found again.

    Raises:
        RecipeError: a founder cannot be read, or does not fit the first one.
    """
    if isinstance(recipe.founders, str):
        return _two_shifts(recipe, lab, report)
    base = _add(lab, folder, Founder(path=recipe.base, name="base"), "base") if recipe.base is not None else None
    models = []
    for number, founder in enumerate(recipe.founders):
        models.append(_add(lab, folder, founder, f"founders.{number}", base))
        report("founders", number + 1, len(recipe.founders), None)
    names = [model.name or model.id for model in models]
    if is_adapter(models[0]) and base is None:
        raise RecipeError("the founders are adapters: give the key 'base' with the model they sit on")
    ancestor = None if base is None or is_adapter(models[0]) else base.weights()
    try:
        check_compatible([model.weights() for model in models], ancestor, names=names)
    except MergeError as error:
        raise RecipeError(f"the founders do not fit each other: {error}") from error
    return Founders(tuple(models), base)


def _add(lab: Lab, folder: Path, founder: Founder, key: str, base: Model | None = None) -> Model:
    local = folder / founder.path
    path = local if local.exists() else Path(founder.path)
    name = founder.name or Path(founder.path).name
    sits_on_base = base is not None and (path / "adapter_config.json").exists()
    try:
        if sits_on_base and base is not None:
            return lab.add(path, name=name, base=base)
        return lab.add(path, name=name)
    except HeredityError as error:
        raise RecipeError(f"{key}: {error}") from error


def _two_shifts(recipe: Recipe, lab: Lab, report: Callable[[str, int, int, float | None], None]) -> Founders:
    """The demo's world: an ancestor trained on digits, and eight founders that each learn one shift."""
    report("founders", 0, 9, None)
    labels = {"run": recipe.name, "stage": "founders"}
    ancestor = lab.derive(
        TrainAncestor((64, *recipe.hidden, 10), world=recipe.seed), seed=recipe.seed, name="ancestor", labels=labels
    )
    report("founders", 1, 9, None)
    requests = [
        Request(
            LearnShift(spec, world=recipe.seed),
            (ancestor,),
            seed=recipe.seed * 1000 + number,
            labels=labels,
            name=spec.name,
        )
        for number, spec in enumerate(EIGHT_FOUNDERS)
    ]
    founders: dict[int, Model] = {}
    for index, answer in lab.as_completed(requests):
        if isinstance(answer, Exception):
            raise answer
        founders[index] = answer
        report("founders", 1 + len(founders), 9, None)
    return Founders(tuple(founders[index] for index in range(len(requests))), ancestor)
