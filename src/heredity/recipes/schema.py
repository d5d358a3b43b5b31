"""What a recipe may say: the data models behind `heredity evolve recipe.yaml`.

Unknown keys, wrong types and impossible combinations are refused before anything runs, one line each; see `loading`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of a recipe: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


def _founder(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


class Founder(Section):
    """One founder of the population."""

    path: str = Field(description="Hugging Face folder or hub name, adapter folder, or safetensors file")
    name: str | None = Field(default=None, description="what to call it; default the last part of the path")


class TaskSection(Section):
    """What fitness is. Exactly one of data, function or builtin."""

    data: str | None = Field(default=None, description="JSONL file: lines with prompt/answer, or with text/label")
    test: str | float = Field(
        default=0.5, description="JSONL file of held-out lines, or the share of `data` that is held out, 0 to 1"
    )
    function: str | None = Field(
        default=None, description="Python callable module:name or file.py:name, called with the model, returns a number"
    )
    builtin: Literal["two-shifts"] | None = Field(default=None, description="the demo's task on digits")
    match: Literal["exact", "contains", "number"] = Field(
        default="exact", description="how an answer is compared: whole text, contained, or the last number in it"
    )
    max_new_tokens: int = Field(default=64, ge=1, le=4096, description="length of generated answers")
    batch: int = Field(default=16, ge=1, description="examples per forward pass")
    limit: int | None = Field(default=200, ge=1, description="fitness examples at most, the first ones of a shuffle")
    test_limit: int | None = Field(default=None, ge=1, description="held-out examples at most")

    @model_validator(mode="after")
    def _one_kind(self) -> TaskSection:
        given = [name for name in ("data", "function", "builtin") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of data, function, builtin; {' and '.join(given) or 'none'} given")
        if isinstance(self.test, float) and not 0 < self.test < 1:
            raise ValueError(f"test is the share of lines held out, between 0 and 1, or a file; got {self.test}")
        return self


class SuccessionSection(Section):
    """The GENOME+ step."""

    step: float = Field(default=0.5, gt=0, description="length λ of the first step")
    decay: float = Field(default=0.95, gt=0, le=1, description="factor of the step per generation")
    inertia: float = Field(default=0.2, ge=0, description="weight of the previous move")
    cognitive: float = Field(default=0.2, ge=0, description="pull towards the individual's own best")
    social: float = Field(default=0.2, ge=0, description="pull towards the best of all")
    repel: float = Field(default=0.1, ge=0, description="push away from the worst")


class PopulationSection(Section):
    """Crossover, mutation, selection and succession (GENOME; with succession GENOME+)."""

    size: int = Field(default=10, ge=2, description="individuals after selection")
    generations: int = Field(default=10, ge=0, description="at most so many")
    start: Literal["founders", "pairs"] = Field(
        default="founders", description="the founders, or merges of their pairs"
    )
    crossover: Share = Field(default=0.3, description="probability of each of size/2 crossovers of a generation")
    mutate: Share = Field(default=0.3, description="probability that a member gets a mutated copy")
    gene: Share = Field(default=0.1, description="share of entries a mutation changes")
    sigma: float = Field(default=1e-3, ge=0, description="standard deviation of a mutation")
    elite: Share = Field(default=0.1, description="share that survives by rank alone, at least one")
    selection: Literal["roulette", "tournament", "rank", "random"] = Field(
        default="roulette", description="how the other survivors are drawn"
    )
    merge: str = Field(default="linear", description="how a crossover mixes: a merge method's name")
    succession: SuccessionSection | None = Field(default=SuccessionSection(), description="null for plain GENOME")
    patience: int | None = Field(default=5, ge=1, description="stop after so many generations without a new best")


class MergingSection(Section):
    """A merge recipe evolved by CMA-ES: one weight per layer group, founder and filter."""

    method: str = Field(default="task_arithmetic", description="a merge method's name")
    evaluations: int = Field(default=300, ge=1, description="children to try")
    granularity: int | Literal["all"] = Field(default=1, description="layers that share coefficients; all: one group")
    filters: tuple[str, ...] = Field(default=(), description="patterns of tensor names with coefficients of their own")
    negative: bool = Field(default=True, description="whether weights may be negative")
    sigma: float = Field(default=1 / 6, gt=0, description="first step size of CMA-ES")
    start: Literal["population", "uniform"] = Field(
        default="population", description="from the best mixture of the population, or from equal weights"
    )


class DataFlowSection(Section):
    """A path through the layers of several models evolved by CMA-ES: which layers, in what order, how loud."""

    evaluations: int = Field(default=100, ge=1, description="children to try")
    repeats: int = Field(default=2, ge=1, description="how often the row of all layers is repeated; 3 in the paper")
    max_length: int | None = Field(
        default=None, ge=1, description="layers that cost nothing; each one more takes 0.01 from the fitness"
    )
    # 1/6, as for recipes, switches a quarter of all slots at once; on the digits such paths never recovered.
    sigma: float = Field(
        default=0.05, gt=0, description="first step size of CMA-ES; a layer switches at a distance of 0.1"
    )
    start: Literal["winner", "founder"] = Field(
        default="winner", description="whose layers the first path is: the best model so far, or the best founder"
    )
    parents: int = Field(default=2, ge=1, description="models a path may go through: that one, then the best founders")


class GridSection(Section):
    """Plain merges tried on a grid, the baseline to beat."""

    methods: tuple[str, ...] = Field(
        default=("linear", "task_arithmetic", "ties"), description="merge methods to try, by name"
    )
    densities: tuple[Share, ...] = Field(
        default=(0.3, 0.5, 0.8), description="shares of the task vectors to keep, where a method drops entries"
    )
    scales: tuple[float, ...] = Field(
        default=(0.2, 0.3, 0.5, 0.8, 1.0), description="λ of the merged task vector, where a method has one"
    )


class Recipe(Section):
    """A population, a task, and how to evolve it."""

    name: str = Field(default="evolution", description="names the run; the winner is called NAME-winner")
    founders: tuple[Annotated[Founder, BeforeValidator(_founder)], ...] | Literal["two-shifts"] = Field(
        description="where the population begins: paths, or {path, name}; two-shifts is the demo's"
    )
    base: str | None = Field(
        default=None, description="the founders' common ancestor: needed by task arithmetic, TIES, … and by adapters"
    )
    task: TaskSection = Field(description="what fitness is")
    grid: GridSection | None = Field(default=GridSection(), description="null skips the baseline merges")
    population: PopulationSection | None = Field(default=PopulationSection(), description="null skips this stage")
    merging: MergingSection | None = Field(default=MergingSection(), description="null skips this stage")
    data_flow: DataFlowSection | None = Field(
        default=None, description="paths through layers, tried last; null skips this stage; whole models only"
    )
    ensemble: int | None = Field(
        default=None, ge=2, description="so many of the living population's best vote; reported, never the winner"
    )
    adapters: Literal["factors", "delta"] = Field(
        default="factors", description="LoRA founders: mix the factors A and B, or their product"
    )
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(512, 512), min_length=1, description="the demo only: sizes of its network's hidden layers"
    )
    seed: int = Field(default=0, ge=0, description="of every draw of the run")
    executor: str = Field(default="inline", description="inline, processes, processes:N, ray or ray:ADDRESS")

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        if self.founders == "two-shifts":
            if self.task.builtin != "two-shifts":
                raise ValueError("founders: two-shifts is the demo's population; its task is {builtin: two-shifts}")
        else:
            if len(self.founders) < 2:
                raise ValueError(f"evolution needs at least two founders, {len(self.founders)} given")
            if self.task.builtin is not None:
                raise ValueError("task.builtin is the demo's task; it needs founders: two-shifts")
            if "hidden" in self.model_fields_set:
                raise ValueError("hidden is the size of the demo's network; it needs founders: two-shifts")
        if self.population is None and self.merging is None and self.data_flow is None:
            raise ValueError("nothing to do: population, merging and data_flow are null")
        if self.ensemble is not None:
            if self.population is None:
                raise ValueError("ensemble is a vote of the population's best; population is null")
            if self.ensemble > self.population.size:
                raise ValueError(f"ensemble: {self.ensemble} cannot vote, population.size is {self.population.size}")
        return self
