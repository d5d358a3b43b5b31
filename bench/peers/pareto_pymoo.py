"""pymoo on the problems of bench/pareto.py; run by it in an environment of its own. Prints one JSON object.

Usage: python bench/peers/pareto_pymoo.py JOB SEED SIZE GENERATIONS OBJECTIVES
"""

from __future__ import annotations

import json
import sys
import time
from importlib import metadata

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.functions.compiled.non_dominated_sorting import efficient_non_dominated_sort, fast_non_dominated_sort
from pymoo.optimize import minimize
from pymoo.problems import get_problem
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting


def main() -> None:
    """Do one job."""
    job, (seed, size, generations, objectives) = sys.argv[1], map(int, sys.argv[2:])
    result: dict[str, object] = {"pymoo": metadata.version("pymoo")}
    if job == "nsga2":
        problem = get_problem("zdt1")
        minimize(problem, NSGA2(pop_size=size), ("n_gen", 2), seed=seed)  # imports and caches
        started = time.perf_counter()
        found = minimize(problem, NSGA2(pop_size=size), ("n_gen", generations), seed=seed)
        result.update(seconds=time.perf_counter() - started, front=found.F.tolist())
    elif job in ("sort", "fast", "efficient"):
        points = -np.random.default_rng(seed).random((size, objectives))
        if job == "sort":  # what its algorithms call: the sort of moocore
            sort, result["moocore"] = NonDominatedSorting().do, metadata.version("moocore")
        else:  # its own compiled ones
            sort = fast_non_dominated_sort if job == "fast" else efficient_non_dominated_sort
        times = []
        for _ in range(generations):
            started = time.perf_counter()
            fronts = sort(points)
            times.append(time.perf_counter() - started)
        result.update(seconds=min(times), fronts=[len(front) for front in fronts])
    else:
        raise SystemExit(f"unknown job {job!r}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
