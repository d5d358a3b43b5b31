import numpy as np
import pytest
import torch

from heredity.lab import Lab
from heredity.papers.testbeds.digit_features import DigitFeatures, DigitJudge
from heredity.papers.testbeds.gan_trials import (
    PlainDiscriminator,
    PlainGenerator,
    SearchGAN,
    TrainGAN,
    discriminator,
    discriminator_space,
    generator,
    generator_space,
    train_gan,
)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_plain_networks_are_as_large_as_those_of_the_space():
    rng = np.random.default_rng(0)
    makers = [count(generator(generator_space().sample(rng))) for _ in range(30)]
    critics = [count(discriminator(discriminator_space().sample(rng))) for _ in range(30)]
    assert min(makers) < count(PlainGenerator()) < max(makers)
    assert min(critics) < count(PlainDiscriminator()) < max(critics)
    assert PlainGenerator()(torch.zeros(3, 48)).shape == (3, 1, 8, 8)
    assert PlainDiscriminator()(torch.zeros(3, 1, 8, 8)).shape == (3,)


def test_every_architecture_fits_the_digits():
    rng = np.random.default_rng(1)
    for _ in range(20):
        images = generator(generator_space().sample(rng))(torch.zeros(4, 48))
        assert images.shape == (4, 1, 8, 8)
        assert discriminator(discriminator_space().sample(rng))(images).shape == (4,)


@pytest.mark.slow
def test_training_brings_images_nearer_and_repeats(tmp_path):
    with Lab(tmp_path / "lab") as lab:
        judge = lab.derive(DigitFeatures(epochs=2), seed=0)
        module = DigitJudge(judge.load().eval())
        g = generator_space().sample(np.random.default_rng(0))
        d = discriminator_space().sample(np.random.default_rng(0))
        start, trained = (train_gan(g, d, steps, 5, module, 200)[1] for steps in (1, 60))
        assert trained["fid"] < start["fid"] and trained["log_fid"] == np.log(trained["fid"])
        plain_start, plain = (train_gan(None, None, steps, 5, module, 200)[1] for steps in (1, 60))
        assert plain["fid"] < plain_start["fid"]
        child = lab.derive(TrainGAN(g, d, 60, 200), seed=5, judge=judge)
        assert {name: child.notes[name] for name in trained} == trained
        assert count(child.load()) == trained["size"] and child.load().genotype == g


@pytest.mark.slow
def test_a_search_is_born_with_its_genotypes(tmp_path):
    with Lab(tmp_path / "lab") as lab:
        judge = lab.derive(DigitFeatures(epochs=1), seed=0)
        for evolve in (True, False):
            model = lab.derive(SearchGAN(evolve, 4, 4, 4, 2, 50), judge, seed=2)
            found = tuple(map(tuple, model.notes["generator"]))
            assert generator_space().valid(found) and model.load().genotype == found
            assert discriminator_space().valid(tuple(map(tuple, model.notes["discriminator"])))
