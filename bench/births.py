"""What recording a birth costs, beside the floor and beside MLflow, with 1,000 to 100,000 births in the record.

A birth of ours is everything from `lab.derive` to its return: key, lease, the operator (a tiny mutation), check, hash,
weights written and synced, line written and synced, index. The floor writes and syncs the same bytes: one new file
for the weights, one line appended. MLflow logs the same facts as a run in its SQLite store, without weights. Labs and
stores are filled to their size by copying one birth; the three take turns, so that a busy machine is busy for all.

Usage: python bench/births.py [--sizes 1000 10000 100000] [--repeats 200] [--mlflow-python PATH]
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

import heredity as hd
from heredity.lab.canonical import digest
from heredity.lab.journal import encode_line
from machine import describe, write_result

CACHE = Path(__file__).resolve().parent / ".cache"
MLFLOW = "mlflow==3.17.*"
PEER = Path(__file__).resolve().parent / "peers" / "births_mlflow.py"
DEPTH = 100  # births in a line of descent


@dataclass(frozen=True)
class Jiggle(hd.Operator):
    """A mutation that costs next to nothing."""

    sigma: float = 0.1
    kind: ClassVar[str] = "mutate"

    def apply(self, parents: hd.Parents, context: hd.Context) -> dict[str, torch.Tensor]:
        return {
            name: tensor + self.sigma * torch.randn(tensor.shape, generator=context.generator)
            for name, tensor in parents[0].weights().items()
        }


def fill(lab: hd.Lab, template: hd.Model, size: int) -> None:
    """Write a journal of copies of a birth until the lab holds `size`, in lines of descent of `DEPTH`."""
    record, lines, previous = dict(template.record), [encode_line({"t": "journal", "format": 1})], ""
    root = template.parents[0].id
    for number in range(size - len(lab)):
        key = digest(["filled", number])
        parent = previous if number % DEPTH else root
        times = {"time": record["time"] - size + number}
        lines.append(
            encode_line({**record, "key": key, "id": key[:16], "parents": [{"role": "parent", "id": parent}], **times})
        )
        previous = key[:16]
    (lab.path / "births" / f"filled-{secrets.token_hex(4)}.jsonl").write_bytes(b"".join(lines))
    lab.index.refresh()


def timed(work: Callable[[int], Any], repeats: int) -> list[float]:
    """Seconds of each of `repeats` calls."""
    times = []
    for number in range(repeats):
        begun = time.perf_counter()
        work(number)
        times.append(time.perf_counter() - begun)
    return times


def floor(folder: Path, blob: bytes, line: bytes) -> Callable[[int], None]:
    """Write and sync the same bytes as a birth."""
    journal = os.open(folder / "journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(number: int) -> None:
        descriptor = os.open(folder / secrets.token_hex(8), os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, blob)
        os.fsync(descriptor)
        os.close(descriptor)
        os.write(journal, line)
        os.fsync(journal)

    return write


def facts_of(model: hd.Model) -> dict[str, dict[str, str]]:
    """A birth's facts as MLflow's params and tags, which are text."""
    record = dict(model.record)
    tags = ("id", "key", "kind", "weights", "bytes", "environment", "source", "wall", "cpu", "peak_rss", "threads")
    params = {f"operator.{name}": str(value) for name, value in record["operator"]["config"].items()}
    return {
        "params": {**params, "operator.type": record["operator"]["type"], "version": "1"},
        "tags": {name: str(record[name]) for name in tags},
    }


OPEN = """
import json, sys, time, torch, heredity as hd, heredity.lab
begun = time.perf_counter()
lab = hd.Lab(sys.argv[1], mode="r")
depth = len(lab["latest"].path())
print(json.dumps({"seconds": time.perf_counter() - begun, "depth": depth}))
"""


def answer(command: list[str]) -> dict[str, Any]:
    """The JSON that a command prints last."""
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"{Path(command[1]).name} failed:\n{run.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def mlflow_python(given: str | None) -> str:
    """An interpreter with MLflow; made once, in an environment of its own."""
    if given:
        return given
    python = CACHE / "mlflow" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(CACHE / "mlflow")], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", MLFLOW], check=True)
    return str(python)


def median_ms(seconds: list[float]) -> float:
    return round(statistics.median(seconds) * 1e3, 3)


class Peer:
    """MLflow in a process of its own, which logs births when it is told to."""

    def __init__(self, python: str, folder: Path, size: int) -> None:
        command = [python, str(PEER), str(folder), str(size), str(folder / "facts.json")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version = self._answer()["version"]

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the MLflow side ended early; its own message stands above")
        return json.loads(line)

    def births(self, count: int) -> list[float]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        times: list[float] = self._answer()
        return times

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure(size: int, repeats: int, python: str, folder: Path) -> dict[str, Any]:
    """All figures at one size."""
    with hd.Lab(folder / "lab") as lab:
        root = lab.add({"w": torch.zeros(16, 16), "b": torch.zeros(16)}, name="root")
        model = lab.derive(Jiggle(), root, seed=0)
        fill(lab, model, size)
        (folder / "facts.json").write_text(json.dumps(facts_of(model)))
        blob = lab.blobs.path(model.weights_sha256).read_bytes()
        line = encode_line(dict(model.record))
        write = floor(folder, blob, line)
        latest = model

        def birth(seed: int) -> None:
            nonlocal latest
            latest = lab.derive(Jiggle(), latest, seed=seed)

        peer = Peer(python, folder, size)
        timed(birth, 20)
        ours: list[float] = []
        bare: list[float] = []
        theirs: list[float] = []
        processor = 0.0
        for _ in range(repeats // 20):
            before = time.process_time()
            ours += timed(birth, 20)
            processor += time.process_time() - before
            bare += timed(write, 20)
            theirs += peer.births(20)
        peer.close()
    opening = [sys.executable, "-c", OPEN, str(folder / "lab")]
    for index in (Path(os.environ["XDG_CACHE_HOME"]) / "heredity").glob("*"):
        index.unlink()
    cold = answer(opening)
    warm: list[dict[str, Any]] = []
    peers_opening: list[dict[str, Any]] = []
    for _ in range(3):
        warm.append(answer(opening))
        peers_opening.append(answer([python, str(PEER), "--open", str(folder)]))
    return {
        "bytes_of_a_birth": len(blob) + len(line),
        "ours_ms": median_ms(ours),
        "ours_processor_ms": round(processor / len(ours) * 1e3, 3),
        "floor_ms": median_ms(bare),
        "mlflow_ms": median_ms(theirs),
        "ours_open_cold_s": round(cold["seconds"], 3),
        "ours_open_warm_s": round(statistics.median(item["seconds"] for item in warm), 4),
        "mlflow_open_s": round(statistics.median(item["seconds"] for item in peers_opening), 3),
        "births_in_the_line_of_descent": {"ours": warm[0]["depth"], "mlflow": peers_opening[0]["depth"]},
        "mlflow_version": peer.version,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument(
        "--mlflow-python", help="an interpreter that has MLflow; by default one is made in bench/.cache"
    )
    arguments = parser.parse_args()
    python = mlflow_python(arguments.mlflow_python)
    torch.set_num_threads(1)
    result: dict[str, Any] = {"machine": describe(), "repeats": arguments.repeats, "sizes": {}}
    CACHE.mkdir(exist_ok=True)
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
            result["sizes"][str(size)] = measure(size, arguments.repeats, python, Path(folder))
        print(size, result["sizes"][str(size)], flush=True)
    sizes = list(result["sizes"].values())
    result["ratios"] = {
        "birth, ours / floor": [round(row["ours_ms"] / row["floor_ms"], 2) for row in sizes],
        "birth, ours (with weights) / MLflow (without)": [round(row["ours_ms"] / row["mlflow_ms"], 3) for row in sizes],
        "line of descent after opening, ours warm / MLflow": [
            round(row["ours_open_warm_s"] / row["mlflow_open_s"], 4) for row in sizes
        ],
        "a birth of ours, most births / fewest": round(sizes[-1]["ours_ms"] / sizes[0]["ours_ms"], 2),
    }
    result["machine"]["load_after"] = round(os.getloadavg()[0], 2)
    write_result("births", result)


if __name__ == "__main__":
    main()
