"""Which lab is meant, and which metric."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from heredity.cli.labs import check_metric, choose_metric, find_lab
from heredity.errors import LabError


def test_the_nearest_lab_is_found(tmp_path: Path):
    (tmp_path / "lab" / "births").mkdir(parents=True)
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert find_lab(tmp_path) == tmp_path / "lab"
    assert find_lab(tmp_path / "a" / "b") == tmp_path / "lab"
    assert find_lab(tmp_path / "lab") == tmp_path / "lab"  # the folder is a lab itself
    assert find_lab(tmp_path / "lab" / "births") == tmp_path / "lab"
    (tmp_path / "a" / "lab" / "births").mkdir(parents=True)
    assert find_lab(tmp_path / "a" / "b") == tmp_path / "a" / "lab"


def test_a_folder_called_lab_that_is_none_is_passed_over(tmp_path: Path):
    (tmp_path / "lab" / "births").mkdir(parents=True)
    (tmp_path / "a" / "lab").mkdir(parents=True)
    assert find_lab(tmp_path / "a") == tmp_path / "lab"


def test_without_a_lab_the_error_says_how_to_make_one(run, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    ended = run("log", lab=None)
    assert ended.code == 2 and "heredity evolve" in ended.err and "HEREDITY_LAB" in ended.err
    assert "does not exist" in run("log", lab=tmp_path / "nowhere").err
    assert "is no lab" in run("log", lab=tmp_path / "empty").err
    assert not any((tmp_path / "empty").iterdir())  # looking makes nothing


def test_the_environment_names_the_lab(run, family, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setenv("HEREDITY_LAB", str(family.path))
    assert len(run("log", "--json", lab=None).json) == 9


def test_the_lab_of_the_working_folder_is_the_default(run, family, monkeypatch):
    monkeypatch.chdir(family.path.parent)
    assert len(run("log", "--json", lab=None).json) == 9


def test_unknown_metrics_name_the_nearest(family):
    with pytest.raises(LabError, match="did you mean score"):
        check_metric(family.lab, "scores")
    with pytest.raises(LabError, match="did you mean loss"):
        check_metric(family.lab, "lo")
    with pytest.raises(LabError, match="measured here: loss, score"):
        check_metric(family.lab, "zzz")


def test_a_loss_is_not_taken_for_a_fitness(family):
    assert choose_metric(family.lab, None) == "score"


def test_ambiguous_prefixes_are_listed(run, journal_lab):
    # The ids of this lab are hashes of fixed texts; among 81 some share their first two of 256 digits.
    ids = sorted(birth["id"] for birth in run("log", "--all", "--json", lab=journal_lab).json)
    shared = next(one[:2] for one, other in pairwise(ids) if one[:2] == other[:2])
    ended = run("show", shared, lab=journal_lab)
    assert ended.code == 2 and "begins several ids" in ended.err and "type more" in ended.err
