import numpy as np
import pytest

from heredity.search.box import Box
from heredity.search.particle_swarm import PSO


def sphere(x):
    return np.square(x - 1).sum(axis=1)


def step(searcher, f=sphere):
    searcher.tell_array(-f(searcher.ask_array()))


@pytest.mark.parametrize("neighbours", ["all", "ring"])
def test_solves_the_sphere(neighbours):
    searcher = PSO(Box(-5, 5, dim=5), 30, neighbours=neighbours)
    for _ in range(200):
        step(searcher)
    assert -searcher.best[1] < 1e-6


def test_without_pulls_a_particle_glides_on():
    searcher = PSO(Box(-1e9, 1e9, dim=2), 5, inertia=0.5, own=0, social=0)
    positions = []
    for _ in range(4):
        positions.append(searcher.ask_array().copy())
        step(searcher)
    moves = np.diff(positions, axis=0)
    np.testing.assert_allclose(moves[1], 0.5 * moves[0])
    np.testing.assert_allclose(moves[2], 0.25 * moves[0])


def test_inertia_falls_linearly_and_stays_at_the_last():
    searcher = PSO(Box(-1e9, 1e9, dim=2), 5, inertia=(1.0, 0.0), generations=4, own=0, social=0)
    found = []
    for _ in range(6):
        found.append(searcher._inertia())
        step(searcher)
    assert found == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]


def test_leaders_of_the_ring_are_the_best_of_three_and_of_the_swarm_the_best_of_all():
    ring, swarm = PSO(Box(-5, 5, dim=1), 5, neighbours="ring"), PSO(Box(-5, 5, dim=1), 5)
    for searcher in (ring, swarm):
        searcher._top = np.arange(5.0)[:, None]
        searcher._worth = np.array([0.0, 9.0, 1.0, 2.0, 3.0])
    assert ring._leaders()[:, 0].tolist() == [1, 1, 1, 4, 4]
    assert swarm._leaders()[:, 0].tolist() == [1] * 5


def test_particles_stop_at_the_bounds_and_are_no_faster_than_allowed():
    searcher = PSO(Box(0, 1, dim=3), 20, fastest=0.1)
    last = searcher.ask_array().copy()
    for _ in range(20):
        step(searcher, lambda x: np.square(x - 1.5).sum(axis=1))  # the optimum lies outside
        now = searcher.ask_array().copy()
        assert now.min() >= 0
        assert now.max() <= 1
        assert np.abs(now - last).max() <= 0.1 + 1e-12
        last = now
    assert (searcher.best[0].value == 1).all()


def test_memories_never_get_worse_and_a_migrant_is_remembered():
    searcher = PSO(Box(-5, 5, dim=3), 8)
    step(searcher)
    for _ in range(10):
        before = searcher._worth.copy()
        step(searcher)
        assert (searcher._worth >= before).all()
    searcher.receive(np.ones((1, 3)), np.zeros(1))
    assert searcher.emigrants(1)[1] == [0.0]
    searcher.ask()
    with pytest.raises(ValueError, match="between generations"):
        searcher.receive(np.ones((1, 3)), np.zeros(1))


@pytest.mark.parametrize(
    "options", [{"neighbours": "star"}, {"inertia": (0.9, 0.4)}, {"own": -1.0}, {"reach": 0}, {"generations": 5}]
)
def test_wrong_settings_are_named(options):
    with pytest.raises(ValueError, match=r"must|pass both|needs"):
        PSO(3, **options)
