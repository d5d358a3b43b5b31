import numpy as np
import pytest
import torch

from heredity.errors import MergeError
from heredity.merging.layers import group_index
from heredity.merging.merge_space import MergeSpace
from heredity.merging.mergers import merger_for


def models(n=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    names = ("layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias", "head.weight")
    return [{name: torch.randn(4, 5, generator=generator) for name in names} for _ in range(n)]


def test_x0_of_linear_is_the_uniform_average():
    parents = models()
    space = MergeSpace.of(parents, "linear")
    merged = merger_for(space.decode(space.x0)).merge(parents)
    for name in merged:
        torch.testing.assert_close(merged[name], torch.stack([p[name] for p in parents]).mean(0))


def test_layers_and_filters_have_numbers_of_their_own():
    parents = models(2)
    space = MergeSpace.of(parents, "linear", filters=("bias", ""), normalize=False)
    assert space.shape == (3, 2, 2) and space.dim == 12  # two layers and the rest; linear has no densities
    x = np.zeros(space.dim).reshape(space.shape)
    for name, factor in (("layers.0.weight", 1.0), ("layers.0.bias", 2.0), ("layers.1.weight", 3.0)):
        x[group_index(name, space.groups), 1, group_index(name, space.filters)] = factor
    merged = merger_for(space.decode(x.reshape(-1))).merge(parents)
    torch.testing.assert_close(merged["layers.0.weight"], parents[1]["layers.0.weight"])
    torch.testing.assert_close(merged["layers.0.bias"], 2 * parents[1]["layers.0.bias"])
    torch.testing.assert_close(merged["layers.1.weight"], 3 * parents[1]["layers.1.weight"])
    assert merged["layers.1.bias"].abs().max() == 0 and merged["head.weight"].abs().max() == 0


def test_weights_fold_and_densities_are_clamped():
    space = MergeSpace(2, method="dare_ties")
    assert space.dim == 4 and space.x0.tolist() == [0.5, 0.5, 1, 1]
    recipe = space.decode(np.array([-0.3, 0.4, -0.6, 1.7]))
    assert recipe.weight == (((0.3,), (0.4,)),) and recipe.density == (((0.6,), (1.0,)),)
    signed = MergeSpace(2, method="task_arithmetic", allow_negative=True)
    assert signed.decode(np.array([-0.3, 0.4])).weight == (((-0.3,), (0.4,)),)


def test_equal_parents_and_base_give_the_base_for_any_genotype():
    base = models(1)[0]
    twins = [{k: v.clone() for k, v in base.items()} for _ in range(3)]
    space = MergeSpace.of(twins, "dare_ties")
    for seed in range(5):
        x = np.random.default_rng(seed).normal(0, 2, space.dim)
        merged = merger_for(space.decode(x), seed=seed).merge(twins, base=base)
        assert all(torch.equal(merged[k], base[k]) for k in base)


def test_a_single_parent_of_weight_and_density_one_is_returned():
    base, parent = models(2)
    space = MergeSpace.of([parent], "dare_ties", normalize=True)
    merged = merger_for(space.decode(space.x0)).merge([parent], base=base)
    for k in base:
        torch.testing.assert_close(merged[k], parent[k], atol=1e-6, rtol=0)


def test_ties_by_hand():
    space = MergeSpace(2, method="ties", densities=False)
    taus = [{"w": torch.tensor([1.0, -1.0])}, {"w": torch.tensor([3.0, 2.0])}]
    recipe = space.decode(np.array([1.0, 1.0]))
    # Signs (+, +): (1 + 3)/2 and 2/1.
    assert merger_for(recipe).merge(taus, base={"w": torch.zeros(2)})["w"].tolist() == [2.0, 2.0]


def test_start_from_a_mixture():
    space = MergeSpace(2, groups=("a", ""), method="task_arithmetic", allow_negative=True)
    assert space.start([0.7, -0.1]).tolist() == [0.7, -0.1, 0.7, -0.1]
    with pytest.raises(MergeError, match="one per model"):
        space.start([1.0])


def test_space_contract():
    space, rng = MergeSpace.of(models(), "dare_ties"), np.random.default_rng(0)
    low, high = space.bounds
    a, b = space.sample(rng), space.sample(rng)
    assert ((low <= a) & (a <= high)).all()
    child = space.crossover(a, b, rng)
    assert (((child == a) | (child == b)).all()) and (child != a).any()
    assert space.valid(space.mutate(a, rng)) and not space.valid(a[1:]) and not space.valid(a * np.nan)


def test_misuse_is_named():
    with pytest.raises(MergeError, match="no density to search"):
        MergeSpace(2, method="linear", densities=True)
    with pytest.raises(MergeError, match="finite numbers"):
        MergeSpace(2).decode(np.zeros(3))
    with pytest.raises(MergeError, match="no merge method"):
        MergeSpace(2, method="tyes")
    with pytest.raises(MergeError, match="empty"):
        MergeSpace.of([])
