"""From a recipe's task section to probes: what fitness is, and what is reported on held-out data."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from heredity.data.probes import TwoShifts
from heredity.errors import EvaluationFailed, RecipeError
from heredity.lab import Context, Model, Probe
from heredity.language.probes import Answers, Labels, read_examples
from heredity.recipes.schema import Recipe, TaskSection


@dataclass(frozen=True)
class Task:
    """What a run evaluates.

    Args:
        fitness: gives the value `fitness`; the search looks at nothing else.
        test: gives `accuracy` with `accuracy_low` and `accuracy_high` on held-out data; None when there is none.
        sizes: how many examples of each kind, for people.
    """

    fitness: Probe
    test: Probe | None
    sizes: str


@dataclass(frozen=True)
class FunctionFitness(Probe):
    """A user's Python function as fitness: called with the model's handle, it returns a number or named numbers.

    Args:
        target: module:name or file.py:name.
        sha256: of the file that holds it; an edited function is another fitness.
        part: "fitness" or "test"; one number becomes `fitness` or `accuracy`.
        folder: where a file lies.
    """

    target: str
    sha256: str
    part: str = "fitness"
    folder: str = field(default=".", metadata={"identity": False})

    def measure(self, model: Model, context: Context) -> Mapping[str, float]:
        """Call the function."""
        function, sha = load_function(self.target, Path(self.folder))
        if sha != self.sha256:
            raise EvaluationFailed(f"{self.target} was edited while the run was going on")
        value: Any = function(model)
        name = "fitness" if self.part == "fitness" else "accuracy"
        if isinstance(value, Mapping):
            if name not in value:
                raise EvaluationFailed(f"{self.target} returned {sorted(value)}; it must return {name!r} among them")
            return {str(key): float(number) for key, number in value.items()}
        return {name: float(value)}


def load_function(target: str, folder: Path, key: str = "task.function") -> tuple[Callable[..., Any], str]:
    """A function named in a recipe under a key, and the hash of the file that holds it.

    Raises:
        RecipeError: the file, module or function is not there.
    """
    where, _, name = target.rpartition(":")
    if not where or not name:
        raise RecipeError(f"{key} is {target!r}; write module:function or file.py:function")
    module = load_module(where, folder, key)
    function = getattr(module, name, None)
    if not callable(function):
        functions = [key for key, item in vars(module).items() if inspect.isfunction(item)]
        raise RecipeError(f"{key}: {where} has no function {name!r}; it has {', '.join(functions) or 'none'}")
    return function, source_hash(module)


def load_module(where: str, folder: Path, key: str) -> ModuleType:
    """A module named in a recipe: file.py, or its import path.

    Raises:
        RecipeError: it is not there, or cannot be imported.
    """
    return _module_of(folder / where, key) if where.endswith(".py") else _import(where, key)


def source_hash(module: ModuleType) -> str:
    """SHA-256 of the file of a module."""
    return hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest()


def _import(name: str, key: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RecipeError(f"{key}: cannot import {name!r}: {error}") from error


def _module_of(path: Path, key: str) -> ModuleType:
    """A module from a file; read again when the file has changed."""
    try:
        stamp = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise RecipeError(f"{key}: cannot read {path}: {error.strerror}") from error
    name = f"heredity_recipe_{path.stem}_{stamp[:12]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise RecipeError(f"{key}: {path} cannot be imported: {type(error).__name__}: {error}") from error
    return sys.modules[name]


def build_task(recipe: Recipe, folder: Path) -> Task:
    """The probes of a recipe's task.

    Args:
        folder: what relative paths are meant from.

    Raises:
        RecipeError: a file is missing, empty or malformed.
    """
    task = recipe.task
    if task.builtin is not None:
        return Task(
            TwoShifts("fitness", recipe.seed), TwoShifts("test", recipe.seed), "8 pairs of shifts, 200 images each"
        )
    if task.function is not None:
        _, sha = load_function(task.function, folder)
        test = None
        if isinstance(task.test, str):
            test = FunctionFitness(task.test, load_function(task.test, folder)[1], "test", str(folder))
        return Task(FunctionFitness(task.function, sha, "fitness", str(folder)), test, f"the function {task.function}")
    return _text_task(task, recipe.seed, folder)


def _text_task(task: TaskSection, seed: int, folder: Path) -> Task:
    assert task.data is not None
    kind, pairs = _read(folder / task.data, "task.data")
    random.Random(seed).shuffle(pairs)
    if isinstance(task.test, str):
        test_kind, held_out = _read(folder / task.test, "task.test")
        if test_kind != kind:
            raise RecipeError(f"task.test holds {test_kind}, task.data holds {kind}; both must be of one kind")
    else:
        count = max(1, round(task.test * len(pairs)))
        if count >= len(pairs):
            raise RecipeError(f"task.data has only {len(pairs)} lines to hold some out from; give more, or task.test")
        held_out, pairs = pairs[:count], pairs[count:]
    overlap = set(pairs) & set(held_out)
    if overlap:
        raise RecipeError(f"{len(overlap)} lines are in both task.data and task.test, e.g. {next(iter(overlap))[0]!r}")
    pairs, held_out = pairs[: task.limit], held_out[: task.test_limit]
    labels = tuple(sorted({label for _, label in [*pairs, *held_out]}))
    if kind == "labels" and len(labels) < 2:
        raise RecipeError(f"task.data has the single label {labels[0]!r}; a classification needs at least two")
    fitness, test = (
        _text_probe(task, kind, part, labels, rows) for part, rows in (("fitness", pairs), ("test", held_out))
    )
    return Task(fitness, test, f"{len(pairs)} {kind} for fitness, {len(held_out)} held out")


def _text_probe(
    task: TaskSection, kind: str, part: str, labels: tuple[str, ...], rows: Sequence[tuple[str, str]]
) -> Probe:
    if kind == "answers":
        return Answers(tuple(rows), task.match, task.max_new_tokens, task.batch, part)
    return Labels(tuple(rows), labels, task.batch, part)


def _read(path: Path, key: str) -> tuple[str, list[tuple[str, str]]]:
    try:
        return read_examples(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise RecipeError(f"{key}: cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise RecipeError(f"{key}: {error}") from error
