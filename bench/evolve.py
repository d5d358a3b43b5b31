"""Evaluations per second of the demo's population: inline, on two processes, on Ray; and the floor.

One run, the arms in turn, several rounds; the floor is the same merge and forward pass in a bare loop without a lab.
Writes results/bench/evolve.json.

Usage: python bench/evolve.py [--evaluations 200] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from heredity.data.composed import EIGHT_FOUNDERS
from heredity.data.operators import LearnShift, TrainAncestor
from heredity.data.probes import TwoShifts, _world
from heredity.lab import Lab, Model, Request
from heredity.merging.merge_space import MergeSpace
from heredity.merging.mergers import merger_for
from heredity.merging.operators import MergeByRecipe
from heredity.merging.recipe import MergeRecipe
from machine import describe, write_result


def recipes(founders: list[Model], count: int, seed: int) -> list[MergeRecipe]:
    """Random layer-wise recipes around equal weights."""
    space = MergeSpace.of([model.weights() for model in founders], "task_arithmetic", allow_negative=True)
    rng = np.random.default_rng(seed)
    return [space.decode(space.x0 + rng.normal(0, 1 / 6, space.dim)) for _ in range(count)]


def bare(founders: list[Model], ancestor: Model, asked: list[MergeRecipe]) -> float:
    """Seconds of merging and evaluating in a plain loop."""
    weights, base = [dict(model.weights()) for model in founders], dict(ancestor.weights())
    task, module = _world(0), ancestor.load()
    started = time.perf_counter()
    with torch.no_grad():
        for recipe in asked:
            module.load_state_dict(merger_for(recipe).merge(weights, base=base))
            (module(task.fitness_x).argmax(1) == task.fitness_y).double().mean().item()
    return time.perf_counter() - started


def through_lab(lab: Lab, founders: list[Model], ancestor: Model, asked: list[MergeRecipe]) -> float:
    """Seconds of the same as recorded births, on the lab's own executor."""
    requests = [Request(MergeByRecipe(recipe), founders, {"base": ancestor}, keep=False) for recipe in asked]
    started = time.perf_counter()
    lab.derive_all(requests, measure=TwoShifts())
    return time.perf_counter() - started


def main() -> None:
    """Run all arms in turn and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        labs = {name: Lab(Path(folder) / name.replace(":", ""), name) for name in ("inline", "processes:2", "ray")}
        family = {}
        for name, lab in labs.items():
            ancestor = lab.derive(TrainAncestor())
            founders = lab.derive_all([(LearnShift(spec), ancestor) for spec in EIGHT_FOUNDERS])
            family[name] = (founders, ancestor)
            through_lab(lab, founders, ancestor, recipes(founders, 8, 999))  # starts and warms the workers
        for number in range(asked.rounds):
            for name, lab in labs.items():
                founders, ancestor = family[name]
                tried = recipes(founders, asked.evaluations, number)
                if name == "inline":
                    times.setdefault("bare loop", []).append(bare(founders, ancestor, tried))
                times.setdefault(name, []).append(through_lab(lab, founders, ancestor, tried))
        for lab in labs.values():
            lab.close()
    rates = {name: asked.evaluations / statistics.median(seconds) for name, seconds in times.items()}
    result = {
        "what": "evaluations per second of the demo's population, merge and 1,600 images each",
        "machine": describe(),
        "evaluations": asked.evaluations,
        "rounds": asked.rounds,
        "seconds": {name: [round(value, 3) for value in seconds] for name, seconds in times.items()},
        "evaluations_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "ratios": {
            "lab inline / bare loop": round(rates["inline"] / rates["bare loop"], 3),
            "two processes / inline": round(rates["processes:2"] / rates["inline"], 3),
            "ray / inline": round(rates["ray"] / rates["inline"], 3),
        },
    }
    write_result("evolve", result)


if __name__ == "__main__":
    main()
