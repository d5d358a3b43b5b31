import numpy as np
import pytest
import torch

from heredity.evaluation.compute import count_flops, count_parameters
from heredity.papers.testbeds.recipe_table import CHANCE, DigitNet, architectures, recipes, statistics, train

ARCH = {"depth": 2, "width": 8, "growth": 1.0, "kernel1": 3, "kernel2": 3, "pool": "first", "residual": True}
ARCH |= {"activation": "relu"}
RECIPE = {"optimizer": "adam", "rate": 1.0, "decay": 1e-5, "smoothing": 0.0, "mixup": 0.0, "dropout": 0.0}
RECIPE |= {"batch": 32, "ema": False}


def test_statistics_are_those_of_the_network():
    space, rng = architectures(), np.random.default_rng(0)
    for arch in (space.sample(rng) for _ in range(25)):
        net = DigitNet(arch).eval()
        assert statistics(arch) == {
            "flops": count_flops(net, torch.zeros(1, 1, 8, 8)),
            "params": count_parameters(net),
        }


def test_every_field_of_an_architecture_changes_its_network():
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def outputs(arch):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return DigitNet(arch).eval()(x)

    changes = {"width": 9, "growth": 1.5, "kernel2": 5, "pool": "last", "residual": False, "activation": "tanh"}
    for name, value in changes.items():
        other = {k: v for k, v in {**ARCH, name: value}.items() if not (name == "growth" and k == "residual")}
        assert architectures().valid(other), architectures().problem(other)
        assert not torch.equal(outputs(other), outputs(ARCH)), name


def test_a_training_learns_and_repeats():
    state = torch.get_rng_state()
    first = train(ARCH, RECIPE, seed=1, world=900, epochs=3)
    assert torch.equal(torch.get_rng_state(), state)
    again, other = (train(ARCH, RECIPE, seed=seed, world=900, epochs=3) for seed in (1, 2))
    assert first.valid == again.valid != other.valid and first.test == again.test
    assert len(first.valid) == 3 and first.valid[-1] > 0.7 and first.test > 0.7


@pytest.mark.parametrize(
    "changed", [{"ema": True}, {"mixup": 0.4}, {"smoothing": 0.2}, {"dropout": 0.4}, {"batch": 64}, {"decay": 1e-2}]
)
def test_every_field_of_a_recipe_changes_its_training(changed):
    assert recipes().valid({**RECIPE, **changed})
    weights = [train(ARCH, recipe, 1, 900, 1).net.head.weight for recipe in (RECIPE, {**RECIPE, **changed})]
    assert not torch.equal(*weights)


def test_a_diverging_training_is_chance():
    found = train(ARCH, {**RECIPE, "optimizer": "sgd", "rate": 1e30}, 1, 900, 2)
    assert found.valid == [CHANCE, CHANCE] and found.test == CHANCE
