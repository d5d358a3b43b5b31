import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heredity.search.fields import Choice, Int, LogUniform, Uniform, When
from heredity.search.joint_space import ArchSpace, JointCandidate, JointSpace, RecipeSpace, sobol_points

KERNEL = Choice([1, 3, 5])


def statistics(arch):
    kernels = [arch[f"kernel{block}"] for block in range(1, arch["depth"] + 1)]
    return {"flops": 64.0 * sum(k * k for k in kernels) * arch["width"], "params": float(arch["width"])}


ARCHS = ArchSpace(
    {"depth": Int(1, 2), "width": Int(4, 16), "kernel1": KERNEL, "kernel2": When("depth", 2, KERNEL)}, statistics
)
RECIPES = RecipeSpace({"optimizer": Choice(["sgd", "adam"]), "lr": LogUniform(1e-4, 1e-1), "ema": Uniform(0, 1)})
SPACE = JointSpace(ARCHS, RECIPES, {"flops": (2000.0, 20_000.0)})


def test_a_code_has_a_place_for_every_option_and_for_presence():
    # depth 1, width 1, kernel1 3, kernel2 3 + presence
    assert ARCHS.width == 1 + 1 + 3 + 4
    shallow = ARCHS.encode({"depth": 1, "width": 4, "kernel1": 3})
    assert shallow[2:].tolist() == [0, 1, 0, 0, 0, 0, 0]
    deep = ARCHS.encode({"depth": 2, "width": 16, "kernel1": 1, "kernel2": 5})
    assert deep[2:].tolist() == [1, 0, 0, 0, 0, 1, 1]
    # middles of 2 and of 13 bins, from −1 to 1
    assert deep[:2].tolist() == pytest.approx([0.5, 2 * 12.5 / 13 - 1])
    with pytest.raises(ValueError, match="kernel2"):
        ARCHS.encode({"depth": 2, "width": 16, "kernel1": 1})


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_different_settings_have_different_codes(seed):
    rng = np.random.default_rng(seed)
    a, b = ARCHS.sample(rng), ARCHS.sample(rng)
    assert (a == b) == torch.equal(ARCHS.encode(a), ARCHS.encode(b))


def test_sobol_samples_fill_choices_evenly_without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = RECIPES.sobol(64, seed=3)
        assert len(RECIPES.sobol(50, seed=3)) == 50
    assert [x["optimizer"] for x in drawn].count("sgd") == 32  # equal bins of an evenly spread sequence
    assert sum(x["lr"] < 10**-2.5 for x in drawn) == 32  # the middle of the logarithmic range
    assert drawn == RECIPES.sobol(64, seed=3) != RECIPES.sobol(64, seed=4)
    assert RECIPES.sobol(64, seed=3)[:50] == RECIPES.sobol(50, seed=3)
    assert all(ARCHS.valid(arch) for arch in ARCHS.sobol(64))
    with pytest.raises(ValueError, match="at least one"):
        sobol_points(2, 0, 0)


def test_every_candidate_keeps_to_the_ranges():
    rng = np.random.default_rng(0)
    for _ in range(50):
        x = SPACE.sample(rng)
        assert SPACE.valid(x) and 2000 <= SPACE.statistics(x)["flops"] <= 20_000
    pool = SPACE.sobol(128)
    assert 0 < len(pool) < 128 and all(SPACE.valid(x) for x in pool)
    outside = JointCandidate({"depth": 1, "width": 4, "kernel1": 1}, RECIPES.sample(rng))  # 256 FLOPs
    assert not SPACE.valid(outside) and SPACE.restricted({}).valid(outside)


def test_mutation_changes_one_side_and_crossover_mixes():
    rng = np.random.default_rng(1)
    sides = set()
    for _ in range(40):
        x = SPACE.sample(rng)
        y = SPACE.mutate(x, rng)
        assert (y.arch != x.arch) + (y.recipe != x.recipe) == 1
        sides.add(y.arch != x.arch)
        child = SPACE.crossover(x, y, rng)
        assert ARCHS.valid(child.arch) and RECIPES.valid(child.recipe)
    assert sides == {True, False}


def test_keys_tell_candidates_apart():
    rng = np.random.default_rng(2)
    x = SPACE.sample(rng)
    assert SPACE.key(x) == SPACE.key(JointCandidate(dict(reversed(x.arch.items())), dict(x.recipe)))
    assert SPACE.key(x) != SPACE.key(SPACE.mutate(x, rng))


def test_wrong_ranges_and_statistics_are_named():
    with pytest.raises(ValueError, match=r"'latency' is no statistic.*flops, params"):
        JointSpace(ARCHS, RECIPES, {"latency": (None, 1.0)})
    with pytest.raises(ValueError, match="empty"):
        JointSpace(ARCHS, RECIPES, {"flops": (2.0, 1.0)})
    with pytest.raises(ValueError, match="none of 50"):
        JointSpace(ARCHS, RECIPES, {"flops": (None, 1.0)}, tries=50).sample(np.random.default_rng(0))
    broken = ArchSpace({"width": Int(1, 4)}, lambda arch: {"flops": 0.0})
    with pytest.raises(ValueError, match="must be positive"):
        broken.statistics({"width": 2})
