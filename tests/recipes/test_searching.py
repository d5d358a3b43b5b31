"""Each kind of search as a recipe, from its text to a recorded winner; killed and run again it ends the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import heredity as hd
from heredity.errors import EvaluationFailed, RecipeError
from heredity.recipes.loading import load_any
from heredity.recipes.searching import Found, run_search

TRAIN = """
import torch
from heredity.search.training_state import Training

def make(hyper, seed):
    module = torch.nn.Linear(1, 1, bias=False)
    return Training(module, torch.optim.SGD(module.parameters(), hyper["lr"], momentum=hyper["momentum"]))

def step(training, hyper):
    loss = (training.module.weight - 3).square().sum()
    training.optimizer.zero_grad(); loss.backward(); training.optimizer.step()

def evaluate(training):
    return abs(training.module.weight.item() - 3)

def test(training):
    return training.module.weight.item()
"""
FUNCTIONS = """
def sphere(x):
    return float((x * x).sum())

def mixed(v):
    return (v["a"] - 1) ** 2 + abs(v["n"] - 3) + (v["kind"] == "bad")

def two(x):
    return {"left": float(x[0] ** 2), "right": float((x[0] - 2) ** 2)}

def broken(x):
    return "high"
"""
LENGTHS = """
from heredity.search.base import Space

class Lengths(Space):
    def sample(self, rng):
        return tuple(int(i) for i in rng.integers(1, 9, size=3))

    def mutate(self, x, rng):
        y = list(x)
        y[int(rng.integers(3))] = int(rng.integers(1, 9))
        return tuple(y)

    def crossover(self, a, b, rng):
        return tuple(p if rng.random() < 0.5 else q for p, q in zip(a, b))

    def valid(self, x):
        return len(x) == 3

SPACE = Lengths()

def fitness(x):
    return {"product": x[0] * x[1] * x[2], "sum": sum(x)}
"""
PROGRAM = "NAME = 'two numbers'\n# --OPTION--\nA = 3.0\n# --OPTION--\nB = 7.0\n"
JUDGE = """
def score(program):
    return (program.A - 1) ** 2 + (program.B - 2) ** 2

def two(program):
    return {"a": program.A, "b": abs(program.A - 4) + program.B}
"""
SPACE = {"lr": {"log": [0.01, 0.5]}, "momentum": {"uniform": [0.0, 0.9]}}
MIXED = {"a": {"uniform": [-2, 2]}, "n": {"int": [1, 9]}, "kind": {"choice": ["good", "bad"]}}

KINDS: dict[str, dict[str, Any]] = {
    "pbt": {"kind": "tuning", "script": "train.py", "direction": "minimize", "space": SPACE, "population": 5,
            "rounds": 4},
    "pbt without a barrier": {"kind": "tuning", "script": "train.py", "direction": "minimize", "space": SPACE,
                              "population": 4, "rounds": 3, "barrier": False},
    "whole trainings": {"kind": "tuning", "script": "train.py", "direction": "minimize", "space": SPACE,
                        "searcher": "cma_es", "population": 4, "rounds": 2, "evaluations": 12},
    "random trainings": {"kind": "tuning", "script": "train.py", "direction": "minimize", "space": SPACE,
                         "searcher": "random", "rounds": 2, "evaluations": 6},
    "chains": {"kind": "policy", "environment": "CartPole-v1", "hidden": [4], "population": 6, "evaluations": 18,
               "episodes": 2, "test_episodes": 3},
    "vectors": {"kind": "policy", "environment": "CartPole-v1", "hidden": [4], "population": 6, "evaluations": 18,
                "episodes": 2, "test_episodes": 3, "searcher": "open_es"},
    "cells": {"kind": "architecture", "cells": {"side": 2, "epochs": 1, "nodes": 2},
              "objectives": {"accuracy": "maximize"}, "population": 4, "evaluations": 12},
    "a front of cells": {"kind": "architecture", "cells": {"side": 2, "epochs": 1, "nodes": 2},
                         "objectives": {"accuracy": "maximize", "parameters": "minimize"}, "population": 4,
                         "evaluations": 12},
    "a module": {"kind": "architecture", "module": "lengths.py", "objectives": {"product": "maximize"},
                 "population": 5, "evaluations": 40},
    "a box": {"kind": "function", "function": "functions.py:sphere", "direction": "minimize",
              "box": {"low": -3, "high": 3, "dim": 3}, "evaluations": 60},
    "named values": {"kind": "function", "function": "functions.py:mixed", "direction": "minimize", "space": MIXED,
                     "searcher": "de", "population": 8, "evaluations": 40},
    "bred values": {"kind": "function", "function": "functions.py:mixed", "direction": "minimize", "space": MIXED,
                    "searcher": "ga", "population": 8, "evaluations": 40, "in_flight": None},
    "a steady search": {"kind": "function", "function": "functions.py:mixed", "direction": "minimize",
                        "space": MIXED, "searcher": "regularized_evolution", "options": {"tournament": 3},
                        "population": 8, "evaluations": 40, "in_flight": 4},
    "a front": {"kind": "function", "function": "functions.py:two", "population": 8, "evaluations": 32,
                "objectives": {"left": "minimize", "right": "minimize"}, "box": {"low": -5, "high": 5, "dim": 1}},
    "code": {"kind": "code", "source": "program.py", "evaluator": "judge.py:score", "direction": "minimize",
             "model": {"stand_in": "numbers"}, "islands": 2, "evaluations": 16},
    "a front of code": {"kind": "code", "source": "program.py", "evaluator": "judge.py:two",
                        "objectives": {"a": "minimize", "b": "minimize"}, "model": {"stand_in": "numbers"},
                        "options": {"population": 4, "start": 6}, "evaluations": 16},
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a script, functions, a space, a program and its judge."""
    files = {"train.py": TRAIN, "functions.py": FUNCTIONS, "lengths.py": LENGTHS}
    for name, text in (files | {"program.py": PROGRAM, "judge.py": JUDGE}).items():
        (tmp_path / name).write_text(text)
    return tmp_path


