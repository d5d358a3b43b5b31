import pytest
import torch

from heredity.data.composed import EIGHT_PAIRS, composed_task
from heredity.data.digits import all_digits
from heredity.data.shifts import Shift


def rows(x):
    return {tuple(row) for row in x.flatten(1).tolist()}


def test_no_image_is_in_two_sets():
    # With the identity as the only "pair", held-out images are shown as they are and can be compared.
    task = composed_task(4, pairs=((Shift("darken", 0.0),),), train=1000, fitness=200)
    train, fitness, test = rows(task.train_x), rows(task.fitness_x), rows(task.test_x)
    assert (len(train), len(fitness), len(test)) == (1000, 200, 597)
    assert not train & fitness and not train & test and not fitness & test
    assert train | fitness | test == rows(all_digits()[0])
    assert rows(task.clean_x) == test


def test_every_held_out_image_is_shown_under_every_pair():
    task = composed_task(0, fitness=50)
    assert task.fitness_x.shape == (400, 1, 8, 8) and task.test_x.shape == (8 * 747, 1, 8, 8)
    assert torch.bincount(task.fitness_pair).tolist() == [50] * 8
    for pair in range(8):
        assert torch.equal(task.fitness_y[task.fitness_pair == pair], task.fitness_y[:50])
        assert torch.equal(task.test_y[task.test_pair == pair], task.clean_y)
    assert task.pairs == EIGHT_PAIRS


def test_noise_is_drawn_anew_for_every_set_and_pair():
    noise = (Shift("gaussian", 0.05),)
    clean = composed_task(0, pairs=((Shift("darken", 0.0),),))
    noisy = composed_task(0, pairs=(noise, noise))
    assert not torch.equal(noisy.fitness_x[:200], noisy.fitness_x[200:])
    # Compare the noise of fitness and test image i in pixels far enough from 0 and 1 not to be clipped.
    both = (clean.fitness_x - 0.5).abs().lt(0.3) & (clean.test_x[:200] - 0.5).abs().lt(0.3)
    a = (noisy.fitness_x[:200] - clean.fitness_x)[both]
    b = (noisy.test_x[:200] - clean.test_x[:200])[both]
    assert len(a) > 400 and abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 0.2


def test_seed_decides_everything():
    a, b, c = composed_task(1, fitness=50), composed_task(1, fitness=50), composed_task(2, fitness=50)
    assert torch.equal(a.test_x, b.test_x) and torch.equal(a.fitness_x, b.fitness_x)
    assert not torch.equal(a.train_x, c.train_x)


def test_bad_sizes_are_named():
    with pytest.raises(ValueError, match="no test image"):
        composed_task(0, train=1600, fitness=200)
    with pytest.raises(ValueError, match="at least one pair"):
        composed_task(0, pairs=())
