"""Exported folders without Hugging Face libraries: plain models, lineage in the metadata, and safe writing."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import heredity as hd
from heredity.errors import DamagedRecord, LabError, NewerFormat
from heredity.lab.huggingface import export_model, read_model
from heredity.lab.whole_folder import whole_folder


@hd.architecture
class Line(torch.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.one = torch.nn.Linear(width, width)
        self.two = torch.nn.Linear(width, width)
        self.two.weight = self.one.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(self.one(x))


@pytest.fixture
def lab(tmp_path):
    with hd.Lab(tmp_path / "lab") as lab:
        yield lab


# Plain PyTorch models and lone files


def test_a_plain_model_travels_by_folder_and_by_lone_file(tmp_path, lab):
    module = Line(3)
    root = lab.add(Line(3), name="root")
    with lab.step("train", parents=[root]) as step:
        model = step.commit(module, name="trained")
    export_model(model, tmp_path / "out")
    x = torch.ones(2, 3)
    for path in (tmp_path / "out", tmp_path / "out" / "model.safetensors"):
        with hd.Lab(tmp_path / f"other-{path.suffix[1:]}") as other:
            found = read_model(path)
            copy = other.add(path, labels=found.labels)
            assert torch.equal(copy.load()(x), module(x))
            assert copy.weights_sha256 == model.weights_sha256
            told = copy.labels["lineage"]
            assert (told["id"], told["key"], told["weights_sha256"]) == (model.id, model.key, model.weights_sha256)
            assert [(parent["role"], parent["id"]) for parent in told["parents"]] == [("parent", root.id)]
            assert [step["id"] for step in told["path"]] == [root.id, model.id]


def test_the_path_goes_on_through_another_lab(tmp_path, lab):
    root = lab.add({"w": torch.zeros(2)})
    with lab.step("add one", parents=[root]) as step:
        first = step.commit({"w": torch.ones(2)})
    export_model(first, tmp_path / "one")
    with hd.Lab(tmp_path / "lab2") as other:
        found = read_model(tmp_path / "one")
        copy = other.add(tmp_path / "one", labels=found.labels)
        with other.step("add two", parents=[copy]) as step:
            second = step.commit({"w": torch.full((2,), 3.0)})
        export_model(second, tmp_path / "two")
    told = read_model(tmp_path / "two" / "model.safetensors").labels["lineage"]
    assert [step["id"] for step in told["path"]] == [root.id, first.id, copy.id, second.id]
    assert "in another lab" in (tmp_path / "two" / "README.md").read_text()


def test_metadata_hold_the_format_and_one_key_of_ours(tmp_path, lab):
    export_model(lab.add({"w": torch.zeros(2)}), tmp_path / "out")
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        metadata = file.metadata()
    assert set(metadata) == {"format", "lineage"}
    assert metadata["format"] == "pt"
    told = json.loads(metadata["lineage"])
    assert {"id", "key", "weights_sha256", "parents", "operator", "path", "architecture"} <= set(told)


def test_a_file_that_changed_after_its_export_is_refused(tmp_path, lab):
    export_model(lab.add({"w": torch.zeros(2)}), tmp_path / "out")
    file = tmp_path / "out" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1  # the sign and exponent's highest bits of the last element: 0 becomes about 2e-38·…, finite
    file.write_bytes(bytes(content))
    with pytest.raises(DamagedRecord, match="changed after its export"):
        read_model(tmp_path / "out")


@pytest.mark.parametrize("text", ["", "no json", "[1]", '{"id": 3}', '"lineage"'])
def test_a_lineage_key_of_another_program_is_ignored(tmp_path, text):
    save_file({"w": torch.ones(1)}, tmp_path / "a.safetensors", metadata={"lineage": text})
    found = read_model(tmp_path / "a.safetensors")
    assert (found.architecture, found.labels) == (None, {})


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ({"heredity": 99}, NewerFormat),
        ({"heredity": 1}, DamagedRecord),
        ({"heredity": 1, "id": "a", "key": "b", "weights_sha256": "c", "path": 3, "parents": []}, DamagedRecord),
        (
            {
                "heredity": 1,
                "id": "a",
                "key": "b",
                "weights_sha256": "c",
                "path": [7],
                "parents": [],
                "base_models": [],
            },
            DamagedRecord,
        ),
    ],
)
def test_a_lineage_of_ours_that_is_newer_or_damaged_is_refused(tmp_path, told, error):
    save_file({"w": torch.ones(1)}, tmp_path / "a.safetensors", metadata={"lineage": json.dumps(told)})
    with pytest.raises(error):
        read_model(tmp_path / "a.safetensors")


def test_an_unknown_kind_of_architecture_is_refused(tmp_path):
    save_file({"w": torch.ones(1)}, tmp_path / "model.safetensors")
    for spec in ({"kind": "pickle", "config": {}}, {"kind": "class", "config": {}}, [], {"kind": "peft", "config": 3}):
        (tmp_path / "heredity.json").write_text(json.dumps({"heredity": 1, "architecture": spec}))
        with pytest.raises(LabError, match="of no kind"):
            read_model(tmp_path)


def test_a_folder_that_is_not_empty_is_refused_and_an_earlier_export_can_be_replaced(tmp_path, lab):
    model = lab.add({"w": torch.zeros(2)})
    (tmp_path / "out").mkdir()
    export_model(model, tmp_path / "out")  # an empty one is fine
    with pytest.raises(LabError, match="not empty"):
        export_model(model, tmp_path / "out")
    other = lab.add({"w": torch.ones(2)})
    export_model(other, tmp_path / "out", overwrite=True)
    assert torch.equal(read_model(tmp_path / "out").weights["w"], torch.ones(2))
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(LabError, match=r"'thesis\.tex', which no export writes"):
        export_model(model, tmp_path / "out", overwrite=True)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["lab", "out"]


def test_a_configuration_of_another_library_says_nothing_of_the_architecture(tmp_path):
    save_file({"w": torch.ones(2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"width": 3}')
    assert read_model(tmp_path).architecture is None


def test_what_was_there_comes_back_when_the_last_rename_fails(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with pytest.raises(LabError, match="nothing was exported"), whole_folder(tmp_path / "out") as temporary:
        temporary.rmdir()
    assert [item.relative_to(tmp_path).as_posix() for item in tmp_path.rglob("*")] == ["out", "out/old"]


def test_nothing_is_left_behind_when_an_export_fails(tmp_path, lab):
    first, second = lab.add({"w": torch.zeros(2)}), lab.add({"w": torch.ones(2)})
    export_model(first, tmp_path / "out")
    lab.blobs.path(second.weights_sha256).write_bytes(b"damaged")
    with pytest.raises(DamagedRecord):
        export_model(second, tmp_path / "out", overwrite=True)
    assert torch.equal(read_model(tmp_path / "out").weights["w"], torch.zeros(2))
    assert sorted(item.name for item in tmp_path.iterdir()) == ["lab", "out"]


def test_a_place_that_cannot_be_written_is_named(tmp_path, lab):
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match=r"cannot write .*file/out"):
        export_model(lab.add({"w": torch.zeros(2)}), tmp_path / "file" / "out")


@pytest.mark.parametrize("name", ["../x.model", "/tmp/x.model", "evil.py", "config.json", "LICENSE/../../x"])
def test_small_files_with_hostile_names_do_not_leave_the_folder(tmp_path, lab, name):
    model = lab.add({"w": torch.zeros(2)})
    model.record["files"] = {name: lab.blobs.save_file(b"content")}
    with pytest.raises(LabError, match="does not belong"):
        export_model(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
