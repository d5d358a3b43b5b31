"""`heredity show` of a paper: a model of that name comes first, an unknown word stays an unknown model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from heredity.cli.main import app
from heredity.lab import Lab


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def test_a_paper_is_shown_without_any_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, output = run("show", "genome")
    assert code == 0
    assert "Nature-Inspired Population-Based Evolution" in output


def test_a_model_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    with Lab("lab") as lab:
        model = lab.add({"w": torch.zeros(2)}, name="genome")
    code, output = run("show", "genome", "--json")
    assert code == 0
    assert json.loads(output)["id"] == model.id


def test_what_is_neither_stays_an_unknown_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Lab("lab"):
        pass
    code, output = run("show", "gnome")
    assert code == 2
    assert "no model is called 'gnome'" in output
