"""What every search of a recipe is made of, and what it is worth: a searcher, births, a probe, aims."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from heredity.errors import RecipeError
from heredity.lab import Lab, Model, Probe, Request
from heredity.lab.engine import Evolution
from heredity.lab.evolved import Direction, Mode
from heredity.recipes.search_schema import Space
from heredity.search.base import Candidate
from heredity.search.fields import Choice, Field, Int, LogUniform, Uniform, When
from heredity.search.hyperparameters import Hyperparameters


@dataclass
class Search:
    """A search that is ready to run.

    Args:
        searcher: what asks.
        birth: (candidate, the running evolution) → its birth, or a model that exists.
        probe: what measures a candidate.
        aims: what it measures that counts → which way is better.
        evaluations: candidates to tell.
        facts: what a dry run says of it: (label, text).
        what: one line on a candidate, for the table.
        files: what an export holds besides the weights: name → text.
        test: measures what the search never sees, as `test`; None where there is nothing.
        mode, in_flight: of the engine.
        begin: called with the lab before anything is asked; ended: after each tell.
    """

    searcher: Any
    birth: Callable[[Candidate[Any], Evolution], Request | Model]
    probe: Probe
    aims: Mapping[str, Direction]
    evaluations: int
    facts: list[tuple[str, str]]
    what: Callable[[Model], str]
    files: Callable[[Model], Mapping[str, str]] = field(default=lambda model: {})
    test: Probe | None = None
    mode: Mode = "generational"
    in_flight: int | None = None
    begin: Callable[[Lab], None] = field(default=lambda lab: None)
    ended: Callable[[Evolution], None] = field(default=lambda evolution: None)

    @property
    def several(self) -> bool:
        """Whether there is a front instead of a best."""
        return len(self.aims) > 1

    @property
    def aim(self) -> str:
        """In words: minimize loss."""
        return ", ".join(f"{direction} {metric}" for metric, direction in self.aims.items())


def window(in_flight: int | None) -> Mapping[str, Any]:
    """The engine's mode of a recipe's `in_flight`."""
    return {} if in_flight is None else {"mode": "steady", "in_flight": in_flight}


def hyperparameters(space: Space, key: str) -> Hyperparameters:
    """The space that a recipe describes.

    Raises:
        RecipeError: a range is empty, or a condition names what is not there; the message begins with the key.
    """
    fields: dict[str, Field | When] = {}
    for name, section in space.items():
        try:
            if section.uniform is not None:
                one: Field = Uniform(*section.uniform)
            elif section.log is not None:
                one = LogUniform(*section.log)
            elif section.int is not None:
                one = Int(*section.int)
            else:
                one = Choice(section.choice or (), section.ordered)
            if section.when is None:
                fields[name] = one
            else:
                ((other, value),) = section.when.items()
                fields[name] = When(other, value, one)
        except ValueError as error:
            raise RecipeError(f"{key}.{name}: {error}") from error
    try:
        return Hyperparameters(fields)
    except ValueError as error:
        raise RecipeError(f"{key}: {error}") from error


def said(value: Any, most: int = 60) -> str:
    """A value for people, on one line: settings as name=value."""
    if isinstance(value, Mapping):
        text = ", ".join(f"{name}={_short(one)}" for name, one in value.items())
    elif hasattr(value, "tolist"):
        text = f"[{', '.join(map(_short, value.tolist()))}]"
    else:
        text = str(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