def search(place: Path, section: dict[str, Any], lab: str = "lab", report: Any = None) -> Found:
    """Run a recipe in a lab of the folder."""
    path = place / "recipe.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "search": section, "seed": 3}))
    recipe = load_any(path)
    with hd.Lab(place / lab) as opened:
        return run_search(recipe, opened, folder=place, **({"report": report} if report else {}))  # type: ignore[arg-type]


def line(found: Found) -> list[Any]:
    return [(row.what, row.model.id, dict(row.values), dict(row.test), row.text) for row in found.rows]


@pytest.mark.parametrize("name", KINDS)
def test_a_search_that_was_interrupted_ends_as_if_it_had_not_been(name: str, place: Path) -> None:
    section = KINDS[name]
    whole = search(place, section, "whole")
    with hd.Lab(place / "whole", mode="r") as lab:
        wanted, births, winner = line(whole), len(lab), lab["mine-winner"]
        assert winner.id == whole.winner.id
        assert all(model.labels["search"] == "mine" for model in lab.models() if "candidate" in model.labels)
    told = whole.evolved.told
    assert told == whole.search.evaluations

    def stop(stage: str, done: int, total: int, best: float | None) -> None:
        assert stage == section["kind"]
        assert total == told
        if done >= told // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(place, section, report=stop)
    with hd.Lab(place / "lab", mode="r") as lab:
        half = len(lab)
    assert 0 < half < births or told == half
    again = search(place, section)
    if name != "pbt without a barrier":  # whose order of completion is the search's own
        assert line(again) == wanted
        with hd.Lab(place / "lab", mode="r") as lab:
            assert len(lab) == births
    twice = search(place, section)
    assert line(twice) == line(again), "a search that is over finds the same without a birth"


@pytest.mark.parametrize("name", [name for name in KINDS if "front" not in name])
def test_the_winner_is_the_best_of_all_births_in_the_direction_that_was_asked(name: str, place: Path) -> None:
    section = KINDS[name]
    found = search(place, section)
    ((metric, direction),) = found.search.aims.items()
    with hd.Lab(place / "lab", mode="r") as lab:
        values = [value for model in lab.models() if (value := model.value(metric)) is not None]
    extreme = min if direction == "minimize" else max
    assert found.rows[0].values[metric] == extreme(values) == found.evolved.value
    ranked = [row.values[metric] for row in found.rows if row.what.startswith(("winner", "place"))]
    assert ranked == sorted(ranked, reverse=direction == "maximize")


@pytest.mark.parametrize("name", ["a front of cells", "a front", "a front of code"])
def test_no_row_of_a_front_beats_another(name: str, place: Path) -> None:
    found = search(place, KINDS[name])
    signs = {metric: 1 if way == "maximize" else -1 for metric, way in found.search.aims.items()}
    points = [[signs[metric] * value for metric, value in row.values.items()] for row in found.rows]
    for a in points:
        assert not any(all(x >= y for x, y in zip(b, a, strict=True)) and b != a for b in points)
    assert found.rows[0].model == found.winner


