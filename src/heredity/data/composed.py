"""A task that no founder saw: digits under two shifts at once.

Images are divided once, by seed, into three disjoint stratified sets: `train` (ancestor and founders), `fitness` (what
a search may look at) and `test` (reported only). Every fitness and test image is shown under every pair of shifts. So
neither founders nor search ever see a test image, shifted or not. A writer may appear in several sets: scikit-learn's
bundle does not say who wrote what.
Source: the composed tasks of arXiv 2503.01155 at the scale of digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from heredity.data.digits import all_digits, stratified_parts
from heredity.data.experts import FounderSpec
from heredity.data.shifts import Shift, apply_shifts

# Geometry comes first in every pair: light and noise act on the moved image.
ROTATE_LEFT = Shift("rotate", 20.0)
ROTATE_RIGHT = Shift("rotate", -20.0)
DARKEN = Shift("darken", 0.65)
NOISE = Shift("gaussian", 0.22)
OCCLUSION = Shift("occlusion", 0.125)
MOVE = Shift("shift", 0.22)
SHEAR = Shift("shear", 0.35)
FOG = Shift("fog", 0.6)

EIGHT_FOUNDERS: tuple[FounderSpec, ...] = (
    FounderSpec("rotate-left", (ROTATE_LEFT,)),
    FounderSpec("rotate-right", (ROTATE_RIGHT,)),
    FounderSpec("darken", (DARKEN,)),
    FounderSpec("noise", (NOISE,)),
    FounderSpec("occlusion", (OCCLUSION,)),
    FounderSpec("shift", (MOVE,)),
    FounderSpec("shear", (SHEAR,)),
    FounderSpec("fog", (FOG,)),
)

# A ring: every shift is in exactly two pairs, so that no founder is favoured.
EIGHT_PAIRS: tuple[tuple[Shift, ...], ...] = (
    (ROTATE_LEFT, DARKEN),
    (SHEAR, DARKEN),
    (SHEAR, NOISE),
    (ROTATE_RIGHT, NOISE),
    (ROTATE_RIGHT, OCCLUSION),
    (MOVE, OCCLUSION),
    (MOVE, FOG),
    (ROTATE_LEFT, FOG),
)


@dataclass(frozen=True)
class Task:
    """Three disjoint sets; the pair sets are flat, pair after pair.

    Args:
        train_x: [N, 1, 8, 8] upright; train_y: [N].
        fitness_x: [P·F, 1, 8, 8] under two shifts; fitness_y, fitness_pair: [P·F] label and number of the pair.
        test_x: [P·T, 1, 8, 8] under two shifts; test_y, test_pair: [P·T].
        clean_x: [T, 1, 8, 8] the test images upright; clean_y: [T].
        pairs: the P pairs.
    """

    train_x: Tensor
    train_y: Tensor
    fitness_x: Tensor
    fitness_y: Tensor
    fitness_pair: Tensor
    test_x: Tensor
    test_y: Tensor
    test_pair: Tensor
    clean_x: Tensor
    clean_y: Tensor
    pairs: tuple[tuple[Shift, ...], ...]


def composed_task(
    seed: int = 0,
    *,
    pairs: Sequence[Sequence[Shift]] = EIGHT_PAIRS,
    train: int = 1000,
    fitness: int = 200,
) -> Task:
    """Divide the 1,797 digits and show the held-out ones under every pair of shifts.

    Args:
        seed: of the division and of the shifts' noise.
        pairs: each is applied in order.
        train: upright images for ancestor and founders.
        fitness: images under each pair for the search; all others are test images.

    Raises:
        ValueError: no pairs, or no image is left for the test.
    """
    if not pairs:
        raise ValueError("a composed task needs at least one pair of shifts")
    x, y = all_digits()
    test = len(y) - train - fitness
    if test < 1:
        raise ValueError(f"train={train} and fitness={fitness} leave no test image of {len(y)}")
    a, b, c = stratified_parts(y, (train, fitness, test), seed)
    fitness_x, fitness_y, fitness_pair = _under(pairs, x[b], y[b], seed * 1000 + 1)
    test_x, test_y, test_pair = _under(pairs, x[c], y[c], seed * 1000 + 500)
    return Task(
        *(x[a], y[a]),
        *(fitness_x, fitness_y, fitness_pair),
        *(test_x, test_y, test_pair),
        *(x[c], y[c]),
        pairs=tuple(tuple(pair) for pair in pairs),
    )


def _under(pairs: Sequence[Sequence[Shift]], x: Tensor, y: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    shown = [apply_shifts(x, pair, seed + i) for i, pair in enumerate(pairs)]
    number = torch.arange(len(pairs)).repeat_interleave(len(y))
    return torch.cat(shown), y.repeat(len(pairs)), number
