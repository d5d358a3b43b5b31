"""`kind: tuning`: hyperparameters of a training script, by a population that trains or by whole trainings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

from heredity.errors import RecipeError
from heredity.lab import Context, Model, Probe, Request
from heredity.lab.engine import Evolution
from heredity.recipes.functions import named_values
from heredity.recipes.search_schema import SearchRecipe, TuningSection
from heredity.recipes.searches import Search, hyperparameters, said, window
from heredity.recipes.tasks import load_module, source_hash
from heredity.search.base import Candidate
from heredity.search.hyperparameters import Hyperparameters
from heredity.search.operators import (
    Exploit,
    Explore,
    Founder,
    ScriptScore,
    TrainFor,
    recorded_hyper,
    recorded_schedule,
    training_of,
)
from heredity.search.pbt import PBT
from heredity.search.pbt_rounds import Task
from heredity.search.training_state import Training

_folders: dict[str, list[str]] = {}  # where this process has found scripts, by hash
FUNCTIONS = {"make": "make(hyper, seed)", "step": "step(training, hyper)", "evaluate": "evaluate(training)"}


@dataclass(frozen=True)
class FileScript:
    """A training script in a file of the user's, as `heredity.search.operators.TrainingScript`.

    Args:
        path: the file.
        sha256: of it; an edited script is another one.
        folder: where it lies.
    """

    path: str
    sha256: str
    folder: str = field(default=".", metadata={"identity": False})

    def make(self, hyper: Mapping[str, Any], seed: int) -> Training:
        """A new training."""
        training = self._call("make", dict(hyper), seed)
        if not isinstance(training, Training):
            raise RecipeError(
                f"make of {self.path} returned {type(training).__name__}; it must return a Training of "
                "heredity.search.training_state: module, optimizer, …"
            )
        return training

    def step(self, training: Training, hyper: Mapping[str, Any]) -> None:
        """Train for one step."""
        self._call("step", training, hyper)

    def evaluate(self, training: Training) -> float:
        """A score."""
        return float(self._call("evaluate", training))

    def test(self, training: Training) -> float:
        """A score on what the search never sees."""
        return float(self._call("test", training))

    def _call(self, name: str, *arguments: Any) -> Any:
        return getattr(self.find(), name)(*arguments)

    def find(self) -> ModuleType:
        """The script, wherever its file is found: a record says what it is, and not where."""
        places = (self.folder, *_folders.get(self.sha256, ()), ".", str(resources.files("heredity.recipes")))
        for place in map(Path, dict.fromkeys(places)):
            if not self.path.endswith(".py") or (place / self.path).is_file():
                module = load_module(self.path, place, "search.script")
                if source_hash(module) == self.sha256:
                    if str(place) not in _folders.setdefault(self.sha256, []):
                        _folders[self.sha256].append(str(place))
                    return module
        raise RecipeError(
            f"the script {self.path} of SHA-256 {self.sha256[:8]}… is not here any more: it was edited, or lies in "
            "another folder; run from that folder"
        )


@dataclass(frozen=True)
class TestScore(Probe):
    """What a script's `test` says of a recorded round, as `test`."""

    script: FileScript

    def measure(self, model: Model, context: Context) -> Mapping[str, float]:
        """Test."""
        return {"test": self.script.test(training_of(model, self.script))}


def prepare_tuning(recipe: SearchRecipe, section: TuningSection, folder: Path) -> Search:
    """The search of a recipe.

    Raises:
        RecipeError: the script lacks a function, or the space or the searcher is not as it should be.
    """
    module = load_module(section.script, folder, "search.script")
    if missing := [told for name, told in FUNCTIONS.items() if not callable(getattr(module, name, None))]:
        raise RecipeError(f"search.script: {section.script} has no function {missing[0]}")
    script = FileScript(section.script, source_hash(module), str(folder.resolve()))
    script.find()
    space = hyperparameters(section.space, "search.space")
    plan = _population if section.searcher.lower() == "pbt" else _trainings
    search = plan(recipe, section, script, space)
    search.facts = [("script", section.script), ("space", ", ".join(section.space)), *search.facts]
    if callable(getattr(module, "test", None)):
        search.test = TestScore(script)
    return search


