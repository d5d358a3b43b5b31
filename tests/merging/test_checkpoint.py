"""Reading and writing safetensors checkpoints: exact, aligned, and plain about damage."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from heredity.errors import MergeError
from heredity.merging.checkpoint import Checkpoint
from heredity.merging.checkpoint_writer import CheckpointWriter, fresh_folder
from heredity.merging.dtype_names import name_of
from heredity.merging.parent_hashes import ParentHashes, weights_sha256
from heredity.merging.safetensors_header import read_header


def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "b.weight": torch.randn(7, 3, generator=generator).bfloat16(),
        "a.weight": torch.randn(5, 4, generator=generator),
        "scalar": torch.tensor(3.5, dtype=torch.float64),
        "mask": torch.tensor([True, False, True]),
        "steps": torch.tensor(12),
        "empty": torch.zeros(0, 4),
        "half": torch.randn(9, generator=generator).half(),
    }


def write(folder: Path, state: dict[str, Tensor], *, limit: int = 1 << 30) -> list[Path]:
    folder.mkdir(parents=True)
    specs = [(name, name_of(tensor.dtype), tuple(tensor.shape)) for name, tensor in state.items()]
    writer = CheckpointWriter(folder, specs, max_shard_size=limit, metadata={"format": "pt", "x": "--"})
    for name in reversed(list(state)):  # any order
        writer.write(name, state[name])
    return writer.finish({"format": "pt", "x": "ok"})


def same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)


@pytest.mark.parametrize("limit", [1 << 30, 100, 1])
def test_what_is_written_is_read_back_by_us_and_by_safetensors(tmp_path: Path, limit: int) -> None:
    state = tensors()
    files = write(tmp_path / "m", state, limit=limit)
    with Checkpoint(tmp_path / "m") as checkpoint:
        assert set(checkpoint.entries) == set(state)
        assert all(same(checkpoint.read(name), tensor) for name, tensor in state.items())
    shards = [file for file in files if file.suffix == ".safetensors"]
    assert (len(shards) > 1) == (limit < 1 << 30)
    loaded = {name: tensor for file in shards for name, tensor in load_file(file).items()}
    assert loaded.keys() == state.keys()
    assert all(same(loaded[name], tensor) for name, tensor in state.items())
    for file in shards:
        with safe_open(file, "pt") as reader:
            assert reader.metadata() == {"format": "pt", "x": "ok"}


def test_shards_stay_under_the_limit_and_the_index_adds_up(tmp_path: Path) -> None:
    state = {f"t{i}": torch.zeros(10) for i in range(6)}  # 40 bytes each: two fit in 100
    files = write(tmp_path / "m", state, limit=100)
    assert [file.name for file in files] == [
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
        "model.safetensors.index.json",
    ]
    index = json.loads(files[-1].read_text())
    assert index["metadata"]["total_size"] == 240
    assert index["weight_map"]["t2"] == "model-00002-of-00003.safetensors"
    assert all(sum(e.nbytes for e in read_header(file)[0].values()) <= 100 for file in files[:-1])


def test_every_tensor_is_aligned_to_its_type(tmp_path: Path) -> None:
    (file,) = write(tmp_path / "m", tensors())  # bfloat16 of 21 values comes before wider types in the list
    entries, _ = read_header(file)
    assert all(entry.offset % entry.dtype.itemsize == 0 for entry in entries.values())


@settings(max_examples=30, deadline=None)
@given(
    shapes=st.lists(st.lists(st.integers(0, 5), max_size=3), min_size=1, max_size=6),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8]),
    limit=st.integers(1, 400),
)
def test_any_shapes_survive(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[list[int]], dtype: torch.dtype, limit: int
) -> None:
    state = {
        f"n{i}": (torch.arange(max(1, torch.Size(shape).numel()))[: torch.Size(shape).numel()] % 7)
        .reshape(shape)
        .to(dtype)
        for i, shape in enumerate(shapes)
    }
    folder = tmp_path_factory.mktemp("any") / "m"
    write(folder, state, limit=limit)
    with Checkpoint(folder) as checkpoint:
        assert all(same(checkpoint.read(name), tensor) for name, tensor in state.items())


def test_rows_are_read_and_written_in_place(tmp_path: Path) -> None:
    value = torch.arange(30.0).reshape(10, 3)
    (tmp_path / "m").mkdir()
    writer = CheckpointWriter(
        tmp_path / "m", [("w", "float32", (10, 3))], max_shard_size=1 << 20, metadata={"format": "pt"}
    )
    writer.write("w", value[6:], row=6)
    writer.write("w", value[:6])
    writer.finish({"format": "pt"})
    with Checkpoint(tmp_path / "m") as checkpoint:
        assert torch.equal(checkpoint.read("w"), value)
        raw = np.empty(24, np.uint8)
        part = checkpoint.read("w", rows=(4, 6), raw=raw)
        assert torch.equal(part, value[4:6])
        assert part.data_ptr() == raw.ctypes.data


def test_a_wrong_shape_or_type_is_refused(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, [("w", "float32", (2, 3))], max_shard_size=1 << 20, metadata={})
    with pytest.raises(MergeError, match=r"'w' was announced as float32 \(2, 3\) and came as float16"):
        writer.write("w", torch.zeros(2, 3).half())
    with pytest.raises(MergeError, match="came as"):
        writer.write("w", torch.zeros(2, 4))
    writer.close()


# --- damage -----------------------------------------------------------------------------------------------


def saved(folder: Path, state: dict[str, Tensor]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    return folder / "model.safetensors"


def test_a_file_cut_short_names_file_and_tensor(tmp_path: Path) -> None:
    file = saved(tmp_path, {"one": torch.zeros(100), "two": torch.zeros(100)})
    content = file.read_bytes()
    file.write_bytes(content[:-10])
    with pytest.raises(MergeError, match=r"model.safetensors is cut short: 'two' ends at byte \d+, the file has"):
        Checkpoint(tmp_path)
    file.write_bytes(content[:20])
    with pytest.raises(MergeError, match="cut short or not a safetensors file"):
        Checkpoint(tmp_path)
    file.write_bytes(content[:5])
    with pytest.raises(MergeError, match="cut short"):
        Checkpoint(tmp_path)
    file.write_bytes(content + b"more")
    with pytest.raises(MergeError, match="4 bytes beyond its last tensor"):
        Checkpoint(tmp_path)


def test_a_file_cut_while_it_is_read_is_an_error_not_a_crash(tmp_path: Path) -> None:
    file = saved(tmp_path, {"one": torch.zeros(100), "two": torch.zeros(100)})
    with Checkpoint(tmp_path) as checkpoint:
        checkpoint.read("two")
        file.write_bytes(file.read_bytes()[:-10])
        with pytest.raises(MergeError, match="cut short while 'two' was read"):
            checkpoint.read("two")


def header(value: object) -> bytes:
    text = json.dumps(value).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ((200_000_000).to_bytes(8, "little") + b"{}", "announces a header of 200000000 bytes"),
        (header([1]), "not a JSON object"),
        ((4).to_bytes(8, "little") + b"{{{{", "header of .* is damaged"),
        (header({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}) + b"1234", "'w' of shape"),
        (header({"w": {"dtype": "F4", "shape": [2], "data_offsets": [0, 4]}}) + b"1234", "'w' as F4"),
        (header({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}) + b"12345678", "'w' begins at byte"),
        (header({"w": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}}) + b"1234", "'w'"),
        (header({"w": {"shape": [1]}}) + b"1234", "damaged at 'w'"),
    ],
)
def test_a_damaged_header_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(MergeError, match=message):
        Checkpoint(tmp_path)


def test_a_broken_index_is_named(tmp_path: Path) -> None:
    saved(tmp_path, {"one": torch.zeros(1)})
    index = tmp_path / "model.safetensors.index.json"
    for where, message in [
        ({"one": "gone.safetensors"}, "'gone.safetensors', which is missing"),
        ({"two": "model.safetensors"}, "places 'two' in 'model.safetensors', which does not hold it"),
        ({"one": "../model.safetensors"}, "outside its folder"),
    ]:
        index.write_text(json.dumps({"weight_map": where}))
        with pytest.raises(MergeError, match=message):
            Checkpoint(tmp_path)
    index.write_text("{}")
    with pytest.raises(MergeError, match="no usable weight_map"):
        Checkpoint(tmp_path)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="does not exist"):
        Checkpoint(tmp_path / "nowhere")
    with pytest.raises(MergeError, match="no safetensors weights"):
        Checkpoint(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(MergeError, match="pickled weights only"):
        Checkpoint(tmp_path)


# --- hashes and folders -----------------------------------------------------------------------------------


def test_the_hash_is_the_labs_and_does_not_depend_on_shards(tmp_path: Path) -> None:
    from heredity.lab.blobs import weights_digest

    state = tensors()
    write(tmp_path / "whole", state)
    write(tmp_path / "parts", state, limit=50)
    expected = weights_digest(state)
    assert weights_sha256(tmp_path / "whole") == weights_sha256(tmp_path / "parts") == expected
    with ParentHashes({"w": tmp_path / "whole", "p": tmp_path / "parts"}) as hashes:
        assert hashes.result() == {"w": expected, "p": expected}


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RuntimeError, match="stop"), fresh_folder(out) as part:
        (part / "x").write_text("half")
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []
    with fresh_folder(out) as part:
        (part / "x").write_text("one")
        assert not out.exists()
    assert (out / "x").read_text() == "one"
    with pytest.raises(MergeError, match="already holds files"), fresh_folder(out):
        pass
    with pytest.raises(RuntimeError), fresh_folder(out, overwrite=True) as part:
        raise RuntimeError
    assert (out / "x").read_text() == "one"
    with fresh_folder(out, overwrite=True) as part:
        (part / "y").write_text("two")
    assert [file.name for file in out.iterdir()] == ["y"]
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    (tmp_path / "file").write_text("")
    with pytest.raises(MergeError, match="is a file"), fresh_folder(tmp_path / "file"):
        pass
