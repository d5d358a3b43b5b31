"""Strategies on tiny experts: budgets are exact, only fitness images are seen, what is found is really that good."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

from heredity.data.experts import ancestor, founders
from heredity.errors import MergeError
from heredity.evaluation.outcome import Failed
from heredity.lab import Lab
from heredity.papers.catalogue import find_paper
from heredity.papers.claim import Claim
from heredity.papers.runner import run_cells
from heredity.papers.testbeds import merge_strategies as strategies
from heredity.papers.testbeds.digit_experts import DigitTask, network, right
from heredity.papers.testbeds.merge_search import Problem, Spent
from heredity.papers.testbeds.merge_trials import DOMAIN_AND_SKILL, FOUR_TASKS, TURNED_NEGATIVE

TASK = DigitTask(TURNED_NEGATIVE, 0)
PLUS = {"population": 4, "init": "parents", "crossover": 0.5, "mutate": 0.5, "selection": "roulette"}
SEARCHES: list[tuple[str, dict[str, Any]]] = [
    ("random_merges", {}),
    ("recipe_cma", {"method": "dare_ties", "granularity": 1}),
    ("recipe_cma", {"method": "task_arithmetic", "granularity": 0, "allow_negative": True}),
    ("recipe_random", {"method": "dare_ties", "granularity": 1}),
    ("population", {**PLUS, "succession": True}),
    ("population", {**PLUS, "succession": False, "selection": "tournament"}),
    ("grid", {"method": "task_arithmetic", "lam": (0.1, 1.0)}),
    ("grid", {"method": "ties", "lam": (0.1, 1.0), "density": (0.2, 1.0), "densities": 4}),
    ("data_flow_cma", {"repeats": 2, "scales": True}),
    ("data_flow_cma", {"repeats": 2, "scales": False}),
    ("data_flow_cma", {"repeats": 2, "scales": True, "merge_first": True, "method": "dare_ties", "granularity": 1}),
]


@pytest.fixture(scope="module")
def experts() -> tuple[Any, list[Any]]:
    from heredity.data.composed import composed_task

    task = composed_task(0)
    parent = ancestor(task.train_x, task.train_y, epochs=2, widths=(64, 16, 16, 10))
    return parent.state_dict(), founders(parent, DOMAIN_AND_SKILL, task.train_x, task.train_y, epochs=2)


def problem(experts: tuple[Any, list[Any]], evaluations: int = 24) -> Problem:
    base, models = experts
    return Problem(models, base, TASK, evaluations, seed=3)


@pytest.mark.parametrize(("name", "settings"), SEARCHES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_search_uses_its_evaluations_exactly_and_returns_its_best(
    experts: tuple[Any, list[Any]], name: str, settings: dict[str, Any]
) -> None:
    asked = problem(experts)
    found = getattr(strategies, name)(asked, settings)
    assert (asked.used, asked.left) == (24, 0)
    assert asked.best is not None
    assert float(right(network(found), asked.x, asked.y).mean()) == asked.best[0]
    again = problem(experts)
    twice = getattr(strategies, name)(again, settings)
    assert all(torch.equal(found[key], twice[key]) for key in found)


def test_what_needs_no_search_costs_what_it_says(experts: tuple[Any, list[Any]]) -> None:
    models = experts[1]
    for name, settings, used in (("ancestor_itself", {}, 0), ("uniform_soup", {}, 0), ("one_parent", {"parent": 1}, 0)):
        asked = problem(experts)
        found = getattr(strategies, name)(asked, settings)
        assert asked.used == used
    assert found is models[1]
    asked = problem(experts)
    scores = [float(right(network(model), asked.x, asked.y).mean()) for model in models]
    assert strategies.best_parent(asked, {}) is models[scores.index(max(scores))] and asked.used == 3


def test_a_greedy_soup_is_no_worse_than_the_best_parent(experts: tuple[Any, list[Any]]) -> None:
    asked = problem(experts)
    soup = strategies.greedy_soup(asked, {})
    best = strategies.best_parent(problem(experts), {})

    def worth(weights: Any) -> float:
        return float(right(network(weights), asked.x, asked.y).mean())

    assert worth(soup) >= worth(best) and asked.used == 3 + 2


def test_fine_tuning_learns_the_task(experts: tuple[Any, list[Any]]) -> None:
    asked = problem(experts)
    tuned = strategies.fine_tune(asked, {"epochs": 20, "lr": 5e-3})
    before = right(network(strategies.best_parent(problem(experts), {})), *TASK.test_images()).mean()
    assert right(network(tuned), *TASK.test_images()).mean() > before + 0.1


def test_no_strategy_names_test_images() -> None:
    source = inspect.getsource(strategies) + inspect.getsource(Problem)
    names = {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    assert "score" in names and not names & {"test_images", "upright", "task"}


def test_a_merge_that_cannot_be_made_costs_an_evaluation(experts: tuple[Any, list[Any]]) -> None:
    asked = problem(experts, evaluations=1)

    def refuse() -> Any:
        raise MergeError("weights add up to zero")

    assert asked.try_merge(refuse) == Failed("weights add up to zero")
    with pytest.raises(Spent):
        asked.try_merge(refuse)


def test_the_images_of_a_task_are_disjoint_and_shifted() -> None:
    fitness, test, upright = TASK.fitness_images(), TASK.test_images(), TASK.upright()
    assert (len(fitness[1]), len(test[1])) == (200, 597)
    # The task turns by 90° and inverts: undone, the test images are the upright ones.
    assert torch.allclose(torch.rot90(1 - test[0], -1, dims=(-2, -1)), upright[0], atol=1e-6)
    both = torch.cat([fitness[0], test[0]]).flatten(1)
    # scikit-learn's digits hold no image twice under one task's shifts but true duplicates of the bundle.
    assert len(torch.unique(both, dim=0)) >= len(both) - 2


def test_every_shift_of_the_experts_is_in_one_task() -> None:
    from heredity.data.composed import EIGHT_FOUNDERS

    used = [shift for shifts in FOUR_TASKS.values() for shift in shifts]
    assert sorted(map(str, used)) == sorted(str(founder.shifts[0]) for founder in EIGHT_FOUNDERS)


@pytest.mark.slow
@pytest.mark.parametrize("slug", ["genome", "evolutionary_merge"])
def test_every_arm_of_the_card_runs_and_gives_every_metric(slug: str, tmp_path: Path) -> None:
    paper = find_paper(slug)
    claim = paper.claim
    assert isinstance(claim, Claim)
    # A seed of the pilot and few evaluations: only that it runs is asked here.
    cells = [cell for cell in claim.cells("small", seeds=1) if cell.world == claim.worlds[0]]
    few = [type(cell)(cell.arm, cell.world, 1, {**cell.settings, "evaluations": 20}) for cell in cells]
    with Lab(tmp_path / "lab") as lab:
        results = run_cells(paper, claim, few, lab, scale="small")
    assert [result.failed for result in results] == [None] * len(claim.arms)
    for result in results:
        assert set(result.values) == set(claim.metrics)
