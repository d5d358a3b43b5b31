"""Merge Llama-shaped checkpoints from disk to disk: `heredity merge` and mergekit as whole processes, and the floor.

Three bfloat16 checkpoints of 271 million parameters (0.54 GB each) are made from seeds. The arms take turns, round
after round, with a sync between them; each is one process whose wall time and peak memory the system reports. The
floor reads all inputs and writes and syncs a file as large as the output, in this process. Then outputs are compared,
and a dozen configurations over small checkpoints, in float32 and in bfloat16, are merged by both and compared entry by
entry. Writes results/bench/merge_disk.json.

The short linear merge is run three times as often.

Usage: python bench/merge_disk.py [--mergekit-python PATH] [--rounds 3]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from heredity.merging.mergekit_run import open_merge
from machine import describe, write_result
from merge_comparison import compare, load

MERGEKIT = "0.1.5"
CACHE = Path(__file__).resolve().parent / ".cache"
OURS = "import sys; from heredity.cli.main import main; sys.argv[0] = 'heredity'; main()"
THEIRS = "from mergekit.scripts.run_yaml import main; main()"
# A small process starts the measured one: a child's peak memory counts that of whoever forked it.
WATCH = """
import json, os, subprocess, sys, time
start = time.perf_counter()
child = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(child.pid, 0)
seconds = time.perf_counter() - start
peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
print("\\n" + json.dumps([seconds, usage.ru_utime + usage.ru_stime, peak]))
sys.exit(os.waitstatus_to_exitcode(status))
"""
MANY = """
import sys, yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
for name in sys.argv[1:]:
    config = MergeConfiguration.model_validate(yaml.safe_load(open(f"{name}.yml")))
    run_merge(config, f"{name}.theirs", MergeOptions(quiet=True))
