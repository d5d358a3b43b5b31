"""What a recipe with a `search` section may say: one kind of search, and how far it goes."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from heredity.recipes.schema import Section, Share

Direction: TypeAlias = Literal["maximize", "minimize"]
Floats: TypeAlias = tuple[float, float]
Wholes: TypeAlias = tuple[int, int]
_POWER = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")  # YAML reads 1e-3 as a text


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, str) and _POWER.fullmatch(value) else value


Option = Annotated[Any, BeforeValidator(_number)]


def _one_of(section: Section, *names: str) -> None:
    given = [name for name in names if getattr(section, name) is not None]
    if len(given) != 1:
        raise ValueError(f"give exactly one of {', '.join(names)}; {' and '.join(given) or 'none'} given")


class RangeSection(Section):
    """What one hyperparameter may be. Exactly one of uniform, log, int, choice."""

    uniform: Floats | None = Field(default=None, description="[low, high], all values alike")
    log: Floats | None = Field(default=None, description="[low, high], all ratios alike; low > 0")
    int: Wholes | None = Field(default=None, description="[low, high], whole numbers")
    choice: tuple[Option, ...] | None = Field(default=None, description="the options")
    ordered: bool = Field(default=False, description="of a choice: whether neighbours are alike")
    when: dict[str, Option] | None = Field(
        default=None, description="{other: value}: it exists only while that hyperparameter has this value"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> RangeSection:
        _one_of(self, "uniform", "log", "int", "choice")
        if self.ordered and self.choice is None:
            raise ValueError("ordered is said of a choice")
        if self.when is not None and len(self.when) != 1:
            raise ValueError(f"when names one other hyperparameter, {len(self.when)} given")
        return self


Space: TypeAlias = dict[str, RangeSection]
Options: TypeAlias = dict[str, Any]
_OPTIONS: Any = Field(
    default_factory=dict, description="further settings of the searcher, by the names of its arguments"
)
_IN_FLIGHT: Any = Field(
    default=None,
    ge=1,
    description="keep so many candidates on the way and tell in the order of asking; null: whole batches",
)


class TuningSection(Section):
    """Hyperparameters of a training script: a population that trains, or whole trainings searched."""

    kind: Literal["tuning"] = Field(description="hyperparameters of a training script of yours")
    script: str = Field(description="file.py with make(hyper, seed), step(training, hyper), evaluate(training)")
    space: Space = Field(min_length=1, description="hyperparameters by name")
    direction: Direction = Field(description="of what evaluate returns")
    searcher: str = Field(default="pbt", description="pbt, or a searcher of vectors by name, or random")
    population: int = Field(default=10, ge=1, description="members of the population")
    rounds: int = Field(default=10, ge=1, description="of each member; a chance to copy follows each")
    steps: int = Field(default=1, ge=1, description="calls of the script's step in a round")
    evaluations: int | None = Field(
        default=None, ge=1, description="whole trainings of rounds × steps to try; null: population. Not of pbt"
    )
    exploit: Literal["truncation", "ttest", "tournament", "none"] = Field(
        default="truncation", description="pbt: whom a loser copies"
    )
    explore: Literal["perturb", "resample"] = Field(default="perturb", description="pbt: what follows a copy")
    fraction: float = Field(default=0.2, gt=0, le=0.5, description="pbt: share that is cut, and that is copied")
    interval: int = Field(default=1, ge=1, description="pbt: rounds between chances to copy")
    factors: Floats = Field(default=(0.8, 1.2), description="pbt: what perturb multiplies by")
    barrier: bool = Field(default=True, description="pbt: decide when all have ended a round, or for each as it ends")
    options: Options = _OPTIONS
    in_flight: int | None = _IN_FLIGHT

    @model_validator(mode="after")
    def _fits(self) -> TuningSection:
        given = self.model_fields_set
        if self.searcher == "pbt":
            if unused := sorted(given & {"evaluations", "in_flight"}):
                raise ValueError(f"{unused[0]} is not of pbt, which makes population × rounds births")
        elif unused := sorted(given & {"exploit", "explore", "fraction", "interval", "factors", "barrier"}):
            raise ValueError(f"{unused[0]} is a setting of pbt; searcher is {self.searcher!r}")
        return self


class PolicySection(Section):
    """Weights of a network that acts in an environment, evolved without a gradient."""

    kind: Literal["policy"] = Field(description="a network that acts in an environment")
    environment: str = Field(description="an id of gymnasium, e.g. CartPole-v1, or HardMaze")
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(32, 32), description="sizes of inner layers")
    searcher: str = Field(default="deep_ga", description="deep_ga, or a searcher of vectors by name, or random")
    population: int | None = Field(default=50, ge=2, description="candidates of a generation; null: the searcher's own")
    evaluations: int = Field(default=1000, ge=1, description="policies to try")
    direction: Direction = Field(default="maximize", description="of the mean return")
    episodes: int = Field(default=5, ge=1, description="of each policy, the same for all")
    test_episodes: int = Field(default=100, ge=1, description="other ones, in which the best are tested at the end")
    cap: int | None = Field(default=None, ge=1, description="steps of an episode, below the environment's own limit")
    sigma: float = Field(default=0.1, gt=0, description="size of a mutation, or first steps of a searcher of vectors")
    options: Options = _OPTIONS
    in_flight: int | None = _IN_FLIGHT


class CellsSection(Section):
    """Networks of a cell, a small graph of operations, trained on scikit-learn's digits."""

    nodes: int = Field(default=4, ge=1, le=7, description="vertices that carry an operation")
    max_edges: int = Field(default=8, ge=1, description="after vertices off every path are dropped")
    operations: tuple[Literal["linear", "relu", "tanh", "identity", "half"], ...] = Field(
        default=("linear", "relu", "tanh", "identity"), min_length=1, description="what vertices may do"
    )
    side: int = Field(default=4, ge=1, le=8, description="digits are made side × side pixels, which run through it")
    epochs: int = Field(default=10, ge=1, description="of training a candidate")


