"""`heredity merge`: what it prints, writes and refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer
import yaml
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from heredity.cli.merge import merge_command, parse_size
from heredity.errors import HeredityError, RecipeError

MAIN = "import sys; from heredity.cli.main import main; sys.argv[0] = 'heredity'; main()"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("ab"):
        generator = torch.Generator().manual_seed(seed)
        (tmp_path / name).mkdir()
        state = {f"layers.{i}.w": torch.randn(8, 4, generator=generator) for i in range(3)}
        save_file(state, tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text('{"num_hidden_layers": 3}')
    file = tmp_path / "soup.yml"
    models = [{"model": name, "parameters": {"weight": 1}} for name in "ab"]
    file.write_text(yaml.safe_dump({"merge_method": "linear", "models": models, "parameters": {"density": 1}}))
    return file


def call(*arguments: str) -> tuple[int, str, str, BaseException | None]:
    app = typer.Typer()
    app.command("merge")(merge_command)
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr, result.exception


def test_a_merge_says_what_it_wrote_and_what_to_type_next(config: Path, tmp_path: Path) -> None:
    code, out, err, _ = call("soup.yml", "out")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("wrote out: 3 tensors, 384 bytes in 1 file, linear of 2 models, ")
    assert "heredity import out --name out" in out
    assert err == "note: linear does not use density\n"
    a, b, merged = (load_file(tmp_path / name / "model.safetensors") for name in ("a", "b", "out"))
    torch.testing.assert_close(merged["layers.1.w"], (a["layers.1.w"] + b["layers.1.w"]) / 2)


def test_json_is_one_object(config: Path, tmp_path: Path) -> None:
    code, out, err, _ = call("soup.yml", "out", "--json", "--max-shard-size", "200B", "--threads", "1")
    facts = json.loads(out)
    assert code == 0 and err == ""
    assert facts["folder"] == str(tmp_path / "out")
    assert facts["weights"][-1] == "model.safetensors.index.json"
    assert (facts["tensors"], facts["read_bytes"], facts["write_bytes"]) == (3, 768, 384)
    assert set(facts["parents"]) == {"a", "b"}
    assert len(facts["parents"]["a"]) == 64


def test_a_dry_run_describes_and_writes_nothing(config: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    code, out, _, _ = call("soup.yml", "out", "--dry-run")
    assert code == 0
    facts = [line.split(maxsplit=1) for line in out.splitlines() if line.strip()]
    assert facts == [
        ["method", "linear"],
        ["input", "a (3 tensors)"],
        ["input", "b (3 tensors)"],
        ["output", "out (3 tensors)"],
        ["reads", "768 bytes"],
        ["writes", "384 bytes"],
        ["note", "linear does not use density"],
        ["heredity", "merge soup.yml out"],
    ]
    assert json.loads(call("soup.yml", "out", "--dry-run", "--json")[1])["read_bytes"] == 768
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_with_files_is_kept_unless_told_otherwise(config: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("")
    code, _, _, error = call("soup.yml", "out")
    assert code != 0 and isinstance(error, HeredityError)
    assert "already holds files" in str(error) and "--overwrite" in str(error)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["precious"]
    assert call("soup.yml", "out", "--overwrite")[0] == 0
    assert not (tmp_path / "out" / "precious").exists()


def test_a_mistake_is_one_line_and_exit_code_two(config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text().replace("merge_method: linear", "merge_method: liner"))
    command = [sys.executable, "-c", MAIN, "merge", "soup.yml", "out"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("heredity: unknown merge_method 'liner' in soup.yml; did you mean 'linear'?")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_process_ends_once_everything_is_said(config: Path, tmp_path: Path) -> None:
    """The end is quick, but nobody's last words are lost."""
    # what sys holds goes last, when print has nowhere left to write to
    script = """
import atexit, os, sys
from heredity.cli.main import main
class Last:
    def __del__(self, write=os.write):
        write(1, b"taken apart\\n")
sys.last = Last()
atexit.register(print, "registered")
sys.argv[0] = "{name}"
{call}
"""

    def lines(call: str, name: str = "heredity") -> list[str]:
        command = [sys.executable, "-c", script.format(call=call, name=name), "merge", "soup.yml", "out", "--overwrite"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
        assert done.stdout.startswith("wrote out: 3 tensors")
        assert load_file(tmp_path / "out" / "model.safetensors").keys() == {f"layers.{i}.w" for i in range(3)}
        return done.stdout.partition("heredity import out --name out\n")[2].splitlines()

    assert lines("main()") == ["registered"]
    # a caller with plans of its own, and another program, end as every Python process does
    wrapped = "def run():\n    try:\n        main()\n    finally:\n        print('cleaned up')\nrun()"
    assert lines(wrapped) == ["cleaned up", "registered", "taken apart"]
    assert lines("main()", "other") == ["registered", "taken apart"]


def test_a_reader_that_went_away_is_no_success(config: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAIN, "merge", "soup.yml", "out"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as child:
        assert child.stdout is not None
        child.stdout.close()
        assert child.wait() != 0
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_help_and_cheap_checks_do_not_load_torch() -> None:
    script = """
import sys
from heredity.cli.merge import merge_command
from heredity.merging.mergekit_config import parse_config
from heredity.merging.model_source import weight_paths
from heredity.merging.parent_hashes import ParentHashes
parse_config("{merge_method: linear, models: [{model: a}]}")
assert "torch" not in sys.modules and "numpy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_example_in_the_help_is_valid() -> None:
    from heredity.merging.mergekit_config import parse_config

    text = (merge_command.__doc__ or "").split("\b\n")[1].split("\n\n")[0]
    parsed = parse_config(text)
    assert parsed.method == "ties" and len(parsed.models) == 2


@pytest.mark.parametrize(
    ("text", "count"), [("5GB", 5 * 10**9), ("500M", 5 * 10**8), ("1.5kb", 1500), ("7", 7), (" 2 TB ", 2 * 10**12)]
)
def test_sizes(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "5 apples", "0", "infGB", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="--max-shard-size should be a size"):
        parse_size(text)
