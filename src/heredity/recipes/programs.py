"""`kind: code`: a program that a language model changes, judged in the sandbox.

What the model answers is kept in the lab's folder, so that a search that is run again asks nothing twice.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch

from heredity.errors import EvaluationFailed, RecipeError
from heredity.lab import Child, Context, Lab, Model, Operator, Parents, Probe, Request
from heredity.lab.engine import Evolution
from heredity.language.access import EndpointChat, LocalModel, Recording
from heredity.recipes.functions import named
from heredity.recipes.search_schema import ChatSection, CodeSection, SearchRecipe
from heredity.recipes.searcher_names import make
from heredity.recipes.searches import Search
from heredity.search.base import Candidate
from heredity.search.code_evolution import CodeEvolution
from heredity.search.code_gene import CodeGene
from heredity.search.code_search import CodeSearcher, NumberEditor
from heredity.search.guided_evolution import GuidedEvolution
from heredity.search.sandbox import Worker, run_python

JUDGE = "heredity.recipes.program_judge"
CHATS = "chats"  # folder of a lab with what models answered


@dataclass(frozen=True)
class Program(Operator):
    """A program; its bytes are the weights. A parent is the program that it was changed from.

    Args:
        source: the file.
    """

    source: str
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Write it down."""
        return Child({"source": torch.frombuffer(bytearray(self.source.encode()), dtype=torch.uint8)})


@dataclass(frozen=True)
class ChangeProgram(Program):
    """A program that a language model made of another one."""

    kind: ClassVar[str] = "mutate"


@dataclass(frozen=True)
class CrossPrograms(Program):
    """A program that a language model made of two others."""

    kind: ClassVar[str] = "crossover"


def source_of(model: Model) -> str:
    """The source of a recorded program."""
    return bytes(model.weights()["source"].tolist()).decode()


@dataclass(frozen=True)
class SandboxJudge(Probe):
    """What a user's evaluator says of a program, in the sandbox.

    Args:
        evaluator: source of the user's file; function: of it, called with the program's module.
        metrics: what its numbers are called, in order; several may also come by name.
        timeout_s, memory_mb: of a run; preload: modules that are imported before.
        readable: files and folders that it may read; file: where the evaluator came from.
    """

    evaluator: str
    function: str
    metrics: tuple[str, ...]
    timeout_s: float
    memory_mb: int
    preload: tuple[str, ...] = ()
    readable: tuple[str, ...] = field(default=(), metadata={"identity": False})
    file: str = field(default="evaluator.py", metadata={"identity": False})

    def measure(self, model: Model, context: Context) -> Mapping[str, float]:
        """Run.

        Raises:
            EvaluationFailed: the program fails, takes too long, or the evaluator gives no numbers.
        """
        ran = run_python(
            source_of(model),
            (f"{JUDGE}:judge", [self.evaluator, self.file, self.function]),
            timeout_s=self.timeout_s,
            memory_mb=self.memory_mb,
            worker=_worker((JUDGE, *self.preload), self.readable),
        )
        if not ran.ok:
            raise EvaluationFailed(ran.error)
        return named(ran.value, self.metrics, self.function)


@lru_cache(maxsize=4)
def _worker(preload: tuple[str, ...], readable: tuple[str, ...]) -> Worker:
    """A server that is used again by the evaluations of this process."""
    return Worker(preload, readable=readable)


class _Later:
    """A chat model that is made, and its answers recorded, when the lab is known."""

    def __init__(self, section: ChatSection, folder: Path) -> None:
        self._section, self._folder = section, folder
        self._chat: Recording | None = None

    @property
    def name(self) -> str:
        """The model's."""
        return self._section.name or self._section.folder or "number editor"

    def open(self, journal: Path) -> None:
        """Make the model."""
        self._chat = Recording(_chat(self._section, self._folder), journal)

    def reply(self, messages: list[dict[str, Any]], **settings: Any) -> str:
        """The model's answer, or the recorded one."""
        assert self._chat is not None
        return self._chat.reply(messages, **settings)


