"""Problems with several objectives whose best fronts are known; all negated, so that they are maximised.

Each is a function of vectors [..., n] in a box to objectives [..., m].
Sources: Zitzler, Deb & Thiele, Comparison of Multiobjective Evolutionary Algorithms, Evolutionary Computation 8 (2000);
Deb, Thiele, Laumanns & Zitzler, Scalable Test Problems for Evolutionary Multiobjective Optimization, TIK report 112
(2001).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heredity.search.box import Box
from heredity.search.dominance import pareto_front
from heredity.search.nsga3 import das_dennis

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """A function to maximise and where its best front lies.

    Args:
        name: as in the paper.
        space: the box of candidates [n].
        objectives: m.
        function: vectors [..., n] → objectives [..., m].
        front: about so many points → points of the best front [k, m].
    """

    name: str
    space: Box
    objectives: int
    function: Callable[[Array], Array]
    front: Callable[[int], Array]

    def __call__(self, x: Array) -> Array:
        """Objectives [..., m] of vectors [..., n]."""
        return self.function(np.asarray(x, dtype=np.float64))


def zdt(number: int, dim: int | None = None) -> Problem:
    """ZDT 1, 2, 3, 4 or 6 (5 is of bit strings), two objectives; dim 30, of 4 and 6 by default 10."""
    if number not in (1, 2, 3, 4, 6):
        raise ValueError(f"ZDT problems of vectors are 1, 2, 3, 4 and 6, got {number}")
    n = dim or (30 if number < 4 else 10)
    low, high = np.zeros(n), np.ones(n)
    if number == 4:
        low[1:], high[1:] = -5.0, 5.0

    def function(x: Array) -> Array:
        f, rest = x[..., 0], x[..., 1:]
        if number == 4:
            g = 1 + 10 * (n - 1) + np.sum(np.square(rest) - 10 * np.cos(4 * np.pi * rest), axis=-1)
        elif number == 6:
            f = 1 - np.exp(-4 * f) * np.sin(6 * np.pi * f) ** 6
            g = 1 + 9 * np.mean(rest, axis=-1) ** 0.25
        else:
            g = 1 + 9 * np.mean(rest, axis=-1)
        return -np.stack([f, g * _zdt_height(number, f, g)], axis=-1)

    def front(k: int) -> Array:
        # f of ZDT6 starts where 1 − exp(−4 x) sin⁶(6 π x) is least, which is found on a fine grid.
        x = np.linspace(0, 1, 100_001)
        start = float((1 - np.exp(-4 * x) * np.sin(6 * np.pi * x) ** 6).min()) if number == 6 else 0.0
        f = np.linspace(start, 1, k)
        points = -np.stack([f, _zdt_height(number, f, np.ones_like(f))], axis=-1)
        return points[pareto_front(points)] if number == 3 else points

    return Problem(f"ZDT{number}", Box(low, high), 2, function, front)


def _zdt_height(number: int, f: Array, g: Array) -> Array:
    ratio = f / g
    if number in (2, 6):
        return 1 - np.square(ratio)
    return 1 - np.sqrt(ratio) - (ratio * np.sin(10 * np.pi * f) if number == 3 else 0.0)


def dtlz(number: int, objectives: int = 3, dim: int | None = None) -> Problem:
    """DTLZ 1, 2 or 7; dim by default objectives − 1 + 5, 10 and 20, as in the paper."""
    if number not in (1, 2, 7) or objectives < 2:
        raise ValueError(f"DTLZ 1, 2 and 7 with two objectives or more are known, got {number} with {objectives}")
    m = objectives
    n = dim or m - 1 + {1: 5, 2: 10, 7: 20}[number]
    if n < m:
        raise ValueError(f"{m} objectives need at least as many dimensions, got {n}")

    def function(x: Array) -> Array:
        place, rest = x[..., : m - 1], x[..., m - 1 :]
        if number == 7:
            g = 1 + 9 * np.mean(rest, axis=-1)
            h = m - np.sum(place / (1 + g[..., None]) * (1 + np.sin(3 * np.pi * place)), axis=-1)
            return -np.concatenate([place, ((1 + g) * h)[..., None]], axis=-1)
        shifted = rest - 0.5
        if number == 1:
            waves = np.sum(np.square(shifted) - np.cos(20 * np.pi * shifted), axis=-1)
            g, up, down, half = 100 * (n - m + 1 + waves), place, 1 - place, 0.5
        else:
            g, half = np.sum(np.square(shifted), axis=-1), 1.0
            up, down = np.cos(place * np.pi / 2), np.sin(place * np.pi / 2)
        # Objective i is a product of the first m − 1 − i coordinates, and of the complement of the next one.
        ones = np.ones_like(g)[..., None]
        products = np.cumprod(np.concatenate([ones, up], axis=-1), axis=-1)[..., ::-1]
        complement = np.concatenate([ones, down[..., ::-1]], axis=-1)
        return np.asarray(-half * (1 + g)[..., None] * products * complement)

    def front(k: int) -> Array:
        divisions = 1
        if number == 7:
            side = max(2, round(k ** (1 / (m - 1))))
            grid = np.stack(np.meshgrid(*[np.linspace(0, 1, side)] * (m - 1), indexing="ij"), axis=-1)
            x = np.concatenate([grid.reshape(-1, m - 1), np.zeros((side ** (m - 1), n - m + 1))], axis=1)
            points = function(x)
            return points[pareto_front(points)]
        while math.comb(divisions + m, m - 1) <= k:
            divisions += 1
        rays = das_dennis(m, divisions)
        return -0.5 * rays if number == 1 else -rays / np.linalg.norm(rays, axis=1, keepdims=True)

    return Problem(f"DTLZ{number}", Box(np.zeros(n), np.ones(n)), m, function, front)
