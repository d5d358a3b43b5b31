"""Pairs of Python functions, few of which are one function and its disguise: plagiarism detection without a download.

Both sides of every pair were treated alike: the first is normalised code, the second is normalised and disguised,
whether it is the first function or another one, so that no trace of the disguise tells the classes apart.
Source: the task and its imbalance are those of arXiv 2305.02374; real code and rewrites of it stand for its texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heredity.data.code_edits import DISGUISES, CodeEdit, Function, applied, functions
from heredity.data.corpus import PARTS, Corpus

HARD = 0.5  # share of negatives whose functions stand in one module


@dataclass(frozen=True)
class CodePairs:
    """Pairs of one part of a corpus.

    Args:
        first, second: code.
        label: 1 where the second is a disguise of the first.
        edits: how many edits disguised the second.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    label: tuple[int, ...]
    edits: tuple[int, ...]


def code_pairs(
    corpus: Corpus,
    n: tuple[int, int, int] = (3000, 600, 1200),
    positive: float = 0.12,
    seed: int = 0,
    *,
    edits: Sequence[CodeEdit] = DISGUISES,
    joint: tuple[int, int] = (3, 5),
    lines: tuple[int, int] = (5, 40),
) -> tuple[CodePairs, CodePairs, CodePairs]:
    """Training, validation and test pairs, each of its own part of the corpus.

    Args:
        corpus: of `heredity.data.corpus.python_source`; divided by package, no project is in two parts.
        n: how many pairs.
        positive: share of pairs that are a function and its disguise.
        seed: of the functions drawn, their edits and the order.
        edits: what disguises.
        joint: least and most edits, drawn uniformly; fewer are made where fewer have a place.
        lines: least and most lines of a function.

    Half of the negatives, where there is a choice, are of functions of one module. A function may be in several pairs.

    Raises:
        ValueError: a share lies outside (0, 1), or a part has fewer than two functions.
    """
    if not 0 < positive < 1:
        raise ValueError(f"positive is a share between 0 and 1, got {positive}")
    parts = []
    for number, (name, count) in enumerate(zip(PARTS, n, strict=True)):
        found = list(functions(getattr(corpus, name), lines))
        if len({function.code for function in found}) < 2:
            raise ValueError(f"the corpus has fewer than two different functions of {lines} lines in {name}")
        rng = np.random.default_rng((seed, number))
        labels = rng.permutation(np.arange(count) < round(positive * count))
        parts.append(_pairs(found, labels, rng, edits, joint))
    train, valid, test = parts
    return train, valid, test


def _pairs(
    found: list[Function],
    labels: NDArray[np.bool_],
    rng: np.random.Generator,
    edits: Sequence[CodeEdit],
    joint: tuple[int, int],
) -> CodePairs:
    modules: dict[str, list[int]] = {}
    for i, function in enumerate(found):
        modules.setdefault(function.module, []).append(i)
    rounds = -(-len(labels) // len(found))
    order = np.concatenate([rng.permutation(len(found)) for _ in range(rounds)]).tolist()
    rows = []
    for same in labels.tolist():
        i = order.pop()
        while True:
            j = i if same else _other(i, found, modules, rng)
            text, made = applied(found[j].code, edits, int(rng.integers(joint[0], joint[1] + 1)), rng)
            if text != found[j].code:
                break
            i = int(rng.integers(len(found)))  # no edit had a place in it: another takes its place
        rows.append((found[i].code, text, int(same), len(made)))
    first, second, label, changed = zip(*rows, strict=True)
    return CodePairs(first, second, label, changed)


def _other(i: int, found: list[Function], modules: dict[str, list[int]], rng: np.random.Generator) -> int:
    """Another function with other code, of the same module in about half of the cases."""
    near = [j for j in modules[found[i].module] if found[j].code != found[i].code]
    if near and rng.random() < HARD:
        return near[rng.integers(len(near))]
    while True:
        j = int(rng.integers(len(found)))
        if found[j].code != found[i].code:
            return j
