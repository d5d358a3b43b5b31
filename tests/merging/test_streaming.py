"""Merging from disk to disk: the bits of the in-memory merge, whatever the shards and threads, in bounded memory."""

import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from heredity.errors import MergeError, NonFinite
from heredity.merging.checkpoint_writer import CheckpointWriter
from heredity.merging.dtype_names import name_of
from heredity.merging.mergers import MethodMerger
from heredity.merging.methods import TensorParams, method_for
from heredity.merging.streaming import Read, TensorJob, merge_checkpoints, run_jobs


def state(seed: int, dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {f"layers.{i}.{part}": (24, 16) for i in range(3) for part in ("up", "down")}
    shapes |= {"embed": (40, 16), "norm": (16,), "bias": ()}
    made = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}
    return made | {"count": torch.tensor(4)}


def save(folder: Path, weights: dict[str, Tensor], *, shards: int = 1) -> Path:
    folder.mkdir(parents=True)
    if shards == 1:
        save_file(weights, folder / "model.safetensors")
        return folder
    names = list(weights)
    specs = [(name, name_of(weights[name].dtype), tuple(weights[name].shape)) for name in reversed(names)]
    size = sum(tensor.nbytes for tensor in weights.values())
    writer = CheckpointWriter(folder, specs, max_shard_size=size // shards, metadata={})
    for name in names:
        writer.write(name, weights[name])
    assert len(writer.finish({})) > shards
    return folder


def load(folder: Path) -> dict[str, Tensor]:
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        assert tensor.dtype == b[name].dtype and torch.equal(tensor, b[name]), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float16])
@pytest.mark.parametrize(
    "row",
    ["linear", "ties", "task_arithmetic", "dare_ties", "dare_linear", "breadcrumbs", "della", "slerp", "model_stock"],
)
def test_streaming_gives_the_bits_of_the_in_memory_merge(tmp_path: Path, row: str, dtype: torch.dtype) -> None:
    base, a, b = (state(seed, dtype) for seed in range(3))
    method = method_for(row, **({"density": 0.6} if hasattr(method_for(row), "density") else {}))
    expected = MethodMerger(method, seed=5).merge([a, b], base=base)
    folders = [save(tmp_path / str(i), weights) for i, weights in enumerate([base, a, b])]
    merge_checkpoints(method, folders[1:], tmp_path / "out", base=folders[0], seed=5)
    assert_same(load(tmp_path / "out"), expected)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_shards_and_threads_do_not_matter(tmp_path: Path, threads: int) -> None:
    base, a, b = (state(seed) for seed in range(3))
    whole = [save(tmp_path / "whole" / str(i), weights) for i, weights in enumerate([base, a, b])]
    parts = [save(tmp_path / "parts" / str(i), weights, shards=3) for i, weights in enumerate([base, a, b])]
    ties = method_for("dare_ties", density=0.5)
    merge_checkpoints(ties, whole[1:], tmp_path / "one", base=whole[0], threads=1)
    merge_checkpoints(ties, parts[1:], tmp_path / "two", base=parts[0], threads=threads)
    files = merge_checkpoints(ties, parts[1:], tmp_path / "three", base=whole[0], threads=threads, max_shard_size=900)
    assert len(files) > 3
    assert_same(load(tmp_path / "one"), load(tmp_path / "two"))
    assert_same(load(tmp_path / "one"), load(tmp_path / "three"))


@pytest.mark.parametrize("row", ["linear", "passthrough", "ties"])
def test_large_tensors_in_pieces_give_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str) -> None:
    count = 1 if row == "passthrough" else 2
    folders = [save(tmp_path / str(i), state(i)) for i in range(3)]
    weights = TensorParams(weight=(0.7, 0.5)[:count])

    def merged(out: str) -> dict[str, Tensor]:
        models = folders[1 : 1 + count]
        merge_checkpoints(method_for(row), models, tmp_path / out, base=folders[0], params=lambda _: weights)
        return load(tmp_path / out)

    whole = merged("whole")
    monkeypatch.setattr("heredity.merging.streaming._BLOCK", 100)  # bytes: three rows of 16 bfloat16 values
    written: list[int] = []
    write = CheckpointWriter.write_bytes

    def counting(self: CheckpointWriter, name: str, data: memoryview, *, row: int = 0) -> None:
        written.append(row)
        write(self, name, data, row=row)

    monkeypatch.setattr(CheckpointWriter, "write_bytes", counting)
    assert_same(merged("pieces"), whole)
    assert (max(written) > 0) == (row != "ties")  # trimming looks at the whole tensor


