"""The generic merger over state dicts and modules."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from heredity.errors import MergeError, NonFinite
from heredity.merging.mergers import MethodMerger, merge_modules, merger_for, tied_names
from heredity.merging.recipe import MergeRecipe


class Tied(nn.Module):
    """An embedding that is also the head."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.embed = nn.Embedding(6, 4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.embed.weight
        self.norm = nn.BatchNorm1d(4)
        with torch.no_grad():
            self.embed.weight.copy_(torch.randn(6, 4, generator=generator))
        self.norm.num_batches_tracked += seed


def test_tied_tensors_are_merged_once_and_stay_tied() -> None:
    base, a, b = Tied(0), Tied(1), Tied(2)
    # the random masks of "dare_ties" are counted per name: merged twice, the two would differ
    merged = merge_modules([a, b], merger_for("dare_ties", density=0.5), base=base)
    assert list(merged) == list(a.state_dict())
    assert merged["embed.weight"].data_ptr() == merged["head.weight"].data_ptr()
    child = Tied(3)
    child.load_state_dict(merged)
    assert torch.equal(child.head.weight, merged["embed.weight"])
    plain = MethodMerger("dare_ties", density=0.5).merge([a.state_dict(), b.state_dict()], base=base.state_dict())
    assert torch.equal(plain["head.weight"], merged["head.weight"])


def test_untied_in_one_model_is_merged_twice() -> None:
    a, b = Tied(1), Tied(2)
    b.head.weight = nn.Parameter(b.embed.weight.detach().clone() + 1.0)
    assert tied_names([a.state_dict(), b.state_dict()]) == {}
    merged = merge_modules([a, b], "linear")
    torch.testing.assert_close(merged["head.weight"], merged["embed.weight"] + 0.5)


def test_batch_norm_statistics_are_averaged_and_counters_are_the_first() -> None:
    a, b = Tied(1), Tied(2)
    a.norm.running_mean += 1.0  # type: ignore[operator]
    merged = merge_modules([a, b], "linear")
    assert merged["norm.running_mean"].tolist() == [0.5] * 4
    assert merged["norm.num_batches_tracked"].item() == 1


def test_modules_of_different_architecture() -> None:
    with pytest.raises(MergeError, match=r"shapes differ at 'weight': model 0 has \(2, 3\), model 1 has \(2, 4\)"):
        merge_modules([nn.Linear(3, 2), nn.Linear(4, 2)], "linear")


def test_vocabularies_are_mentioned() -> None:
    models = [{"model.embed_tokens.weight": torch.zeros(n, 2)} for n in (5, 6)]
    with pytest.raises(MergeError, match="different vocabularies"):
        MethodMerger("linear").merge(models)


def test_extra_state_is_refused() -> None:
    class Extra(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"step": 3}

    with pytest.raises(MergeError, match="'_extra_state' in the state dict of Extra is no tensor but dict"):
        merge_modules([Extra(2, 2)], "linear")


def test_numbers_for_all_or_per_model() -> None:
    models = [{"w": torch.tensor([1.0])}, {"w": torch.tensor([5.0])}]
    base = {"w": torch.zeros(1)}
    assert MethodMerger("task_arithmetic", weight=0.5).merge(models, base=base)["w"].item() == 3.0
    assert MethodMerger("task_arithmetic", weight=[1.0, 0.0]).merge(models, base=base)["w"].item() == 1.0
    with pytest.raises(MergeError, match="weight of 'w' has 3 values for 2 models"):
        MethodMerger("linear", weight=[1.0, 1.0, 1.0]).merge(models)


def test_a_missing_base_is_noticed() -> None:
    with pytest.raises(MergeError, match="pass base="):
        merger_for("ties").merge([{"w": torch.ones(1)}])


def test_a_base_of_other_keys_matters_only_where_it_is_used() -> None:
    models = [{"w": torch.ones(1)}, {"w": torch.zeros(1)}]
    assert MethodMerger("linear").merge(models, base={"v": torch.ones(1)})["w"].item() == 0.5
    with pytest.raises(MergeError, match="model 0 has 'w', base has not"):
        MethodMerger("ties").merge(models, base={"v": torch.ones(1)})


def test_nan_in_the_base_is_named() -> None:
    models = [{"w": torch.ones(1)}, {"w": torch.zeros(1)}]
    with pytest.raises(NonFinite, match="base has 1 non-finite values in 'w'"):
        MethodMerger("ties").merge(models, base={"w": torch.tensor([torch.nan])})


def test_mergers_are_values() -> None:
    assert merger_for("ties", density=0.3) == MethodMerger("ties", density=0.3)
    assert merger_for("ties", lam=0.5) != merger_for("ties")
    assert copy.deepcopy(merger_for("slerp", t=0.2)) == merger_for("slerp", t=0.2)
    assert hash(merger_for("ties", weight=[1, 2])) == hash(merger_for("ties", weight=(1.0, 2.0)))


def test_recipe_and_numbers_exclude_each_other() -> None:
    recipe = MergeRecipe("ties", weight=(((1.0,), (1.0,)),))
    with pytest.raises(MergeError, match="give either the recipe or those"):
        MethodMerger("ties", weight=1.0, recipe=recipe)
    with pytest.raises(MergeError, match="the recipe is for 'ties'"):
        MethodMerger("linear", recipe=recipe)


def test_seeds_change_random_masks_only() -> None:
    models = [{"w": torch.randn(50, generator=torch.Generator().manual_seed(i))} for i in range(2)]
    base = {"w": torch.zeros(50)}
    for name, differs in (("dare_linear", True), ("ties", False)):
        one, two = (merger_for(name, density=0.5, seed=seed).merge(models, base=base)["w"] for seed in (0, 1))
        assert torch.equal(one, two) is not differs
