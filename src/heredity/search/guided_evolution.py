"""LLM Guided Evolution: several objectives, source code, and a language model that mutates and crosses it.

Each generation keeps SPEA2's elites of the population, draws parents among the population by NSGA-II's tournaments,
lets the model cross neighbouring parents block by block and mutate the children, and asks for those that are new.
Mutations are drawn from many templates, or show the model what made an elite better ("Evolution of Thought").
Source: Morris, Jurado & Zutty, LLM Guided Evolution: The Automation of Models Advancing Models (arXiv 2403.11446,
GECCO 2024), and the settings of its released code.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from heredity.evaluation.outcome import Failed, Ok, outcome_of
from heredity.search.base import Candidate, Example
from heredity.search.code_gene import MARKER, CodeGene
from heredity.search.code_search import CodeSearcher, Draft, NumberEditor, Scores
from heredity.search.dominance import pareto_front
from heredity.search.objectives import ManyTold, told_objectives
from heredity.search.pareto import tournament_dcd
from heredity.search.prompts import TEMPLATES, Chat, EvolutionOfThought, LLMCrossover, LLMMutation, QualityControl
from heredity.search.sandbox import Worker, run_python
from heredity.search.spea2 import spea2_select


class GuidedEvolution(CodeSearcher):
    """Ask and tell over genes with vectors of objectives, all maximised, for instance (accuracy, −parameters).

    Args:
        seed_source: the file to improve; its blocks stand between lines `# --OPTION--`, and the first is never changed.
        chat: the language model, anything with `reply`.
        population: parents of a generation, a multiple of 4.
        start: genes of the first generation: the file itself and changes of it.
        p_cx: probability that a pair of parents is crossed. p_mut: that a child is mutated. p_eot: that a mutation is
            an Evolution of Thought, from the second generation on. p_qc: that a change is checked by a second question.
        elites: kept by SPEA2. eot_elites: of which the Evolution of Thought shows one.
        templates: pairs of `prompts.VOICES` and `prompts.AIMS` for other mutations.
        selection: False never breeds from what was found: every child is the origin after one or more random changes,
            each further one with probability ½. A baseline.
        metrics: the values of an `Ok` that are objectives; by default all, in their order.
        max_tokens: of a reply. marker: the line between blocks. seed: of everything.
    """

    def __init__(
        self,
        seed_source: str,
        chat: Chat,
        population: int = 8,
        start: int = 32,
        *,
        p_cx: float = 0.35,
        p_mut: float = 0.8,
        p_eot: float = 0.25,
        p_qc: float = 0.0,
        elites: int = 44,
        eot_elites: int = 10,
        templates: Sequence[tuple[str, str]] = TEMPLATES,
        selection: bool = True,
        metrics: Sequence[str] | None = None,
        max_tokens: int = 2048,
        marker: str = MARKER,
        seed: int = 0,
    ) -> None:
        super().__init__(seed_source, chat, marker=marker, max_tokens=max_tokens, seed=seed)
        if len(self.origin.blocks) < 2:
            raise ValueError(f"the source needs at least two blocks with a line {marker!r} between them")
        if population < 4 or population % 4 or start < 1:
            raise ValueError(f"a population is a multiple of 4 and starts with 1 or more, got {population} and {start}")
        for name, p in (("p_cx", p_cx), ("p_mut", p_mut), ("p_eot", p_eot), ("p_qc", p_qc)):
            if not 0 <= p <= 1:
                raise ValueError(f"{name} is a probability, got {p}")
        if elites < 1 or eot_elites < 1:
            raise ValueError(f"at least one elite is needed, got {elites} and {eot_elites}")
        self.population, self.start, self.elites, self.eot_elites = population, start, elites, eot_elites
        self.p_cx, self.p_mut, self.p_eot, self.p_qc, self.selection = p_cx, p_mut, p_eot, p_qc, selection
        self.metrics = None if metrics is None else tuple(metrics)
        self.mutation, self.crossover = LLMMutation(templates), LLMCrossover()
        self.creation = LLMMutation(templates, temperature=(0.05, 0.4))  # of the first generation
        self.thought, self.control = EvolutionOfThought(), QualityControl()
        self._members: list[int] = []  # elites of before and what succeeded since, by id

    @property
    def members(self) -> list[tuple[Candidate[CodeGene], Scores]]:
        """The population: SPEA2's elites and the last generation, with objectives."""
        return [(Candidate(i, self._gene(i)), self._scores[i]) for i in self._members]

    @property
    def front(self) -> list[tuple[Candidate[CodeGene], Scores]]:
        """All that no other of those told so far dominates, in order of asking."""
        scores = self._successes()
        if not scores:
            return []
        ids = list(scores)
        chosen = pareto_front(np.array([scores[i] for i in ids]))
        return [(Candidate(i, self._gene(i)), scores[i]) for i in sorted(ids[int(k)] for k in chosen)]

    def _points(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array([self._scores[i] for i in self._members], dtype=np.float64)

    def _elites(self, count: int) -> list[int]:
        return [self._members[int(k)] for k in spea2_select(self._points(), count)] if self._members else []

    def _breed(self, rng: np.random.Generator) -> list[Draft]:
        if not self._members or not self.selection:
            count = self.start - 1 if not self._members else self.population
            drafts = [Draft(self.origin, (0,)) for _ in range(max(1, count))]
            for draft in drafts:
                self._mutate(draft, [], rng)
                while not self.selection and rng.random() < 0.5:
                    self._mutate(draft, [], rng)
            return [draft for draft in drafts if draft.gene != self.origin]
        parents = self._parents(rng)
        drafts = [Draft(self._gene(i), (i,)) for i in parents]
        for a, b in zip(drafts[::2], drafts[1::2], strict=True):
            if rng.random() < self.p_cx:
                self._cross(a, b, rng)
        elites = [self._gene(i) for i in self._elites(self.eot_elites)]
        for draft in drafts:
            if rng.random() < self.p_mut:
                self._mutate(draft, elites, rng)
        return [draft for draft, i in zip(drafts, parents, strict=True) if draft.gene.key != self._gene(i).key]

    def _parents(self, rng: np.random.Generator) -> list[int]:
        count = min(self.population, len(self._members) // 4 * 4)
        if not count:  # too few for tournaments
            return [self._members[int(k)] for k in rng.integers(len(self._members), size=self.population)]
        chosen = [self._members[int(k)] for k in tournament_dcd(self._points(), count, rng=rng)]
        more = rng.choice(chosen, size=self.population - count)
        return [*chosen, *(int(i) for i in more)]

    def _cross(self, a: Draft, b: Draft, rng: np.random.Generator) -> None:
        """Each of two drafts takes up what it can of the other's version of one block, drawn for both."""
        block = int(rng.integers(1, min(len(a.gene.blocks), len(b.gene.blocks))))
        first, second = a.gene.blocks[block], b.gene.blocks[block]
        if CodeGene(first).key == CodeGene(second).key:
            return
        for draft, mate, mine, other in ((a, b.parents[0], first, second), (b, a.parents[0], second, first)):
            if self._ask_model(draft, self.crossover.request(mine, other, rng), block):
                draft.parents = (draft.parents[0], mate)

    def _mutate(self, draft: Draft, elites: Sequence[CodeGene], rng: np.random.Generator) -> None:
        """Change one block, any but the first."""
        block = int(rng.integers(1, len(draft.gene.blocks)))
        code = draft.gene.blocks[block]
        request = None
        if elites and rng.random() < self.p_eot:
            request = self.thought.request(code, self.origin, elites[int(rng.integers(len(elites)))], rng)
        if request is None:  # also where the elite is the origin itself
            request = (self.mutation if self._members else self.creation).request(code, rng)
        if self._ask_model(draft, request, block) and rng.random() < self.p_qc:
            self._ask_model(draft, self.control.request(code, draft.gene.blocks[block], rng), block)

    def _finish(self, good: Mapping[int, Scores]) -> None:
        self._members = sorted({*self._elites(self.elites), *good})

    def _read(
        self, candidates: Sequence[Candidate[CodeGene]], outcomes: Sequence[ManyTold], out: set[int]
    ) -> dict[int, Scores | None]:
        known = next((len(s) for s in (*self._scores.values(), *self._told.values()) if s is not None), None)
        told = told_objectives(candidates, outcomes, out, metrics=self.metrics, constraints=(), count=known)
        return {i: None if judged is None else judged[0] for i, judged in told.items()}

    def _method_state(self) -> Mapping[str, Any]:
        return {"members": list(self._members)}

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._members = [int(i) for i in state["members"]]

    def _config(self) -> dict[str, Any]:
        return {
            **super()._config(),
            "population": [self.population, self.start, self.elites, self.eot_elites],
            "probabilities": [self.p_cx, self.p_mut, self.p_eot, self.p_qc],
            "selection": self.selection,
            "templates": ["/".join(template) for template in self.mutation.templates],
        }

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """Two numbers in two blocks, near to one and both small; the model is a stand-in that changes numbers."""
        source = f"a = 3.0\n{MARKER}\nb = 2.0\n{MARKER}\nc = 4.0\n"

        def fitness(gene: CodeGene) -> tuple[float, float]:
            values = [ast.literal_eval(ast.parse(block).body[0].value) for block in gene.blocks[1:]]  # type: ignore[attr-defined]
            return -float(sum((v - 1) ** 2 for v in values)), -float(sum(v * v for v in values))

        yield cls.__name__, Example(lambda seed: cls(source, NumberEditor(), start=8, elites=8, seed=seed), fitness, 12)


@dataclass(frozen=True)
class Evaluation:
    """What a gene was found to be worth.

    Args:
        outcome: numbers by name, or why there are none.
        seconds: wall time in the sandbox; cpu: of which the processor worked, 0 where the run was killed.
        stdout: what it printed.
    """

    outcome: Ok | Failed
    seconds: float
    cpu: float = 0.0
    stdout: str = ""


def run_gene(
    gene: CodeGene,
    entry: str = "Network",
    *,
    judge: str,
    arguments: Sequence[Any] = (),
    timeout_s: float = 60.0,
    memory_mb: int = 1024,
    worker: Worker | None = None,
) -> Evaluation:
    """Judge a gene in the sandbox.

    Args:
        gene: its source is run as a module.
        entry: the name that the module has to define, for instance a class of networks.
        judge: "package.module:function", preferably preloaded by `worker`: called with the module, `entry` and
            `arguments`, it gives numbers by name. It counts parameters and measures accuracy of what `entry` makes, and
            not of what the text says; but it runs beside the gene's code, which could deceive it.
        timeout_s, memory_mb, worker: as in `run_python`.
    """
    ran = run_python(gene.source, (judge, [entry, *arguments]), timeout_s=timeout_s, memory_mb=memory_mb, worker=worker)
    outcome: Ok | Failed = Failed(ran.error)
    if ran.ok:
        outcome = (
            outcome_of(ran.value) if isinstance(ran.value, (dict, float, int)) else Failed("the judge gave no numbers")
        )
    return Evaluation(outcome, ran.seconds, ran.cpu, ran.stdout)
