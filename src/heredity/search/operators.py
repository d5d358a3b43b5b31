"""A searcher's candidates as recorded births: a seed chain as the line of its mutations, a vector as one birth, a
member of a population as the line of its rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from heredity.lab import Architecture, Child, Context, Lab, Model, Operator, Parents, Probe, Request, architecture
from heredity.lab.engine import Evolution
from heredity.lab.evolved import Evolved
from heredity.search.base import Candidate
from heredity.search.pbt import PBT
from heredity.search.pbt_rounds import Schedule, Task
from heredity.search.seed_noise import add_noise
from heredity.search.seedchain import SEEDS, SeedChain, SeedDecoder
from heredity.search.training_script import Script, own_generators
from heredity.search.training_state import Training, load_training, pack, save_training, unpack
from heredity.search.vector import FlatParams


@dataclass(frozen=True)
class SeedRoot(Operator):
    """The first network of a chain; the birth's seed is the chain's root.

    Args:
        architecture: a class or module-level function and its arguments.
        init, out_std: as in `heredity.search.seedchain.SeedDecoder`.
    """

    architecture: Architecture
    init: Literal["fan_in", "template"] = "fan_in"
    out_std: float = 0.1
    kind: ClassVar[str] = "init"

    def decoder(self, **settings: Any) -> SeedDecoder:
        """What decodes chains that begin with this root, for searches outside a lab; the template's own first values
        come from seed 0.

        Args:
            settings: further ones of `SeedDecoder`.
        """
        return SeedDecoder(_template(self.architecture), self.init, self.out_std, **settings)

    def apply(self, parents: Parents, context: Context) -> Child:
        """Draw.

        Raises:
            ValueError: the birth's seed is not that of a chain.
        """
        _check_seed(context.seed)
        decoder = self.decoder(cache=0)
        return Child(decoder.state(SeedChain(context.seed)), self.architecture.spec())


@dataclass(frozen=True)
class SeedMutation(Operator):
    """Parent + power · N(seed), in float32; the birth's seed is the mutation's.

    A record of some hundred bytes is the whole child, whatever its size; its weights are a cache. Source: arXiv
    1712.06567.

    Args:
        power: σ, rounded to float32.
    """

    power: float
    kind: ClassVar[str] = "mutate"

    def apply(self, parents: Parents, context: Context) -> dict[str, Tensor]:
        """Mutate the primary parent.

        Raises:
            ValueError: the birth's seed is not that of a chain, or the parent is not all float32.
        """
        _check_seed(context.seed)
        module = parents[0].load()
        params = FlatParams(module)
        wrong = next((name for name, p in module.named_parameters() if p.dtype != torch.float32), None)
        if wrong is not None:
            raise ValueError(f"a seed chain is float32; parameter {wrong!r} of {parents[0].id} is not")
        theta = params.flatten(module)
        add_noise(theta.numpy(), context.seed, self.power)
        return params.state(theta)


@dataclass(frozen=True, eq=False)
class Vector(Operator):
    """A network whose parameters are the numbers of a plain vector.

    Args:
        values: [P] in the order of `FlatParams`; stored as evidence.
        architecture: a class or module-level function and its arguments; needed without a parent.

    With a parent its architecture is inherited, and so are buffers. The birth's seed changes nothing.
    """

    values: Tensor
    architecture: Architecture | None = None
    kind: ClassVar[str] = "init"

    def apply(self, parents: Parents, context: Context) -> Child:
        """Write the numbers in.

        Raises:
            ValueError: there is neither a parent nor an architecture, or the vector has another length.
        """
        if parents:
            return Child(FlatParams(parents[0].load(), buffers="carry").state(self.values))
        if self.architecture is None:
            raise ValueError("a vector needs an architecture, or a parent that has one")
        params = FlatParams(_template(self.architecture), buffers="carry")
        return Child(params.state(self.values), self.architecture.spec())


class Express:
    """Candidate → the request of its birth, for `heredity.lab.Evolution` or `lab.derive_all`.

    Args:
        lab: where the ancestors of chains are, or are born.
        root: the first birth of every chain; an `Architecture` is a `SeedRoot` of it with its defaults.
        keep: whether weights are stored; `lab.gc()` drops them later, and they are rebuilt when asked for. Without,
            each birth rebuilds its parent.

    A candidate, or its value, is a `SeedChain`, whose parent in the lab is the chain without its last mutation, or a
    vector. A child with the weights of a chain has one and the same birth whoever found it.
    """

    def __init__(self, lab: Lab, root: SeedRoot | Architecture, *, keep: bool = True) -> None:
        self.lab, self.keep = lab, keep
        self.root = root if isinstance(root, SeedRoot) else SeedRoot(root)
        self._models: dict[SeedChain, Model] = {}

    def __call__(self, candidate: Any) -> Request:
        """The request.

        Raises:
            TypeError: the value is neither a chain nor a vector.
        """
        value = candidate.value if isinstance(candidate, Candidate) else candidate
        if isinstance(value, SeedChain):
            parent = value.parent
            if parent is None:
                return Request(self.root, seed=value.root, keep=self.keep)
            seed, power = value.steps[-1]
            return Request(SeedMutation(power), (self.model(parent),), seed=seed, keep=self.keep)
        if isinstance(value, (np.ndarray, Tensor)) and value.ndim == 1:
            numbers = torch.as_tensor(np.array(value)) if isinstance(value, np.ndarray) else value.detach().clone()
            return Request(Vector(numbers, self.root.architecture), keep=self.keep)
        raise TypeError(f"a seed chain or a vector can be born, not {type(value).__name__}")

    def model(self, chain: SeedChain) -> Model:
        """The model of a chain, born with its ancestors where it is not yet."""
        line: list[SeedChain] = []
        above: SeedChain | None = chain
        while above is not None and above not in self._models:
            line.append(above)
            above = above.parent
        for each in reversed(line):
            (self._models[each],) = self.lab.derive_all([self(each)])
        return self._models[chain]


def chain_of(model: Model) -> SeedChain:
    """The seed chain of a recorded model.

    Raises:
        ValueError: it was not born as a chain.
    """
    steps: list[tuple[int, float]] = []
    current = model
    while _is(current, SeedMutation):
        steps.append((current.seed, float(current.operator["config"]["power"])))
        current = current.parents[0]
    if not _is(current, SeedRoot):
        raise ValueError(f"model {model.id} is no seed chain: {current.id} came from {current.operator['type']}")
    return SeedChain(current.seed, tuple(reversed(steps)))


def _is(model: Model, kind: type[Operator]) -> bool:
    return bool(model.operator["type"] == f"{kind.__module__}:{kind.__qualname__}")


def _template(architecture: Architecture) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return architecture.build(**architecture.config)


def _check_seed(seed: int) -> None:
    if not 0 <= seed < SEEDS:
        raise ValueError(f"the seed of a birth in a seed chain lies in 0 … 2³² − 1, got {seed}")


class TrainingScript(Protocol):
    """What a population trains, as a frozen dataclass of yours: its fields are its configuration."""

    def make(self, hyper: Mapping[str, Any], seed: int) -> Training:
        """A new training; called in every round with the hyperparameters in force."""

    def step(self, training: Training, hyper: Mapping[str, Any]) -> None:
        """Train for one step of a round."""

    def evaluate(self, training: Training) -> float:
        """A score, to be maximised."""


@architecture
class Trained(nn.Module):
    """A module with the rest of its training's state as buffers, so that the training can go on from the model.

    Args:
        script, hyper: what makes the training.
        rest: name → (dtype, shape) of the further tensors.
    """

    def __init__(self, script: Any, hyper: dict[str, Any], rest: dict[str, tuple[str, tuple[int, ...]]]) -> None:
        super().__init__()
        with own_generators(0):
            self.module = script.make(hyper, 0).module
        self.rest = nn.Module()
        for name, (dtype, shape) in rest.items():
            self.rest.register_buffer(name, torch.zeros(tuple(shape), dtype=getattr(torch, dtype)))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module answers."""
        return self.module(*args, **kwargs)


