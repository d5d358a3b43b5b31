"""Recipes run end to end, on a tiny Llama, on its LoRA adapters, and on a user's own function."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from heredity.errors import RecipeError
from heredity.evaluation.outcome import Failed, Ok
from heredity.lab import Lab
from heredity.recipes.evolution import Evolution, evolve
from heredity.recipes.loading import load_recipe
from heredity.recipes.planning import plan
from heredity.recipes.rows import winner_of

SMALL = {
    "population": {"size": 4, "generations": 2, "sigma": 0.01},
    "merging": {"evaluations": 12},
    "grid": {"methods": ["linear", "task_arithmetic"], "scales": [0.5, 1.0]},
}


def recipe_file(tmp_path: Path, **sections: Any) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **sections}))
    return path


def run(path: Path, lab: Path, executor: str = "inline") -> Evolution:
    with Lab(lab, executor) as opened:
        return evolve(load_recipe(path), opened, folder=path.parent)


def numbers(found: Evolution) -> list[tuple[str, str, float]]:
    return [(row.what, row.model.weights_sha256, row.fitness) for row in found.rows]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "adapters"])
def test_a_tiny_llama_and_its_adapters_evolve(tmp_path: Path, family: Any, kind: str) -> None:
    founders = [str(path) for path in getattr(family, kind)]
    task = {"data": str(family.task), "test": 0.25, "max_new_tokens": 1}
    path = recipe_file(tmp_path, founders=founders, base=str(family.base), task=task)
    lab_path = tmp_path / "lab"
    found = run(path, lab_path)
    rows = {row.what: row for row in found.rows}
    # Each expert knows half of the mapping, so that the best of them answers about half.
    assert 0.3 <= rows["best founder"].fitness <= 0.75
    best = max(row.fitness for row in found.rows)
    assert rows["GENOME+"].fitness >= rows["best founder"].fitness, (
        "the population starts from the founders and keeps its best"
    )
    with Lab(lab_path, mode="r") as lab:
        winner = lab[f"{load_recipe(path).name}-winner"]
        assert winner == found.winner
        assert winner.value("fitness") == best
        assert winner.has_weights
        module = winner.load()
        assert sum(parameter.numel() for parameter in module.parameters()) > 0
        assert lab.verify() == []
        children = [model for model in lab.models() if model.kind in ("merge", "crossover", "mutate", "explore")]
        assert len(children) >= 12
    again = run(path, lab_path)
    assert numbers(again) == numbers(found)


@pytest.mark.slow
def test_adapters_evolve_in_delta_space(tmp_path: Path, family: Any) -> None:
    task = {"data": str(family.task), "test": 0.25, "max_new_tokens": 1}
    path = recipe_file(
        tmp_path,
        founders=[str(p) for p in family.adapters],
        base=str(family.base),
        task=task,
        adapters="delta",
        merging=None,
    )
    found = run(path, tmp_path / "lab")
    assert {row.what for row in found.rows} == {"best founder", "uniform soup", "best grid merge", "GENOME+"}


FUNCTION = """
def score(model):
    weights = model.weights()
    return -sum(float((tensor - 0.25).square().sum()) for tensor in weights.values())
def held_out(model):
    return score(model)
def nan(model):
    return float("nan")
def fussy(model):
    total = sum(float(tensor.sum()) for tensor in model.weights().values())
    if total > 0.3:
        raise RuntimeError("too large")
    return total
