"""A search over the source code of small networks, in the sandbox and under a budget of evaluations, as one operator.

A search sees validation accuracy after one training, and the number of parameters. What it found, the front by
validation, is trained anew with other seeds and judged on test images that no search has seen.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import ClassVar, Literal

import numpy as np
import torch

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Failed, Ok
from heredity.lab import Child, Context, Operator, Parents, Request
from heredity.papers.claim import Cell, Steps, Trial
from heredity.papers.testbeds.gene_nets import seed_gene
from heredity.papers.testbeds.language_models import language_model, model_name
from heredity.papers.testbeds.rule_editor import RuleEditor
from heredity.search.code_gene import CodeGene
from heredity.search.code_search import Draft, Scores
from heredity.search.guided_evolution import GuidedEvolution, run_gene
from heredity.search.hypervolume import hypervolume
from heredity.search.sandbox import Worker

JUDGE = "heredity.papers.testbeds.gene_judge"
TIMEOUT, MEMORY = 60.0, 1024  # seconds and MB of an evaluation; one takes half a second
RETRAININGS = (1001, 1002, 1003)  # training seeds of the report; a search's own is the cell's seed
CHECKED = 4  # trainings of the first gene by which a precondition is judged
WORST = (0.8, -2.0)  # the reference of the hypervolume: accuracy, and −log2 of parameters relative to the first gene


class CodeClimb(GuidedEvolution):
    """One gene, changed block by block: a change is kept when it is as accurate and has at most the first one's
    parameters."""

    def _breed(self, rng: np.random.Generator) -> list[Draft]:
        if not self.births:
            return []
        current = self._members[0] if self._members else 0
        for attempt in range(50):
            draft = Draft(self._gene(current), (current,))
            for _ in range(1 + attempt // 20):  # two changes at once where single ones are used up
                self._mutate(draft, [], rng)
            if draft.gene.key not in self._known:
                return [draft]
        return []

    def _finish(self, good: Mapping[int, Scores]) -> None:
        for i, (accuracy, small) in good.items():
            now = self._scores[self._members[0]] if self._members else None
            if now is None or (accuracy >= now[0] and small >= self._scores[0][1]):
                self._members = [i]


@dataclass(frozen=True)
class GuidedSearch(Operator):
    """What a search found: the child holds the front's `points` [k, r, 2] (test accuracy and −log2 of parameters
    relative to the first gene, for each of r retrainings) and `record`, the JSON of all births, prompts and replies.

    Args:
        data: seed of the division of the digits.
        search: "guided", "random" (changes of the first gene) or "climb".
        chat: "rules", or "lm:" with the name of a language model, which the environment says how to reach.
        p_eot: probability of an Evolution of Thought.
        evaluations: budget. start: genes of the first generation. population: parents of a generation.
        checked: whether the first gene is trained several times for the precondition.
    """

    data: int
    search: Literal["guided", "random", "climb"] = "guided"
    chat: str = "rules"
    p_eot: float = 0.25
    evaluations: int = 60
    start: int = 16
    population: int = 8
    checked: bool = False
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Search, then retrain and test what was found."""
        kind = CodeClimb if self.search == "climb" else GuidedEvolution
        searcher = kind(
            seed_gene(),
            RuleEditor() if self.chat == "rules" else language_model(),
            self.population,
            self.start,
            p_eot=self.p_eot,
            selection=self.search != "random",
            seed=context.seed,
        )
        first = CodeGene(seed_gene())
        size = _known(judged(first, self.data, context.seed))["parameters"]
        asked = failed = 0
        while asked < self.evaluations:
            try:
                candidates = searcher.ask(self.evaluations - asked)
                outcomes = [_told(judged(c.value, self.data, context.seed), size) for c in candidates]
                asked, failed = asked + len(candidates), failed + sum(isinstance(o, Failed) for o in outcomes)
                searcher.tell(candidates, outcomes)
                context.progress(asked, self.evaluations)
            except EvaluationFailed:
                break  # nothing new is proposed any more
        scores = {c.id: scores for c, scores in searcher.front}
        points = {i: self._retrained(CodeGene(searcher.births[i].source), size) for i in scores}
        if not points:
            raise EvaluationFailed(f"none of {asked} genes could be trained")
        notes = self._notes(searcher, points, self._retrained(first, size), scores)
        notes |= {"evaluations": float(asked), "failures": failed / asked}
        if self.checked:
            notes |= _first_gene(first, self.data)
        record = json.dumps([asdict(birth) for birth in searcher.births.values()]).encode()
        found = torch.tensor(np.array([points[i] for i in points]), dtype=torch.float64)
        return Child({"points": found, "record": torch.tensor(list(record), dtype=torch.uint8)}, None, notes)

    def _retrained(self, gene: CodeGene, size: float) -> list[tuple[float, float]]:
        """Test accuracy and smallness for each retraining; what cannot be trained again is worth nothing."""
        found = []
        for seed in RETRAININGS:
            outcome = judged(gene, self.data, seed)
            ok = isinstance(outcome, Ok)
            found.append((outcome["test"], -math.log2(outcome["parameters"] / size)) if ok else WORST)
        return found

    def _notes(
        self,
        searcher: GuidedEvolution,
        points: Mapping[int, Sequence[tuple[float, float]]],
        first: Sequence[tuple[float, float]],
        scores: Mapping[int, Scores],
    ) -> dict[str, float]:
        areas = [area([found[k] for found in points.values()]) for k in range(len(RETRAININGS))]
        accuracy = float(np.mean([point[0] for point in first]))
        smaller = [np.mean([p[0] for p in found]) for i, found in points.items() if i != 0 and found[0][1] >= 0]
        questions = [question for birth in searcher.births.values() for question in birth.questions]
        thoughts = [question for question in questions if question.kind == "EoT"]
        return {
            "hypervolume": float(np.mean(areas)),
            "seen": area(scores.values()),
            "gain": float(max(smaller)) - accuracy if smaller else -1.0,
            "front": float(len(points)),
            "thoughts": len(thoughts) / max(1, len(questions)),
        }


