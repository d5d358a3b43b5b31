"""What searches over source code share: genes asked a generation at a time, and the record of how each was made.

A language model is asked once for each change; its reply is kept with the prompt, so that a search is resumed, and its
ancestry read, without it. Replies without usable code make no candidate, and code that was proposed before is not
proposed again.
"""

from __future__ import annotations

import ast
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np

from heredity.errors import EvaluationFailed
from heredity.search.base import Candidate, Searcher
from heredity.search.code_gene import CodeGene
from heredity.search.objectives import ManyTold
from heredity.search.prompts import Chat, NoCode, Request, carry_notes, extract_code, fences

Scores: TypeAlias = tuple[float, ...]
TRIES = 5  # generations in a row without usable code, or without a success, until the search gives up


@dataclass(frozen=True)
class Question:
    """A question to the model and what came of it.

    Args:
        kind, prompt, temperature, top_p, seed: what was asked, and how.
        model: what the chat calls itself.
        reply: in full.
        block: which block was to be changed; −1 for the whole file.
        error: why the reply was not used; empty when it was.
    """

    kind: str
    prompt: str
    temperature: float
    top_p: float
    seed: int
    model: str
    reply: str
    block: int
    error: str = ""


@dataclass(frozen=True)
class Birth:
    """How a gene was made.

    Args:
        id: the candidate's number.
        source: the whole file.
        parents: their numbers, the primary one first; empty for the origin.
        questions: all that were asked on the way from the parents.
        island: where it was born, for searches that have islands.
    """

    id: int
    source: str
    parents: tuple[int, ...]
    questions: tuple[Question, ...] = ()
    island: int = 0

    @property
    def kinds(self) -> tuple[str, ...]:
        """The changes that were made, in order."""
        return tuple(question.kind for question in self.questions if not question.error)


@dataclass
class Draft:
    """A child in the making: the gene as it is so far."""

    gene: CodeGene
    parents: tuple[int, ...]
    questions: list[Question] = field(default_factory=list)
    island: int = 0