def _population(recipe: SearchRecipe, section: TuningSection, script: FileScript, space: Hyperparameters) -> Search:
    """Members that train at once; every round of every member is a birth."""
    try:
        pbt = PBT(
            space,
            section.population,
            section.interval,
            exploit=section.exploit,
            fraction=section.fraction,
            explore=section.explore,
            factors=section.factors,
            synchronous=section.barrier,
            seed=recipe.seed,
            metric="score",
            **_options(section),
        )
    except (ValueError, TypeError) as error:
        raise RecipeError(f"search: {error}") from error

    def birth(candidate: Candidate[Task], evolution: Evolution) -> Request:
        task = candidate.value
        labels = {"member": task.member, "generation": task.round}
        if task.parent is None:
            return Request(Founder(script, task.hyper, section.steps), seed=task.seed, labels=labels)
        kind: type[TrainFor] = TrainFor
        if task.donor is not None:
            kind = Explore if pbt.path(task.parent)[-1].member == task.member else Exploit
        parent = evolution.model(task.parent)
        return Request(kind(script, task.hyper, section.steps), (parent,), seed=task.seed, labels=labels)

    dropped: set[int] = set()

    def drop(evolution: Evolution) -> None:
        """Weights that no round can ask for any more are rebuilt when somebody does."""
        needed = pbt.needed
        gone = {i: birth for i, birth in evolution.result.births.items() if i not in needed and i not in dropped}
        dropped.update(gone)
        models = [evolution.lab[birth] for birth in gone.values()]
        if evolution.lab.writable and (stored := [model for model in models if model.has_weights]):
            evolution.lab.drop(stored)

    rounds = f"{section.population} members, {section.rounds} rounds of {section.steps} steps"
    mode: dict[str, Any] = {} if section.barrier else {"mode": "asynchronous", "in_flight": section.population}
    return Search(
        pbt,
        birth,
        ScriptScore(script),
        {"score": section.direction},
        section.population * section.rounds,
        [("searcher", f"PBT: {rounds}")],
        what=lambda model: f"round {len(model.path())}: {said(recorded_hyper(model))}",
        files=lambda model: {"schedule.json": _schedule(model)},
        ended=drop,
        **mode,
    )


def _options(section: TuningSection) -> Mapping[str, Any]:
    allowed = ("resample_p", "inherit", "start", "window")
    if unknown := [name for name in section.options if name not in allowed]:
        raise RecipeError(f"search.options.{unknown[0]}: pbt has no such setting; known: {', '.join(allowed)}")
    return section.options


def _trainings(recipe: SearchRecipe, section: TuningSection, script: FileScript, space: Hyperparameters) -> Search:
    """Whole trainings; every one of them is a birth. All have the seed of the recipe, so that hyperparameters differ
    alone."""
    size = section.population if "population" in section.model_fields_set else None
    arguments = {"options": section.options, "population": size, "seed": recipe.seed}
    searcher, _ = named_values(space, section.searcher, arguments, also=("pbt",))
    steps = section.rounds * section.steps
    count = section.evaluations or section.population
    return Search(
        searcher,
        lambda candidate, evolution: Request(Founder(script, candidate.value, steps), seed=recipe.seed),
        ScriptScore(script),
        {"score": section.direction},
        count,
        [("searcher", f"{type(getattr(searcher, 'vectors', searcher)).__name__}: trainings of {steps} steps")],
        what=lambda model: said(recorded_hyper(model)),
        files=lambda model: {"schedule.json": _schedule(model)},
        **window(section.in_flight),
    )


def _schedule(model: Model) -> str:
    rows = [{"round": step, "hyperparameters": hyper} for step, hyper in recorded_schedule(model)]
    return json.dumps(rows, indent=1) + "\n"