def trial(cell: Cell) -> Steps:
    """One search: the arm's settings are the operator's fields; the seed divides the data and draws the search."""
    yield from ()
    chat = "rules" if cell.world == "rules" else f"lm:{model_name()}"
    operator = GuidedSearch(data=cell.seed, chat=chat, **cell.settings)  # type: ignore[arg-type]
    names = ("hypervolume", "seen", "gain", "front", "thoughts", "evaluations", "failures")
    more = ("first_valid", "first_spread", "first_seconds") if operator.checked else ()
    return Trial(Request(operator, seed=cell.seed), notes=(*names, *more))


def area(points: Iterable[Sequence[float]]) -> float:
    """Hypervolume of (accuracy, −log2 of relative parameters) above the reference."""
    return float(hypervolume(np.array([list(point) for point in points], dtype=np.float64), WORST))


_MEMORY: dict[tuple[str, int, int], Ok | Failed] = {}


def judged(gene: CodeGene, division: int, seed: int) -> Ok | Failed:
    """What `gene_judge.judge` says of a gene in the sandbox; the same genotype is trained once per process."""
    key = (gene.key, division, seed)
    if key not in _MEMORY:
        found = run_gene(
            gene,
            judge=f"{JUDGE}:judge",
            arguments=[division, seed],
            timeout_s=TIMEOUT,
            memory_mb=MEMORY,
            worker=_worker(),
        )
        if isinstance(found.outcome, Ok):
            _MEMORY[key] = Ok({**found.outcome.values, "cpu": found.cpu})
        else:
            _MEMORY[key] = found.outcome
    return _MEMORY[key]


@cache
def _worker() -> Worker:
    return Worker([JUDGE])


def _known(outcome: Ok | Failed) -> Ok:
    if isinstance(outcome, Failed):
        raise EvaluationFailed(f"the first gene cannot be trained: {outcome.reason}")
    return outcome


def _told(outcome: Ok | Failed, size: float) -> Ok | Failed:
    if isinstance(outcome, Failed):
        return outcome
    return Ok({"accuracy": outcome["valid"], "smallness": -math.log2(outcome["parameters"] / size)})


def _first_gene(gene: CodeGene, division: int) -> dict[str, float]:
    """Validation accuracy, its standard deviation over training seeds, and seconds of CPU time per evaluation."""
    found = [_known(judged(gene, division, seed)) for seed in range(CHECKED)]
    valid = [outcome["valid"] for outcome in found]
    seconds = [outcome["cpu"] for outcome in found]
    return {
        "first_valid": float(np.mean(valid)),
        "first_spread": float(np.std(valid, ddof=1)),
        "first_seconds": float(np.mean(seconds)),
    }
