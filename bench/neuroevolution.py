"""Policy steps per second of a population: our rollouts, EvoTorch, a process pool of gymnasium, and bare stepping.

Policies have two hidden layers of 64, or are small convolutional ones on four frames of Pong; all arms get the same
weights and caps on episodes, two workers, and one episode a member. Floors: our world stepped without policies, and one
of gymnasium's environments with random actions. Without --peers-python only our own arms run.
Seeds of episodes differ between arms; steps are counted, and mean returns written down.
Writes results/bench/neuroevolution.json.

Usage: python bench/neuroevolution.py [--peers-python PATH] [--rounds 3] [--only WORLD] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from heredity.environments.policy import PopulationPolicy
from heredity.environments.rollout import Rollout
from heredity.environments.world import make_world
from machine import describe, write_result

PEER = Path(__file__).parent / "peers" / "neuro_gym.py"
PEERS = {
    "process pool": "pool",
    "gymnasium alone": "raw",
    "EvoTorch GymNE": "evotorch_gymne",
    "EvoTorch VecGymNE": "evotorch_vecgymne",
}
WORKERS = 2
# World: members, cap on an episode, standard deviation of the weights.
WORLDS = {
    "CartPole-v1": (256, 500, 0.3),
    "HalfCheetah-v5": (64, 200, 0.3),
    "Humanoid-v5": (128, 1000, 0.05),
    "ALE/Pong-v5": (16, 500, 0.05),
}


def network(world: str, inner: int, outer: int) -> PopulationPolicy:
    """The same layers as in the peers."""
    if world.startswith("ALE/"):
        net = nn.Sequential(
            nn.Conv2d(4, 8, 8, 4),
            nn.ReLU(),
            nn.Conv2d(8, 16, 4, 4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, outer),
        )
    else:
        net = nn.Sequential(nn.Linear(inner, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outer))
    return PopulationPolicy(net)


def ours(rollout: Rollout, vectors: torch.Tensor, seed: int) -> dict[str, float]:
    """One round of our rollout."""
    started = time.perf_counter()
    found = rollout(vectors, seed)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "steps": found.total_steps, "mean": float(found.returns.mean())}


def bare(rollout: Rollout, members: int, cap: int) -> dict[str, float]:
    """Our world stepped with random actions and no policy; rows that end begin anew."""
    world, rng = rollout.world, np.random.default_rng(0)
    world.reset(np.arange(members))
    alive, steps = np.ones(members, dtype=bool), max(20, cap // 4)
    if world.actions.count:
        actions: Any = rng.integers(world.actions.count, size=(steps, members))
    else:
        shape = (steps, members, world.actions.size)
        actions = rng.uniform(world.actions.low, world.actions.high, shape).astype(np.float32)
    started = time.perf_counter()
    for step in range(steps):
        _, _, ended = world.step(actions[step], alive)
        rows = np.flatnonzero(ended)
        if len(rows):
            world.restart(rows, rng.integers(2**31, size=len(rows)))
    return {"seconds": time.perf_counter() - started, "steps": steps * members, "mean": 0.0}


def peer(python: str, arm: str, world: str, cap: int, weights: Path) -> list[dict[str, Any]]:
    """A round of another arm, in a process of its own."""
    command = [python, str(PEER), arm, world, str(cap), str(weights), "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_DEDUP_LOGS": "0"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{arm} in {world} failed:\n{done.stderr[-3000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"seconds"')]


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Median of steps per second, and every round."""
    rates = [run["steps"] / run["seconds"] for run in rounds]
    return {
        "steps_per_second": round(statistics.median(rates)),
        "rounds": [
            {"seconds": round(run["seconds"], 4), "steps": run["steps"], "mean": round(run["mean"], 2)}
            for run in rounds
        ],
        **({"versions": rounds[0]["versions"]} if "versions" in rounds[0] else {}),
    }


def measure(name: str, python: str | None, rounds: int, quick: bool) -> dict[str, Any]:
    """All arms of one world; rounds of arms alternate."""
    members, cap, std = WORLDS[name]
    members, cap = (max(8, members // 8), min(cap, 40)) if quick else (members, cap)
    world = make_world(name, threads=WORKERS)
    rollout = Rollout(world, network(name, world.observation[0], world.actions.size), cap=cap)
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(members, rollout.policy.size, generator=generator) * std
    taken: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.npy"
        np.save(weights, vectors.numpy())
        ours(rollout, vectors, rounds)  # makes the environments, as the first round of each peer does
        for turn in range(rounds):
            for label, arm in PEERS.items() if python else ():
                taken.setdefault(label, []).extend(peer(str(python), arm, name, cap, weights))
            taken.setdefault("heredity", []).append(ours(rollout, vectors, turn))
            taken.setdefault("our world alone", []).append(bare(rollout, members, cap))
    world.close()
    return {"members": members, "cap": cap, "arms": {label: summary(found) for label, found in taken.items()}}


def main() -> None:
    """Measure and write the result; with --quick only print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers-python", help="an interpreter with evotorch, gymnasium[mujoco], ale-py, opencv")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=list(WORLDS), help="one world")
    parser.add_argument("--quick", action="store_true", help="small populations, one round; nothing is written")
    args = parser.parse_args()
    torch.set_num_threads(1)
    worlds = {
        name: measure(name, args.peers_python, 1 if args.quick else args.rounds, args.quick)
        for name in ([args.only] if args.only else WORLDS)
    }
    ratios = {}
    for name, found in worlds.items():
        rate = {label: arm["steps_per_second"] for label, arm in found["arms"].items()}
        mine = rate.pop("heredity")
        for label, other in rate.items():
            ratios[f"{name}: heredity / {label}, steps per second"] = round(mine / other, 2)
    result = {"machine": describe("gymnasium", "mujoco", "ale-py"), "worlds": worlds, "ratios": ratios}
    if args.quick or args.only:
        print(json.dumps(result, indent=2))
    else:
        write_result("neuroevolution", result)


if __name__ == "__main__":
    main()
