"""Generations per second of searchers on functions that cost next to nothing: ours, and other libraries'.

Every arm is a process of its own, held to as many processors as it may have threads, with the objective part of what is
timed: the sphere on one thread (10 × 50, 1000 × 1000 and 100 000 × 100 dimensions × candidates) and for CMA-ES (200
dimensions), Rastrigin's function in 1000 dimensions × 256 candidates on two threads. Arms take turns, round after
round. The batched arms count the generations of all their runs. Writes results/bench/search_overhead.json.

Usage: python bench/search_overhead.py [--peers-python PATH] [--rounds 3] [--seconds 5] [--only TEXT] [--quick]
       python bench/search_overhead.py --arm ARM DIM POPULATION THREADS SECONDS
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

Loop = Callable[[int], None]  # runs that many generations to their end
HERE = Path(__file__).resolve().parent
PEERS = {"evotorch": "0.6.1", "evosax": "0.3.2", "evox": "1.4.0", "pymoo": "0.6.2", "cma": "4.5.0", "jax": "0.10.2"}
RUNS = 200  # of a batched arm
MODULES = {
    "SNES": "snes",
    "PGPE": "pgpe",
    "OpenES": "open_es",
    "CMAES": "cma_es",
    "GeneticAlgorithm": "genetic",
    "PSO": "particle_swarm",
    "DifferentialEvolution": "differential_evolution",
}
SPHERE = ["SNES", "PGPE", "OpenES", "evotorch_snes", "evotorch_pgpe"]
SPHERE += [f"evosax_{method}_{how}" for method in ("snes", "pgpe") for how in ("scan", "loop")]
RASTRIGIN = ["SNES", "GeneticAlgorithm", "PSO", "DifferentialEvolution", "evotorch_snes_rastrigin", "evotorch_ga"]
RASTRIGIN += ["evox_pso", "evox_de", "evox_pso_compiled", "evox_de_compiled", "pymoo_ga", "pymoo_de"]
ROWS: dict[str, tuple[int, int, int, list[str]]] = {
    "sphere 10 x 50, 1 thread": (10, 50, 1, [*SPHERE, "BatchedSNES", "BatchedPGPE", "BatchedOpenES"]),
    "sphere 1000 x 1000, 1 thread": (1000, 1000, 1, SPHERE),
    "sphere 100000 x 100, 1 thread": (100_000, 100, 1, SPHERE),
    "rastrigin 1000 x 256, 2 threads": (1000, 256, 2, RASTRIGIN),
    "sphere 200 x 19, 1 thread": (200, 19, 1, ["CMAES", "pycma", "evotorch_cmaes"]),
}
RATIOS = [  # ours, theirs, rows
    ("SNES", "evotorch_snes"),
    ("SNES", "evosax_snes_scan"),
    ("SNES", "evosax_snes_loop"),
    ("BatchedSNES", "evosax_snes_scan"),
    ("PGPE", "evotorch_pgpe"),
    ("PGPE", "evosax_pgpe_scan"),
    ("PGPE", "evosax_pgpe_loop"),
    ("BatchedPGPE", "evosax_pgpe_scan"),
    ("SNES", "evotorch_snes_rastrigin"),
    ("GeneticAlgorithm", "evotorch_ga"),
    ("GeneticAlgorithm", "pymoo_ga"),
    ("PSO", "evox_pso"),
    ("PSO", "evox_pso_compiled"),
    ("DifferentialEvolution", "evox_de"),
    ("DifferentialEvolution", "evox_de_compiled"),
    ("DifferentialEvolution", "pymoo_de"),
    ("CMAES", "pycma"),
    ("CMAES", "evotorch_cmaes"),
]


def pin(threads: int) -> None:
    """Hold this process to so many processors and threads; before any library is imported."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    if threads == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"


def rate(loop: Loop, seconds: float, chunk: int = 1) -> dict[str, float | list[float]]:
    """Generations per second: the median of five stretches after a warm-up of one chunk and a fifth of the time.

    Args:
        chunk: generations that a call runs; grown until a call takes a hundredth of a stretch, unless it is fixed by a
            compiled loop (chunk > 1).
    """
    loop(chunk)
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds / 5 or done == 0:
        loop(chunk)
        done += chunk
    if chunk == 1:
        chunk = max(1, int(done / (time.perf_counter() - start) * seconds / 500))
    rates = []
    for _ in range(5):
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < seconds / 5 or done == 0:
            loop(chunk)
            done += chunk
        rates.append(done / (time.perf_counter() - start))
    return {"per_second": statistics.median(rates), "all": rates}


