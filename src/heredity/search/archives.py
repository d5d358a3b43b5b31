"""Archives of what is best in its own way: cells of a descriptor space, by a grid or by centroids.

Sources: Mouret & Clune, Illuminating Search Spaces by Mapping Elites, arXiv 1504.04909; Vassiliades, Chatzilygeroudis &
Mouret, Using Centroidal Voronoi Tessellations to Scale Up MAP-Elites, arXiv 1610.05729.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.vq import kmeans2
from scipy.spatial import cKDTree

Vector = NDArray[np.float64]
Cells = NDArray[np.intp]


class Archive(ABC):
    """Which cell a descriptor belongs to. Descriptors outside the ranges belong to the nearest cell.

    Args:
        low, high: ranges of the descriptor [d], finite, low < high.
    """

    cells: int

    def __init__(self, low: ArrayLike, high: ArrayLike) -> None:
        self.low, self.high = np.atleast_1d(np.asarray(low, float)), np.atleast_1d(np.asarray(high, float))
        if self.low.ndim != 1 or self.low.shape != self.high.shape or not len(self.low):
            raise ValueError(f"ranges should be two vectors of one length, got {self.low.shape} and {self.high.shape}")
        if not (np.isfinite(self.low) & np.isfinite(self.high) & (self.low < self.high)).all():
            raise ValueError("ranges of a descriptor must be finite, with low below high")

    @property
    def dim(self) -> int:
        """Length d of a descriptor."""
        return len(self.low)

    @abstractmethod
    def cell(self, descriptors: Vector) -> Cells:
        """The cells [n] of finite descriptors [n, d]."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """What has to be equal when a state is loaded."""


class GridArchive(Archive):
    """A grid of equal boxes.

    Args:
        low, high: ranges of the descriptor [d].
        shape: boxes along each axis [d].
    """

    def __init__(self, low: ArrayLike, high: ArrayLike, shape: Sequence[int]) -> None:
        super().__init__(low, high)
        self.shape = tuple(int(size) for size in shape)
        if len(self.shape) != self.dim or min(self.shape) < 1:
            raise ValueError(f"shape should hold {self.dim} positive numbers, got {self.shape}")
        self.cells = int(np.prod(self.shape))

    def cell(self, descriptors: Vector) -> Cells:
        """The cells [n]; the last axis changes fastest."""
        share = np.clip((descriptors - self.low) / (self.high - self.low), 0.0, 1.0)
        place = np.minimum((share * self.shape).astype(np.intp), np.array(self.shape) - 1)
        return np.asarray(np.ravel_multi_index(tuple(place.T), self.shape), dtype=np.intp)

    def config(self) -> dict[str, Any]:
        """Kind, ranges and shape."""
        return {"kind": "grid", "low": self.low.tolist(), "high": self.high.tolist(), "shape": list(self.shape)}


class CVTArchive(Archive):
    """Voronoi cells of centroids that k-means finds among uniform samples, so that all cells are about equally large.

    Args:
        low, high: ranges of the descriptor [d].
        cells: how many.
        samples: of k-means, at least as many as cells; by default 25 a cell, at least 1000.
        seed: of samples and k-means.
    """

    def __init__(
        self, low: ArrayLike, high: ArrayLike, cells: int, *, samples: int | None = None, seed: int = 0
    ) -> None:
        super().__init__(low, high)
        self.samples = max(1000, 25 * cells) if samples is None else samples
        if not 1 <= cells <= self.samples:
            raise ValueError(f"cells must lie between 1 and the number of samples, got {cells} and {self.samples}")
        self.cells, self.seed = cells, seed
        rng = np.random.default_rng(seed)
        points = rng.random((self.samples, self.dim))
        # Begun at distinct points, so that no cluster is empty, and in one unit for all axes.
        centers, _ = kmeans2(points, points[:cells].copy(), minit="matrix", iter=20, missing="raise")
        self.centroids: Vector = self.low + (self.high - self.low) * centers
        self._tree = cKDTree(centers)

    def cell(self, descriptors: Vector) -> Cells:
        """The cells [n], those of the nearest centroids in units of the ranges."""
        _, nearest = self._tree.query((descriptors - self.low) / (self.high - self.low))
        return np.asarray(nearest, dtype=np.intp)

    def config(self) -> dict[str, Any]:
        """Kind, ranges, number of cells, samples and seed."""
        own = {"kind": "cvt", "low": self.low.tolist(), "high": self.high.tolist(), "cells": self.cells}
        return {**own, "samples": self.samples, "archive_seed": self.seed}