def prepare_code(recipe: SearchRecipe, section: CodeSection, folder: Path) -> Search:
    """The search of a recipe.

    Raises:
        RecipeError: a file or function is not there, or the searcher refuses a setting.
    """
    source = _text(folder / section.source, "search.source")
    file, _, function = section.evaluator.rpartition(":")
    if not file.endswith(".py") or not function:
        raise RecipeError(f"search.evaluator is {section.evaluator!r}; write file.py:function")
    evaluator = _text(folder / file, "search.evaluator")
    if function not in (names := _functions(evaluator, file)):
        raise RecipeError(f"search.evaluator: {file} has no function {function!r}; it has {', '.join(names) or 'none'}")
    aims = section.objectives or {"score": section.direction or "maximize"}
    chat = _Later(section.model, folder)
    _check_chat(section.model, folder)
    searcher = _searcher(recipe, section, source, chat, tuple(aims))
    readable = tuple(str((folder / path).resolve()) for path in section.readable)
    probe = SandboxJudge(
        evaluator,
        function,
        tuple(aims),
        section.timeout_s,
        section.memory_mb,
        section.preload,
        readable,
        str((folder / file).resolve()),
    )

    def birth(candidate: Candidate[CodeGene], evolution: Evolution) -> Request:
        made = searcher.births[candidate.id]
        parents = [evolution.model(i) for i in made.parents if i in evolution.result.births]
        kind = (Program, ChangeProgram, CrossPrograms)[min(len(parents), 2)]
        labels: dict[str, Any] = {}
        if made.kinds:
            labels = {"changes": list(made.kinds), "model": chat.name}
        if section.objectives is None:
            labels["island"] = made.island
        return Request(kind(candidate.value.source), parents[:2], labels=labels)

    return Search(
        searcher,
        birth,
        probe,
        aims,
        section.evaluations,
        [
            ("program", f"{section.source}, {len(searcher.origin.blocks)} parts"),
            ("evaluator", f"{section.evaluator}, in the sandbox, {section.timeout_s:g} s each"),
            ("model", chat.name + (f" at {section.model.endpoint}" if section.model.endpoint else "")),
            ("searcher", type(searcher).__name__),
        ],
        what=lambda model: f"{len(source_of(model).splitlines())} lines after {len(model.path()) - 1} changes",
        files=lambda model: {"winner.py": source_of(model)},
        begin=lambda lab: chat.open(_journal(lab, recipe.name)),
    )


def _searcher(
    recipe: SearchRecipe, section: CodeSection, source: str, chat: _Later, metrics: tuple[str, ...]
) -> CodeSearcher:
    fixed: dict[str, Any] = {"seed": recipe.seed, "max_tokens": section.max_tokens}
    arguments: dict[str, Any] = {"options": section.options, "population": None}
    if section.objectives is not None:
        guided: CodeSearcher = make(GuidedEvolution, source, chat, **arguments, metrics=metrics, **fixed)
        return guided
    fixed |= {"task": section.task} if section.task is not None else {}
    fixed |= {name: getattr(section, name) for name in ("islands", "children", "migration", "every")}
    fixed |= {"p_rewrite": section.rewrite, "metric": metrics[0]}
    islands: CodeSearcher = make(CodeEvolution, source, chat, **arguments, **fixed)
    return islands


def _check_chat(section: ChatSection, folder: Path) -> None:
    """What can be said of a model before it is needed."""
    if section.endpoint is not None:
        _chat(section, folder)
    elif (
        section.folder is not None and section.folder.startswith((".", "/")) and not (folder / section.folder).is_dir()
    ):
        raise RecipeError(f"search.model.folder: there is no folder {folder / section.folder}")


def _chat(section: ChatSection, folder: Path) -> Any:
    if section.endpoint is not None:
        try:
            return EndpointChat(
                section.endpoint, section.name or "", api_key_env=section.api_key_env, timeout_s=section.timeout_s
            )
        except ValueError as error:
            raise RecipeError(f"search.model.endpoint: {error}") from error
    if section.folder is not None:
        local = folder / section.folder
        return LocalModel(str(local) if local.is_dir() else section.folder)
    return NumberEditor()


def _journal(lab: Lab, name: str) -> Path:
    """Where a search's questions and answers are kept."""
    plain = re.sub(r"[^\w.-]+", "-", name)
    mark = "" if plain == name else f"-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return Path(lab.path) / CHATS / f"{plain}{mark}.jsonl"


def _text(path: Path, key: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{key}: cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _functions(source: str, file: str) -> list[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise RecipeError(f"search.evaluator: {file} cannot be parsed: {error}") from error
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
