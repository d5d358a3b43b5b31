"""`heredity evolve` with a search, as a new user types it in an empty folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

import heredity as hd

SLOW = """
import time

def f(x):
    time.sleep(0.03)
    return float((x * x).sum())
"""
RECIPE = {
    "name": "mine",
    "search": {
        "kind": "function",
        "function": "f.py:f",
        "direction": "minimize",
        "box": {"low": -3, "high": 3, "dim": 2},
        "evaluations": 60,
    },
}


def heredity(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "heredity", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "f.py").write_text(SLOW.replace("0.03", "0"))
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(RECIPE))
    return tmp_path


def test_a_search_prints_the_table_and_the_next_commands_and_exports(place: Path) -> None:
    done = heredity("evolve", "mine.yaml", "--export", "out", cwd=place)
    assert done.returncode == 0, done.stderr
    for words in (
        "winner",
        "place 2",
        "best of the first",
        "minimize value; 60 evaluations, 0 failed",
        "60 new births",
    ):
        assert words in done.stdout
    assert "heredity show mine-winner" in done.stdout
    assert "function 60/60, best " in done.stderr
    x = json.loads((place / "out" / "winner.json").read_text())
    assert (place / "out" / "model.safetensors").exists()
    with hd.Lab(place / "lab", mode="r") as lab:
        assert lab["mine-winner"].value("value") == pytest.approx(sum(value * value for value in x))


def test_json_is_one_object_and_nothing_else(place: Path) -> None:
    done = heredity("evolve", "mine.yaml", "--json", cwd=place)
    facts = json.loads(done.stdout)
    assert done.stderr == ""
    assert (facts["kind"], facts["aims"], facts["evaluations"]) == ("function", {"value": "minimize"}, 60)
    assert facts["winner"] == min(facts["rows"], key=lambda row: row["values"]["value"])["id"]


def test_a_dry_run_says_what_would_run_and_writes_nothing(place: Path) -> None:
    before = sorted(place.rglob("*"))
    done = heredity("evolve", "mine.yaml", "--dry-run", "--set", "search.evaluations=7", cwd=place)
    assert [path for path in sorted(place.rglob("*")) if "__pycache__" not in path.parts] == before
    for words in ("minimize value", "at most 7 candidates", "CMAES", "2 numbers", "heredity evolve mine.yaml"):
        assert words in done.stdout, done.stdout
    facts = json.loads(heredity("evolve", "mine.yaml", "--dry-run", "--json", cwd=place).stdout)
    assert facts["evaluations"] == facts["births"] == 60


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mine.yaml", "--set", "search.evaluation=3"], "unknown key 'search.evaluation'; did you mean 'evaluations'?"),
        (["mine.yaml", "--set", "search.searcher=cmae"], "search.searcher is 'cmae'; did you mean 'cma_es'?"),
        (["mine.yaml", "--set", "search.kind=functio"], "did you mean 'function'?"),
        (["cartpol"], "no built-in recipe; did you mean 'cartpole'?"),
        (["mine.yaml", "--copy", "there"], "--copy takes a built-in recipe's name"),
    ],
)
def test_bad_input_is_one_line_and_code_2(place: Path, arguments: list[str], words: str) -> None:
    done = heredity("evolve", *arguments, cwd=place)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.slow
def test_built_in_recipes_are_listed_and_copied(tmp_path: Path) -> None:
    listed = heredity("evolve", "--list", cwd=tmp_path)
    for name in ("cartpole", "cells", "rastrigin", "tune_digits", "two_shifts"):
        assert name in listed.stdout
    copied = heredity("evolve", "tune-digits", "--copy", "mine", cwd=tmp_path)
    assert copied.returncode == 0, copied.stderr
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"tune_digits.yaml", "tune_digits.py"}
    assert heredity("evolve", "tune-digits", "--copy", "mine", cwd=tmp_path).returncode == 2
    small = ("--set", "search.population=3", "--set", "search.rounds=2", "--json")
    own = heredity("evolve", "mine/tune_digits.yaml", *small, "--lab", "own", cwd=tmp_path)
    ours = heredity("evolve", "tune_digits", *small, cwd=tmp_path)
    assert own.returncode == ours.returncode == 0, own.stderr + ours.stderr
    assert json.loads(own.stdout)["rows"] == json.loads(ours.stdout)["rows"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("cartpole", ["search.evaluations=40", "search.test_episodes=10"]),
        ("cells", ["search.evaluations=24", "search.population=8"]),
        ("rastrigin", []),
        ("tune_digits", ["search.rounds=3", "search.population=5"]),
    ],
)
def test_built_in_recipes_run(name: str, changes: list[str], tmp_path: Path) -> None:
    settings = [part for change in changes for part in ("--set", change)]
    done = heredity("evolve", name, *settings, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    rows = {row["what"]: row for row in facts["rows"]}
    best = rows["winner"]["values"]
    if name == "cells":
        assert best["accuracy"] == max(row["values"]["accuracy"] for row in rows.values())
        assert rows["winner"]["test"]["test"] > 0.5  # of ten classes
    elif name == "cartpole":
        assert best["return"] > 100  # a policy that does one thing alone falls after about ten steps
        assert 1 <= rows["winner"]["test"]["test"] <= 500
    else:
        ((metric, _),) = facts["aims"].items()
        assert best[metric] < rows["best of the first"]["values"][metric]
    assert heredity("verify", cwd=tmp_path).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "processes:2"])
def test_ctrl_c_leaves_a_search_that_resumes_and_says_how(place: Path, executor: str) -> None:
    (place / "f.py").write_text(SLOW)
    command = [sys.executable, "-m", "heredity", "evolve", "mine.yaml", "--executor", executor]
    process = subprocess.Popen(
        command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    births = place / "lab" / "births"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:  # until the search is in the middle
        if births.exists() and sum(path.read_bytes().count(b'"t":"measurement"') for path in births.iterdir()) > 8:
            break
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "heredity evolve mine.yaml --lab lab" in errors
    finished = heredity("evolve", "mine.yaml", "--json", cwd=place)
    fresh = heredity("evolve", "mine.yaml", "--json", "--lab", "fresh", cwd=place)
    mine, other = json.loads(finished.stdout), json.loads(fresh.stdout)
    assert mine["rows"] == other["rows"]
    assert mine["births"] < other["births"], "what was recorded before the interruption was not made again"


class _Server(BaseHTTPRequestHandler):
    """A language model's server that answers every question with the next program of a script."""

    answers: ClassVar[list[str]] = []
    asked: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        text = f"```python\n{self.answers[(len(self.asked) - 1) % len(self.answers)]}```\n"
        body = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    _Server.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/v1"
        running.shutdown()


