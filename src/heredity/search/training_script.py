"""A training script as functions, and one round of it: what a population, a replay and a lab all do.

Every round makes the training anew and loads the parent's state, so that nothing is carried on but what was saved.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from heredity.errors import EvaluationFailed, NonFinite
from heredity.evaluation.outcome import Failed
from heredity.search.base import Told
from heredity.search.pbt_rounds import Hyper, Task
from heredity.search.training_state import (
    HyperparameterLost,
    Training,
    apply_hyper,
    check_applied,
    load_training,
    not_finite,
    read_hyper,
    save_training,
)

Score: TypeAlias = Told | Sequence[float]
Ended: TypeAlias = tuple[Any, Score]  # the state, and what it is worth
Make: TypeAlias = Callable[[Mapping[str, Any], int], Any]
Step: TypeAlias = Callable[[Any, Mapping[str, Any]], None]


class _Watched(Mapping[str, Any]):
    """Hyperparameters that know which of them were read."""

    def __init__(self, hyper: Mapping[str, Any]) -> None:
        self._hyper, self.read = dict(hyper), set[str]()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return self._hyper[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._hyper)

    def __len__(self) -> int:
        return len(self._hyper)


@dataclass(frozen=True)
class Script:
    """A training script's functions; the last five fit anything that makes a `Training`.

    Args:
        make: (hyper, seed) → a new training. It is called in every round, so that what the module itself was told
            (a dropout) is in force, too.
        step: (training, hyper): train for one round.
        evaluate: training → score to be maximised, a list of scores, or an outcome.
        save: training → state; load: (training, state), which must not keep the state's tensors.
        apply: (training, hyper): put hyperparameters in force after load; read: training → those in force.
        reseed: (training, seed): called after another member was copied.
    """

    make: Make
    step: Step
    evaluate: Callable[[Any], Score]
    save: Callable[[Any], Any] = save_training
    load: Callable[[Any, Any], None] = load_training
    apply: Step | None = None
    read: Callable[[Any], Mapping[str, Any]] | None = None
    reseed: Callable[[Any, int], None] | None = None

    def begin(self, task: Task, state: Any, hyper: Mapping[str, Any]) -> Any:
        """The training before a round: made, loaded, hyperparameters applied and read back.

        Raises:
            HyperparameterLost: one that can be read back is not in force.
        """
        training = self.make(hyper, task.seed)
        if state is not None:
            self.load(training, state)
            if task.donor is not None:
                (self.reseed or _reseed)(training, task.seed)
        if self.apply is not None:
            self.apply(training, dict(task.hyper))
        elif isinstance(training, Training):
            apply_hyper(training, task.hyper)
        check_applied(task.hyper, self.found(training), f"member {task.member}, round {task.round}")
        return training

    def found(self, training: Any) -> Mapping[str, Any]:
        """Hyperparameters in force that can be read back."""
        if self.read is not None:
            return self.read(training)
        return read_hyper(training) if isinstance(training, Training) else {}

    def train(self, task: Task, state: Any, before: Hyper | None = None) -> Any:
        """One round; the training after it. Global random generators are the task's own meanwhile.

        Args:
            task: which round; state: its parent's, None for a new model; before: the parent's hyperparameters.

        Raises:
            HyperparameterLost: a hyperparameter is not in force, or nobody has ever looked at it.
        """
        hyper = _Watched(task.hyper)
        with own_generators(task.seed):
            training = self.begin(task, state, hyper)
            self.step(training, hyper)
        found, where = self.found(training), f"member {task.member}, round {task.round}"
        stale = {name: old for name, old in (before or {}).items() if name in found and task.hyper.get(name) != old}
        if back := [name for name, old in stale.items() if found[name] == old]:
            raise HyperparameterLost(
                f"{where}: after the step {back[0]} is {stale[back[0]]} again, its value of before"
            )
        if unused := [name for name in task.hyper if name not in found and name not in hyper.read]:
            raise HyperparameterLost(f"{where}: {unused[0]!r} is in no group of the optimiser, and nothing reads it")
        return training

    def round(self, task: Task, state: Any, before: Hyper | None = None) -> Ended:
        """One round to its end: the state after it and its score; `Failed` where it has diverged."""
        try:
            training = self.train(task, state, before)
            after = self.save(training)
            with own_generators(task.seed + 1):
                score = self.evaluate(training)
        except (EvaluationFailed, NonFinite) as error:
            return None, Failed(str(error))
        where = not_finite(after)
        if where is None and isinstance(training, Training):
            broken = (name for name, p in training.module.named_parameters() if not bool(torch.isfinite(p).all()))
            where = next(broken, None)
        if where is not None:
            return after, Failed(f"{where} of member {task.member} is not finite after round {task.round}")
        return after, score


@contextlib.contextmanager
def own_generators(seed: int) -> Iterator[None]:
    """Global generators of Python, NumPy and torch seeded, and put back afterwards."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - guarded, not used
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def _reseed(training: Any, seed: int) -> None:
    if isinstance(training, Training) and training.generator is not None:
        training.generator.manual_seed(seed)
