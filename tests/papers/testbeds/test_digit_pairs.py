import numpy as np
import torch

from heredity.papers.testbeds.digit_pairs import behaviour, digit_pairs, scores, train
from heredity.search.cells import Cell

RELU = Cell(((0, 1), (1, 2)), ("relu",))
LINEAR = Cell(((0, 1), (1, 2)), ("identity",))


def test_pairs_are_balanced_and_sets_share_no_image():
    parts = digit_pairs(5)
    assert [len(part.y) for part in parts] == [1200, 800, 1200]
    images = []
    for part in parts:
        assert part.y.double().mean() == 0.5 and part.x.shape[1] == 128
        assert not (part.x[:, :64] == part.x[:, 64:]).all(1).any()  # nobody is paired with themselves
        images.append({row.numpy().tobytes() for half in part.x.split(64, 1) for row in half})
    assert not images[0] & images[1] and not images[0] & images[2] and not images[1] & images[2]


def test_a_nonlinearity_is_what_the_task_needs():
    curved, straight = scores(train(RELU, 5, 1), 5), scores(train(LINEAR, 5, 1), 5)
    # The standard error of a share of 1,200 at chance is .014.
    assert curved["test"] > 0.75 and abs(straight["test"] - 0.5) < 0.05


def test_training_repeats_exactly_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    a, b = train(RELU, 5, 1, epochs=1), train(RELU, 5, 1, epochs=1)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_behaviour_descends_and_ignores_what_is_dead():
    losses = behaviour(RELU, 5)
    assert len(losses) == 4 and np.all(np.diff(losses) < 0)
    dead = Cell(((0, 1), (0, 2), (1, 3)), ("relu", "tanh"))
    assert behaviour(dead, 5) == losses