@dataclass(frozen=True)
class TrainFor(Operator):
    """One round of a member of a population, from the parent's weights and optimiser state. Source: arXiv 1711.09846.

    Args:
        script: see `TrainingScript`.
        hyper: hyperparameters in force; they are read back after the state was loaded.
        steps: calls of the script's `step`.

    The child's weights are the module's, with the optimiser's, scheduler's and generator's state as buffers
    (`Trained`). The birth's seed seeds the global generators, and of a new model and a copy the training's own.
    """

    script: Any
    hyper: dict[str, Any]
    steps: int = 1
    kind: ClassVar[str] = "train"
    copied: ClassVar[bool] = False

    def apply(self, parents: Parents, context: Context) -> Child:
        """Train.

        Raises:
            HyperparameterLost: a hyperparameter is not in force.
        """
        state = _state(parents[0]) if parents else None
        before = recorded_hyper(parents[0]) if parents else None
        task = Task(0, 0, 0, dict(self.hyper), 0 if parents else None, 0 if self.copied else None, context.seed)
        return self._child(Script(self.script.make, self._steps, _unasked).train(task, state, before))

    def _steps(self, training: Training, hyper: Mapping[str, Any]) -> None:
        for _ in range(self.steps):
            self.script.step(training, hyper)

    def _child(self, training: Training) -> Child:
        state = save_training(training)
        module = {f"module.{name}": tensor.clone() for name, tensor in state.pop("module").items()}
        tensors, form = pack(state)
        sizes = {name: (str(t.dtype).removeprefix("torch."), tuple(t.shape)) for name, t in tensors.items()}
        spec = Architecture(Trained, {"script": self.script, "hyper": dict(self.hyper), "rest": sizes}).spec()
        rest = {f"rest.{name}": tensor for name, tensor in tensors.items()}
        return Child(module | rest, spec, {"training": form, "hyper": pack(self.hyper)[1]})


