import numpy as np
import pytest
import torch

from heredity.papers.testbeds.recipe_table import architectures
from heredity.search.predictor import JointPredictor

ARCHS = architectures()


def table(n, seed):
    drawn = ARCHS.sobol(n, seed)
    codes = torch.stack([ARCHS.encode(arch) for arch in drawn])
    return codes, torch.tensor([list(ARCHS.statistics(arch).values()) for arch in drawn], dtype=torch.float64)


def snapshot(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_free_statistics_of_unseen_architectures_are_known_after_pretraining():
    predictor = JointPredictor(ARCHS.width, 2)
    loss = predictor.pretrain(*table(2048, 1))
    codes, truth = table(500, 2)
    logs, guess = truth.log(), predictor.predict_statistics(codes).double().log()
    r2 = 1 - ((guess - logs) ** 2).mean(0) / logs.var(0, correction=0)
    assert (r2 > 0.98).all() and loss < 0.02


def test_the_encoder_is_frozen_first_and_learns_later():
    codes, _ = table(32, 3)
    recipes, y = torch.rand(32, 2, generator=torch.Generator().manual_seed(0)), torch.linspace(0, 1, 32)
    predictor = JointPredictor(ARCHS.width, 2, hidden=(16,))
    before, head = snapshot(predictor.encoder), snapshot(predictor.head)
    predictor.fit(codes, recipes, y, freeze_epochs=3, epochs=0)
    assert same(snapshot(predictor.encoder), before) and not same(snapshot(predictor.head), head)
    predictor.fit(codes, recipes, y, freeze_epochs=3, epochs=1)
    assert not same(snapshot(predictor.encoder), before)


def test_it_learns_a_joint_function_and_a_fit_forgets_the_one_before():
    rng = np.random.default_rng(0)
    archs, recipes = (
        torch.from_numpy(rng.uniform(-1, 1, (200, 2))).float(),
        torch.from_numpy(rng.uniform(-1, 1, (200, 1))),
    )
    recipes = recipes.float()
    y = 50 + 10 * archs[:, 0] * recipes[:, 0]  # the best recipe depends on the architecture
    predictor = JointPredictor(2, 1, 8, (32,), seed=1)
    predictor.fit(archs[:150], recipes[:150], y[:150], freeze_epochs=0, epochs=100)
    guess = predictor.predict(archs[150:], recipes[150:])
    assert float(((guess - y[150:]) ** 2).mean() / y[150:].var()) < 0.1
    once = snapshot(predictor)
    predictor.fit(archs[:5], recipes[:5], y[:5])
    predictor.fit(archs[:150], recipes[:150], y[:150], freeze_epochs=0, epochs=100)
    assert same(snapshot(predictor), once)


def test_pretraining_elsewhere_is_taken_over():
    codes, truth = table(64, 4)
    teacher, pupil = JointPredictor(ARCHS.width, 2, 4, (8,), seed=1), JointPredictor(ARCHS.width, 2, 4, (8,), seed=9)
    teacher.pretrain(codes, truth, epochs=2)
    pupil.pretrained_from(snapshot(teacher))
    pupil.fit(codes, torch.zeros(64, 2), torch.linspace(0, 1, 64), freeze_epochs=1, epochs=0)
    assert same(snapshot(pupil.encoder), snapshot(teacher.encoder))


def test_one_outlier_is_not_believed_and_equal_accuracies_are_no_error():
    codes, _ = table(16, 5)
    recipes = torch.zeros(16, 1)
    y = torch.full((16,), 0.9)
    predictor = JointPredictor(ARCHS.width, 1, 4, (8,))
    predictor.fit(codes, recipes, y, freeze_epochs=1, epochs=1)
    assert torch.allclose(predictor.predict(codes, recipes), y, atol=1e-3)


def test_the_global_generator_is_untouched_and_a_seed_decides():
    state = torch.get_rng_state()
    a, b, c = (JointPredictor(3, 2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert same(snapshot(a), snapshot(b)) and not same(snapshot(a), snapshot(c))


def test_wrong_data_is_named():
    predictor = JointPredictor(2, 1)
    x = torch.zeros(3, 2)
    with pytest.raises(ValueError, match="not finite"):
        predictor.fit(x, torch.zeros(3, 1), [0.1, float("nan"), 0.2])
    with pytest.raises(ValueError, match="recipes"):
        predictor.fit(x, torch.zeros(2, 1), [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="positive"):
        predictor.pretrain(x, [[1.0, 0.0]] * 3)
    with pytest.raises(ValueError, match="sizes"):
        JointPredictor(0, 1)
