from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from heredity.errors import BirthFailed
from heredity.lab import Architecture, Lab
from heredity.search.differential_evolution import DifferentialEvolution, clu_de
from heredity.search.random_search import RandomSearch
from heredity.training.operators import EvolvedInit, default_spread


def network(width=3):
    return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.LayerNorm(width), nn.Linear(width, 1))


ARCHITECTURE = Architecture(network, {"width": 3})


@dataclass(frozen=True)
class ToTarget:
    """The squared distance of all weights to a number; on held-out examples to another."""

    target: float = 0.3
    held_out: float = 0.3
    broken: bool = False

    def losses(self, params, parents):
        def losses(vectors, part):
            if self.broken:
                return np.full(len(vectors), np.nan)
            goal = self.target if part == "search" else self.held_out
            return np.square(vectors - goal).mean(1)

        return losses


def born(tmp_path, operator, seed=1):
    with Lab(tmp_path / "lab") as lab:
        model = lab.derive(operator, seed=seed)
        return model.load(), dict(model.notes)


def test_a_network_is_born_by_each_searcher(tmp_path):
    for number, (searcher, options) in enumerate(
        [(clu_de, {"population": 10}), (DifferentialEvolution, {"population": 10, "CR": 0.9}), (RandomSearch, {})]
    ):
        operator = EvolvedInit(ARCHITECTURE, ToTarget(), searcher, options, 10, 200)
        module, notes = born(tmp_path / str(number), operator)
        vector = torch.cat([p.detach().flatten() for p in module.parameters()]).double().numpy()
        assert np.square(vector - 0.3).mean() == pytest.approx(notes["objective"], rel=1e-5)
        # Both parts ask for the same, so the best by one is the best by the other.
        assert notes["objective"] == notes["held_out"] == notes["searched"] and notes["rounds"] == 20
        assert isinstance(module(torch.zeros(2, 4)), torch.Tensor)


def test_searching_longer_finds_better_and_the_seed_decides(tmp_path):
    def objective(name, evaluations, seed=1):
        operator = EvolvedInit(ARCHITECTURE, ToTarget(), clu_de, {"population": 10}, 10, evaluations)
        return born(tmp_path / name, operator, seed)[1]["objective"]

    assert objective("long", 600) < objective("short", 10)
    assert objective("again", 10) == objective("short2", 10) != objective("other", 10, seed=2)


def test_what_fits_only_the_searched_examples_is_not_chosen(tmp_path):
    # From around 0 the search walks to 3, away from 0, where the held-out examples are.
    operator = EvolvedInit(ARCHITECTURE, ToTarget(3.0, 0.0), clu_de, {"population": 10}, 10, 400)
    _, notes = born(tmp_path, operator)
    assert notes["chosen"] < 5 and notes["objective"] > notes["searched"] + 0.5


def test_the_uniform_start_stays_in_its_bounds(tmp_path):
    operator = EvolvedInit(ARCHITECTURE, ToTarget(3.0, 3.0), clu_de, {"population": 10}, 10, 200, "uniform")
    module, _ = born(tmp_path, operator)
    assert max(float(p.detach().abs().max()) for p in module.parameters()) <= 1


def test_the_default_spread_is_that_of_the_architecture():
    mean, scale = default_spread(ARCHITECTURE)
    # Linear(4, 3) draws uniformly in ±1/√4: deviation .5 / √3 = .289. The gain of LayerNorm is always 1.
    assert scale[:12].unique().numel() == 1 and scale[0].item() == pytest.approx(0.289, abs=0.03)
    assert mean[15:18].tolist() == [1, 1, 1] and scale[15].item() == pytest.approx(1e-3)


def test_bad_settings_and_failures_are_named(tmp_path):
    with pytest.raises(BirthFailed, match="no whole number of rounds"):
        born(tmp_path / "a", EvolvedInit(ARCHITECTURE, ToTarget(), clu_de, {"population": 10}, 10, 25))
    with pytest.raises(BirthFailed, match="failed"):
        born(tmp_path / "b", EvolvedInit(ARCHITECTURE, ToTarget(broken=True), clu_de, {"population": 10}, 10, 20))
    with pytest.raises(BirthFailed, match="gave 10 candidates for a round of 20"):
        born(tmp_path / "c", EvolvedInit(ARCHITECTURE, ToTarget(), clu_de, {"population": 10}, 20, 40))
