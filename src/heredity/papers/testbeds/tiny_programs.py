"""Learning algorithms as short programs over a small memory, and how well they learn diabetes progression.

A program has three parts: setup runs once, predict for every example, learn after each training example. Memory: four
scalars (s0 the target while learning, s1 the prediction), four vectors of length 8 (v0 the features) and a matrix, all
0 at first.
Source: AutoML-Zero (arXiv 2003.03384), cut down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from heredity.errors import EvaluationFailed
from heredity.search.base import Space

Array: TypeAlias = NDArray[np.float64]
Part = Literal["setup", "predict", "learn"]
PARTS: tuple[Part, ...] = ("setup", "predict", "learn")
SIZES = {"s": 4, "v": 4, "m": 1}
DIM, SPLITS = 8, 3
TRAIN, VALID, TEST = 222, 110, 110

# name: (type written, types read, function of what is read and the constant); arrays carry the splits first
OPS: dict[str, tuple[str, str, Callable[..., Array]]] = {
    "const": ("s", "", lambda c: np.full(SPLITS, c)),
    "add": ("s", "ss", lambda a, b, c: a + b),
    "sub": ("s", "ss", lambda a, b, c: a - b),
    "mul": ("s", "ss", lambda a, b, c: a * b),
    "tanh": ("s", "s", lambda a, c: np.tanh(a)),
    "dot": ("s", "vv", lambda a, b, c: (a * b).sum(1)),
    "vscale": ("v", "sv", lambda a, b, c: a[:, None] * b),
    "vadd": ("v", "vv", lambda a, b, c: a + b),
    "vsub": ("v", "vv", lambda a, b, c: a - b),
    "vmul": ("v", "vv", lambda a, b, c: a * b),
    "vrelu": ("v", "v", lambda a, c: np.maximum(a, 0)),
    "mvec": ("v", "mv", lambda a, b, c: (a @ b[:, :, None])[:, :, 0]),
    "outer": ("m", "vv", lambda a, b, c: a[:, :, None] * b[:, None, :]),
    "mscale": ("m", "sm", lambda a, b, c: a[:, None, None] * b),
    "madd": ("m", "mm", lambda a, b, c: a + b),
}


@dataclass(frozen=True, slots=True)
class Instruction:
    """out ← op(reads; constant); addresses are numbers within their type."""

    op: str
    out: int
    reads: tuple[int, ...]
    constant: float = 0.0


@dataclass(frozen=True, slots=True)
class Program:
    """Three lists of instructions."""

    setup: tuple[Instruction, ...]
    predict: tuple[Instruction, ...]
    learn: tuple[Instruction, ...]

    def part(self, name: Part) -> tuple[Instruction, ...]:
        """One of the three."""
        return {"setup": self.setup, "predict": self.predict, "learn": self.learn}[name]

    def __len__(self) -> int:
        return len(self.setup) + len(self.predict) + len(self.learn)


# Linear regression by stochastic gradient descent, with a learning rate that is far too small.
LINEAR = Program(
    (Instruction("const", 3, (), 2e-4),),
    (Instruction("dot", 1, (0, 1)),),
    (
        Instruction("sub", 2, (0, 1)),
        Instruction("mul", 2, (2, 3)),
        Instruction("vscale", 2, (2, 0)),
        Instruction("vadd", 1, (1, 2)),
    ),
)


class ProgramSpace(Space[Program]):
    """Programs of at most `limit` instructions around linear regression.

    Args:
        limit: instructions in all parts together.
        founding: mutations between linear regression and a sample.
    """

    def __init__(self, limit: int = 8, founding: int = 3) -> None:
        self.limit, self.founding = limit, founding

    def sample(self, rng: np.random.Generator) -> Program:
        """Linear regression, mutated a few times."""
        program = LINEAR
        for _ in range(self.founding):
            program = self.mutate(program, rng)
        return program

    def mutate(self, x: Program, rng: np.random.Generator) -> Program:
        """Insert or remove an instruction, or change an address or constant of one; each as likely."""
        parts: dict[str, list[Instruction]] = {name: list(x.part(name)) for name in PARTS}
        while True:
            part = parts[PARTS[int(rng.integers(3))]]
            kind = int(rng.integers(3))
            if kind == 0 and len(x) < self.limit:
                part.insert(int(rng.integers(len(part) + 1)), _random_instruction(rng))
            elif kind == 1 and part:
                part.pop(int(rng.integers(len(part))))
            elif kind == 2 and part:
                place = int(rng.integers(len(part)))
                part[place] = _changed(part[place], rng)
            else:
                continue
            return Program(*(tuple(parts[name]) for name in PARTS))

    def crossover(self, a: Program, b: Program, rng: np.random.Generator) -> Program:
        """Each part from either parent, repeated until it is short enough."""
        while True:
            child = Program(*((a if rng.random() < 0.5 else b).part(name) for name in PARTS))
            if self.valid(child):
                return child

    def valid(self, x: Program) -> bool:
        """Whether it is short enough."""
        return len(x) <= self.limit


def live(program: Program) -> Program:
    """Without the instructions whose result no prediction can ever read: the syntactic notion of the same program."""
    carried: set[tuple[str, int]] = set()  # what the next example reads of this one's memory
    while True:
        learned, before_learn = _needed(program.learn, carried)
        predicted, before_predict = _needed(program.predict, before_learn | {("s", 1)})
        before_predict -= {("v", 0), ("s", 0)}  # set anew for every example
        if before_predict <= carried:
            return Program(_needed(program.setup, before_predict)[0], predicted, learned)
        carried |= before_predict


def _needed(
    part: tuple[Instruction, ...], after: set[tuple[str, int]]
) -> tuple[tuple[Instruction, ...], set[tuple[str, int]]]:
    """The instructions that what is read afterwards depends on, and what they read themselves."""
    needed, kept = set(after), []
    for instruction in reversed(part):
        wrote, reads, _ = OPS[instruction.op]
        if (wrote, instruction.out) in needed:
            needed.discard((wrote, instruction.out))
            needed.update(zip(reads, instruction.reads, strict=True))
            kept.append(instruction)
    return tuple(reversed(kept)), needed


@np.errstate(all="ignore")
def learn(program: Program, world: int, epochs: int = 5) -> tuple[float, float, dict[str, Array]]:
    """R² on validation and test examples, the mean of three splits, and the memory at the end.

    R² below 0 counts as 0: worth no more than the mean of the targets.

    Raises:
        EvaluationFailed: a prediction or the memory is not finite.
    """
    x, y = _diabetes(world)
    memory = _memory()
    _execute(program.setup, memory)
    for _ in range(epochs):
        for i in range(TRAIN):
            _predicted(program, memory, x[:, i])
            memory["s"][0] = y[:, i]
            _execute(program.learn, memory)
    found = []
    for start, count in ((TRAIN, VALID), (TRAIN + VALID, TEST)):
        guess = np.stack([_predicted(program, memory, x[:, i]) for i in range(start, start + count)], 1)
        truth = y[:, start : start + count]
        error = ((guess - truth) ** 2).mean(1) / truth.var(1)
        if not np.isfinite(error).all():
            raise EvaluationFailed("the program diverges")
        found.append(float(np.maximum(1 - error, 0).mean()))
    if not all(np.isfinite(values).all() for values in memory.values()):
        raise EvaluationFailed("the program's memory overflows")
    return found[0], found[1], memory


@np.errstate(all="ignore")
def predictions(program: Program, world: int, examples: int = 10) -> list[float]:
    """Predictions on a few training examples while learning from them, then on a few validation examples."""
    x, y = _diabetes(world)
    memory = _memory()
    _execute(program.setup, memory)
    seen: list[float] = []
    for i in range(examples):
        seen += _predicted(program, memory, x[:, i]).tolist()
        memory["s"][0] = y[:, i]
        _execute(program.learn, memory)
    for i in range(TRAIN, TRAIN + examples):
        seen += _predicted(program, memory, x[:, i]).tolist()
    return seen


def _predicted(program: Program, memory: dict[str, Array], x: Array) -> Array:
    memory["v"][0] = x
    memory["s"][0] = 0.0
    _execute(program.predict, memory)
    return np.array(memory["s"][1])


def _execute(part: tuple[Instruction, ...], memory: dict[str, Array]) -> None:
    for instruction in part:
        wrote, reads, function = OPS[instruction.op]
        arguments = [memory[kind][place] for kind, place in zip(reads, instruction.reads, strict=True)]
        memory[wrote][instruction.out] = function(*arguments, instruction.constant)


def _memory() -> dict[str, Array]:
    return {
        "s": np.zeros((SIZES["s"], SPLITS)),
        "v": np.zeros((SIZES["v"], SPLITS, DIM)),
        "m": np.zeros((SIZES["m"], SPLITS, DIM, DIM)),
    }


def _random_instruction(rng: np.random.Generator) -> Instruction:
    op = list(OPS)[int(rng.integers(len(OPS)))]
    wrote, reads, _ = OPS[op]
    constant = float(rng.normal()) if op == "const" else 0.0
    return Instruction(
        op, int(rng.integers(SIZES[wrote])), tuple(int(rng.integers(SIZES[kind])) for kind in reads), constant
    )


def _changed(old: Instruction, rng: np.random.Generator) -> Instruction:
    wrote, reads, _ = OPS[old.op]
    choices = 1 + len(reads) + (old.op == "const")
    choice = int(rng.integers(choices))
    if choice == 0:
        return Instruction(old.op, int(rng.integers(SIZES[wrote])), old.reads, old.constant)
    if choice <= len(reads):
        addresses = list(old.reads)
        addresses[choice - 1] = int(rng.integers(SIZES[reads[choice - 1]]))
        return Instruction(old.op, old.out, tuple(addresses), old.constant)
    return Instruction(old.op, old.out, old.reads, old.constant * float(np.exp(rng.normal())))


@lru_cache(maxsize=4)
def _diabetes(world: int) -> tuple[Array, Array]:
    """Features [splits, examples, 8] and target [splits, examples], in standard units; training examples come first."""
    from sklearn.datasets import load_diabetes

    bundle: Any = load_diabetes()
    rng = np.random.default_rng(world)
    projection = rng.normal(size=(bundle.data.shape[1], DIM))
    xs, ys = [], []
    for _ in range(SPLITS):
        order = rng.permutation(len(bundle.target))[: TRAIN + VALID + TEST]
        x, y = bundle.data[order] @ projection, bundle.target[order].astype(np.float64)
        xs.append((x - x[:TRAIN].mean(0)) / x[:TRAIN].std(0))
        ys.append((y - y[:TRAIN].mean()) / y[:TRAIN].std())
    return np.stack(xs), np.stack(ys)
