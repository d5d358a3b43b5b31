"""The contract of search: spaces where candidates live, ask-tell searchers over them, and proxies of fitness.

Fitness is always maximised; a loss is negated by the caller. An outcome is a float or one of
`heredity.evaluation.outcome.{Ok, Failed, Pending}`: a NaN is a failure and never wins; when every candidate of a
batch failed, `tell` raises. Tells may come in parts and out of order.
Source: the family contract in the specification of arXiv 1712.06567.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias, TypeVar

import numpy as np

from heredity.evaluation.outcome import Failed, Ok, Outcome, Pending, outcome_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from heredity.search.running import Run

X = TypeVar("X")
Batch: TypeAlias = "tuple[Tensor, Tensor]"  # inputs [n, ...] and labels [n]
Told: TypeAlias = float | Outcome
Direction: TypeAlias = Literal["maximize", "minimize"]


@dataclass(frozen=True, slots=True)
class Candidate(Generic[X]):
    """One point to evaluate: a running number and its value."""

    id: int
    value: X


@dataclass(frozen=True, slots=True)
class Example(Generic[X]):
    """A tiny use of a searcher, on which the contract's laws are checked.

    Args:
        make: the searcher of a seed.
        fitness: what a candidate is told to be worth, to be maximised: a number, or several in any nesting.
        names: of the numbers told, one after another, where the searcher finds them in an `Ok` by name.
        worth: what `best` says of what was told; default all of it.
        rounds: rounds of ask and tell after which the best must beat the best of the first round.
        exceptions: law → why this searcher does not keep it; its check then demands that it is indeed broken.
    """

    make: Callable[[int], Searcher[X]]
    fitness: Callable[[X], Any]
    rounds: int = 30
    names: Sequence[str] | None = None
    worth: Callable[[Any], Any] | None = None
    exceptions: Mapping[str, str] = field(default_factory=dict)


class Space(ABC, Generic[X]):
    """Where candidates live."""

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> X:
        """Draw a candidate."""

    @abstractmethod
    def mutate(self, x: X, rng: np.random.Generator) -> X:
        """A changed copy of `x`."""

    @abstractmethod
    def crossover(self, a: X, b: X, rng: np.random.Generator) -> X:
        """A mixture of `a` and `b`."""

    @abstractmethod
    def valid(self, x: X) -> bool:
        """Whether `x` belongs to the space."""


class Searcher(ABC, Generic[X]):
    """Ask for candidates, tell what they were worth. State is explicit and serialisable."""

    @abstractmethod
    def ask(self, n: int | None = None) -> list[Candidate[X]]:
        """Propose at most `n` candidates, by default the searcher's natural batch.

        Fewer come back, possibly none, when a searcher that works in generations first has to be told of those out.
        """

    @abstractmethod
    def tell(self, candidates: Sequence[Candidate[X]], outcomes: Sequence[Told]) -> None:
        """Report outcomes; higher is better.

        Raises:
            ValueError: lengths differ, or a candidate was never asked.
            EvaluationFailed: every candidate of a completed batch failed.
        """

    @property
    @abstractmethod
    def best(self) -> tuple[Candidate[X], float] | None:
        """The best candidate told so far with its fitness; None before the first success."""

    @abstractmethod
    def state_dict(self) -> Mapping[str, Any]:
        """Everything needed to go on exactly: plain numbers, strings, lists, dicts and numpy arrays."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()` of a searcher with the same configuration.

        Candidates that had been asked and not told are out still: they may be told, and a searcher that works in
        generations hands them out again.
        """

    # Migration: what a searcher has to offer to be one of several `heredity.search.islands.Islands`.

    @property
    def hosts(self) -> bool:
        """Whether `receive` can take in candidates that the searcher did not propose."""
        return type(self).receive is not Searcher.receive

    def emigrants(self, n: int) -> tuple[list[X], list[Any]]:
        """Copies of the best candidates known, at most `n`, best first, with what they were worth; failures never.

        Default: the best told so far, alone.
        """
        best = self.best
        return ([], []) if best is None or n < 1 else ([best[0].value], [best[1]])

    def receive(self, values: Sequence[X], worth: Sequence[Any]) -> None:
        """Take in candidates of another searcher, between generations, with what `emigrants` said they are worth.

        Raises:
            NotImplementedError: the method has no sound use for candidates that it did not propose.
            ValueError: a generation is out.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot learn from candidates that it did not propose")

    def run(
        self,
        function: Callable[..., Any],
        evaluations: int,
        *,
        direction: Direction | Sequence[Direction],
        vectorized: bool = False,
        map: Callable[..., Any] | None = None,
        report: Callable[[Run[X]], None] | None = None,
    ) -> Run[X]:
        """Search a function; see `heredity.search.running.run`."""
        from heredity.search.running import run

        return run(self, function, evaluations, direction=direction, vectorized=vectorized, map=map, report=report)

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """Tiny uses of the searcher for the contract's tests, each with a name. None for a base class."""
        yield from ()


class Proxy(Protocol):
    """A guess, without training, of how good a network will be: higher is better. Functions are proxies, too."""

    def __call__(self, model: nn.Module, batch: Batch, /) -> float:
        """Score the model as it is, on inputs [n, ...] and labels [n], and leave all of it as it was.

        Raises:
            EvaluationFailed: it has no finite score.
        """


def check_config(saved: Mapping[str, Any], own: Mapping[str, Any], searcher: object) -> None:
    """Compare the configuration in a state with a searcher's own.

    Raises:
        ValueError: something differs; the first is named.
    """
    for name, value in own.items():
        if name not in saved or not np.array_equal(np.asarray(saved[name]), np.asarray(value)):
            kind = type(searcher).__name__
            raise ValueError(f"the state was saved with {name}={saved.get(name)}, this {kind} has {value}")


def fitness_of(told: Told, metric: str | None = None) -> float | None:
    """The number to maximise in an outcome; None when it failed.

    Args:
        told: a float or an outcome; a float that is NaN or infinite counts as failed.
        metric: which value of an `Ok` with several to read.

    Raises:
        ValueError: the outcome is pending, or holds several values and `metric` names none of them.
    """
    outcome = outcome_of(told) if isinstance(told, (int, float)) else told
    if isinstance(outcome, Pending):
        raise ValueError("a pending evaluation cannot be told; tell it when it has ended")
    if isinstance(outcome, Failed):
        return None
    assert isinstance(outcome, Ok)
    if metric is not None:
        return outcome[metric]
    if len(outcome.values) != 1:
        raise ValueError(f"name the metric to maximise, one of {sorted(outcome.values)}")
    return next(iter(outcome.values.values()))


def told_pairs(
    candidates: Sequence[Candidate[X]], outcomes: Sequence[Told], open_ids: Collection[int], metric: str | None
) -> dict[int, float | None]:
    """Fitness (None when failed) by candidate id.

    Raises:
        ValueError: lengths differ, a candidate was not asked or is told twice, or an outcome is pending.
    """
    if len(candidates) != len(outcomes):
        raise ValueError(f"{len(candidates)} candidates were told with {len(outcomes)} outcomes")
    told: dict[int, float | None] = {}
    for candidate, outcome in zip(candidates, outcomes, strict=True):
        if candidate.id not in open_ids or candidate.id in told:
            raise ValueError(f"candidate {candidate.id} was never asked, or has been told before")
        told[candidate.id] = fitness_of(outcome, metric)
    return told