@pytest.mark.slow
def test_a_model_behind_an_address_writes_programs(server: str, tmp_path: Path) -> None:
    _Server.answers = [f"def area(r):\n    return {number} * r * r\n" for number in (3, 3.1, 3.14, 2.7, "unknown")]
    (tmp_path / "area.py").write_text("def area(r):\n    return r\n")
    (tmp_path / "judge.py").write_text(
        "import math\n\ndef error(program):\n    return abs(program.area(2.0) - math.pi * 4)\n"
    )
    recipe = {
        "name": "area",
        "search": {
            "kind": "code",
            "source": "area.py",
            "evaluator": "judge.py:error",
            "direction": "minimize",
            "task": "area(r) is the area of a circle.",
            "model": {"endpoint": server, "name": "tiny"},
            "islands": 1,
            "evaluations": 6,
        },
    }
    (tmp_path / "area.yaml").write_text(yaml.safe_dump(recipe))
    done = heredity("evolve", "area.yaml", "--export", "out", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["failed"] == 1  # the one with an unknown name
    assert "3.14 * r" in (tmp_path / "out" / "winner.py").read_text()
    # |3.14 − π| · 4
    assert facts["rows"][0]["values"]["score"] == pytest.approx(0.0063706, abs=1e-6)
    first = _Server.asked[0]
    assert first["model"] == "tiny"
    assert "area(r) is the area of a circle." in first["messages"][0]["content"]
    count = len(_Server.asked)
    again = heredity("evolve", "area.yaml", "--json", cwd=tmp_path)
    assert json.loads(again.stdout)["rows"] == facts["rows"]
    assert len(_Server.asked) == count, "what was answered is not asked again"
