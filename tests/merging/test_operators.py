"""Recorded merges: the child of an operator is the child of the part it wraps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from heredity.errors import BirthFailed, MergeError
from heredity.lab import Lab, Model
from heredity.merging.births import Proposal
from heredity.merging.breeding import breed
from heredity.merging.mergers import merger_for
from heredity.merging.operators import Crossover, Merge, MergeByRecipe, Mutate, Succeed, operator_for
from heredity.merging.recipe import MergeRecipe

LATER = ("best_own", "best", "worst")


def state(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"layers.0.weight": (4, 3), "layers.0.bias": (4,), "layers.1.weight": (2, 4)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "lab")


@pytest.fixture
def family(lab: Lab) -> list[Model]:
    return [lab.add(state(seed), name=f"m{seed}") for seed in range(4)]


def same(child: Model, expected: dict[str, torch.Tensor]) -> bool:
    found = child.weights()
    return set(found) == set(expected) and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "ties", "dare_ties", "model_stock"])
def test_a_recorded_merge_is_the_merge(lab: Lab, family: list[Model], method: str) -> None:
    child = lab.derive(Merge(method), *family[1:], base=family[0], seed=3)
    expected = merger_for(method, seed=3).merge([state(1), state(2), state(3)], base=state(0))
    assert same(child, expected)
    assert [role for role, _ in child.edges] == ["parent", "mate", "mate", "base"]
    assert child.kind == "merge"


def test_a_recipe_is_recorded_with_all_its_numbers_and_rebuilt_from_them(lab: Lab, family: list[Model]) -> None:
    weight = (((0.5,), (0.25,)), ((1.0,), (-0.5,)))
    recipe = MergeRecipe("task_arithmetic", weight, groups=(r"layers\.0\.", r"layers\.1\."))
    child = lab.derive(MergeByRecipe(recipe), family[1], family[2], base=family[0], keep=False)
    expected = merger_for(recipe).merge([state(1), state(2)], base=state(0))
    assert same(child, expected)
    with Lab(lab.path) as later:  # nothing is stored: the weights come from the record alone
        assert not later[child.id].has_weights
        assert same(later[child.id], expected)


@pytest.mark.parametrize(
    "proposal",
    [
        Proposal("init", (0, 1), ("parent", "mate"), (0.25, 0.75)),
        Proposal("crossover", (2, 1), ("parent", "mate"), (0.5, 0.5), method="blx", seed=5),
        Proposal("mutate", (1,), ("parent",), gene=0.5, sigma=0.1, seed=9),
        Proposal("succeed", (0, 1, 0, 2, 3), ("parent", "previous", *LATER), (0.1, 0.2, 0.3, -0.1)),
        Proposal("succeed", (0, 3, 0, 2, 1), ("parent", "other", *LATER), (0.1, 0, 0.3, -2.0), clip=True),
    ],
)
def test_a_proposal_gives_the_same_child_in_memory_and_in_a_lab(
    lab: Lab, family: list[Model], proposal: Proposal
) -> None:
    parents = [family[i] for i in proposal.parents]
    positional = [p for p, role in zip(parents, proposal.roles, strict=True) if role in ("parent", "mate")]
    roles = {role: p for role, p in zip(proposal.roles, parents, strict=True) if role not in ("parent", "mate")}
    child = lab.derive(operator_for(proposal), *positional, seed=proposal.seed, **roles)
    assert same(child, breed(proposal, [state(i) for i in proposal.parents]))


def test_a_founder_is_not_born() -> None:
    with pytest.raises(MergeError, match="no birth"):
        operator_for(Proposal("founder"))


def test_what_does_not_fit_is_named(lab: Lab, family: list[Model]) -> None:
    other = lab.add({**state(0), "layers.1.weight": torch.zeros(2, 5)})
    with pytest.raises(BirthFailed, match=r"layers\.1\.weight.*\(2, 4\).*\(2, 5\)"):
        lab.derive(Merge("linear"), family[0], other)
    with pytest.raises(BirthFailed, match="common ancestor"):
        lab.derive(Merge("ties"), *family)
    with pytest.raises(BirthFailed, match="role 'worst'"):
        lab.derive(Succeed((1, 1, 1, 1)), family[0], other=family[1], best_own=family[0], best=family[2])


def test_kinds_tell_what_happened(lab: Lab, family: list[Model]) -> None:
    assert lab.derive(Crossover((0.5, 0.5)), *family[:2]).kind == "crossover"
    assert lab.derive(Mutate(), family[0]).kind == "mutate"
