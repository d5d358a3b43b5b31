"""Evolution of programs for one score: a language model writes the children, islands keep them apart.

Each island is a database of its best programs. A child's parent is drawn from its island, better ones more often; the
model sees the parent, some other programs of the island for inspiration, and all their scores, and changes one block or
rewrites the file. From time to time islands exchange their best, or the worse half of them is founded anew.
Sources: Romera-Paredes et al., Mathematical discoveries from program search with large language models (FunSearch),
Nature 625 (2024), for islands and their resets; Novikov et al., AlphaEvolve (arXiv 2506.13131), for inspirations and
edits; Tanese, Distributed Genetic Algorithms (1989), for the ring. That parents are drawn by rank is our choice: scores
have any scale.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from heredity.errors import EvaluationFailed
from heredity.search.base import Candidate, Example, Told, told_pairs
from heredity.search.code_gene import MARKER, CodeGene
from heredity.search.code_search import CodeSearcher, Draft, NumberEditor, Scores
from heredity.search.prompts import RULES, Chat, Request, fenced
from heredity.search.sandbox import Call, Worker, run_python
from heredity.search.selection import rank, ranking


@dataclass(frozen=True)
class Island:
    """What an island has come to.

    Args:
        members: its programs with their scores, the best first.
        births: programs that were born there; successes: that got a score; arrivals: that came from other islands.
    """

    members: list[tuple[Candidate[CodeGene], float]]
    births: int
    successes: int
    arrivals: int


class CodeEvolution(CodeSearcher):
    """Ask and tell over genes with one score, maximised.

    Args:
        source: the first program, which founds every island.
        chat: the language model, anything with `reply`.
        task: what programs are for and what their score is, in the words that the model reads.
        islands: how many.
        children: programs per island and generation.
        size: members that an island keeps, its best.
        inspirations: other members that the model is shown: the best, then any.
        p_rewrite: probability that the file is rewritten; else one block, any but the first, is changed. Files without
            marker lines are always rewritten.
        migration: "ring": every island sends copies of its best to the next one. "reset": the worse half of the islands
            is emptied and founded anew by the best of one of the others, drawn at random. "none".
        every: generations between migrations. migrants: that an island sends in the ring.
        temperature: the range that it is drawn from. top_p: of every answer.
        metric: the value of an outcome to maximise, where it has several.
        max_tokens: of a reply. marker: the line between blocks. seed: of everything.
    """

    def __init__(
        self,
        source: str,
        chat: Chat,
        *,
        task: str = "Programs are scored; higher is better.",
        islands: int = 4,
        children: int = 2,
        size: int = 20,
        inspirations: int = 2,
        p_rewrite: float = 0.25,
        migration: Literal["ring", "reset", "none"] = "ring",
        every: int = 10,
        migrants: int = 1,
        temperature: tuple[float, float] = (0.4, 1.0),
        top_p: float = 0.95,
        metric: str | None = None,
        max_tokens: int = 4096,
        marker: str = MARKER,
        seed: int = 0,
    ) -> None:
        super().__init__(source, chat, marker=marker, max_tokens=max_tokens, seed=seed)
        for name, count in (("islands", islands), ("children", children), ("size", size), ("every", every)):
            if count < 1:
                raise ValueError(f"{name} is at least 1, got {count}")
        if not 0 <= p_rewrite <= 1 or migration not in ("ring", "reset", "none") or min(inspirations, migrants) < 0:
            raise ValueError(
                'p_rewrite is a probability, migration "ring", "reset" or "none", inspirations and migrants counts, '
                f"got {p_rewrite}, {migration!r}, {inspirations} and {migrants}"
            )
        self.task, self.children, self.size, self.inspirations = task, children, size, inspirations
        self.p_rewrite, self.migration, self.every, self.migrants = p_rewrite, migration, every, migrants
        self.temperature, self.top_p, self.metric = temperature, top_p, metric
        self._islands: list[list[int]] = [[] for _ in range(islands)]  # best first
        self._arrivals = [0] * islands

    @property
    def islands(self) -> list[Island]:
        """Members and counts of every island."""
        born = [birth.island for birth in self.births.values()]
        lived = [self.births[i].island for i in self._scores]
        return [
            Island(
                [(Candidate(i, self._gene(i)), self._scores[i][0]) for i in members],
                born.count(k),
                lived.count(k),
                self._arrivals[k],
            )
            for k, members in enumerate(self._islands)
        ]

    def _breed(self, rng: np.random.Generator) -> list[Draft]:
        drafts = []
        for k, members in enumerate(self._islands):
            for _ in range(self.children):
                scores = [self._scores[i][0] for i in members]
                parent = members[rank(scores, 1, rng=rng)[0]] if members else 0
                others = [i for i in members if i != parent]
                shown = others[:1]
                if len(others) > 1 and self.inspirations > 1:
                    more = min(self.inspirations, len(others)) - 1
                    shown += [int(i) for i in rng.choice(others[1:], size=more, replace=False)]
                draft = Draft(self._gene(parent) if self.births else self.origin, (parent,), island=k)
                count = len(draft.gene.blocks)
                whole = count == 1 or rng.random() < self.p_rewrite
                block = -1 if whole else int(rng.integers(1, count))
                if self._ask_model(draft, self._request(draft, shown[: self.inspirations], block, rng), block):
                    drafts.append(draft)
        return drafts

    def _request(self, draft: Draft, shown: Sequence[int], block: int, rng: np.random.Generator) -> Request:
        texts = [self.task, "\n\n"]
        for i in reversed(shown):  # the best last, next to the parent
            texts += [f"A program with the score {self._scores[i][0]:.6g}:\n", fenced(self.births[i].source), "\n"]
        score = self._scores.get(draft.parents[0])
        worth = "" if score is None else f" with the score {score[0]:.6g}"
        texts += [f"The program to improve{worth}:\n", fenced(draft.gene.source), "\n"]
        if block >= 0:
            texts += ["Change this part of it only, and return this part:\n", fenced(draft.gene.blocks[block])]
        elif len(draft.gene.blocks) > 1:
            texts += [f"Write a better program. Keep the lines `{self.origin.marker}` between its parts.\n"]
        else:
            texts += ["Write a better program.\n"]
        kind = "rewrite" if block < 0 else "edit"
        seed, heat = int(rng.integers(2**31)), float(rng.uniform(*self.temperature))
        return Request(kind, "".join([*texts, "\n", RULES]), heat, self.top_p, seed)

    def _finish(self, good: Mapping[int, Scores]) -> None:
        for i in good:
            for k in range(len(self._islands)) if not self.births[i].parents else (self.births[i].island,):
                self._join(k, i)
        if self.generation % self.every == 0 and any(self._islands):
            self._migrate()

    def _join(self, k: int, i: int) -> None:
        members = sorted({*self._islands[k], i}, key=lambda i: (-self._scores[i][0], i))
        self._islands[k] = members[: self.size]

    def _migrate(self) -> None:
        count = len(self._islands)
        if count < 2 or self.migration == "none":
            return
        if self.migration == "ring":
            sent = [list(members[: self.migrants]) for members in self._islands]
            for k, travellers in enumerate(sent):
                for i in travellers:
                    there = (k + 1) % count
                    self._arrivals[there] += i not in self._islands[there]
                    self._join(there, i)
            return
        rng = np.random.default_rng([self.seed, self.generation, 1_000_000])
        tops = [self._scores[members[0]][0] if members else -np.inf for members in self._islands]
        order = ranking(tops)
        stay, go = order[: count - count // 2], order[count - count // 2 :]
        stay = [k for k in stay if self._islands[k]]
        for k in go:
            self._islands[k] = [self._islands[int(rng.choice(stay))][0]]
            self._arrivals[k] += 1

    def _read(
        self, candidates: Sequence[Candidate[CodeGene]], outcomes: Sequence[Told], out: set[int]
    ) -> dict[int, Scores | None]:
        told = told_pairs(candidates, outcomes, out, self.metric)
        return {i: None if fitness is None else (fitness,) for i, fitness in told.items()}

    def _method_state(self) -> Mapping[str, Any]:
        return {"islands": [list(members) for members in self._islands], "arrivals": list(self._arrivals)}

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._islands = [[int(i) for i in members] for members in state["islands"]]
        self._arrivals = [int(count) for count in state["arrivals"]]

    def _config(self) -> dict[str, Any]:
        return {
            **super()._config(),
            "islands": [len(self._islands), self.children, self.size, self.inspirations],
            "migration": [self.migration, self.every, self.migrants],
            "p_rewrite": self.p_rewrite,
            "task": self.task,
        }

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """Two numbers, both near to one; the model is a stand-in that changes numbers."""
        source = f"a = 3.0\n{MARKER}\nb = 2.0\n{MARKER}\nc = 4.0\n"

        def fitness(gene: CodeGene) -> float:
            nodes = [node for node in ast.walk(ast.parse(gene.source)) if isinstance(node, ast.Constant)]
            return -sum((float(str(node.value)) - 1) ** 2 for node in nodes)

        for migration in ("ring", "reset"):

            def make(seed: int, migration: Any = migration) -> CodeSearcher:
                return cls(source, NumberEditor(), islands=3, children=2, every=2, migration=migration, seed=seed)

            yield f"{cls.__name__}, {migration}", Example(make, fitness, 10)


@dataclass(frozen=True)
class SandboxScore:
    """The number that a function of a program returns in the sandbox, for `Searcher.run`.

    Args:
        call: as in `run_python`; "package.module:function" judges the program from outside its source.
        timeout_s, memory_mb, worker: as in `run_python`.
    """

    call: Call
    timeout_s: float = 10.0
    memory_mb: int = 512
    worker: Worker | None = None

    def __call__(self, gene: CodeGene) -> float:
        """The gene's score.

        Raises:
            EvaluationFailed: it has none; the message is the sandbox's.
        """
        ran = run_python(gene.source, self.call, timeout_s=self.timeout_s, memory_mb=self.memory_mb, worker=self.worker)
        if not ran.ok:
            raise EvaluationFailed(ran.error)
        if isinstance(ran.value, bool) or not isinstance(ran.value, (int, float)):
            raise EvaluationFailed(f"the program's score is {type(ran.value).__name__}, not a number")
        return float(ran.value)
