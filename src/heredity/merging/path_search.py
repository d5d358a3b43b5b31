"""Evolutionary merging in data-flow space: search a path through layers; applying a path is `path_folding`'s.

Source: arXiv 2403.13187, section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from heredity.merging.data_flow import DataFlowRecipe, DataFlowSpace
from heredity.search.base import Example, Searcher
from heredity.search.cma import CMA
from heredity.search.decoded import DecodedSearcher

Vector: TypeAlias = NDArray[np.float64]


class PathSearcher(DecodedSearcher[DataFlowRecipe]):
    """A searcher of vectors, seen as a searcher of paths; it never touches weights.

    Vectors without any active slot are no path: they are told as failures here and never handed out, so that `ask` may
    give fewer candidates than asked for. Paths longer than the space's `max_length` pay `per_layer` for each layer
    too many; `best` reports the fitness after that.

    Args:
        space: what the vectors mean.
        vectors: default CMA-ES from the space's x0 (the first parent as it is), diagonal above 100 dimensions.
        sigma0: first spread of CMA-ES.
        per_layer: price of a layer beyond `max_length`.
        seed: of CMA-ES.
        metric: the value of an outcome to maximise, where it has several.
    """

    def __init__(
        self,
        space: DataFlowSpace,
        vectors: Searcher[Vector] | None = None,
        *,
        sigma0: float = 1 / 6,
        population: int | None = None,
        per_layer: float = 0.01,
        seed: int = 0,
        metric: str | None = None,
    ) -> None:
        self.space, self.per_layer = space, per_layer
        super().__init__(vectors or CMA(space.dim, sigma0, space.x0, population=population, seed=seed), metric)

    def decode(self, vector: Vector) -> DataFlowRecipe:
        """The path of a vector."""
        return self.space.decode(vector)

    def refusal(self, vector: Vector) -> str | None:
        """A vector without any active slot is no path."""
        return None if self.space.valid(vector) else "no slot is active: the data would pass through no layer"

    def price(self, value: DataFlowRecipe) -> float:
        """Of layers beyond the space's `max_length`."""
        return self.space.penalty(value, self.per_layer)

    @classmethod
    def examples(cls) -> Iterator[tuple[str, Example[Any]]]:
        """Two layers twice: the fitness wants many slots."""
        space = DataFlowSpace((1, 1), repeats=2)
        yield "paths", Example(lambda seed: cls(space, seed=seed), lambda recipe: float(sum(map(sum, recipe.scale))))
