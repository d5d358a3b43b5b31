"""How much of their time workers have nothing to do: generational, steady and asynchronous search.

A birth costs nothing and its evaluation between 1 and 10 times a shortest time, log-uniformly, decided by the
candidate. Two processes compute, one for each core of a small machine; eight processes sleep, so that a machine of
any size shows what eight free workers would. The searcher is regularised evolution, with a population of twice the
workers (SNES of the same size where generations are asked for). Workers are up before the clock starts. Two shares:
of the whole search, the engine's own, where founders that are waited for and the last stragglers count; and between
its first and last fifth, from the record alone: the seconds that the probes measured in that time, while everything
else (sending a task, making the child, waiting) counts as idle.

Usage: python bench/idle.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import heredity as hd
from heredity.search.box import Box
from heredity.search.evolution import RegularizedEvolution
from heredity.search.snes import SNES
from machine import describe, write_result

SPREAD = 10.0


@dataclass(frozen=True)
class Point(hd.Operator):
    """A child that is its evidence."""

    x: torch.Tensor

    def apply(self, parents: hd.Parents, context: hd.Context) -> dict[str, torch.Tensor]:
        return {"x": self.x.clone()}


@dataclass(frozen=True)
class Slow(hd.Probe):
    """A sphere whose measurement takes between `shortest` and `SPREAD` times as many seconds.

    Args:
        shortest: seconds.
        burn: compute for so long, rather than sleep.
    """

    shortest: float
    burn: bool

    def measure(self, model: hd.Model, context: hd.Context) -> Mapping[str, float]:
        x = model.weights()["x"].numpy()
        share = np.random.default_rng(x.view(np.uint64).tolist()).random()
        seconds = self.shortest * SPREAD**share
        end = time.perf_counter() + seconds
        if self.burn:
            while time.perf_counter() < end:
                float(np.square(x).sum())
        else:
            time.sleep(seconds)
        return {"value": float(np.square(x).sum())}


def search(lab: hd.Lab, mode: Any, probe: Slow, workers: int, *, evaluations: int, seed: int) -> hd.Evolved:
    """One search on workers that are up."""
    box = Box(-2.0, 3.0, dim=4)
    generational = mode == "generational"
    population = 2 * workers
    searcher = (
        SNES(box, population, seed=seed) if generational else RegularizedEvolution(box, population, workers, seed=seed)
    )
    return hd.Evolution(
        lab,
        searcher,
        birth=lambda candidate: hd.Request(Point(torch.from_numpy(candidate.value))),
        probe=probe,
        metric="value",
        direction="minimize",
        mode=mode,
        in_flight=4 * workers if mode == "steady" else None,
        name=f"{mode} {seed}",
        evaluations=evaluations,
    ).run()


def idle_between(lab: hd.Lab, name: str, workers: int) -> float:
    """The share of the workers' time, between the first and last fifth of a search, in which no probe was running."""
    spans = []
    for model in lab.models():
        if model.labels.get("search") == name:
            (line,) = lab.index.query("SELECT line FROM measurements WHERE id = ?", (model.id,))
            record = json.loads(line[0])
            spans.append((record["time"] - record["wall"], record["time"]))
    ends = sorted(end for _, end in spans)
    first, last = ends[len(ends) // 5], ends[-len(ends) // 5]
    busy = sum(max(0.0, min(end, last) - max(begin, first)) for begin, end in spans)
    return 1.0 - busy / (workers * (last - first))


def measure(workers: int, probe: Slow, evaluations: int, seeds: int) -> dict[str, Any]:
    """Idle shares of all modes, in turn, seed by seed."""
    modes = ("generational", "steady", "asynchronous")
    whole: dict[str, list[float]] = {mode: [] for mode in modes}
    between: dict[str, list[float]] = {mode: [] for mode in modes}
    with tempfile.TemporaryDirectory() as folder, hd.Lab(Path(folder) / "lab", f"processes:{workers}") as lab:
        wake = [hd.Request(Point(torch.full((4,), float(n), dtype=torch.float64))) for n in range(4 * workers)]
        lab.derive_all(wake, measure=Slow(0.05, False))
        for seed in range(seeds):
            for mode in modes:
                result = search(lab, mode, probe, workers, evaluations=evaluations, seed=seed)
                assert result.idle is not None
                whole[mode].append(round(result.idle, 4))
                between[mode].append(round(idle_between(lab, result.name, workers), 4))
                print(f"{workers} workers, {result}; {100 * between[mode][-1]:.1f} % between", flush=True)
    return {
        "workers": workers,
        "kind": "computing" if probe.burn else "sleeping",
        "shortest_s": probe.shortest,
        "longest_s": probe.shortest * SPREAD,
        "evaluations": evaluations,
        "idle_of_the_whole": whole,
        "idle_between": between,
        "median_of_the_whole": {mode: round(statistics.median(shares), 4) for mode, shares in whole.items()},
        "median_between": {mode: round(statistics.median(shares), 4) for mode, shares in between.items()},
    }


def main() -> None:
    """Measure and write results/bench/idle.json; `--quick` prints a shorter run and writes nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, fewer evaluations, nothing written")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    seeds, size = (1, 80) if quick else (3, 300)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        arms = [
            measure(2, Slow(0.1, True), size // 2, seeds),
            measure(8, Slow(0.1, False), size, seeds),
        ]
    result = {
        "what": "share of the workers' time without work; evaluation times spread tenfold, 100 % − busy",
        "machine": describe(),
        "seeds": seeds,
        "arms": arms,
        "ratios": {
            f"workers busy, {arm['workers']} {arm['kind']}, {mode}": f"{1 - idle:.1%}"
            for arm in arms
            for mode, idle in arm["median_between"].items()
        },
    }
    if not quick:
        write_result("idle", result)


if __name__ == "__main__":
    main()
