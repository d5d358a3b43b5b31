"""How good the searchers of vectors are: three shifted functions for all of them, and BBOB for CMA-ES against pycma.

First, every searcher of the package that constructs as `kind(Box, population=50, seed=)`: the median loss of five seeds
after 10,000 evaluations. Then the 24 functions of BBOB in ten dimensions from the package `coco-experiment`: the
expected running time (ERT: evaluations of all runs over the number of successful ones) to ten targets, of CMA-ES with
BIPOP restarts, of CR-FM-NES with the same, and of pycma's `fmin2(..., bipop=True)`, which all begin at the same points
with the same standard deviation and have the same budget.
Writes results/bench/search_quality.json unless quick.

Usage: python bench/search_quality.py [--quick] [--budget 50000] [--instances 3] [--processes 2]
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import multiprocessing
import os
import pkgutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import heredity.search
from heredity.search.box import Box
from heredity.search.cma_es import CMAES
from heredity.search.cr_fm_nes import CRFMNES
from heredity.search.generations import VectorSearcher
from heredity.search.restarts import Restarts
from heredity.search.test_functions import TEST_FUNCTIONS
from machine import describe, write_result

CACHE = Path(__file__).resolve().parent / ".cache"
COCO = "2.8.2"
DIM, SEEDS, EVALUATIONS, POPULATION = 10, 5, 10_000, 50
PLAIN = ("sphere", "rosenbrock", "rastrigin")
TARGETS = tuple(10.0**power for power in range(1, -9, -1))
OURS: dict[str, type[VectorSearcher]] = {"CMAES-bipop": CMAES, "CRFMNES-bipop": CRFMNES}
PEER = "pycma-bipop"


class EndOfRun(Exception):
    """The last target is hit or the budget is spent."""


class Counted:
    """A loss that notes after how many evaluations each target was first hit.

    Args:
        function: vector → loss.
        lowest: its lowest value.
        budget: evaluations after which the run ends.
    """

    def __init__(self, function: Callable[[Any], float], lowest: float, budget: int) -> None:
        self.function, self.lowest, self.budget = function, lowest, budget
        self.evaluations, self.hits = 0, [0] * len(TARGETS)
        self._next = 0

    def __call__(self, x: Any) -> float:
        """The loss.

        Raises:
            EndOfRun: nothing is left to be measured.
        """
        if self._next == len(TARGETS) or self.evaluations >= self.budget:
            raise EndOfRun
        loss = float(self.function(x))
        self.evaluations += 1
        while self._next < len(TARGETS) and loss - self.lowest <= TARGETS[self._next]:
            self.hits[self._next] = self.evaluations
            self._next += 1
        return loss


def vector_searchers() -> dict[str, type[VectorSearcher]]:
    """The concrete searchers of vectors in the package that take a box, a population and a seed, by name."""
    found: dict[str, type[VectorSearcher]] = {}
    for info in pkgutil.iter_modules(heredity.search.__path__):
        if info.name in ("operators", "probes"):
            continue
        module = importlib.import_module(f"heredity.search.{info.name}")
        for name, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ != module.__name__ or inspect.isabstract(kind) or not issubclass(kind, VectorSearcher):
                continue
            try:
                kind(Box(-5.0, 5.0, dim=DIM), population=POPULATION, seed=0)
            except (TypeError, ValueError) as error:
                print(f"left out: {name} ({error})")
                continue
            found[name] = kind
    return dict(sorted(found.items()))


def plain_row(kind: type[VectorSearcher], evaluations: int, seeds: int) -> dict[str, Any]:
    """Losses after `evaluations` on the shifted functions, one for each seed, and the seconds of all."""
    row: dict[str, Any] = {}
    started = time.perf_counter()
    for name in PLAIN:
        problem = TEST_FUNCTIONS[name](DIM, optimum=1.0, rotate=False)
        losses = []
        for seed in range(seeds):
            searcher = kind(Box(-5.0, 5.0, dim=DIM), population=POPULATION, seed=seed)
            while searcher.generation * POPULATION < evaluations:
                searcher.tell_array(-problem(searcher.ask_array()))
            assert searcher.best is not None
            losses.append(-searcher.best[1])
        row[name] = {"median": statistics.median(losses), "all": losses}
    row["seconds"] = round(time.perf_counter() - started, 2)
    return row


def coco() -> Any:
    """The package cocoex: installed, or from an environment under bench/.cache, which is made where it is missing."""
    with contextlib.suppress(ImportError):
        return importlib.import_module("cocoex")
    folder = CACHE / "bbob_peers"
    if not list(folder.glob("lib/python*/site-packages/cocoex")):
        print(f"making an environment with coco-experiment {COCO} under bench/.cache", flush=True)
        venv.create(folder, with_pip=True)
        command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", f"coco-experiment=={COCO}"]
        subprocess.run(command, check=True)
    # At the end of the path: numpy and cma stay those of this environment, which is of the same Python.
    sys.path.append(str(next(folder.glob("lib/python*/site-packages"))))
    return importlib.import_module("cocoex")


def bbob_problem(function: int, instance: int) -> tuple[Any, float]:
    """A BBOB problem and its lowest value."""
    suite = coco().Suite("bbob", "", f"dimensions:{DIM} function_indices:{function} instance_indices:{instance}")
    problem = suite.get_problem(0)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        problem._best_parameter("print")  # writes the optimum to a file
        optimum = np.loadtxt(next(Path().glob("._bbob*")))
    value = float(problem(optimum))
    lowest = round(value, 2)  # the definitions round the lowest value to two decimals
    if abs(value - lowest) > 1e-8:
        raise ValueError(f"BBOB function {function}, instance {instance}: the lowest value is {value}, not rounded")
    return problem, lowest


def bbob_run(task: tuple[str, int, int, int]) -> dict[str, Any]:
    """One run: (method, function, instance, budget) → hits by target, 0 where missed, and what was spent."""
    method, function, instance, budget = task
    problem, lowest = bbob_problem(function, instance)
    counted = Counted(problem, lowest, budget)
    seed = 1000 * function + instance
    rng = np.random.default_rng(seed)
    start = rng.uniform(-4, 4, DIM)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that plotting is not available
        importlib.import_module("cma")  # not to be counted
    began = time.perf_counter()
    with contextlib.suppress(EndOfRun):
        if method == PEER:
            pycma(counted, start, seed, rng)
        else:
            space, starts = Box(dim=DIM, start=start, scale=2.0), Box(-4.0, 4.0, dim=DIM)
            searcher = Restarts(OURS[method], space, schedule="bipop", starts=starts, seed=seed)
            while True:
                searcher.tell_array([-counted(x) for x in searcher.ask_array()])
    seconds = time.perf_counter() - began
    return {"method": method, "function": function, "hits": counted.hits, "spent": counted.evaluations, "s": seconds}


def pycma(counted: Counted, start: Any, seed: int, rng: np.random.Generator) -> None:
    """pycma with BIPOP restarts until the run ends."""
    import cma

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")

        first = [start]
        options = {"verbose": -9, "verb_log": 0, "verb_disp": 0, "seed": seed, "maxfevals": counted.budget}
        while True:  # should its restarts end before the budget
            cma.fmin2(
                counted, lambda: first.pop() if first else rng.uniform(-4, 4, DIM), 2.0, options, bipop=True, restarts=9
            )


def expected_times(runs: Sequence[dict[str, Any]]) -> list[float | None]:
    """ERT by target; None where no run was successful."""
    found: list[float | None] = []
    for place in range(len(TARGETS)):
        spent = sum(run["hits"][place] or run["spent"] for run in runs)
        successes = sum(run["hits"][place] > 0 for run in runs)
        found.append(spent / successes if successes else None)
    return found


def compare(ours: dict[int, list[float | None]], peer: dict[int, list[float | None]]) -> dict[str, Any]:
    """ERT of the peer over ours, as a geometric mean over what both reached, and what one alone reached."""
    logs, ours_only, peer_only = [], 0, 0
    for function, times in ours.items():
        for a, b in zip(times, peer[function], strict=True):
            if a is not None and b is not None:
                logs.append(np.log(b / a))
            ours_only += a is not None and b is None
            peer_only += b is not None and a is None
    faster = float(np.exp(np.mean(logs))) if logs else float("nan")
    return {"times_faster": round(faster, 3), "both": len(logs), "ours_only": ours_only, "peer_only": peer_only}


def bbob(functions: Sequence[int], instances: int, budget: int, processes: int) -> dict[str, Any]:
    """Expected running times of all methods."""
    coco()  # installed once, before the processes start
    methods = [*OURS, PEER]
    tasks = [
        (method, function, instance, budget)
        for function in functions
        for instance in range(1, instances + 1)
        for method in methods
    ]
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        runs = list(pool.map(bbob_run, tasks))
    table = {
        method: {
            function: expected_times([r for r in runs if r["method"] == method and r["function"] == function])
            for function in functions
        }
        for method in methods
    }
    spent = {method: sum(run["spent"] for run in runs if run["method"] == method) for method in methods}
    seconds = {method: sum(run["s"] for run in runs if run["method"] == method) for method in methods}
    return {
        "targets": list(TARGETS),
        "expected_running_time": table,
        "microseconds_per_evaluation": {method: round(1e6 * seconds[method] / spent[method], 1) for method in methods},
        "against_pycma": {method: compare(table[method], table[PEER]) for method in OURS},
    }


def main() -> None:
    """Both tables; see the module's first lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a check that everything runs; nothing is written")
    parser.add_argument("--budget", type=int, default=50_000)
    parser.add_argument("--instances", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--functions", type=int, nargs="+", default=list(range(1, 25)))
    asked = parser.parse_args()
    started = time.perf_counter()
    evaluations, seeds = (1_000, 2) if asked.quick else (EVALUATIONS, SEEDS)
    with threadpool_limits(1):
        plain = {name: plain_row(kind, evaluations, seeds) for name, kind in vector_searchers().items()}
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # for the processes, of which there are several
    print(f"{'':22s}" + "".join(f"{name:>12s}" for name in PLAIN) + f"{'seconds':>10s}")
    for name, row in plain.items():
        medians = "".join(f"{row[function]['median']:12.2e}" for function in PLAIN)
        print(f"{name:22s}{medians}{row['seconds']:10.1f}")
    found = (
        bbob([1, 3], 1, 3_000, asked.processes)
        if asked.quick
        else bbob(asked.functions, asked.instances, asked.budget, asked.processes)
    )
    print(f"\nBBOB, {DIM}-D: ERT to 1e-1 and 1e-8")
    for function in found["expected_running_time"][PEER]:
        times = {method: rows[function] for method, rows in found["expected_running_time"].items()}
        shown = "".join(f"  {method} {t[2] or np.nan:8.0f} {t[-1] or np.nan:8.0f}" for method, t in times.items())
        print(f"f{function:<3d}{shown}")
    print(
        found["against_pycma"], found["microseconds_per_evaluation"], f"{time.perf_counter() - started:.0f} s", sep="\n"
    )
    if asked.quick:
        return
    result = {
        "what": "quality of the searchers of vectors: three shifted functions, and BBOB against pycma",
        "machine": describe("cma"),
        "shifted": {
            "dim": DIM, "optimum": 1.0, "box": [-5, 5], "population": POPULATION,
            "evaluations": evaluations, "seeds": seeds, "loss": plain,
        },
        "bbob": {"dim": DIM, "budget": asked.budget, "instances": asked.instances, "coco": COCO, **found},
        "ratios": {
            f"{method}: {key}": value
            for method, values in found["against_pycma"].items()
            for key, value in values.items()
        },
        "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip
    write_result("search_quality", result)


if __name__ == "__main__":
    main()
