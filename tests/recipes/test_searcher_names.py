"""Searchers are found by looking, and made with what they take."""

import inspect

import pytest

from heredity.errors import RecipeError
from heredity.recipes.searcher_names import make, searcher_class, searchers
from heredity.search.box import Box
from heredity.search.open_es import OpenES
from heredity.search.snes import SNES


@pytest.mark.parametrize("name", sorted(searchers("vectors")))
def test_every_searcher_that_is_named_searches_a_box(name: str) -> None:
    kind = searcher_class(name, "vectors")
    searcher = make(kind, Box(-2, 3, dim=3), options={}, population=12, seed=1)
    found = searcher.run(lambda x: float((x * x).sum()), 120, direction="minimize")
    assert found.evaluations == 120
    assert found.value < found.history[0][1]  # better than the best of the first batch


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("de", "DifferentialEvolution"),
        ("GA", "GeneticAlgorithm"),
        ("cma-es", "CMAES"),
        ("pso", "PSO"),
        ("OpenES", "OpenES"),
    ],
)
def test_usual_ways_to_write_a_name_are_understood(written: str, name: str) -> None:
    assert searcher_class(written, "vectors").__name__ == name


def test_every_plain_vector_searcher_is_found() -> None:
    """The directory of the package is the list: nobody has to register a method."""
    found = {kind.__name__ for kind in searchers("vectors").values()}
    assert found >= {"SNES", "XNES", "CMAES", "SHADE", "PGPE", "OpenES", "RandomSearch", "RegularizedEvolution"}
    assert {kind.__name__ for kind in searchers("space", several=True).values()} >= {"NSGA2", "NSGA3"}
    assert not {"PBT", "MAPElites", "NoveltySearch"} & found
    assert all(not inspect.isabstract(kind) for kind in searchers("vectors").values())


def test_a_population_is_written_the_same_for_all() -> None:
    box = Box(dim=2)
    assert len(make(SNES, box, options={}, population=10, seed=0).ask()) == 10
    assert len(make(OpenES, box, options={}, population=10, seed=0).ask()) == 10


def test_unknown_settings_name_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"search.options.sigm: OpenES has no such setting; did you mean 'sigma'"):
        make(OpenES, Box(dim=2), options={"sigm": 1}, population=None, seed=0)