class ArchitectureSection(Section):
    """Architectures, by regularised evolution or, for several objectives, by NSGA-II. One of cells, module."""

    kind: Literal["architecture"] = Field(description="a cell, or whatever a module of yours searches")
    cells: CellsSection | None = Field(default=None, description="measures accuracy and parameters")
    module: str | None = Field(
        default=None, description="file.py or module with SPACE, a Space, and fitness(candidate): numbers by name"
    )
    objectives: dict[str, Direction] = Field(min_length=1, description="what is measured, and which way is better")
    searcher: str | None = Field(
        default=None, description="by name; null: regularized_evolution, of several objectives nsga2"
    )
    population: int | None = Field(default=20, ge=2, description="members; null: the searcher's own default")
    evaluations: int = Field(default=100, ge=1, description="architectures to try")
    options: Options = _OPTIONS
    in_flight: int | None = _IN_FLIGHT

    @model_validator(mode="after")
    def _one_kind(self) -> ArchitectureSection:
        _one_of(self, "cells", "module")
        if self.cells is not None and (unknown := sorted(set(self.objectives) - {"accuracy", "parameters"})):
            raise ValueError(f"cells measure accuracy and parameters, not {unknown[0]!r}")
        return self


Bound = float | tuple[float, ...]


class BoxSection(Section):
    """Vectors between bounds."""

    low: Bound | None = Field(default=None, description="one number, or one for each dimension; null: unbounded")
    high: Bound | None = Field(default=None, description="the same")
    dim: int | None = Field(default=None, ge=1, description="dimensions, where bounds are single numbers")
    start: tuple[float, ...] | None = Field(default=None, description="where the search begins; null: the middle")
    scale: Bound | None = Field(default=None, description="standard deviation of first steps; null: 0.3 of the range")


