"""The hard maze, for one and for many."""

import math

import numpy as np
import pytest

from heredity.environments.maze_world import GOAL, START, STEPS, MazeWorld

pytest.importorskip("gymnasium")


def one():
    from heredity.environments.hard_maze import HardMaze

    return HardMaze()


def test_nobody_moves_without_actions_and_the_reward_is_the_distance_at_the_end():
    maze = one()
    maze.reset()
    world = MazeWorld()
    world.reset(np.arange(2))
    for step in range(STEPS):
        _, reward, terminated, truncated, info = maze.step(np.zeros(2, np.float32))
        _, rewards, ended = world.step(np.zeros((2, 2), np.float32), np.ones(2, dtype=bool))
        assert (terminated, truncated) == (False, step == STEPS - 1)
        assert rewards[0] == rewards[1] == pytest.approx(reward)
        assert not ended.any()
        if step < STEPS - 1:
            assert reward == 0
    assert info["place"] == START
    assert not info["solved"]
    assert reward == pytest.approx(-math.sqrt(5**2 + 164**2))  # from (36, 184) to (31, 20): −164.08


def test_what_is_seen_at_the_start():
    """Worked out by hand from the walls around (36, 184), heading along x."""
    seen = MazeWorld().reset(np.array([0]))[0]
    assert seen[0] == 1
    # Ahead, at y = 184, stands the wall (77, 201)–(108, 164): x = 77 + 31 · 17/37 = 91.243, 55.243 away.
    assert seen[3] == pytest.approx((77 + 31 * 17 / 37 - 36) / 100, abs=1e-6)
    # Behind, the wall (4, 49)–(7, 202): x = 4 + 3 · 135/153 = 6.647, 29.353 away.
    assert seen[6] == pytest.approx((36 - 4 - 3 * 135 / 153) / 100, abs=1e-6)
    # +90° is towards larger y: the wall (7, 202)–(195, 198) at x = 36 has y = 202 − 4 · 29/188 = 201.383.
    assert seen[5] == pytest.approx((202 - 4 * 29 / 188 - 184) / 100, abs=1e-6)
    # −90°: the wall (6, 80)–(33, 121) ends at x = 33 and (56, 54)–(56, 157) begins at 56; nothing within 100.
    assert seen[1] == 1
    # The goal lies towards smaller y: the fourth quadrant, right in a plane whose y points down the page.
    assert seen[7:].tolist() == [0, 0, 0, 1]


def test_many_move_as_one():
    rng = np.random.default_rng(4)
    mazes, world = [one() for _ in range(6)], MazeWorld()
    seen = world.reset(np.arange(6))
    for row, maze in enumerate(mazes):
        np.testing.assert_allclose(maze.reset()[0], seen[row], atol=1e-6)
    refused = 0
    bias = rng.uniform(-0.2, 0.2, (6, 2)) + np.array([0.0, 0.3])  # mostly forward, so that walls are met
    for _ in range(STEPS):
        actions = (bias + rng.normal(0, 0.3, (6, 2))).astype(np.float32)
        before = world.behaviour()
        seen, rewards, _ = world.step(actions, np.ones(6, dtype=bool))
        refused += int((world.behaviour() == before).all(axis=1).sum())
        for row, maze in enumerate(mazes):
            theirs, reward, _, _, info = maze.step(actions[row])
            np.testing.assert_allclose(theirs, seen[row], atol=1e-5)
            np.testing.assert_allclose(info["place"], world.behaviour()[row], atol=1e-8)
            assert reward == pytest.approx(rewards[row])
    assert refused > 50  # the comparison has seen collisions


def test_nobody_comes_nearer_to_a_wall_than_its_radius():
    world = MazeWorld()
    world.reset(np.arange(40))
    rng = np.random.default_rng(1)
    bias = rng.uniform(-0.5, 0.5, (40, 2))
    for _ in range(STEPS):
        world.step((bias + rng.normal(0, 0.2, (40, 2))).astype(np.float32), np.ones(40, dtype=bool))
        x, y = world.behaviour().T
        assert ((x > 3 + 8) & (x < 195 - 8) & (y > 5) & (y < 202 - 8)).all()
    assert np.ptp(world.behaviour(), axis=0).min() > 20  # they do get about


def test_a_turn_and_speed_change_by_at_most_a_fifth():
    maze = one()
    maze.reset()
    places = [maze.step(np.float32([0, 0.5]))[4]["place"][0] for _ in range(3)]
    # Speeds .2, .4, .6 along x.
    assert places == pytest.approx([36.2, 36.6, 37.2])


def test_gymnasium_accepts_it():
    from gymnasium.utils.env_checker import check_env

    check_env(one(), skip_render_check=True)
    with pytest.raises(ValueError, match="finite"):
        one().step(np.float32([np.nan, 0]))


def test_solved_is_a_distance():
    from heredity.environments.hard_maze import HardMaze

    maze = HardMaze(solved=200.0)
    assert maze.reset()[1]["solved"]
    assert math.dist(START, GOAL) == pytest.approx(maze.reset()[1]["distance"])