def test_lineage_is_that_of_the_searcher(place: Path) -> None:
    """Each value of a mutant differs from its parent's in what a mutation of that space changes: one place of three."""
    section = KINDS["a module"] | {"evaluations": 60}
    search(place, section)
    from heredity.recipes.genotypes import value_of

    with hd.Lab(place / "lab", mode="r") as lab:
        mutants = [model for model in lab.models() if model.kind == "mutate"]
        assert len(mutants) > 20
        for model in mutants:
            (parent,) = model.parents
            assert sum(a != b for a, b in zip(value_of(model), value_of(parent), strict=True)) == 1
        assert len({value_of(model) for model in lab.models()}) == len(lab), "nothing is born twice"


def test_members_of_a_population_are_lines_of_rounds_and_old_weights_are_dropped(place: Path) -> None:
    found = search(place, KINDS["pbt"])
    with hd.Lab(place / "lab") as lab:
        kinds = {model.kind for model in lab.models()}
        assert kinds == {"init", "train", "exploit"}
        winner = lab["mine-winner"]
        assert winner.path()[0].kind == "init"
        schedule = json.loads(found.search.files(winner)["schedule.json"])
        old = [model for model in lab.models() if not model.has_weights]
        assert old
        assert lab.rebuild(old[0]), "what was dropped is made again from the record"
    assert schedule[0]["round"] == 0
    assert set(schedule[0]["hyperparameters"]) == {"lr", "momentum"}
    # evaluate is the distance from 3 and test the weight itself
    assert abs(abs(found.rows[0].test["test"] - 3) - found.rows[0].values["score"]) < 1e-6


def test_policies_are_tested_in_other_episodes(place: Path) -> None:
    found = search(place, KINDS["chains"])
    assert all({"test", "error"} <= set(row.test) for row in found.rows)
    with hd.Lab(place / "lab", mode="r") as lab:
        # a birth's weights are those of its chain of seeds, whoever decodes it
        from heredity.search.operators import SeedRoot, chain_of

        model = next(model for model in lab.models() if model.kind == "mutate")
        from heredity.recipes.policies import Policy

        decoder = SeedRoot(hd.Architecture(Policy, {"widths": (4, 4, 2)})).decoder()
        state = decoder.state(chain_of(model))
        assert all(state[name].equal(tensor) for name, tensor in model.weights().items())


def test_programs_descend_from_the_seed_and_answers_are_kept(place: Path) -> None:
    found = search(place, KINDS["code"])
    with hd.Lab(place / "lab", mode="r") as lab:
        winner = lab["mine-winner"]
        assert [model.kind for model in winner.path()] == ["init"] + ["mutate"] * (len(winner.path()) - 1)
        source = found.search.files(winner)["winner.py"]
        assert source.startswith("NAME = 'two numbers'\n# --OPTION--\n")
        numbers: dict[str, float] = {}
        exec(source, numbers)
        assert (numbers["A"] - 1) ** 2 + (numbers["B"] - 2) ** 2 == found.rows[0].values["score"]
    journal = place / "lab" / "chats" / "mine.jsonl"
    answers = journal.read_bytes()
    assert answers.count(b"\n") >= 15
    search(place, KINDS["code"])
    assert journal.read_bytes() == answers, "nothing is asked twice"


def test_an_edited_script_is_another_search(place: Path) -> None:
    first = search(place, KINDS["random trainings"])
    (place / "train.py").write_text(TRAIN.replace("- 3", "- 2"))
    second = search(place, KINDS["random trainings"])
    assert first.winner.id != second.winner.id


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (KINDS["a box"] | {"function": "functions.py:broken"}, "returned 'high'; it must return"),
        (KINDS["pbt"] | {"space": {"momentum": SPACE["momentum"]}}, "KeyError: 'lr'"),
        (KINDS["code"] | {"evaluator": "judge.py:two"}, "must return 'score' among them"),
    ],
)
def test_what_fails_everywhere_is_said_with_the_first_reason(section: dict[str, Any], words: str, place: Path) -> None:
    with pytest.raises(EvaluationFailed, match=words):
        search(place, section)


def test_candidates_that_a_record_cannot_hold_are_refused(place: Path) -> None:
    (place / "lengths.py").write_text(LENGTHS.replace("return tuple(int(i)", "return list(int(i)"))
    with pytest.raises(RecipeError, match="use tuples, not lists"):
        search(place, KINDS["a module"])
