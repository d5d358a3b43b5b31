"""Recipes: what they resolve to, and mistakes in their tables."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from heredity.errors import MergeError
from heredity.merging.linear import linear_merge
from heredity.merging.mergers import merger_for
from heredity.merging.methods import TensorParams
from heredity.merging.recipe import MergeRecipe


def test_numbers_come_from_the_group_and_the_filter() -> None:
    recipe = MergeRecipe(
        "dare_ties",
        groups=("^layers\\.0\\.", ""),
        filters=("attn", ""),
        weight=(((1, 2), (3, 4)), ((5, 6), (7, 8))),
        density=(((0.1, 0.2), (0.3, 0.4)), ((0.5, 0.6), (0.7, 0.8))),
    )
    assert recipe.models == 2
    assert recipe.resolve("layers.0.attn.w") == ((0, 1), TensorParams(weight=(1, 3), density=(0.1, 0.3)))
    assert recipe.resolve("layers.0.mlp.w") == ((0, 1), TensorParams(weight=(2, 4), density=(0.2, 0.4)))
    assert recipe.resolve("layers.1.attn.w") == ((0, 1), TensorParams(weight=(5, 7), density=(0.5, 0.7)))


def test_merging_by_recipe_is_merging_group_by_group() -> None:
    models = [
        {
            name: torch.randn(4, generator=torch.Generator().manual_seed(seed + i))
            for i, name in enumerate(["0.w", "1.w"])
        }
        for seed in (0, 10)
    ]
    recipe = MergeRecipe("linear", groups=("^0", "^1"), weight=[[[1], [3]], [[1], [0]]])  # type: ignore[arg-type]
    merged = merger_for(recipe).merge(models)
    torch.testing.assert_close(merged["0.w"], linear_merge(models, [1, 3])["0.w"])
    assert torch.equal(merged["1.w"], models[0]["1.w"])


def test_slerp_takes_the_two_heaviest_by_softmax() -> None:
    recipe = MergeRecipe("slerp", weight=(((0.2,), (1.5,), (0.7,)),))
    chosen, params = recipe.resolve("w")
    assert chosen == (1, 2)
    assert params.t == pytest.approx(math.exp(0.7) / (math.exp(0.7) + math.exp(1.5)))
    models = [{"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 1.0])}, {"w": torch.tensor([1.0, 0.0])}]
    angle = params.t * math.pi / 2
    merged = merger_for(recipe).merge(models)["w"]
    torch.testing.assert_close(merged, torch.tensor([math.sin(angle), math.cos(angle)]))


def test_settings_override_the_row() -> None:
    method = MergeRecipe("ties", weight=(((1.0,),),), normalize=False, lam=0.5).tensor_method()
    assert dataclasses.asdict(method)["normalize"] is False
    assert dataclasses.asdict(method)["lam"] == 0.5


def test_density_is_not_read_by_methods_that_keep_all() -> None:
    recipe = MergeRecipe("linear", weight=(((1.0,),),), density=(((0.5,),),))
    assert recipe.resolve("w")[1].density is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "tiez"}, "did you mean 'ties'"),
        ({"weight": ()}, "weight of a recipe must have 1 groups × one or more models × 1 filters"),
        ({"weight": (((1.0,), (1.0,)), ((1.0,),))}, "must have 1 groups × 2 models × 1 filters"),
        ({"weight": (((1.0, 2.0), (1.0, 2.0)),)}, "must have 1 groups × 2 models × 1 filters"),
        ({"weight": 1.0}, "must be nested"),
        ({"weight": (((math.nan,), (1.0,)),)}, "holds NaN"),
        ({"density": (((0.5,),),)}, "density of a recipe must have 1 groups × 2 models"),
        ({"method": "slerp", "lam": 0.5}, "the recipe sets lam, which slerp has not"),
    ],
)
def test_mistakes(changes: dict[str, object], message: str) -> None:
    with pytest.raises(MergeError, match=message):
        MergeRecipe(**{"method": "ties", "weight": (((1.0,), (1.0,)),), **changes})  # type: ignore[arg-type]


def test_slerp_of_one_model() -> None:
    with pytest.raises(MergeError, match="slerp merges two models; the recipe has 1"):
        MergeRecipe("slerp", weight=(((1.0,),),)).resolve("w")


def test_a_recipe_stands_alone() -> None:
    recipe = MergeRecipe("ties", weight=(((1.0,), (1.0,)),))
    with pytest.raises(MergeError, match="a recipe carries all settings itself"):
        merger_for(recipe, density=0.5)
    with pytest.raises(MergeError, match="the recipe merges 2 models; 3 given"):
        merger_for(recipe).merge([{"w": torch.ones(1)}] * 3, base={"w": torch.ones(1)})