class CodeSearcher(Searcher[CodeGene]):
    """Ask and tell over `CodeGene`s; a method says how a generation is bred, and what is kept of it.

    Args:
        source: the file that the search begins with, the first candidate.
        chat: the language model, anything with `reply`.
        marker: the line between blocks.
        max_tokens: of a reply.
        seed: of all that is drawn here, and of the model's generator.
    """

    def __init__(self, source: str, chat: Chat, *, marker: str, max_tokens: int, seed: int) -> None:
        self.origin = CodeGene(source, marker)
        try:
            ast.parse(source)
        except SyntaxError as error:
            raise ValueError(f"the source that the search begins with cannot be parsed: {error}") from error
        self.chat, self.max_tokens, self.seed = chat, max_tokens, seed
        self.generation = 0  # how many have been told
        self.births: dict[int, Birth] = {}
        self.refused: list[Question] = []  # whose replies were of no use
        self.repeats = 0  # children that had been proposed before
        self._known: set[str] = set()
        self._scores: dict[int, Scores] = {}  # of all that succeeded
        self._batch: list[int] = []
        self._waiting: list[int] = []
        self._told: dict[int, Scores | None] = {}
        self._barren = 0  # generations in a row that failed altogether
        self._next = 0

    # What a method says.

    @abstractmethod
    def _breed(self, rng: np.random.Generator) -> Iterable[Draft]:
        """Children of the present members, made by questions to the model. Changes nothing but by `_ask_model`."""

    @abstractmethod
    def _finish(self, good: Mapping[int, Scores]) -> None:
        """Take in what succeeded of a generation; possibly nothing."""

    @abstractmethod
    def _read(
        self, candidates: Sequence[Candidate[CodeGene]], outcomes: Sequence[Any], out: set[int]
    ) -> dict[int, Scores | None]:
        """Scores by candidate, None for failures; raises ValueError for wrong tells."""

    @abstractmethod
    def _method_state(self) -> Mapping[str, Any]:
        """Plain numbers and strings of the method."""

    @abstractmethod
    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `_method_state`."""

    def _config(self) -> dict[str, Any]:
        """What has to be equal when a state is loaded; a method adds its own."""
        return {"method": type(self).__name__, "seed": self.seed, "origin": self.origin.key}

    # The contract.

    def ask(self, n: int | None = None) -> list[Candidate[CodeGene]]:
        """At most `n` genes of the present generation; none while all are out. Breeding asks the language model.

        Raises:
            EvaluationFailed: the model gave no new usable code in five tries.
        """
        if not self._batch:
            self._new_generation()
        count = len(self._waiting) if n is None else max(0, min(n, len(self._waiting)))
        out, self._waiting = self._waiting[:count], self._waiting[count:]
        return [Candidate(i, self._gene(i)) for i in out]

    def tell(self, candidates: Sequence[Candidate[CodeGene]], outcomes: Sequence[ManyTold]) -> None:
        """Report outcomes, in any order and in parts; what follows happens when the generation is complete."""
        out = {i for i in self._batch if i not in self._told and i not in set(self._waiting)}
        self._told.update(self._read(candidates, outcomes, out))
        if self._batch and len(self._told) == len(self._batch):
            good = {i: scores for i, scores in sorted(self._told.items()) if scores is not None}
            self._scores.update(good)
            self._batch, self._told = [], {}
            self.generation += 1
            self._barren = 0 if good else self._barren + 1
            self._finish(good)
            if self._barren >= TRIES:
                self._barren = 0
                raise EvaluationFailed(f"all candidates of {TRIES} generations in a row failed")

    @property
    def best(self) -> tuple[Candidate[CodeGene], Any] | None:
        """The candidate with the highest first objective; ties by the second, …, then the earlier."""
        scores = self._successes()
        if not scores:
            return None
        top = min(scores, key=lambda i: (tuple(-s for s in scores[i]), i))
        return Candidate(top, self._gene(top)), scores[top] if len(scores[top]) > 1 else scores[top][0]

    def ancestry(self, i: int) -> list[Birth]:
        """Births from the origin to candidate `i`, along primary parents."""
        path = [self.births[i]]
        while path[-1].parents:
            path.append(self.births[path[-1].parents[0]])
        return path[::-1]

    def state_dict(self) -> Mapping[str, Any]:
        """All births with their prompts and replies, scores, the generation: numbers, strings, lists."""
        return {
            "config": self._config(),
            "generation": self.generation,
            "next": self._next,
            "barren": self._barren,
            "repeats": self.repeats,
            "births": [_written(birth) for birth in self.births.values()],
            "refused": [asdict(question) for question in self.refused],
            "scores": [[i, *scores] for i, scores in self._scores.items()],
            "batch": list(self._batch),
            "told": [[i, None if scores is None else list(scores)] for i, scores in sorted(self._told.items())],
            "method": dict(self._method_state()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue; the untold candidates of a begun generation are handed out again, without asking the model.

        Raises:
            ValueError: the configuration differs.
        """
        for name, value in self._config().items():
            if state["config"].get(name) != value:
                raise ValueError(
                    f"the state was saved with {name}={state['config'].get(name)}, this search has {value}"
                )
        self.generation, self._next = int(state["generation"]), int(state["next"])
        self._barren, self.repeats = int(state["barren"]), int(state["repeats"])
        self.births = {}
        for birth in state["births"]:
            questions = tuple(Question(**question) for question in birth["questions"])
            parents = tuple(int(parent) for parent in birth["parents"])
            self.births[birth["id"]] = Birth(**{**birth, "parents": parents, "questions": questions})
        self.refused = [Question(**question) for question in state["refused"]]
        self._known = {self._gene(i).key for i in self.births}
        self._scores = {int(i): tuple(map(float, scores)) for i, *scores in state["scores"]}
        self._batch = [int(i) for i in state["batch"]]
        self._told = {int(i): None if s is None else tuple(map(float, s)) for i, s in state["told"]}
        self._waiting = [i for i in self._batch if i not in self._told]
        self._load_method_state(state["method"])

    # For methods.

    def _successes(self) -> dict[int, Scores]:
        """Scores of all that succeeded, also of a generation that is not complete."""
        return {**self._scores, **{i: scores for i, scores in sorted(self._told.items()) if scores is not None}}

    def _gene(self, i: int) -> CodeGene:
        return CodeGene(self.births[i].source, self.origin.marker)

    def _ask_model(self, draft: Draft, request: Request, block: int) -> bool:
        """Let the model change a block of the draft, or the whole file (−1); whether it did."""
        old = draft.gene.blocks[block] if block >= 0 else draft.gene.source
        reply = self.chat.reply(
            request.messages(),
            temperature=request.temperature,
            top_p=request.top_p,
            max_tokens=self.max_tokens,
            seed=request.seed,
        )
        error, gene = "", draft.gene
        try:
            code = carry_notes(old, extract_code(reply))
            gene = draft.gene.replace(block, code) if block >= 0 else CodeGene(code, draft.gene.marker)
            if len(gene.blocks) != len(draft.gene.blocks):
                raise NoCode(f"the reply has {len(gene.blocks)} blocks, not {len(draft.gene.blocks)}")
            if gene.key == draft.gene.key:
                raise NoCode("the reply changes nothing")
        except ValueError as wrong:
            error, gene = str(wrong), draft.gene
        name = str(getattr(self.chat, "name", type(self.chat).__name__))
        question = Question(
            request.kind, request.text, request.temperature, request.top_p, request.seed, name, reply, block, error
        )
        draft.gene = gene
        draft.questions.append(question)
        if error:
            self.refused.append(question)
        return not error

    def _new_generation(self) -> None:
        refused = len(self.refused)
        for attempt in range(TRIES):
            drafts = [] if self.births else [Draft(self.origin, ())]
            drafts += self._breed(np.random.default_rng([self.seed, self.generation, attempt]))
            for draft in drafts:
                if draft.gene.key in self._known:
                    self.repeats += bool(draft.questions)
                    continue
                self._known.add(draft.gene.key)
                birth = Birth(self._next, draft.gene.source, draft.parents, tuple(draft.questions), draft.island)
                self.births[self._next] = birth
                self._batch.append(self._next)
                self._next += 1
            if self._batch:
                self._waiting = list(self._batch)
                return
        last = f"; the last reply: {self.refused[-1].error}" if len(self.refused) > refused else ""
        raise EvaluationFailed(f"the model gave no new usable code in {TRIES} tries{last}")


def _written(birth: Birth) -> dict[str, Any]:
    questions = [asdict(question) for question in birth.questions]
    return {**asdict(birth), "parents": list(birth.parents), "questions": questions}


class NumberEditor:
    """A stand-in for a language model that knows one trick: it changes a number in the last block of code it is shown.

    It lets a search be tried, and its contract be checked, without a model. What it answers depends on the prompt and
    the seed.
    """

    name = "number editor"

    def reply(
        self,
        messages: list[dict[str, Any]],
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        max_tokens: int = 512,
        seed: int = 0,
    ) -> str:
        """The last block of code in the last message with one of its numbers moved by a normal step, not below 0."""
        blocks = fences(str(messages[-1]["content"]))
        tree = ast.parse(blocks[-1] if blocks else "")
        numbers = [
            node for node in ast.walk(tree) if isinstance(node, ast.Constant) and type(node.value) in (int, float)
        ]
        if not numbers:
            return "There is no number in it."
        rng = np.random.default_rng(seed)
        node = numbers[int(rng.integers(len(numbers)))]
        node.value = round(abs(float(node.value) + float(rng.normal())), 4)  # type: ignore[arg-type]
        return "I changed a number.\n```python\n" + ast.unparse(tree) + "\n```\n"
