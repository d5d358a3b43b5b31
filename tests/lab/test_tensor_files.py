"""Safetensors files: damage is named by file and tensor, shards read as one, and written files are standard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from heredity.errors import LabError, NonFinite
from heredity.lab.blobs import tensor_bytes
from heredity.lab.huggingface import read_model
from heredity.lab.tensor_files import TensorFiles, plan_shards, write_tensors


def test_pickled_weights_are_refused(tmp_path):
    torch.save({"w": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    for path in (tmp_path, tmp_path / "pytorch_model.bin"):
        with pytest.raises(LabError, match="convert it to safetensors"):
            read_model(path)


def test_a_folder_without_weights_and_a_missing_path_are_named(tmp_path):
    with pytest.raises(LabError, match=r"holds no model\.safetensors"):
        read_model(tmp_path)
    with pytest.raises(LabError, match="there is no model at"):
        read_model(tmp_path / "a" / "b" / "c")


@pytest.mark.parametrize(("kept", "named"), [(0, ""), (5, ""), (40, ""), (-1, "'c'"), (-9, "'b'")])
def test_a_cut_file_is_named_with_its_first_cut_tensor(tmp_path, kept, named):
    save_file({"a": torch.ones(2), "b": torch.ones(2), "c": torch.ones(2)}, tmp_path / "model.safetensors")
    content = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[:kept])
    # Tensors of 8 bytes lie back to back in the order of names: without the last byte c is cut, without 9 also b.
    with pytest.raises(LabError, match=rf"model\.safetensors is cut short.*{named}"):
        read_model(tmp_path)


@pytest.mark.parametrize(
    "header", [b"{", b"[]", b'{"w": 3}', b'{"w": {"data_offsets": [0, 4]}}', b'{"__metadata__": 3}', b"\xff\xfe"]
)
def test_a_damaged_header_is_named(tmp_path, header):
    file = tmp_path / "a.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0\0\0")
    with pytest.raises(LabError, match=r"a\.safetensors"):
        read_model(file)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2])
def test_non_finite_weights_are_refused_with_file_and_tensor(tmp_path, bad, dtype):
    tensors = {"good": torch.ones(2), "bad": torch.tensor([1.0, bad]).to(dtype)}
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(NonFinite, match=r"'bad' in .*a\.safetensors has 1 non-finite"):
        read_model(tmp_path / "a.safetensors")


def sharded(folder: Path) -> Path:
    folder.mkdir()
    save_file({"a": torch.ones(1)}, folder / "model-00001-of-00002.safetensors")
    save_file({"b": torch.ones(2)}, folder / "model-00002-of-00002.safetensors")
    write_index(folder, {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"})
    return folder


def write_index(folder: Path, places: object) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def test_shards_are_mapped_tensor_by_tensor(tmp_path):
    weights = read_model(sharded(tmp_path / "m")).weights
    assert (sorted(weights), len(weights), "c" in weights) == (["a", "b"], 2, False)
    assert torch.equal(weights["b"], torch.ones(2))


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ({"a": "model-00001-of-00002.safetensors", "b": "gone.safetensors"}, "shard gone.safetensors is missing"),
        ({"a": "model-00001-of-00002.safetensors", "b": "model-00001-of-00002.safetensors"}, "'b' in model-00001"),
        ({"a": "model-00001-of-00002.safetensors", "c": "model-00002-of-00002.safetensors"}, "'c' in model-00002"),
        ({"a": "../secret.safetensors"}, "beside the index"),
        ({"a": "model.bin"}, "beside the index"),
        (["a"], "no weight_map"),
        ({"a": 3}, "no weight_map"),
    ],
)
def test_a_wrong_index_is_named(tmp_path, places, message):
    folder = sharded(tmp_path / "m")
    write_index(folder, places)
    with pytest.raises(LabError, match=message):
        read_model(folder)


def test_a_tensor_that_the_index_does_not_list_or_that_two_shards_hold_is_named(tmp_path):
    folder = sharded(tmp_path / "m")
    save_file({"b": torch.ones(2), "c": torch.ones(1)}, folder / "model-00002-of-00002.safetensors")
    with pytest.raises(LabError, match="does not list 'c'"):
        read_model(folder)
    save_file({"a": torch.ones(2), "b": torch.ones(1)}, folder / "model-00002-of-00002.safetensors")
    with pytest.raises(LabError, match="holds 'a', which"):
        read_model(folder)


def test_the_reference_library_reads_what_our_writer_wrote(tmp_path):
    types = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64]
    weights = {f"é {dtype}": torch.arange(6).reshape(2, 3).to(dtype) for dtype in types}
    weights |= {"scalar": torch.tensor(1.5), "empty": torch.zeros(0, 4), "turned": torch.arange(6.0).reshape(2, 3).T}
    weights |= {"eight bits": torch.ones(3).to(torch.float8_e5m2)}
    metadata = {"format": "pt", "b": "two", "a": "é"}
    size = write_tensors(tmp_path / "a.safetensors", weights, list(weights), metadata)
    assert size == sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    read = load_file(tmp_path / "a.safetensors")
    assert set(read) == set(weights)
    for name, tensor in read.items():
        assert tensor.dtype == weights[name].dtype
        assert bytes(tensor_bytes(tensor)) == bytes(tensor_bytes(weights[name]))
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata() == metadata


def test_a_type_that_the_format_lacks_is_named(tmp_path):
    with pytest.raises(LabError, match="'w' has the type complex128"):
        write_tensors(tmp_path / "a", {"w": torch.zeros(1, dtype=torch.complex128)}, ["w"], {})


def test_shards_hold_at_most_the_limit_and_every_tensor_once():
    weights = {f"t{i}": torch.zeros(i) for i in range(10)}  # 4·i bytes each
    shards = plan_shards(weights, 40)
    assert [name for shard in shards for name in shard] == sorted(weights)
    # Greedy in order: 0+4+…+16 = 40; then 20; 24; 28; 32; 36 of which no two fit in 40.
    assert [sum(4 * int(name[1:]) for name in shard) for shard in shards] == [40, 20, 24, 28, 32, 36]
    assert TensorFiles([]).places == {}