def ours(arm: str, dim: int, population: int, threads: int) -> Loop:
    """A loop over one of our searchers: whole generations as arrays, float32 but for CMA-ES."""
    import numpy as np
    import torch

    from heredity.search.box import Box

    torch.set_num_threads(threads)
    if arm.startswith("Batched"):
        from heredity.search import batched_es

        size = {"pairs": population // 2} if arm == "BatchedOpenES" else {"population": population}
        batch = getattr(batched_es, arm)(Box(dim=dim, start=[2.0] * dim), range(RUNS), **size)

        def together(count: int) -> None:
            for _ in range(count):
                batch.tell(-batch.ask().square().sum(2))

        return together
    # Rastrigin's function is searched in its box, which the others' bounded methods have, too; SNES runs unbounded
    # everywhere, as in EvoTorch.
    bounded = threads > 1 and arm != "SNES"
    space = Box(-5.12, 5.12, dim=dim) if bounded else Box(dim=dim, start=[2.0] * dim)
    kind = getattr(importlib.import_module(f"heredity.search.{MODULES[arm]}"), arm)
    size = {"pairs": population // 2} if arm == "OpenES" else {"population": population}
    dtype = np.float64 if arm == "CMAES" else np.float32
    searcher = kind(space, **size, dtype=dtype)

    def value(x: Any) -> Any:
        if threads == 1:
            return -np.einsum("ij,ij->i", x, x)
        t = torch.tensor(x)
        return -(t.square() - 10 * torch.cos(2 * torch.pi * t)).sum(1).numpy()

    def loop(count: int) -> None:
        for _ in range(count):
            searcher.tell_array(value(searcher.ask_array()))

    return loop


def peers_python(given: str | None) -> str:
    """The interpreter of an environment with the other libraries; made under bench/.cache where none is given."""
    if given:
        return str(Path(given).absolute())
    folder = HERE / ".cache" / "search_peers"
    python = folder / "bin" / "python"
    if not python.exists():
        print("making an environment with other libraries under bench/.cache", flush=True)
        venv.create(folder, with_pip=True)
        wanted = [f"{name}=={version}" for name, version in PEERS.items()]
        torch = ["torch==2.13.0", "-c", str(HERE.parent / "constraints.txt")]
        try:
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *torch, *wanted], check=True)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return str(python)


def measure(arm: str, row: tuple[int, int, int, list[str]], seconds: float, python: str) -> dict[str, Any]:
    """One process: its generations per second, or why there is no figure."""
    dim, population, threads, _ = row
    sizes = [arm, str(dim), str(population), str(threads), str(seconds)]
    mine = arm in MODULES or arm.startswith("Batched")
    script = [sys.executable, "search_overhead.py", "--arm"] if mine else [python, "peers/search_peers.py"]
    env = os.environ | {"PYTHONPATH": str(HERE)}
    done = subprocess.run([*script, *sizes], cwd=HERE, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {"failed": lines[-1][:300]}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def report(found: dict[str, dict[str, list[dict[str, Any]]]]) -> tuple[dict[str, Any], dict[str, float]]:
    """Medians over rounds, and our figures over others'."""
    rows: dict[str, Any] = {}
    ratios: dict[str, float] = {}
    for name, arms in found.items():
        rows[name] = {}
        for arm, rounds in arms.items():
            good = [one["per_second"] for one in rounds if "per_second" in one]
            bad = [one["failed"] for one in rounds if "failed" in one]
            entry: dict[str, Any] = {"per_second": statistics.median(good) if good else None, "rounds": good}
            rows[name][arm] = entry | ({"failed": bad[0]} if bad else {})
        for mine, theirs in RATIOS:
            a, b = rows[name].get(mine, {}).get("per_second"), rows[name].get(theirs, {}).get("per_second")
            if a and b:
                ratios[f"{mine} / {theirs}, {name}"] = round(a / b, 2)
    return rows, ratios


def main() -> None:
    """Measure and write the result."""
    if sys.argv[1:2] == ["--arm"]:
        arm, dim, population, threads, seconds = sys.argv[2], *map(int, sys.argv[3:6]), float(sys.argv[6])
        pin(threads)
        loop = ours(arm, dim, population, threads)
        runs = RUNS if arm.startswith("Batched") else 1
        result = rate(loop, seconds)
        times = {"per_second": result["per_second"] * runs, "all": [one * runs for one in result["all"]]}
        print("\n" + json.dumps(times))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers-python", help="python of an environment with the peers; made where none is given")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="per arm and round, after the warm-up")
    parser.add_argument("--only", default="", help="only arms whose row and name contain this; nothing is written")
    parser.add_argument("--quick", action="store_true", help="one round of half a second; nothing is written")
    options = parser.parse_args()
    from machine import describe, write_result

    python = peers_python(options.peers_python)
    machine = describe()
    asked = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    command = [python, "-c", asked, "torch", "numpy", *PEERS]
    versions = subprocess.run(command, capture_output=True, text=True, check=True)
    rounds, seconds = (1, 0.5) if options.quick else (options.rounds, options.seconds)
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for _ in range(rounds):
        for name, row in ROWS.items():
            for arm in row[3]:
                if options.only and options.only not in f"{name} {arm}":
                    continue
                one = measure(arm, row, seconds, python)
                found.setdefault(name, {}).setdefault(arm, []).append(one)
                figure = f"{one['per_second']:,.1f}/s" if "per_second" in one else f"failed: {one['failed']}"
                print(f"{name:34} {arm:26} {figure}", flush=True)
    rows, ratios = report(found)
    if options.quick or options.only:
        for what, ratio in ratios.items():
            print(f"{what}: {ratio}")
        return
    result = {
        "what": "generations per second, objective included; batched arms: over all runs together",
        "rounds": rounds,
        "seconds": seconds,
        "batched_runs": RUNS,
        "peers": json.loads(versions.stdout),
        "ratios": ratios,
        "rows": rows,
        "machine": machine,
    }
    write_result("search_overhead", result)


if __name__ == "__main__":
    main()
