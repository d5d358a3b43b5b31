"""heredity export and heredity import."""

from __future__ import annotations

from safetensors.torch import load_file


def test_a_model_goes_out_and_comes_back(run, family, tmp_path):
    folder, other = tmp_path / "out", tmp_path / "other"
    report = run("export", "maths", str(folder), "--json").json
    assert report["id"] == family.maths.id and "README.md" in report["files"]
    weights = next(name for name in report["files"] if name.endswith(".safetensors"))
    assert load_file(folder / weights)["w"].tolist() == [2.0, 3.0]
    back = run("import", str(folder), "--name", "back", "--json", lab=other).json
    assert back["new"] is True and back["names"] == ["back"] and back["weights"] == family.maths.weights_sha256
    assert run("import", str(folder), "--json", lab=other).json["new"] is False


def test_next_commands_are_printed(run, tmp_path):
    out = run("export", "maths", str(tmp_path / "out")).out
    assert "heredity import" in out and "README.md" in out
    out = run("import", str(tmp_path / "out"), "--name", "back", lab=tmp_path / "other").out
    assert f"heredity show back --lab {tmp_path / 'other'}" in out and "heredity tree" in out


def test_a_base_becomes_a_parent(run, family, tmp_path):
    run("export", "maths", str(tmp_path / "out"))
    born = run("import", str(tmp_path / "out"), "--base", "ancestor", "--json").json
    assert run("show", born["id"], "--json").json["parents"] == [{"role": "base", "id": family.ancestor.id}]


def test_a_folder_with_files_is_not_overwritten_unasked(run, tmp_path):
    folder = str(tmp_path / "out")
    run("export", "maths", folder)
    ended = run("export", "chat", folder)
    assert ended.code == 2 and "--overwrite" in ended.err
    assert run("export", "chat", folder, "--overwrite").code == 0


def test_no_model_there_is_bad_input(run, tmp_path):
    ended = run("import", str(tmp_path / "nothing"))
    assert ended.code == 2 and ended.err.startswith("heredity: ") and "nothing" in ended.err