@dataclass(frozen=True)
class Founder(TrainFor):
    """The first round of a new member; it has no parent."""

    kind: ClassVar[str] = "init"


@dataclass(frozen=True)
class Exploit(TrainFor):
    """A round that goes on from another member, the primary parent, with explored hyperparameters."""

    kind: ClassVar[str] = "exploit"
    copied: ClassVar[bool] = True


@dataclass(frozen=True)
class Explore(TrainFor):
    """A round that goes on from a member's own weights with another's hyperparameters, explored."""

    kind: ClassVar[str] = "explore"
    copied: ClassVar[bool] = True


@dataclass(frozen=True)
class ScriptScore(Probe):
    """What a script's `evaluate` says of a recorded round, as `score`."""

    script: Any

    def measure(self, model: Model, context: Context) -> dict[str, float]:
        """Evaluate."""
        return {"score": float(self.script.evaluate(training_of(model, self.script)))}


def training_of(model: Model, script: TrainingScript) -> Training:
    """The training with which a recorded round ended; it goes on as if it had never stopped."""
    with own_generators(0):
        training = script.make(recorded_hyper(model), 0)
    load_training(training, _state(model))
    return training


def recorded_hyper(model: Model) -> dict[str, Any]:
    """The hyperparameters of a recorded round."""
    return dict(unpack({}, model.notes["hyper"]))


def recorded_schedule(model: Model) -> Schedule:
    """(step, hyperparameters from there on) along a model's primary parents: what `replay_schedule` takes."""
    rounds = [one for one in model.path() if "hyper" in one.notes]
    hypers = [recorded_hyper(one) for one in rounds]
    return [(k, hyper) for k, hyper in enumerate(hypers) if not k or hyper != hypers[k - 1]]


def evolve_population(
    lab: Lab,
    pbt: PBT,
    script: TrainingScript,
    rounds: int,
    *,
    steps: int = 1,
    probe: Probe | None = None,
    metric: str = "score",
    report: Callable[[Evolved], None] | None = None,
    **settings: Any,
) -> Evolved:
    """Population based training in a lab: every round of every member is a birth. Run again, it goes on.

    Args:
        rounds: of each member; without a barrier on average.
        steps: calls of the script's `step` in a round.
        probe: default the script's `evaluate`; metric: its value, to be maximised.
        report: called at the beginning and after each tell.
        settings: of `heredity.lab.engine.Evolution` (name, executor, …).
    """

    def birth(candidate: Candidate[Task]) -> Request:
        task = candidate.value
        if task.parent is None:
            return Request(Founder(script, task.hyper, steps), seed=task.seed, labels={"member": task.member})
        kind: type[TrainFor] = TrainFor
        if task.donor is not None:
            kind = Explore if pbt.path(task.parent)[-1].member == task.member else Exploit
        operator = kind(script, task.hyper, steps)
        return Request(operator, (evolution.model(task.parent),), seed=task.seed, labels={"member": task.member})

    evolution = Evolution(
        lab,
        pbt,
        birth=birth,
        probe=probe or ScriptScore(script),
        metric=metric,
        direction="maximize",
        mode="generational" if pbt.synchronous else "asynchronous",
        evaluations=pbt.population * rounds,
        in_flight=None if pbt.synchronous else pbt.population,
        **settings,
    )
    return evolution.run(report)


def _state(model: Model) -> dict[str, Any]:
    """The training's state in a model's weights."""
    tensors = {name: tensor.clone() for name, tensor in model.weights().items()}
    rest = {name.removeprefix("rest."): t for name, t in tensors.items() if name.startswith("rest.")}
    module = {name.removeprefix("module."): t for name, t in tensors.items() if name.startswith("module.")}
    return {"module": module, **unpack(rest, model.notes["training"])}


def _unasked(training: Any) -> float:
    raise AssertionError("a birth is measured by probes")
