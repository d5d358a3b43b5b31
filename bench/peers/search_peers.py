"""One arm of bench/search_overhead.py: another library's generations per second, in that library's own environment.

The objective is written in the library's own arrays, in float32 where the library has a choice, and is part of what is
timed. Prints one JSON object.

Usage: PYTHONPATH=bench python bench/peers/search_peers.py ARM DIM POPULATION THREADS SECONDS
"""

from __future__ import annotations

import json
import math
import sys
import warnings

from search_overhead import Loop, pin, rate


def evotorch(arm: str, dim: int, population: int) -> Loop:
    """SNES, PGPE, CMAES and GeneticAlgorithm of EvoTorch; its logger is silenced, which it would pay for otherwise."""
    import torch
    from evotorch import Problem
    from evotorch.algorithms import CMAES, PGPE, SNES, GeneticAlgorithm
    from evotorch.decorators import vectorized
    from evotorch.operators import GaussianMutation, SimulatedBinaryCrossOver
    from evotorch.tools import set_default_logger_config

    set_default_logger_config(logger_level=40, override=True)

    @vectorized
    def sphere(x: torch.Tensor) -> torch.Tensor:
        return (x**2).sum(-1)

    @vectorized
    def rastrigin(x: torch.Tensor) -> torch.Tensor:
        return 10 * dim + (x**2 - 10 * torch.cos(2 * math.pi * x)).sum(-1)

    function = rastrigin if arm.endswith(("rastrigin", "ga")) else sphere
    problem = Problem("min", function, solution_length=dim, initial_bounds=(-5.12, 5.12), seed=1)
    kind = arm.split("_")[1]
    if kind == "snes":
        searcher = SNES(problem, stdev_init=1.0, popsize=population)
    elif kind == "pgpe":
        searcher = PGPE(problem, popsize=population, center_learning_rate=0.1, stdev_learning_rate=0.1, stdev_init=1.0)
    elif kind == "cmaes":
        searcher = CMAES(problem, stdev_init=1.0, popsize=population)
    else:
        crossover = SimulatedBinaryCrossOver(problem, tournament_size=4, cross_over_rate=1.0, eta=8)
        operators = [crossover, GaussianMutation(problem, stdev=0.03)]
        searcher = GeneticAlgorithm(problem, operators=operators, popsize=population, re_evaluate=False)

    def loop(count: int) -> None:
        for _ in range(count):
            searcher.step()

    return loop


def evosax(arm: str, dim: int, population: int) -> tuple[Loop, int]:
    """SNES and PGPE of evosax: a compiled `lax.scan` over 20 generations, or a Python loop of compiled calls."""
    import evosax.algorithms
    import jax
    import jax.numpy as jnp

    kind = {"snes": evosax.algorithms.SNES, "pgpe": evosax.algorithms.PGPE}[arm.split("_")[1]]
    searcher = kind(population_size=population, solution=jnp.zeros(dim))
    params = searcher.default_params
    key = jax.random.key(0)
    state = searcher.init(key, jnp.full(dim, 2.0), params)

    def generation(carry, _):
        key, state = carry
        key, first, second = jax.random.split(key, 3)
        x, state = searcher.ask(first, state, params)
        state, _ = searcher.tell(second, x, jnp.sum(x**2, axis=-1), state, params)
        return (key, state), None

    carry = (key, state)
    if arm.endswith("scan"):
        many = 20
        run = jax.jit(lambda carry: jax.lax.scan(generation, carry, length=many)[0])

        def scan(count: int) -> None:
            nonlocal carry
            carry = jax.block_until_ready(run(carry))

        return scan, many

    ask, tell, objective = jax.jit(searcher.ask), jax.jit(searcher.tell), jax.jit(lambda x: jnp.sum(x**2, axis=-1))

    def loop(count: int) -> None:
        nonlocal carry
        key, state = carry
        for _ in range(count):
            key, first, second = jax.random.split(key, 3)
            x, state = ask(first, state, params)
            state, _ = tell(second, x, objective(x), state, params)
        carry = jax.block_until_ready((key, state))

    return loop, 1


def evox(arm: str, dim: int, population: int) -> Loop:
    """PSO and DE of EvoX, as they come or with its step compiled."""
    import torch
    from evox.algorithms import DE, PSO
    from evox.core import Problem
    from evox.workflows import StdWorkflow

    class Rastrigin(Problem):
        def evaluate(self, x: torch.Tensor) -> torch.Tensor:
            return 10 * dim + (x**2 - 10 * torch.cos(2 * math.pi * x)).sum(-1)

    kind = {"pso": PSO, "de": DE}[arm.split("_")[1]]
    low, high = torch.full((dim,), -5.12), torch.full((dim,), 5.12)
    workflow = StdWorkflow(kind(population, low, high), Rastrigin())
    workflow.init_step()
    step = torch.compile(workflow.step) if arm.endswith("compiled") else workflow.step

    def loop(count: int) -> None:
        for _ in range(count):
            step()

    return loop


def pymoo(arm: str, dim: int, population: int) -> Loop:
    """GA and DE of pymoo, float64 as it has no other."""
    import numpy as np
    from pymoo.algorithms.soo.nonconvex.de import DE
    from pymoo.algorithms.soo.nonconvex.ga import GA
    from pymoo.core.problem import Problem

    class Rastrigin(Problem):
        def __init__(self) -> None:
            super().__init__(n_var=dim, n_obj=1, xl=-5.12, xu=5.12)

        def _evaluate(self, x, out, *args, **kwargs) -> None:
            out["F"] = 10 * dim + (x**2 - 10 * np.cos(2 * np.pi * x)).sum(axis=1)

    searcher = {"ga": GA, "de": DE}[arm.split("_")[1]](pop_size=population)
    searcher.setup(Rastrigin(), termination=("n_gen", 10**9), seed=1, verbose=False)

    def loop(count: int) -> None:
        for _ in range(count):
            searcher.next()

    return loop


def pycma(arm: str, dim: int, population: int) -> Loop:
    """CMA-ES of the package cma, its signal handling, logs and stopping rules left alone: it is asked and told."""
    import numpy as np

    warnings.simplefilter("ignore")
    import cma

    searcher = cma.CMAEvolutionStrategy(dim * [2.0], 1.0, {"popsize": population, "verbose": -9, "seed": 1})

    def loop(count: int) -> None:
        for _ in range(count):
            x = searcher.ask()
            searcher.tell(x, np.square(np.asarray(x)).sum(axis=1).tolist())

    return loop


def main() -> None:
    """Measure the arm of the command line."""
    arm, dim, population, threads, seconds = sys.argv[1], *map(int, sys.argv[2:5]), float(sys.argv[5])
    pin(threads)
    library = {"evotorch": evotorch, "evosax": evosax, "evox": evox, "pymoo": pymoo, "pycma": pycma}[arm.split("_")[0]]
    if library in (evotorch, evox):
        import torch

        torch.set_num_threads(threads)
    made = library(arm, dim, population)
    loop, chunk = made if isinstance(made, tuple) else (made, 1)
    print("\n" + json.dumps(rate(loop, seconds, chunk)))


if __name__ == "__main__":
    main()
