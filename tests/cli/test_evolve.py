"""`heredity evolve` as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

FIT = """
def score(model):
    return -sum(float((tensor - 0.25).square().sum()) for tensor in model.weights().values())
"""


def heredity(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "heredity", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with three founders, a fitness and a recipe."""
    import torch
    from safetensors.torch import save_file

    for number, values in enumerate(([0.0, 1.0], [1.0, 0.0], [0.0, 0.0])):
        save_file({"layers.0.weight": torch.tensor([values])}, tmp_path / f"v{number}.safetensors")
    (tmp_path / "fit.py").write_text(FIT)
    recipe = {
        "name": "points",
        "founders": [f"v{number}.safetensors" for number in range(3)],
        "task": {"function": "fit.py:score"},
        "population": {"size": 4, "generations": 2},
        "merging": {"method": "linear", "evaluations": 30},
    }
    (tmp_path / "points.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


def test_a_run_prints_the_table_the_story_and_the_next_commands(place: Path) -> None:
    done = heredity("evolve", "points.yaml", "--export", "out", cwd=place)
    assert done.returncode == 0, done.stderr
    for words in ("best founder", "uniform soup", "best grid merge", "GENOME+", "evolved recipe", "How the winner"):
        assert words in done.stdout
    assert "heredity path points-winner" in done.stdout
    assert (place / "out" / "model.safetensors").exists()
    again = heredity("path", "points-winner", cwd=place)
    assert again.returncode == 0, again.stderr


def test_json_is_one_object_and_nothing_else(place: Path) -> None:
    done = heredity("evolve", "points.yaml", "--json", cwd=place)
    facts = json.loads(done.stdout)
    assert {row["what"] for row in facts["rows"]} >= {"best founder", "GENOME+", "evolved recipe"}
    assert facts["winner"] == max(facts["rows"], key=lambda row: row["fitness"])["id"]
    assert done.stderr == ""


def test_a_dry_run_counts_and_writes_nothing(place: Path) -> None:
    before = sorted(place.rglob("*"))
    done = heredity("evolve", "points.yaml", "--dry-run", "--json", cwd=place)
    facts = json.loads(done.stdout)
    assert facts["evaluations"] >= 30
    assert facts["disk_bytes"] > 0
    assert [path for path in sorted(place.rglob("*")) if "__pycache__" not in path.parts] == before
    assert "heredity evolve points.yaml" in heredity("evolve", "points.yaml", "--dry-run", cwd=place).stdout


def test_one_key_can_be_changed_on_the_command_line(place: Path) -> None:
    less = heredity("evolve", "points.yaml", "--dry-run", "--json", "--set", "merging.evaluations=7", cwd=place)
    stages = {stage["name"]: stage["evaluations"] for stage in json.loads(less.stdout)["stages"]}
    assert stages["evolved recipe"] == 7
    wrong = heredity("evolve", "points.yaml", "--set", "merging.evaluation=7", cwd=place)
    assert wrong.returncode == 2
    assert "merging.evaluation" in wrong.stderr
    assert "'evaluations'" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.yaml"], "cannot read the recipe nowhere.yaml"),
        (["points.yaml", "--executor", "threads"], "unknown executor 'threads'"),
        (["points.yaml", "--export", "full"], "already holds files"),
        (["points.yaml", "--lab", "full"], "is no lab"),
    ],
)
def test_bad_input_is_one_line_and_code_2(place: Path, arguments: list[str], words: str) -> None:
    (place / "full").mkdir()
    (place / "full" / "something").write_text("x")
    done = heredity("evolve", *arguments, cwd=place)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "processes:2"])
def test_ctrl_c_leaves_a_lab_that_resumes_and_says_how(place: Path, executor: str) -> None:
    slow = FIT.replace("    return", "    import time; time.sleep(0.05)\n    return")
    (place / "fit.py").write_text(slow)
    command = [sys.executable, "-m", "heredity", "evolve", "points.yaml", "--executor", executor]
    process = subprocess.Popen(
        command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    births = place / "lab" / "births"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:  # until the run is in the middle of its evaluations
        if births.exists() and sum(path.read_bytes().count(b'"t":"measurement"') for path in births.iterdir()) > 8:
            break
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "heredity evolve points.yaml --lab lab" in errors
    assert not list((place / "lab" / "leases").glob("[!.]*"))
    finished = heredity("evolve", "points.yaml", "--json", cwd=place)
    assert finished.returncode == 0, finished.stderr
    fresh = heredity("evolve", "points.yaml", "--json", "--lab", "fresh", cwd=place)
    mine, other = json.loads(finished.stdout), json.loads(fresh.stdout)
    assert mine["rows"] == other["rows"]
    assert mine["births"] < other["births"], "what was recorded before the interruption was not made again"


@pytest.mark.slow
def test_the_built_in_recipe_runs_and_finds_better_than_its_parents(tmp_path: Path) -> None:
    done = heredity(
        "evolve", "--json", "--set", "merging.evaluations=150", "--set", "population.generations=3", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    rows = {row["what"]: row for row in json.loads(done.stdout)["rows"]}
    assert list(rows) == [
        *("ancestor", "best founder", "uniform soup", "best grid merge", "GENOME+", "vote of 3", "evolved recipe")
    ]
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in rows.values())
    # The population holds the founders and starts from them; the recipes start from its best mixture.
    assert rows["GENOME+"]["fitness"] >= rows["best founder"]["fitness"]
    assert rows["evolved recipe"]["fitness"] > rows["best founder"]["fitness"]
