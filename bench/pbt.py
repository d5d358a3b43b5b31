"""Population based training of one small network: wall time and overhead per decision, against Ray Tune's.

8 members × 20 rounds of 20 updates of an MLP on digits, truncation of a quarter, a barrier per round, a checkpoint per
round, the same training function. Ours runs in this process, in two processes, and as births of a lab; Ray with its
class interface, actors reused, on two slots: the fastest of three settings in single runs on a busy machine.
`ray.init` is not timed; the start of workers is, theirs and ours. The overhead of a decision is what is left
of the wall time, times the slots, when the time of the training function alone (the floor) is taken away, per round of
a member. Arms take turns, so that a busy machine is busy for all. A searcher alone, without any training, is timed as
well. Writes results/bench/pbt.json.

Usage: python bench/pbt.py [--repeats 3] [--quick]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import heredity as hd
from heredity.search.fields import LogUniform
from heredity.search.operators import evolve_population
from heredity.search.pbt import PBT
from heredity.search.pbt_driver import run_pbt
from machine import describe, write_result
from peers import pbt_training as script

PEER = Path(__file__).resolve().parent / "peers" / "pbt_ray.py"
MEMBERS, ROUNDS, SLOTS = 8, 20, 2


@dataclass(frozen=True)
class Digits:
    """The training function for the lab."""

    def make(self, hyper: Any, seed: int) -> Any:
        """New."""
        return script.make(hyper, seed)

    def step(self, training: Any, hyper: Any) -> None:
        """One round."""
        script.step(training, hyper)

    def evaluate(self, training: Any) -> float:
        """Accuracy."""
        return script.evaluate(training)


def population(seed: int, members: int = MEMBERS) -> PBT:
    """The searcher of all our arms."""
    return PBT({"lr": LogUniform(script.LOW, script.HIGH)}, members, fraction=0.25, seed=seed)


def floor(seed: int, rounds: int) -> dict[str, float]:
    """The training function alone: nothing is compared, copied or saved."""
    trainings = [script.make(candidate.value.hyper, candidate.value.seed) for candidate in population(seed).ask()]
    begun = time.perf_counter()
    scores = []
    for training in trainings:
        for _ in range(rounds):
            script.step(training, {})
            scores.append(script.evaluate(training))
    return {"seconds": time.perf_counter() - begun, "rounds": len(scores), "best": max(scores)}


def plain(seed: int, rounds: int, processes: int = 0) -> dict[str, float]:
    """The driver, in this process or in others, whose start counts; checkpoints go to a folder."""
    pbt = population(seed)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn")) if processes else None
        result = run_pbt(pbt, script.make, script.step, script.evaluate, rounds, folder=folder, executor=pool)
        seconds = time.perf_counter() - begun
    if pool is not None:
        pool.shutdown()
    return {"seconds": seconds, "rounds": len(pbt.events), "best": result.best[1]}


def recorded(seed: int, rounds: int) -> dict[str, float]:
    """Every round a birth in a lab, in this process."""
    pbt = population(seed)
    with tempfile.TemporaryDirectory() as folder, hd.Lab(Path(folder) / "lab") as lab:
        begun = time.perf_counter()
        result = evolve_population(lab, pbt, Digits(), rounds)
        seconds = time.perf_counter() - begun
    return {"seconds": seconds, "rounds": len(pbt.events), "best": result.value}


def ray(seed: int, rounds: int) -> dict[str, float]:
    """Ray Tune, in a process of its own."""
    command = [sys.executable, str(PEER), *map(str, (MEMBERS, rounds, SLOTS, seed, 1, 1))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"Ray's run failed:\n{done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def searcher_alone(members: int, rounds: int) -> float:
    """Seconds per decision of ask and tell."""
    pbt = population(0, members)
    begun = time.perf_counter()
    for _ in range(rounds):
        asked = pbt.ask()
        pbt.tell(asked, [float(candidate.value.seed) for candidate in asked])
    return (time.perf_counter() - begun) / (members * rounds)


def main() -> None:
    """Run all arms in turn and write the result; with --quick only print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="three rounds, once; nothing is written")
    args = parser.parse_args()
    repeats, rounds = (1, 3) if args.quick else (args.repeats, ROUNDS)
    arms: dict[str, tuple[int, Callable[[int], dict[str, float]]]] = {
        "floor": (1, lambda seed: floor(seed, rounds)),
        "run_pbt, this process": (1, lambda seed: plain(seed, rounds)),
        "run_pbt, two processes": (SLOTS, lambda seed: plain(seed, rounds, SLOTS)),
        "births of a lab, this process": (1, lambda seed: recorded(seed, rounds)),
        "Ray Tune, two slots": (SLOTS, lambda seed: ray(seed, rounds)),
    }
    floor(0, 1)  # imports and data
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
    for seed in range(repeats):
        for name, (_, arm) in arms.items():
            runs[name].append(arm(seed))
            if runs[name][-1]["rounds"] != MEMBERS * rounds:
                raise SystemExit(f"{name} trained {runs[name][-1]['rounds']} rounds, not {MEMBERS * rounds}")
    bare = [run["seconds"] for run in runs["floor"]]
    found: dict[str, Any] = {}
    for name, (slots, _) in arms.items():
        seconds = [run["seconds"] for run in runs[name]]
        spent = [(slots * s - alone) / (MEMBERS * rounds) for s, alone in zip(seconds, bare, strict=True)]
        found[name] = {
            "slots": slots,
            "seconds": round(statistics.median(seconds), 3),
            "overhead_per_decision_ms": round(1e3 * statistics.median(spent), 3),
            "best_accuracy": round(statistics.median(run["best"] for run in runs[name]), 4),
            "runs": [round(s, 3) for s in seconds],
        }
    for members in (8, 100):
        found[f"searcher alone, {members} members"] = {"per_decision_us": round(1e6 * searcher_alone(members, 20), 1)}
    theirs = found["Ray Tune, two slots"]
    ratios = {
        f"Ray's seconds / ours, {name}": round(theirs["seconds"] / found[name]["seconds"], 2)
        for name in list(arms)[1:4]
    }
    result = {"machine": describe("ray"), "repeats": repeats, "arms": found}
    result["ratios"] = ratios
    if args.quick:
        print(json.dumps({"arms": found, "ratios": ratios}, indent=2))
    else:
        write_result("pbt", result)


if __name__ == "__main__":
    main()