"""


def llama(
    seed: int, base: dict[str, Tensor] | None, *, dtype: torch.dtype, sizes: tuple[int, ...]
) -> dict[str, Tensor]:
    """Weights of a Llama; around `base` where one is given."""
    vocabulary, width, layers, inner = sizes
    generator = torch.Generator().manual_seed(seed)
    shapes = {"model.embed_tokens.weight": (vocabulary, width), "lm_head.weight": (vocabulary, width)}
    for i in range(layers):
        start = f"model.layers.{i}."
        shapes |= {f"{start}self_attn.{part}_proj.weight": (width, width) for part in "qkvo"}
        shapes |= {f"{start}mlp.{part}_proj.weight": (inner, width) for part in ("gate", "up")}
        shapes[f"{start}mlp.down_proj.weight"] = (width, inner)
    state = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        state[name] = (noise.mul_(0.02) if base is None else noise.mul_(0.002).add_(base[name])).to(dtype)
    norms = ["model.norm.weight"]
    norms += [
        f"model.layers.{i}.{part}_layernorm.weight" for i in range(layers) for part in ("input", "post_attention")
    ]
    return state | {name: torch.ones(width, dtype=dtype) for name in norms}


def save(folder: Path, state: dict[str, Tensor], sizes: tuple[int, ...], *, shards: int = 1) -> None:
    """A model folder with one weights file or several."""
    folder.mkdir()
    names = sorted(state)
    files = [names[i::shards] for i in range(shards)]
    where: dict[str, str] = {}
    for i, part in enumerate(files, 1):
        file = "model.safetensors" if shards == 1 else f"model-{i:05d}-of-{shards:05d}.safetensors"
        save_file({name: state[name] for name in part}, folder / file, {"format": "pt"})
        where |= dict.fromkeys(part, file)
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": sizes[0],
        "hidden_size": sizes[1],
        "num_hidden_layers": sizes[2],
        "intermediate_size": sizes[3],
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "tie_word_embeddings": False,
        "torch_dtype": str(next(iter(state.values())).dtype).removeprefix("torch."),
    }
    (folder / "config.json").write_text(json.dumps(config))


def make_checkpoints(root: Path, *, dtype: torch.dtype, sizes: tuple[int, ...], names: str) -> None:
    """root/base and one folder per letter of `names`, fine-tuned from it in name only."""
    base = llama(0, None, dtype=dtype, sizes=sizes)
    save(root / "base", base, sizes)
    for seed, name in enumerate(names, 1):
        state = llama(seed, base, dtype=dtype, sizes=sizes)
        save(root / name, state, sizes)
        if dtype == torch.bfloat16:
            save(root / f"{name}_sharded", state, sizes, shards=3)


def entry(root: Path, model: str, **parameters: Any) -> dict[str, Any]:
    """One model of a configuration."""
    return {"model": str(root / model)} | ({"parameters": parameters} if parameters else {})


def configurations(root: Path) -> dict[str, dict[str, Any]]:
    """What is compared entry by entry; random masks have density 1, since no two programs draw the same."""
    a, b, c = "abc"
    base = str(root / "base")
    pair = [entry(root, a, weight=0.6, density=0.5), entry(root, b, weight=0.4, density=[0.3, 0.7])]
    full = [entry(root, a, weight=0.6, density=1.0), entry(root, b, weight=0.5, density=1.0)]
    crumbs = [entry(root, a, weight=0.6, density=0.8, gamma=0.05), entry(root, b, weight=0.5, density=0.9)]
    three = [entry(root, model) for model in (a, b, c)]
    position = [
        {"filter": "self_attn", "value": [0, 0.5, 0.3, 0.7, 1]},
        {"filter": "mlp", "value": [1, 0]},
        {"value": 0.5},
    ]
    scale = [{"filter": "o_proj", "value": 0.5}, {"value": 1.0}]

    def source(model: str, start: int, end: int, **parameters: Any) -> dict[str, Any]:
        return entry(root, model, **parameters) | {"layer_range": [start, end]}

    return {
        "linear": {
            "merge_method": "linear",
            "models": [entry(root, a, weight=[0, 0.3, 1]), entry(root, b, weight=0.4)],
        },
        "slerp": {
            "merge_method": "slerp",
            "base_model": str(root / a),
            "models": three[:2],
            "parameters": {"t": position},
        },
        "task_arithmetic": {
            "merge_method": "task_arithmetic",
            "base_model": base,
            "models": full,
            "parameters": {"lambda": 0.8},
        },
        "ties": {"merge_method": "ties", "base_model": base, "models": pair},
        "ties_rescaled": {
            "merge_method": "ties",
            "base_model": base,
            "models": pair,
            "parameters": {"normalize": False, "rescale": True},
        },
        "dare_ties_density_1": {"merge_method": "dare_ties", "base_model": base, "models": full},
        "dare_linear_density_1": {"merge_method": "dare_linear", "base_model": base, "models": full},
        "della_density_1": {"merge_method": "della", "base_model": base, "models": full},
        "breadcrumbs": {"merge_method": "breadcrumbs", "base_model": base, "models": crumbs},
        "breadcrumbs_ties": {"merge_method": "breadcrumbs_ties", "base_model": base, "models": crumbs},
        "model_stock": {"merge_method": "model_stock", "base_model": base, "models": three},
        "nuslerp": {"merge_method": "nuslerp", "base_model": base, "models": full},
        "stacked": {
            "merge_method": "passthrough",
            "slices": [{"sources": [source(a, 0, 3)]}, {"sources": [source(b, 1, 4, scale=scale)]}],
        },
        "sliced": {
            "merge_method": "linear",
            "slices": [
                {"sources": [source(a, 0, 2, weight=0.2), source(b, 1, 3, weight=[0, 1])]},
                {"sources": [source(b, 2, 4), source(c, 0, 2)], "parameters": {"weight": 0.5}},
            ],
        },
    }


def process(command: list[str], cwd: Path, cache: Path) -> dict[str, Any]:
    """Run a program to its end: seconds, peak memory in MB, its output; `cache` is where it may remember things."""
    os.sync()  # nobody pays for what another left to be written
    done = subprocess.run(
        [sys.executable, "-I", "-c", WATCH, *command],
        cwd=cwd,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    text, _, facts = done.stdout.rstrip("\n").rpartition("\n")
    seconds, cpu_seconds, peak = json.loads(facts)
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak, "text": text}


def floor(inputs: list[Path], target: Path) -> float:
    """Seconds to read all inputs and to write and sync as much as one of them."""
    os.sync()
    start, block = time.perf_counter(), memoryview(bytearray(8 << 20))
    with target.open("wb", buffering=0) as out:
        for i, path in enumerate(inputs):
            with path.open("rb", buffering=0) as source:
                while count := source.readinto(block):
                    if i == 0:
                        out.write(block[:count])
        os.fsync(out.fileno())
    seconds = time.perf_counter() - start
    target.unlink()
    return seconds


def mergekit_python(given: str | None) -> str:
    """The interpreter of an environment with mergekit; made under bench/.cache where none is given."""
    if given:
        return given
    folder = CACHE / f"mergekit-{MERGEKIT}"
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"making an environment with mergekit {MERGEKIT} under bench/.cache", flush=True)
        venv.create(folder, with_pip=True)
        version = torch.__version__.split("+")[0]
        try:
            wanted = [f"torch=={version}", f"mergekit=={MERGEKIT}"]
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return str(python)


def spread(values: list[float]) -> dict[str, Any]:
    """Median and all values."""
    return {"median": round(statistics.median(values), 3), "all": [round(value, 3) for value in values]}


def timed(root: Path, python: str, rounds: int) -> dict[str, Any]:
    """The large merges, arm after arm, round after round."""
    settings = {
        "linear": ([entry(root, m, weight=w) for m, w in (("a", 0.6), ("b", 0.4))], {}),
        "ties": (
            [entry(root, m, weight=w, density=0.5) for m, w in (("a", 0.6), ("b", 0.4))],
            {"base_model": str(root / "base")},
        ),
    }
    measured: dict[str, Any] = {}
    for method, (models, extra) in settings.items():
        config, sharded = root / f"{method}.yml", root / f"{method}_sharded.yml"
        config.write_text(yaml.safe_dump({"merge_method": method, "models": models, "dtype": "bfloat16", **extra}))
        parts = [model | {"model": f"{model['model']}_sharded"} for model in models]
        sharded.write_text(yaml.safe_dump({"merge_method": method, "models": parts, "dtype": "bfloat16", **extra}))
        inputs = [root / name / "model.safetensors" for name in (["base"] if extra else []) + ["a", "b"]]
        names = ("heredity", "heredity_again", "heredity_sharded", "mergekit")
        arms: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        kept = root / "cache"  # what the second merge of the same parents finds: their hashes
        bare: list[float] = []
        process([sys.executable, "-c", OURS, "merge", str(config), "ours", "--json"], root, kept)
        # A short merge is at the mercy of whatever else the machine does: more rounds steady its median.
        for _ in range(rounds * 3 if method == "linear" else rounds):
            for arm, command in (
                ("heredity", [sys.executable, "-c", OURS, "merge", str(config), "ours", "--json"]),
                ("heredity_again", [sys.executable, "-c", OURS, "merge", str(config), "ours", "--json"]),
                ("mergekit", [python, "-c", THEIRS, str(config), "theirs"]),
                ("heredity_sharded", [sys.executable, "-c", OURS, "merge", str(sharded), "parts", "--json"]),
            ):
                out = root / command[-1 if arm == "mergekit" else -2]
                shutil.rmtree(out, ignore_errors=True)
                fresh = root / "fresh-cache"
                shutil.rmtree(fresh, ignore_errors=True)
                arms[arm].append(process(command, root, kept if arm == "heredity_again" else fresh))
                print(
                    f"  {method} {arm}: {arms[arm][-1]['seconds']:.2f} s, {arms[arm][-1]['peak_mb']:.0f} MB", flush=True
                )
            bare.append(floor(inputs, root / "floor"))
        inner = [json.loads(run["text"])["seconds"] for run in arms["heredity"]]
        same = load(root / "ours"), load(root / "parts")
        result: dict[str, Any] = {
            arm: {key: spread([run[key] for run in runs]) for key in ("seconds", "cpu_seconds", "peak_mb")}
            for arm, runs in arms.items()
        }
        result["heredity"]["merge_alone_seconds"] = spread(inner)
        result["floor_seconds"] = spread(bare)
        with open_merge(config) as merge:
            result["against_mergekit"] = compare(root / "ours", root / "theirs", merge.plan.jobs)
        result["sharded_equals_single_file"] = all(torch.equal(same[0][name], same[1][name]) for name in same[0])
        measured[method] = result
        for name in ("ours", "theirs", "parts"):
            shutil.rmtree(root / name)
    return measured


def ratios(measured: dict[str, Any]) -> dict[str, float]:
    """What the figures come to; the fastest rounds beside the medians, as other programs only ever slow one down."""
    found = {}
    for method, result in measured.items():
        ours, theirs = result["heredity"], result["mergekit"]
        for what, key in (("seconds", "seconds"), ("processor seconds", "cpu_seconds"), ("peak memory", "peak_mb")):
            found[f"{method}: mergekit / heredity, {what}"] = round(theirs[key]["median"] / ours[key]["median"], 2)
        again = theirs["seconds"]["median"] / result["heredity_again"]["seconds"]["median"]
        found[f"{method}: mergekit / heredity, seconds, parents merged before"] = round(again, 2)
        fastest = min(theirs["seconds"]["all"]) / min(ours["seconds"]["all"])
        found[f"{method}: mergekit / heredity, fastest run"] = round(fastest, 2)
        alone = ours["merge_alone_seconds"]["median"] / result["floor_seconds"]["median"]
        found[f"{method}: heredity's merge alone / floor"] = round(alone, 2)
    return found


def agreement(root: Path, python: str, dtype: str) -> dict[str, dict[str, float]]:
    """Small checkpoints merged by both, computed and stored in that dtype.

    The result is bfloat16 in either case, so that one step of it is the tolerance.
    """
    found: dict[str, dict[str, float]] = {}
    make_checkpoints(root, dtype=getattr(torch, dtype), sizes=(512, 64, 4, 160), names="abc")
    cases = configurations(root)
    for name, config in cases.items():
        text = yaml.safe_dump(config | {"dtype": dtype, "out_dtype": "bfloat16"})
        (root / f"{name}.yml").write_text(text)
    with (root / "log").open("w") as log:
        subprocess.run([python, "-c", MANY, *cases], cwd=root, check=True, stdout=log, stderr=log)
    for name in cases:
        with open_merge(root / f"{name}.yml") as merge:
            merge.write(root / f"{name}.ours")
            found[name] = compare(root / f"{name}.ours", root / f"{name}.theirs", merge.plan.jobs)
        print(f"  {dtype} {name}: {found[name]}", flush=True)
    return found


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mergekit-python", help="python of an environment with mergekit; made where none is given")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    python = mergekit_python(options.mergekit_python)
    machine = describe()
    versions = "import importlib.metadata as m; print(*(m.version(p) for p in ('mergekit', 'torch', 'transformers')))"
    peer = subprocess.run([python, "-c", versions], capture_output=True, text=True, check=True).stdout.split()
    with contextlib.ExitStack() as stack:
        large = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="merge-disk-")))
        agreed = {}
        for dtype in ("float32", "bfloat16"):
            small = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="merge-disk-")))
            agreed[f"agreement_{dtype}"] = agreement(small, python, dtype)
        make_checkpoints(large, dtype=torch.bfloat16, sizes=(32000, 1024, 16, 2816), names="ab")
        size = (large / "a" / "model.safetensors").stat().st_size
        measured = timed(large, python, options.rounds)
    result = {
        "what": "bfloat16 Llama-shaped checkpoints merged from disk to disk, whole processes, inputs in the page cache",
        "bytes_per_checkpoint": size,
        "peer": dict(zip(("mergekit", "torch", "transformers"), peer, strict=True)),
        "ratios": ratios(measured),
        "measured": measured,
        **agreed,
        "machine": machine,
        "notes": [
            "heredity hashes its parents beside the merge and syncs its output; mergekit does neither",
            "for the linear merge heredity does not load torch",
            "heredity_again: the same parents were merged before, and their hashes are remembered; all other runs of "
            "heredity begin with an empty cache",
            "both compute in the dtype asked for, with the same roundings; differences beyond a step are left only "
            "where magnitudes are equal at a trimming threshold (tied): mergekit keeps some in the order of an "
            "unstable sort, heredity in the order of the tensor",
        ],
    }
    write_result("merge_disk", result)


if __name__ == "__main__":
    main()
