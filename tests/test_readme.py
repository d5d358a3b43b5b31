"""What the README shows runs as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def test_the_python_blocks_run_one_after_another(tmp_path: Path) -> None:
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks("python")))
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Model(" in done.stdout


def test_the_recipe_is_valid(tmp_path: Path) -> None:
    from heredity.recipes.loading import load_recipe

    [recipe] = blocks("yaml")
    (tmp_path / "maths.yaml").write_text(recipe)
    assert len(load_recipe(tmp_path / "maths.yaml").founders) == 3


def test_every_command_that_is_named_exists() -> None:
    import typer

    from heredity.cli.main import app

    known = set(typer.main.get_command(app).list_commands(None))  # type: ignore[attr-defined, arg-type]
    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"^heredity (\w+)", text, re.MULTILINE))
    named |= set(re.search(r"`heredity ((?:\w+ \| )+\w+)`", text)[1].split(" | "))  # type: ignore[index]
    assert named <= known, named - known


def test_every_folder_that_is_named_exists() -> None:
    text = (ROOT / "README.md").read_text()
    rooms = re.findall(r"^  (\w+)/ ", text, re.MULTILINE)
    assert rooms
    assert all((ROOT / "src" / "heredity" / room).is_dir() for room in rooms)