"""


def vectors(tmp_path: Path) -> list[str]:
    import torch
    from safetensors.torch import save_file

    paths = []
    for number, values in enumerate(([0.0, 1.0], [1.0, 0.0], [0.0, 0.0])):
        paths.append(str(tmp_path / f"v{number}.safetensors"))
        save_file({"layers.0.weight": torch.tensor([values]), "layers.1.weight": torch.tensor([values])}, paths[-1])
    (tmp_path / "fit.py").write_text(FUNCTION)
    return paths


def function_recipe(tmp_path: Path, function: str = "fit.py:score", **sections: Any) -> Path:
    merging = {"method": "linear", "evaluations": 60}
    sections = {"merging": merging, "grid": None, **sections}
    return recipe_file(tmp_path, founders=vectors(tmp_path), task={"function": function}, **sections)


def test_a_users_function_is_fitness_and_evolution_improves_on_the_founders(tmp_path: Path) -> None:
    found = run(function_recipe(tmp_path), tmp_path / "lab")
    rows = {row.what: row.fitness for row in found.rows}
    # Founder 2 is all zeros: 4 entries, each 0.25 from the goal, −4·0.0625 = −0.25. A mixture of the three with
    # shares (¼, ¼, ½) is the goal itself.
    assert rows["best founder"] == pytest.approx(-0.25)
    assert rows["evolved recipe"] > -0.05, "five times nearer, with 60 evaluations"
    assert found.rows[-1].accuracy is None


def test_held_out_functions_are_reported_beside_fitness(tmp_path: Path) -> None:
    path = function_recipe(tmp_path)
    data = yaml.safe_load(path.read_text())
    data["task"]["test"] = "fit.py:held_out"
    path.write_text(yaml.safe_dump(data))
    found = run(path, tmp_path / "lab")
    assert found.rows[0].accuracy == pytest.approx(found.rows[0].fitness)


def test_the_same_recipe_gives_the_same_models_in_processes(tmp_path: Path) -> None:
    path = function_recipe(tmp_path)
    inline = run(path, tmp_path / "a", "inline")
    processes = run(path, tmp_path / "b", "processes:2")
    assert numbers(inline) == numbers(processes)
    assert [row.model.id for row in inline.rows] == [row.model.id for row in processes.rows]


def test_a_function_that_always_fails_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="fitness is nan"):
        run(function_recipe(tmp_path, "fit.py:nan"), tmp_path / "lab")


def test_single_failures_are_recorded_and_evolution_goes_on(tmp_path: Path) -> None:
    lab_path = tmp_path / "lab"
    found = run(function_recipe(tmp_path, "fit.py:fussy"), lab_path)
    with Lab(lab_path, mode="r") as lab:
        failed = [m for m in lab.models() for outcome in m.measurements.values() if isinstance(outcome, Failed)]
        assert failed, "founders 0 and 1 sum to 2 and cannot be evaluated"
        assert all(found.winner != model for model in failed)
    soup = next(row for row in found.rows if row.what == "uniform soup")
    assert soup.failed == "RuntimeError: too large"  # each entry's mean over the founders is 1/3, the sum 4/3


def test_the_population_forgets_and_the_lineage_does_not(tmp_path: Path) -> None:
    lab_path = tmp_path / "lab"
    found = run(function_recipe(tmp_path), lab_path)
    with Lab(lab_path, mode="r") as lab:
        dead = lab.dead([model.id for model in lab.models()])
        assert dead
        assert found.winner.id not in dead
        assert all(birth in lab for birth in dead)
        dropped = [birth for birth in dead if not lab[birth].has_weights]
        assert dropped, "weights of the dead are dropped"
    with Lab(lab_path) as lab:
        rebuilt = lab[dropped[0]].weights()
        assert all(name.startswith("layers.") for name in rebuilt)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("fit.py:scores", "fit.py has no function 'scores'; it has score"),
        ("nowhere.py:score", "nowhere.py: No such file"),
        ("score", "module:function"),
        ("no_such_module_here:score", "cannot import 'no_such_module_here'"),
    ],
)
def test_a_function_that_is_not_there_is_named(tmp_path: Path, function: str, words: str) -> None:
    with pytest.raises(RecipeError, match=r"task\.function") as caught:
        run(function_recipe(tmp_path, function), tmp_path / "lab")
    assert words in str(caught.value)
    assert not (tmp_path / "lab" / "weights").exists(), "nothing is recorded before the recipe is known to be sound"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("", "the task is empty"),
        ('{"prompt": "a"}', "t.jsonl:1: a line needs the keys prompt and answer"),
        ('{"prompt": "a", "answer": "b"}\n{"text": "a", "label": "b"}', "t.jsonl:2: the task mixes"),
        ("{nope", "t.jsonl:1: no JSON"),
        ('{"prompt": "a", "answer": "b"}', "only 1 lines"),
        ('{"text": "a", "label": "x"}\n{"text": "b", "label": "x"}', "single label 'x'"),
    ],
)
def test_a_task_that_cannot_be_read_is_one_line(tmp_path: Path, lines: str, words: str) -> None:
    (tmp_path / "t.jsonl").write_text(lines)
    path = recipe_file(tmp_path, founders=vectors(tmp_path), task={"data": "t.jsonl"}, merging=None, grid=None)
    with pytest.raises(RecipeError, match=r"task\.data") as caught:
        run(path, tmp_path / "lab")
    assert words in str(caught.value)


def test_held_out_lines_must_not_be_fitness_lines(tmp_path: Path) -> None:
    line = json.dumps({"prompt": "a", "answer": "b"})
    (tmp_path / "t.jsonl").write_text(f"{line}\n{line}\n{line}")
    path = recipe_file(tmp_path, founders=vectors(tmp_path), task={"data": "t.jsonl"}, merging=None, grid=None)
    with pytest.raises(RecipeError, match="in both"):
        run(path, tmp_path / "lab")


def test_founders_of_other_shape_are_named(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    founders = vectors(tmp_path)
    save_file({"layers.0.weight": torch.zeros(1, 3), "layers.1.weight": torch.zeros(1, 2)}, founders[1])
    path = recipe_file(tmp_path, founders=founders, task={"function": "fit.py:score"}, merging=None, grid=None)
    with pytest.raises(RecipeError, match=r"layers\.0\.weight.*\(1, 2\).*\(1, 3\)"):
        run(path, tmp_path / "lab")


def test_a_founder_with_nan_is_named(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    founders = vectors(tmp_path)
    save_file({"layers.0.weight": torch.full((1, 2), float("nan"))}, founders[0])
    path = recipe_file(tmp_path, founders=founders, task={"function": "fit.py:score"}, merging=None, grid=None)
    with pytest.raises(RecipeError, match=r"founders\.0.*layers\.0\.weight.*v0.*non-finite"):
        run(path, tmp_path / "lab")


def test_a_missing_founder_is_named(tmp_path: Path) -> None:
    founders = [*vectors(tmp_path), str(tmp_path / "gone")]
    path = recipe_file(tmp_path, founders=founders, task={"function": "fit.py:score"}, merging=None, grid=None)
    with pytest.raises(RecipeError, match=r"founders\.3.*gone"):
        run(path, tmp_path / "lab")


def test_a_plan_bounds_what_a_run_does(tmp_path: Path) -> None:
    path = function_recipe(tmp_path)
    planned = plan(load_recipe(path), tmp_path)
    lab_path = tmp_path / "lab"
    assert not lab_path.exists()
    run(path, lab_path)
    with Lab(lab_path, mode="r") as lab:
        assert len(lab) <= planned.births
        evaluations = lab.index.query("SELECT count(*) FROM measurements")[0][0]
        assert evaluations <= planned.evaluations
        stored = sum(blob.stat().st_size for _, blob in lab.blobs.shas())
    # A blob's header adds a few hundred bytes to these tiny weights.
    assert stored <= planned.disk + 300 * planned.births


def test_a_tiny_llama_evolves_a_path_through_its_layers(tmp_path: Path, family: Any) -> None:
    founders = [str(path) for path in family.full]
    task = {"data": str(family.task), "test": 0.25, "max_new_tokens": 1}
    flow = {"evaluations": 12, "repeats": 2, "max_length": 1, "sigma": 0.15, "start": "founder"}
    sections = {"population": None, "merging": None, "grid": None, "data_flow": flow}
    path = recipe_file(tmp_path, founders=founders, base=str(family.base), task=task, **sections)
    lab_path = tmp_path / "lab"
    found = run(path, lab_path)
    row = next(row for row in found.rows if row.what == "evolved path")
    assert row.tried == 12
    with Lab(lab_path, mode="r") as lab:
        born = [model for model in lab.models() if model.operator["type"].endswith(":FlowThrough")]
        assert len(born) == 12
        depths = {model.architecture["config"]["num_hidden_layers"] for model in born}
        assert len(depths) > 1, "paths of other lengths than the parents' were tried"
        assert all([role for role, _ in model.edges] == ["parent", "mate"] for model in born)
        fitness = [model.value("fitness") for model in born]
        lengths = [len(model.notes["path"]) for model in born]
        # Lengths beyond 1 cost 0.01 each: the row is the best after that.
        assert row.fitness - 0.01 * (len(row.model.notes["path"]) - 1) == pytest.approx(
            max(f - 0.01 * (n - 1) for f, n in zip(fitness, lengths, strict=True) if f is not None)
        )
    assert numbers(run(path, lab_path)) == numbers(found)


def test_adapters_have_no_paths(tmp_path: Path, family: Any) -> None:
    founders = [str(path) for path in family.adapters]
    task = {"data": str(family.task), "test": 0.25, "max_new_tokens": 1}
    path = recipe_file(tmp_path, founders=founders, base=str(family.base), task=task, data_flow={"evaluations": 2})
    with pytest.raises(RecipeError, match="data_flow: adapters have no layers"):
        run(path, tmp_path / "lab")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "adapters"])
def test_language_models_vote_with_their_answers(tmp_path: Path, family: Any, kind: str) -> None:
    from heredity.language.probes import VotedAnswers
    from heredity.language.scoring import majority_answers
    from heredity.recipes.tasks import build_task

    founders = [str(path) for path in getattr(family, kind)]
    task = {"data": str(family.task), "test": 0.25, "max_new_tokens": 1}
    sections = {"merging": None, "grid": None, "ensemble": 3}
    path = recipe_file(tmp_path, founders=founders, base=str(family.base), task=task, **sections)
    lab_path = tmp_path / "lab"
    found = run(path, lab_path)
    row = next(row for row in found.rows if row.what == "vote of 3")
    assert len(set(row.members)) == 3
    assert row.model == row.members[0]
    assert row.accuracy is not None
    assert row.low <= row.accuracy <= row.high
    probe = build_task(load_recipe(path), tmp_path).fitness
    with Lab(lab_path) as lab:
        members = [lab[member.id] for member in row.members]
        worth = [member.value("fitness") for member in members]
        assert worth == sorted(worth, reverse=True)
        answers = [probe.answers(member) for member in members]
        expected = probe.right(majority_answers(answers, probe.match)) / len(probe.examples)
        assert row.fitness == expected
        recorded = lab.outcome(VotedAnswers(probe, tuple(map(tuple, answers[1:]))), members[0])
        assert recorded["vote_fitness"] == expected
        assert members[0].value("fitness") == worth[0], "the vote's number is not the member's"
        outcome = lab.measure(build_task(load_recipe(path), tmp_path).test, members[0])
        assert isinstance(outcome, Ok) and outcome.right is not None
        assert outcome["accuracy"] == outcome.right.count("1") / len(outcome.right)
    assert numbers(run(path, lab_path)) == numbers(found)


def test_language_models_vote_with_labels(tmp_path: Path, family: Any) -> None:
    # Word i is followed by word i + 1; the labels are the words 1 and 9, of which each expert knows one.
    lines = [{"text": f"w{i}", "label": f"w{1 if i < 8 else 9}"} for i in range(16)]
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, lines)))
    sections = {"merging": None, "grid": None, "ensemble": 2, "population": {"size": 3, "generations": 1}}
    founders = [str(path) for path in family.full]
    path = recipe_file(tmp_path, founders=founders, task={"data": "labels.jsonl", "test": 0.25}, **sections)
    found = run(path, tmp_path / "lab")
    row = next(row for row in found.rows if row.what == "vote of 2")
    # Of two that differ the fitter one decides, so that their vote is the fitter one's answer.
    assert row.fitness == next(other.fitness for other in found.rows if other.what == "GENOME+")
    assert 0 <= row.low <= row.accuracy <= row.high <= 1


@pytest.mark.slow
def test_the_digits_experts_vote_and_evolve_a_path(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    recipe = {"founders": "two-shifts", "task": {"builtin": "two-shifts"}, "hidden": [24, 24, 24], "grid": None}
    sections = {"ensemble": 3, "data_flow": {"evaluations": 30, "parents": 3}}
    path.write_text(yaml.safe_dump({**SMALL, **recipe, **sections}))
    lab_path = tmp_path / "lab"
    found = run(path, lab_path)
    rows = {row.what: row for row in found.rows}
    assert list(rows) == [
        *("ancestor", "best founder", "uniform soup", "GENOME+", "vote of 3", "evolved recipe", "evolved path")
    ]
    assert found.winner != rows["vote of 3"].model
    with Lab(lab_path) as lab:
        ensemble = lab[rows["vote of 3"].model.id]
        assert [parent.id for parent in ensemble.parents] == [member.id for member in rows["vote of 3"].members]
        assert ensemble.value("fitness") == rows["vote of 3"].fitness
        worth = [member.value("fitness") for member in ensemble.parents]
        assert worth[0] == rows["GENOME+"].fitness > worth[-1], "the fittest first; the best is among the living"
        child = lab[rows["evolved path"].model.id]
        before = max(row.fitness for row in found.rows[:-1] if not row.members)
        assert child.parents[0].value("fitness") == before, "the path begins in the best model so far"
        module = child.load()
        assert len(module.layers) == 2 + len(child.notes["path"])
    planned = plan(load_recipe(path), tmp_path)
    assert {"vote of 3", "evolved path"} <= {stage.name for stage in planned.stages}


def test_an_ensemble_of_weights_alone_is_refused_before_it_runs(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"ensemble: .* came as weights alone"):
        run(function_recipe(tmp_path, ensemble=2), tmp_path / "lab")


def test_of_equally_fit_paths_the_one_within_the_limit_wins(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    founders = [str(tmp_path / f"chain{number}.safetensors") for number in range(2)]
    for number, file in enumerate(founders):
        save_file({f"layers.{i}.weight": torch.full((2, 2), i + 0.5 * number) for i in range(5)}, file)
    (tmp_path / "fit.py").write_text("def same(model):\n    return 1.0\n")
    sections = {"population": None, "merging": None, "grid": None}
    flow = {"evaluations": 30, "max_length": 1, "sigma": 0.15}
    path = recipe_file(tmp_path, founders=founders, task={"function": "fit.py:same"}, data_flow=flow, **sections)
    found = run(path, tmp_path / "lab")
    assert found.rows[-1].fitness == 1.0, "the price of length is no part of the reported fitness"
    with Lab(tmp_path / "lab", mode="r") as lab:
        lengths = [len(model.notes["path"]) for model in lab.models() if "path" in model.notes]
        assert len(lengths) == 30
        assert len(lab[found.rows[-1].model.id].notes["path"]) == min(lengths) < sorted(lengths)[15]


def test_a_vote_never_wins_however_fit(tmp_path: Path) -> None:
    rows = run(function_recipe(tmp_path, merging=None), tmp_path / "lab").rows
    best = winner_of(rows)
    vote = dataclasses.replace(rows[0], what="vote of 2", fitness=9.0, members=(rows[0].model, rows[1].model))
    assert winner_of([*rows, vote]) == winner_of([vote, *rows]) == best
    assert winner_of([*rows, dataclasses.replace(vote, members=())]).fitness == 9.0


def test_a_network_without_inner_layers_has_no_paths(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="data_flow: the network has no layers for a path"):
        run(function_recipe(tmp_path, data_flow={"evaluations": 2}), tmp_path / "lab")


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"ensemble": 5}, "ensemble: 5 cannot vote, population.size is 4"),
        ({"ensemble": 2, "population": None}, "population is null"),
        ({"population": None, "merging": None}, "population, merging and data_flow are null"),
        ({"hidden": [4]}, "needs founders: two-shifts"),
        ({"data_flow": {"start": "somewhere"}}, "data_flow.start"),
    ],
)
def test_what_votes_and_paths_cannot_be_is_said(tmp_path: Path, sections: dict[str, Any], words: str) -> None:
    path = recipe_file(tmp_path, founders=["a", "b"], task={"function": "f.py:f"}, **sections)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert words in str(caught.value)
