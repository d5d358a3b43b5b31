"""NSGA-II and non-dominated sorting against pymoo: seconds, generations per second, and the hypervolume reached.

ZDT1 with 30 dimensions; both evaluate a whole generation as one array, with distribution indices 15 and 20 and one
compute thread as in pymoo; rounds alternate. Hypervolumes of both are taken here, from (1.1, 1.1). Sorting is of
uniform random points, the fastest of several calls; pymoo calls moocore's sort, which is C, and ships older compiled
ones of its own.
Writes results/bench/pareto.json.

Usage: python bench/pareto.py [--peers-python PATH] [--rounds 5] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

from heredity.search.nsga2 import NSGA2
from heredity.search.pareto import hypervolume, non_dominated_sort
from heredity.search.pareto_problems import zdt
from machine import describe, write_result

PEER = Path(__file__).parent / "peers" / "pareto_pymoo.py"
PEER_SORTS = (
    ("sort", "pymoo by moocore"),
    ("fast", "pymoo's fast_non_dominated_sort"),
    ("efficient", "pymoo's efficient_non_dominated_sort"),
)


def evolve(seed: int, size: int, generations: int) -> dict[str, Any]:
    """Seconds and front of NSGA-II on ZDT1."""
    problem = zdt(1)
    started = time.perf_counter()
    searcher = NSGA2(problem.space, size, eta_crossover=15.0, eta_mutation=20.0, seed=seed)
    for _ in range(generations):
        searcher.tell_array(problem(searcher.ask_array()))
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "front": [[-value for value in values] for _, values in searcher.front]}


def sort(seed: int, size: int, objectives: int, repeats: int) -> dict[str, Any]:
    """Seconds of the fastest sort, and the sizes of the fronts."""
    points = np.random.default_rng(seed).random((size, objectives))
    times, fronts = [], []
    for _ in range(repeats):
        started = time.perf_counter()
        fronts = non_dominated_sort(points)
        times.append(time.perf_counter() - started)
    return {"seconds": min(times), "fronts": [len(front) for front in fronts]}


def peer(python: str, job: str, *numbers: int) -> dict[str, Any]:
    """The same by pymoo, in its own environment."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [python, str(PEER), job, *map(str, numbers)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def summary(runs: list[dict[str, Any]], generations: int) -> dict[str, Any]:
    """Medians and every round."""
    seconds = [run["seconds"] for run in runs]
    volumes = [hypervolume(-np.array(run["front"]), (-1.1, -1.1)) for run in runs]
    return {
        "seconds": round(statistics.median(seconds), 4),
        "generations_per_second": round(generations / statistics.median(seconds), 1),
        "hypervolume": round(statistics.median(volumes), 4),
        "rounds": [{"seconds": round(s, 4), "hypervolume": round(v, 4)} for s, v in zip(seconds, volumes, strict=True)],
    }


def main() -> None:
    """Run all arms in turn and write the result; with --quick only print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers-python", help="the interpreter of an environment with pymoo")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small sizes, nothing is written")
    args = parser.parse_args()
    rounds, python = (1, args.peers_python) if args.quick else (args.rounds, args.peers_python)
    evolve(0, 100, 2)  # imports and caches
    arms: dict[str, Any] = {}
    ratios: dict[str, float] = {}
    for size, generations in ((100, 20 if args.quick else 200), (1000, 5 if args.quick else 50)):
        ours, theirs = [], []
        for seed in range(rounds):
            ours.append(evolve(seed, size, generations))
            if python:
                theirs.append(peer(python, "nsga2", seed, size, generations, 2))
        name = f"ZDT1, population {size}, {generations} generations"
        arms[name] = {"heredity": summary(ours, generations)}
        if theirs:
            arms[name]["pymoo"] = {**summary(theirs, generations), "version": theirs[0]["pymoo"]}
            ratios[f"{name}: pymoo's seconds / ours"] = round(
                arms[name]["pymoo"]["seconds"] / arms[name]["heredity"]["seconds"], 2
            )
    for objectives in (2, 3, 5):
        size = 1000 if args.quick else 10_000
        name, mine = f"sort {size} × {objectives}", sort(0, size, objectives, 5)
        arms[name] = {"heredity": {"seconds": round(mine["seconds"], 5), "fronts": len(mine["fronts"])}}
        for job, label in PEER_SORTS if python else ():
            their = peer(str(python), job, 0, size, 5 if job == "sort" else 1, objectives)
            if their["fronts"] != mine["fronts"]:
                raise SystemExit(f"{name}: the fronts of {label} have other sizes")
            arms[name][label] = {"seconds": round(their["seconds"], 5), "versions": {k: their[k] for k in ("pymoo",)}}
            if "moocore" in their:
                arms[name][label]["versions"]["moocore"] = their["moocore"]
            ratios[f"{name}: seconds of {label} / ours"] = round(their["seconds"] / mine["seconds"], 2)
    result = {"machine": describe(), "rounds": rounds, "arms": arms, "ratios": ratios}
    if args.quick:
        print(json.dumps({"arms": arms, "ratios": ratios}, indent=2))
    else:
        write_result("pareto", result)


if __name__ == "__main__":
    main()
