"""Policy searches as recorded births: their budgets, what they hand over, and every arm of the claim in small."""

import random
import sys

import numpy as np
import pytest
import torch

from heredity.environments.policy import PopulationPolicy
from heredity.errors import BirthFailed, MissingExtra
from heredity.lab import Lab
from heredity.papers.claim import Cell
from heredity.papers.runner import run_cells
from heredity.papers.search.deep_ga import CLAIM, PAPER
from heredity.papers.testbeds.policy_search import (
    FAR,
    Counted,
    Policy,
    PolicySearch,
    atari_network,
    compression,
    mlp,
    normalised,
)
from heredity.search.seedchain import SeedChain

TINY = {"population": 10, "truncation": 3, "candidates": 2, "recheck": 2, "out_std": 1.0}
SEED = 901  # a pilot's


@pytest.fixture
def lab(tmp_path):
    with Lab(tmp_path / "lab", threads=1) as lab:
        yield lab


def settings(method: str) -> dict[str, object]:
    """The card's, with little of everything."""
    return {
        **CLAIM.scale("small").settings,
        "method": method,
        "population": 10,
        "truncation": 3,
        "candidates": 2,
        "recheck": 1,
        "budgets": (6000, 11_000),
        "maze_generations": 2,
        "maze_ppo_steps": 10_000,
    }


@pytest.mark.slow
@pytest.mark.parametrize("arm", [arm.name for arm in CLAIM.arms])
def test_every_arm_gives_what_the_card_names(lab, arm):
    if arm == "ppo":
        pytest.importorskip("stable_baselines3")
    method = str(CLAIM.arm(arm).settings["method"])
    cells = [Cell(arm, world, SEED, settings(method)) for world in CLAIM.worlds]
    control, maze = run_cells(PAPER, CLAIM, cells, lab, scale="small")
    assert control.failed is None
    assert maze.failed is None
    chained = {"identical", "compression", "size"} if arm == "ga" else set()
    assert set(control.values) == {"score", "cartpole", "acrobot", "steps"} | chained
    assert set(maze.values) == {"score", "nearest", "solved", "steps"}
    assert control.values["score"] == pytest.approx((control.values["cartpole"] + control.values["acrobot"]) / 2)
    assert 0 < control.values["cartpole"] <= 1
    assert maze.values["score"] == pytest.approx(1 - maze.values["nearest"] / FAR)
    if arm != "ppo":  # which rounds up to whole batches
        assert control.values["steps"] <= 8500
        assert maze.values["steps"] == 200_000
    if chained:
        assert control.values["identical"] == 1
        assert control.values["compression"] > 10_000


def test_a_champion_is_what_was_tested(lab):
    operator = PolicySearch("CartPole-v1", "ga", 20_000, (8,), **TINY)
    model = lab.derive(operator, seed=SEED)
    assert isinstance(model.load(), Policy)
    assert model.notes["steps"] <= 20_000
    assert lab.derive(operator, seed=SEED).id == model.id
    run = Counted("CartPole-v1", (8,), 0, SEED, 1.0)
    vector = run.decoder.params.flatten({k.removeprefix("net."): v for k, v in model.weights().items()})
    assert run.test(vector) == model.notes["test"] == 500 * model.notes["score"]


def test_a_batch_runs_only_where_it_fits():
    run = Counted("CartPole-v1", (4,), 1000, 0, 0.1)
    assert run.fits(2)
    assert not run.fits(3)
    run(torch.zeros(1, run.decoder.size))
    assert 0 < run.used < 500
    assert not run.fits(2)
    first = run.used
    again = Counted("CartPole-v1", (4,), 1000, 0, 0.1)
    again(torch.zeros(1, run.decoder.size))
    assert again.used == first


def test_the_maze_is_over_when_somebody_is_there():
    run = Counted("HardMaze", (16,), 10**9, 0, 1.0)
    run(torch.zeros(3, run.decoder.size))
    assert run.nearest == pytest.approx(FAR)
    assert not run.over
    run.nearest = 9.9
    assert run.over


def test_a_budget_below_a_generation_is_said(lab):
    with pytest.raises(BirthFailed, match="500 steps do not suffice"):
        lab.derive(PolicySearch("CartPole-v1", "ga", 500, (8,), **TINY), seed=SEED)


def test_numbers():
    assert normalised("CartPole-v1", 250) == 0.5
    assert normalised("Acrobot-v1", -100) == 0.8
    assert sum(p.numel() for p in atari_network().parameters()) > 4_000_000
    # 4,052,658 parameters of 4 bytes over 8 · 51 bytes.
    assert compression(SeedChain(1)) == pytest.approx(4 * 4_052_658 / 408)
    assert compression(SeedChain(1, ((2, 0.1),) * 90)) == compression(SeedChain(1))


def test_ppos_actor_is_the_policy_that_is_tested():
    PPO = pytest.importorskip("stable_baselines3").PPO
    from heredity.papers.testbeds.ppo_baseline import actor, vec_env

    with torch.random.fork_rng(devices=[]):
        model = PPO("MlpPolicy", vec_env("CartPole-v1", 2, 0), policy_kwargs={"net_arch": [8, 8]}, device="cpu")
    seen = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = model.policy.get_distribution(seen).distribution.logits  # normalised
    ours = torch.from_numpy(PopulationPolicy(mlp((4, 8, 8, 2))).bind(actor(model)[None])(seen[None].numpy()))[0]
    torch.testing.assert_close(ours.log_softmax(1), theirs)


def test_ppo_repeats_itself_and_leaves_the_global_generators():
    pytest.importorskip("stable_baselines3")
    from heredity.papers.testbeds import ppo_baseline

    run = Counted("CartPole-v1", (8, 8), 10**6, SEED, 0.1)
    before = torch.get_rng_state(), random.getstate(), str(np.random.get_state())  # noqa: NPY002
    vector, steps, _ = ppo_baseline.learn(run, 1000, SEED)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), str(np.random.get_state()))  # noqa: NPY002
    assert 1000 <= steps < 1256
    assert torch.equal(ppo_baseline.learn(run, 1000, SEED)[0], vector)
    assert not torch.equal(ppo_baseline.learn(run, 1000, SEED + 1)[0], vector)


def test_rows_of_ppos_world_begin_anew_as_they_end():
    pytest.importorskip("stable_baselines3")
    from heredity.papers.testbeds.ppo_baseline import vec_env

    envs = vec_env("CartPole-v1", 3, 0)
    seen = envs.reset()
    ends = 0
    for _ in range(40):
        seen, rewards, done, infos = envs.step(np.array([0, 1, 0]))
        assert (rewards == 1).all()
        for row in range(3):
            assert ("terminal_observation" in infos[row]) == done[row]
            if done[row]:  # it fell, and the next observation is a fresh one
                assert abs(infos[row]["terminal_observation"][2]) > 0.2
                assert (np.abs(seen[row]) < 0.05).all()
                assert not infos[row]["TimeLimit.truncated"]
        ends += int(done.sum())
    assert ends > 6
    maze = vec_env("HardMaze", 2, 0)
    maze.reset()
    for step in range(400):
        _, _, done, infos = maze.step(np.zeros((2, 2), np.float32))
        assert done.all() == (step == 399)
    assert infos[0]["TimeLimit.truncated"]
    assert maze.nearest == pytest.approx(FAR)


def test_ppo_is_never_skipped(monkeypatch):
    from heredity.papers.testbeds import ppo_baseline

    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(MissingExtra, match=r"heredity\[baselines\]"):
        ppo_baseline.learn(Counted("CartPole-v1", (8,), 1000, 0, 0.1), 100, 0)
