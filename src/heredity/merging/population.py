"""A breeding population of experts held in memory: GENOME and GENOME+ as a merger.

Source: arXiv 2503.01155.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heredity.evaluation.outcome import Outcome
from heredity.merging.base import Merger, StateDict, Weights, check_compatible, check_finite
from heredity.merging.births import Generation, GenomeConfig, Proposal, Succession
from heredity.merging.breeding import Space, breed
from heredity.merging.genome import GenomeSearcher

Score = Callable[[StateDict], float | Outcome]


@dataclass(frozen=True)
class PopulationResult:
    """What a run found.

    Attributes:
        best: weights of the best individual ever; best_id, fitness: its id and worth.
        population: the last members' weights, best first; ids: their ids; values: their fitness.
        history: one record per generation.
        lineage: every birth by id; ids below the number of founders are the founders.
        evaluations: how often the score was called.
        mixture: shares of the founders in the best individual.
    """

    best: StateDict
    best_id: int
    fitness: float
    population: tuple[StateDict, ...]
    ids: tuple[int, ...]
    values: tuple[float, ...]
    history: tuple[Generation, ...]
    lineage: Mapping[int, Proposal]
    evaluations: int
    mixture: tuple[float, ...]


class PopulationMerger(Merger):
    """Breed experts of one ancestor for a score; `merge` returns the best individual.

    Args:
        score: weights → float or outcome, higher is better; NaN and `Failed` are failures.
        config: settings; single ones may be given as keywords, e.g. population=10, succession=Succession().
        space, scaling: how crossovers mix LoRA adapters, see `heredity.merging.breeding.breed`.

    After `merge`, `result` holds everything else and `searcher` can be asked for its state.
    """

    result: PopulationResult
    searcher: GenomeSearcher

    def __init__(
        self,
        score: Score,
        config: GenomeConfig | None = None,
        *,
        space: Space = "weights",
        scaling: float = 1.0,
        **settings: Any,
    ) -> None:
        self.score, self.space, self.scaling = score, space, scaling
        self.config = config or GenomeConfig()
        self.settings = settings

    def merge(self, models: Sequence[Weights], *, base: Weights | None = None) -> StateDict:
        """Breed until the run is over.

        Args:
            models: the founders, full state dicts or adapters' tensors.
            base: the common ancestor, where the crossover method works on differences from it.

        Raises:
            MergeError: keys, shapes or dtypes differ, or a base is needed and missing.
            NonFinite: a founder holds NaN or infinity.
            EvaluationFailed: every individual of a generation failed.
        """
        check_compatible(models, base)
        for i, model in enumerate(models):
            for name, tensor in model.items():
                check_finite(tensor, name, f"model {i}")
        searcher = self.searcher = GenomeSearcher(len(models), self.config, **self.settings)
        alive: dict[int, Weights] = dict(enumerate(models))
        while not searcher.done:
            candidates = searcher.ask()
            born: dict[int, Weights] = {}
            for candidate in candidates:
                birth = candidate.value
                if birth.kind == "founder":
                    born[candidate.id] = models[candidate.id]
                else:
                    born[candidate.id] = breed(
                        birth,
                        [alive[p] for p in birth.parents],
                        base=base,
                        space=self.space,
                        scaling=self.scaling,
                    )
            outcomes = [self.score(dict(born[candidate.id])) for candidate in candidates]
            alive |= born
            searcher.tell(candidates, outcomes)
            alive = {i: weights for i, weights in alive.items() if i in searcher.needed}
        self.result = self._result(searcher, alive)
        return self.result.best

    @classmethod
    def examples(cls) -> Iterable[tuple[str, Merger]]:
        """Two tiny runs; the score prefers small weights."""

        def small(weights: StateDict) -> float:
            return -sum(float(tensor.double().abs().sum()) for tensor in weights.values())

        shared: dict[str, Any] = {"population": 4, "generations": 2, "sigma": 0.0}
        return [
            ("genome", cls(small, **shared)),
            ("genome plus", cls(small, succession=Succession(clip=True), **shared)),
        ]

    def model_counts(self) -> tuple[int, int | None]:
        return 2, None

    @staticmethod
    def _result(searcher: GenomeSearcher, alive: Mapping[int, Weights]) -> PopulationResult:
        assert searcher.best is not None
        best, fitness = searcher.best
        ranked = sorted(searcher.members, key=lambda member: (-member.fitness, member.id))
        return PopulationResult(
            best=_own(alive[best.id]),
            best_id=best.id,
            fitness=fitness,
            population=tuple(_own(alive[member.id]) for member in ranked),
            ids=tuple(member.id for member in ranked),
            values=tuple(member.fitness for member in ranked),
            history=tuple(searcher.history),
            lineage=dict(searcher.lineage),
            evaluations=len(searcher.fitness),
            mixture=tuple(searcher.mixture(best.id)),
        )


def _own(weights: Weights) -> StateDict:
    return {name: tensor.detach().clone() for name, tensor in weights.items()}
