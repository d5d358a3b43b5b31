import pytest
import torch

from heredity.environments.gridworlds import (
    Levels,
    VecGridworld,
    deceptive_levels,
    general_levels,
    map_levels,
    move,
    uniform,
)

UP, DOWN, LEFT, RIGHT, STAY = range(5)


def walk(world, path):
    """Rewards and ends along a path that every worker takes."""
    shape = (len(world.levels), world.workers)
    seen = [world.step(torch.full(shape, action)) for action in path]
    return torch.stack([s[1] for s in seen]), torch.stack([s[2] for s in seen])


def test_a_scripted_path_collects_the_reward_at_the_stated_step():
    # S . .      the wall in the middle stops the second step; the object 0 lies in the lower right corner:
    # . # .      right, (down is free only in the last column), right, down, down reach it with the fifth step.
    # . . 0
    world = VecGridworld(map_levels("S..\n.#.\n..0", rewards=[1.0], ends=[1.0], horizon=20), workers=2)
    assert world.reset().tolist() == [[0, 0]]
    rewards, ends = walk(world, [RIGHT, DOWN, RIGHT, DOWN, DOWN])
    assert rewards[:, 0, 0].tolist() == [0, 0, 0, 0, 1] and ends[:, 0, 1].tolist() == [False] * 4 + [True]
    assert world.state.tolist() == [[0, 0]]  # the next episode has begun


def test_walls_and_borders_block():
    walls = torch.zeros(1, 16, dtype=torch.bool)
    walls[0, 5] = True
    size = torch.tensor([3])  # of a layout of 4 columns: the fourth row and column do not exist

    def at(cell, action):
        return int(move(torch.tensor([[cell]]), torch.tensor([[action]]), walls, size, 4))

    assert at(1, DOWN) == 1 and at(4, RIGHT) == 4  # the wall
    assert at(0, UP) == 0 and at(0, LEFT) == 0 and at(2, RIGHT) == 2 and at(8, DOWN) == 8  # borders of the small level
    assert at(0, RIGHT) == 1 and at(0, DOWN) == 4 and at(10, UP) == 6 and at(10, LEFT) == 9 and at(10, STAY) == 10


def test_a_collected_object_is_gone_until_the_episode_ends():
    levels = map_levels("S0\n..", rewards=[0.5], ends=[0.0], horizon=6)
    world = VecGridworld(levels, workers=1)
    first = int(world.reset())
    rewards, ends = walk(world, [RIGHT, LEFT, RIGHT, LEFT, RIGHT, LEFT, RIGHT])
    assert rewards.flatten().tolist() == [0.5, 0, 0, 0, 0, 0, 0.5]
    assert ends.flatten().tolist() == [False] * 5 + [True, False]
    assert first == 4 and world.states == 8  # cell 0 with the object; two values of its bit


def test_a_level_does_not_notice_its_neighbours():
    levels = general_levels(range(6))
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    ahead, other = VecGridworld(levels, 3), VecGridworld(levels.take(order), 3)
    ahead.reset()
    other.reset()
    for _ in range(200):
        actions = (ahead.noise() * 5).long()
        assert torch.equal((other.noise() * 5).long(), actions[order])
        one, two = ahead.step(actions), other.step(actions[order])
        assert all(torch.equal(a[order], b) for a, b in zip(one, two, strict=True))


def test_workers_and_streams_differ():
    world = VecGridworld(general_levels([1, 2]), 64)
    other = VecGridworld(general_levels([1, 2]), 64, stream=1)
    assert world.noise().unique().numel() == 128
    assert not torch.equal(world.noise(), other.noise())


def test_draws_are_uniform():
    # Mean of 40 000 uniform numbers: standard error 1/√12/200 = .0014; five of them.
    draws = uniform(torch.arange(200)[:, None], torch.arange(200)[None, :], 3)
    assert abs(float(draws.mean()) - 0.5) < 0.007 and float(draws.min()) >= 0 and float(draws.max()) < 1
    assert abs(float(torch.corrcoef(torch.stack([draws[:-1].flatten(), draws[1:].flatten()]))[0, 1])) < 0.025


def test_deceptive_levels_are_deceptive():
    levels = deceptive_levels(range(200))
    near, far = levels.places[:, 0], levels.places[:, 1]

    def distance(cells):
        return (cells // 4 - levels.start // 4).abs() + (cells % 4 - levels.start % 4).abs()

    assert set(distance(near).tolist()) <= {1, 2} and (near != far).all()
    # From the middle the farthest cells are 4 away and the third farthest 3; from a corner 6 and 5.
    assert int(distance(far).min()) == 3 and int(distance(far).max()) == 6
    assert VecGridworld(levels, 1).states == 16


def test_general_levels_keep_their_ranges():
    levels = general_levels(range(100))
    assert isinstance(levels, Levels) and len(levels) == 100
    assert set(levels.size.tolist()) == set(range(4, 11))
    used = levels.places >= 0
    assert set(used.sum(1).tolist()) == {1, 2, 3, 4, 5} and (levels.rewards[:, 0] > 0).all()
    assert not levels.walls.gather(1, levels.start[:, None]).any()
    assert not levels.walls.gather(1, levels.places.clamp(min=0))[used].any()
    row, column = levels.places // 10, levels.places % 10
    assert (row[used] < levels.size[:, None].expand_as(used)[used]).all()
    assert (column[used] < levels.size[:, None].expand_as(used)[used]).all()


def test_bad_maps_are_named():
    with pytest.raises(ValueError, match="square"):
        map_levels("S.\n.", rewards=[], ends=[], horizon=3)
    with pytest.raises(ValueError, match="objects"):
        map_levels("S.\n..", rewards=[1.0], ends=[1.0], horizon=3)