class FunctionSection(Section):
    """A Python function, searched over a box or over named values. One of box, space; one of direction, objectives."""

    kind: Literal["function"] = Field(description="any Python function")
    function: str = Field(description="file.py:name or module:name; called with a vector, or a dict of values")
    box: BoxSection | None = Field(default=None, description="the function gets a vector of NumPy")
    space: Space | None = Field(default=None, min_length=1, description="the function gets a dict of these")
    direction: Direction | None = Field(default=None, description="of the number that the function returns")
    objectives: dict[str, Direction] | None = Field(
        default=None, min_length=2, description="several numbers that it returns, in this order or by name"
    )
    searcher: str | None = Field(default=None, description="by name; null: cma_es, of several objectives nsga2")
    population: int | None = Field(default=None, ge=1, description="of a batch; null: the searcher's own default")
    evaluations: int = Field(default=500, ge=1, description="calls of the function")
    options: Options = _OPTIONS
    in_flight: int | None = _IN_FLIGHT

    @model_validator(mode="after")
    def _one_kind(self) -> FunctionSection:
        _one_of(self, "box", "space")
        _one_of(self, "direction", "objectives")
        return self


class ChatSection(Section):
    """The language model that writes children. Exactly one of endpoint, folder, stand_in."""

    endpoint: str | None = Field(default=None, description="address of an OpenAI-compatible server, up to /v1")
    name: str | None = Field(default=None, description="the name that the server knows; with endpoint")
    api_key_env: str | None = Field(default=None, description="environment variable that holds the server's key")
    timeout_s: float = Field(default=120.0, gt=0, description="for one answer of the server")
    folder: str | None = Field(default=None, description="a causal model of transformers, run here")
    stand_in: Literal["numbers"] | None = Field(
        default=None, description="no model: a number of the code is changed at random, to try the rest"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> ChatSection:
        _one_of(self, "endpoint", "folder", "stand_in")
        if (self.endpoint is None) != (self.name is None):
            raise ValueError("endpoint and name belong together: the server's address, and the model's name there")
        return self


def _folder(value: Any) -> Any:
    return {"folder": value} if isinstance(value, str) else value


class CodeSection(Section):
    """A program, changed by a language model and judged in the sandbox. One of direction, objectives."""

    kind: Literal["code"] = Field(description="a program, changed by a language model")
    source: str = Field(description="the file to begin with; lines `# --OPTION--` cut it into parts to change")
    evaluator: str = Field(description="file.py:function, called in the sandbox with the program's module")
    model: Annotated[ChatSection, BeforeValidator(_folder)] = Field(description="a section, or a folder")
    direction: Direction | None = Field(default=None, description="of the number that the evaluator returns")
    objectives: dict[str, Direction] | None = Field(
        default=None, min_length=2, description="numbers by name that it returns: LLM-guided evolution of a front"
    )
    task: str | None = Field(default=None, description="what programs are for, in the words that the model reads")
    islands: int = Field(default=4, ge=1, description="populations that exchange their best")
    children: int = Field(default=2, ge=1, description="of an island in a generation")
    migration: Literal["ring", "reset", "none"] = Field(default="ring", description="how islands meet")
    every: int = Field(default=10, ge=1, description="generations between migrations")
    rewrite: Share = Field(default=0.25, description="probability that the whole file is written anew")
    evaluations: int = Field(default=100, ge=1, description="programs to try")
    max_tokens: int = Field(default=4096, ge=1, description="of an answer")
    timeout_s: float = Field(default=10.0, gt=0, description="for judging a program")
    memory_mb: int = Field(default=1024, ge=1, description="of a program")
    preload: tuple[str, ...] = Field(default=(), description="modules imported before programs are let in, e.g. numpy")
    readable: tuple[str, ...] = Field(default=(), description="files and folders that the evaluator may read")
    options: Options = _OPTIONS

    @model_validator(mode="after")
    def _one_kind(self) -> CodeSection:
        _one_of(self, "direction", "objectives")
        if self.objectives is not None:
            unused = self.model_fields_set & {"task", "islands", "children", "migration", "every", "rewrite"}
            if unused:
                raise ValueError(f"{min(unused)} belongs to a search with one direction, not to objectives")
        return self


Kinds: TypeAlias = TuningSection | PolicySection | ArchitectureSection | FunctionSection | CodeSection


class SearchRecipe(Section):
    """One search, every candidate of which is a recorded birth."""

    name: str = Field(default="search", min_length=1, description="names the run; the winner is called NAME-winner")
    search: Annotated[Kinds, Field(discriminator="kind", description="which one, by its kind")]
    seed: int = Field(default=0, ge=0, description="of every draw of the run")
    executor: str = Field(default="inline", description="inline, processes, processes:N, ray or ray:ADDRESS")
