"""Seed chains of a network of 4 million parameters after 50 generations: bytes per genome, and seconds to decode.

Decoding a child beside its cached parent is one addition of noise; decoding a chain from nothing is 51. The floor is a
copy of the weights in memory; beside it stands as much noise of numpy's own normal numbers. Arms take turns, round
after round.
Writes results/bench/seed_chains.json.

Usage: python bench/seed_chains.py [--rounds 5] [--quick]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from heredity.search.seedchain import SeedChain, SeedDecoder
from machine import describe, write_result

GENERATIONS, POWER = 50, 0.002
TABLE = 25_000_000  # values: 100 MB; the released code's table has ten times as many


def network(quick: bool) -> nn.Module:
    """The paper's large network for Atari: same padding makes 4 million parameters; a tenth of them when quick."""
    wide = 51 if quick else 512
    return nn.Sequential(
        nn.Conv2d(4, 32, 8, 4, padding=4),
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, 2, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, 1, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 11 * 11, wide),
        nn.ReLU(),
        nn.Linear(wide, 18),
    )


def seconds(work: Callable[[], object]) -> float:
    """Of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Measure and write the result; with --quick only print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a small network and one round; nothing is written")
    args = parser.parse_args()
    net = network(args.quick)
    rng = np.random.default_rng(0)
    chain = SeedChain(1)
    for _ in range(GENERATIONS):
        chain = chain.child(int(rng.integers(2**32)), POWER)
    parent = chain.parent
    assert parent is not None
    alone, threaded = SeedDecoder(net, cache=0), SeedDecoder(net, cache=0, threads=2)
    table = SeedDecoder(net, cache=0, noise=f"table:{TABLE // (10 if args.quick else 1)}")
    size = alone.size
    theta, copy = alone.vector(parent).numpy(), np.empty(size, np.float32)
    equal = bool(torch.equal(alone.vector(chain), threaded.vector(chain)))
    table.add(copy, 0, 0.0)  # makes the table
    normal = np.random.Generator(np.random.Philox(7))

    def child(decoder: SeedDecoder) -> Callable[[], object]:
        return lambda: (np.copyto(copy, theta), decoder.add(copy, *chain.steps[-1]))

    arms: dict[str, Callable[[], object]] = {
        "copy in memory": lambda: np.copyto(copy, theta),
        "numpy's noise alone": lambda: normal.standard_normal(out=copy, dtype=np.float32),
        "child of a cached parent": child(alone),
        "child, two threads": child(threaded),
        "child, noise from a table": child(table),
        "chain from nothing": lambda: alone.vector(chain),
        "chain from nothing, two threads": lambda: threaded.vector(chain),
        "chain from nothing, noise from a table": lambda: table.vector(chain),
    }
    taken: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(1 if args.quick else args.rounds):
        for name, work in arms.items():
            repeats = 1 if name.startswith("chain") else 5
            taken[name] += [seconds(work) for _ in range(repeats)]
    median = {name: statistics.median(values) for name, values in taken.items()}
    stored = len(save(alone.state(chain)))
    ratios = {
        "bytes of the weights / of the chain": round(stored / len(chain.to_bytes())),
        "child / copy in memory": round(median["child of a cached parent"] / median["copy in memory"], 1),
        "numpy's noise alone / child": round(median["numpy's noise alone"] / median["child of a cached parent"], 2),
        "child, one thread / two threads": round(median["child of a cached parent"] / median["child, two threads"], 2),
        "child from a table / copy": round(median["child, noise from a table"] / median["copy in memory"], 1),
        "chain from nothing / child": round(median["chain from nothing"] / median["child of a cached parent"], 1),
    }
    result: dict[str, Any] = {
        "machine": describe(),
        "parameters": size,
        "generations": GENERATIONS,
        "bytes": {"weights as safetensors": stored, "chain": len(chain.to_bytes())},
        "seconds": {
            name: {"median": round(median[name], 6), "all": [round(value, 6) for value in values]}
            for name, values in taken.items()
        },
        "threads_give_the_same_bits": equal,
        "ratios": ratios,
    }
    if args.quick:
        print(json.dumps(result, indent=2))
    else:
        write_result("seed_chains", result)


if __name__ == "__main__":
    main()