def test_the_callers_torch_threads_are_left_alone(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    folders = [save(tmp_path / str(i), state(i)) for i in range(2)]
    merge_checkpoints(method_for("linear"), folders, tmp_path / "out")
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("row", ["linear", "ties", "slerp"])
@pytest.mark.parametrize("who", [0, 1, 2])
def test_nan_in_a_parent_names_file_and_tensor_and_leaves_nothing(tmp_path: Path, row: str, who: int) -> None:
    states = [state(seed) for seed in range(3)]
    states[who]["layers.1.up"][3, 4] = float("nan")
    folders = [save(tmp_path / f"parent{i}", weights) for i, weights in enumerate(states)]
    method = method_for(row)
    base = folders[0] if method.needs_base else None
    models = folders[1:] if base else folders[who - 1 : who + 1] if who else folders[:2]
    with pytest.raises(NonFinite, match=rf"parent{who}/model.safetensors has 1 non-finite values in 'layers.1.up'"):
        merge_checkpoints(method, models, tmp_path / "out", base=base)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parent0", "parent1", "parent2"]


def test_an_input_that_overflows_the_type_it_is_read_as_says_so(tmp_path: Path) -> None:
    class Large:
        def read(self, name: str, *, raw: Any = None) -> Tensor:
            return torch.tensor([1e30], dtype=torch.bfloat16)

    reads = tuple(Read(Large(), "w", f"m{i}") for i in range(2))
    job = TensorJob("w", (1,), reads, method_for("slerp", t=0.3), "float16", "float16", 4)
    with pytest.raises(NonFinite, match=r"m0 has 1 non-finite values in 'w', read as float16"):
        job.run(0, {})


def test_memory_does_not_grow_with_the_number_of_tensors(tmp_path: Path) -> None:
    # 12 tensors of 8 MiB, 288 MiB of inputs; in flight are at most two jobs of (2 + 1 + 1) x 8 MiB
    names = {"base": 0.0, "a": 1.0, "b": -2.0}
    folders = [
        save(tmp_path / name, {f"t{i}": torch.arange(1 << 21) * step + i for i in range(12)})
        for name, step in names.items()
    ]
    script = f"""
        import resource, torch
        from heredity.merging.methods import TensorParams, method_for
        from heredity.merging.streaming import merge_checkpoints
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        ties = method_for("ties", density=0.5)
        ties.merge_tensor("w", [torch.ones(9), torch.zeros(9)], base=torch.zeros(9))
        before = peak()
        models = {[str(folder) for folder in folders]!r}
        merge_checkpoints(ties, models[1:], {str(tmp_path / "out")!r}, base=models[0], threads=2)
        print(peak() - before)
    """
    watched = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
    command = [sys.executable, "-c", watched, textwrap.dedent(script)]  # a small parent: peaks are inherited by a fork
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 140


def test_models_that_do_not_fit_are_named(tmp_path: Path) -> None:
    a, b = state(0), state(1)
    b["norm"] = torch.zeros(17).bfloat16()
    folders = [save(tmp_path / "a", a), save(tmp_path / "b", b)]
    with pytest.raises(MergeError, match=r"shapes differ at 'norm': .*a has \(16,\), .*b has \(17,\)"):
        merge_checkpoints(method_for("linear"), folders, tmp_path / "out")
    del b["norm"]
    folders[1] = save(tmp_path / "c", b)
    with pytest.raises(MergeError, match=r"only one of .* has 'norm'"):
        merge_checkpoints(method_for("linear"), folders, tmp_path / "out")


class Counting:
    """Weights that count how many bytes of inputs are held at once."""

    def __init__(self) -> None:
        self.held, self.most, self.lock = 0, 0, threading.Lock()

    def read(self, name: str, *, raw: Any = None) -> Tensor:
        size = int(name)
        with self.lock:
            self.held += size
            self.most = max(self.most, self.held)
        return torch.ones(size // 4)


def test_inputs_in_flight_stay_under_the_limit(tmp_path: Path) -> None:
    counting = Counting()

    def done(size: int) -> None:
        with counting.lock:
            counting.held -= size

    def job(index: int, size: int) -> TensorJob:
        read = Read(counting, str(size), "m")
        return TensorJob(f"t{index}", (size // 4,), (read,), None, "float32", "float32", size)

    sizes = [4000, 4000, 400, 400, 4000, 400] * 4
    jobs = [job(i, size) for i, size in enumerate(sizes)]
    specs = [(job.name, job.out_dtype, job.shape) for job in jobs]
    writer = CheckpointWriter(tmp_path, specs, max_shard_size=1 << 20, metadata={})
    run_jobs(jobs, writer, threads=4, memory=9000, progress=done)
    writer.finish({})
    # inputs and outputs count: a job of 4000 takes 8000 of the limit of 12000 (1.5 times the largest), so never two
    assert counting.held == 0
    assert counting.most <= 12000
    assert len(load(tmp_path)) == len(sizes)


def test_a_failing_worker_stops_the_others(tmp_path: Path) -> None:
    class Failing:
        def read(self, name: str, *, raw: Any = None) -> Tensor:
            if name == "t3":
                raise MergeError("t3 is bad")
            return torch.ones(1)

    jobs = [TensorJob(f"t{i}", (1,), (Read(Failing(), f"t{i}", "m"),), None, "float32", "float32", 4) for i in range(9)]
    specs = [(job.name, job.out_dtype, job.shape) for job in jobs]
    writer = CheckpointWriter(tmp_path, specs, max_shard_size=1 << 20, metadata={})
    with pytest.raises(MergeError, match="t3 is bad"):
        run_jobs(jobs, writer, threads=2)
    writer.close()


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    folders = [save(tmp_path / str(i), state(i)) for i in range(2)]
    script = f"""
        import resource
        from heredity.errors import MergeError
        from heredity.merging.methods import TensorParams, method_for
        from heredity.merging.streaming import merge_checkpoints
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        try:
            merge_checkpoints(method_for("linear"), {[str(f) for f in folders]!r}, {str(tmp_path / "out")!r})
        except MergeError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    assert "cannot write" in done.stdout and "a file may not grow that large" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def test_too_little_space_is_said_before_anything_is_written(tmp_path: Path) -> None:
    petabyte = [("w", "uint8", (10**15,))]
    with pytest.raises(MergeError, match=r"cannot write 1,000,000,000,000,000 bytes .* the disk is full"):
        CheckpointWriter(tmp_path, petabyte, max_shard_size=1 << 60, metadata={})
    assert list(tmp_path.iterdir()) == []
