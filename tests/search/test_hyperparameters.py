import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heredity.search.hyperparameters import (
    Choice,
    Hyperparameters,
    HyperparameterSearcher,
    Int,
    LogUniform,
    Uniform,
    When,
)
from heredity.search.shade import SHADE

SPACE = Hyperparameters(
    {
        # Declared before what it depends on, and depending on something that is conditional itself.
        "nesterov": When("momentum", [0, 3], Choice([False, True])),
        "momentum": When("kind", ["sgd", "rms"], Int(0, 3)),
        "kind": Choice(["sgd", "rms", "adam"]),
        "rate": LogUniform(1e-5, 1e-1),
        "beta": When("kind", "adam", Uniform(0.8, 0.999)),
        "width": Int(8, 512, log=True),
        "depth": Choice([2, 4, 8], ordered=True),
    }
)
seeds = st.integers(0, 2**32)


def same(a, b):
    assert list(a) == list(b)
    for name in a:
        assert type(a[name]) is type(b[name])
        assert a[name] == pytest.approx(b[name], rel=1e-9) if isinstance(a[name], float) else a[name] == b[name]


@given(seeds)
def test_everything_made_is_valid_and_decode_undoes_vector(seed):
    rng = np.random.default_rng(seed)
    a, b = SPACE.sample(rng), SPACE.sample(rng)
    for x in (a, b, SPACE.mutate(a, rng), SPACE.crossover(a, b, rng), SPACE.perturb(a, rng, (0.2, 5.0))):
        assert SPACE.problem(x) is None
        assert SPACE.valid(x)
        v = SPACE.vector(x)
        assert SPACE.box.valid(v)
        same(SPACE.decode(v), x)


@given(seeds)
def test_mutants_differ_and_leave_their_parent(seed):
    rng = np.random.default_rng(seed)
    x = SPACE.sample(rng)
    before = dict(x)
    assert SPACE.mutate(x, rng) != x
    assert x == before


@given(st.lists(st.floats(-2, 3), min_size=SPACE.box.dim, max_size=SPACE.box.dim))
def test_every_vector_means_something_valid(values):
    assert SPACE.valid(SPACE.decode(np.array(values)))


def test_the_box_has_a_coordinate_for_each_number_and_for_each_of_several_options():
    # nesterov 1 (two options), momentum 1, kind 3, rate 1, beta 1, width 1, depth 1 (ordered)
    assert SPACE.box.dim == 9
    v = SPACE.vector({"kind": "adam", "rate": 1e-3, "beta": 0.8, "width": 8, "depth": 4})
    assert v[:2].tolist() == [0.5, 0.5]  # not active
    assert v[2:7].tolist() == pytest.approx([0, 0, 1, 0.5, 0])


def test_conditions_follow_what_they_depend_on():
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        x = SPACE.sample(rng)
        assert ("momentum" in x) == (x["kind"] in ("sgd", "rms"))
        assert ("beta" in x) == (x["kind"] == "adam")
        assert ("nesterov" in x) == (x.get("momentum") in (0, 3))
        seen.add(tuple(x))
    assert len(seen) == 3


def test_a_change_of_kind_draws_what_becomes_active_and_drops_the_rest():
    space = Hyperparameters({"kind": Choice("ab"), "a": When("kind", "a", Uniform(0, 1))}, rate=1.0)
    rng = np.random.default_rng(0)
    assert space.mutate({"kind": "a", "a": 0.5}, rng) == {"kind": "b"}
    assert set(space.mutate({"kind": "b"}, rng)) == {"kind", "a"}


def test_children_take_what_their_parents_have():
    a = {"kind": "adam", "rate": 1e-3, "beta": 0.9, "width": 8, "depth": 4}
    b = {"nesterov": True, "momentum": 3, "kind": "sgd", "rate": 1e-2, "width": 64, "depth": 8}
    rng = np.random.default_rng(0)
    seen = {"rate": set(), "width": set(), "kind": set()}
    for _ in range(50):
        child = SPACE.crossover(a, b, rng)
        assert all(value in (a.get(name), b.get(name)) for name, value in child.items())
        for name, values in seen.items():
            values.add(child[name])
    assert seen == {"rate": {1e-3, 1e-2}, "width": {8, 64}, "kind": {"adam", "sgd"}}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"beta": None}, "'beta' is missing"),
        ({"rate": 1.0}, "'rate' should lie in [1e-05, 0.1], it is 1.0"),
        ({"kind": "lion"}, "'beta' is no field, or is not active beside the other values"),
        ({"momentum": 1}, "'momentum' is no field, or is not active beside the other values"),
        ({"depth": 3}, "'depth' should be one of [2, 4, 8], it is 3"),
        ({"colour": 1}, "'colour' is no field, or is not active beside the other values"),
    ],
)
def test_problems_are_named(change, problem):
    x = {"kind": "adam", "rate": 1e-3, "beta": 0.9, "width": 8, "depth": 4}
    assert SPACE.problem(x) is None
    x = {name: value for name, value in {**x, **change}.items() if value is not None}
    assert SPACE.problem(x) == problem
    assert not SPACE.valid(x)
    with pytest.raises(ValueError, match="'"):
        SPACE.vector(x)


def test_what_is_no_dict_is_named():
    assert SPACE.problem([1]) == "hyperparameters are a dict, not list"
    with pytest.raises(ValueError, match="9 finite"):
        SPACE.decode(np.zeros(3))
    with pytest.raises(ValueError, match="9 finite"):
        SPACE.decode(np.full(9, np.nan))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "at least one field"),
        ({"a": When("b", 1, Uniform(0, 1))}, "'b', which is no field"),
        ({"a": When("b", 7, Uniform(0, 1)), "b": Int(0, 3)}, "being 7, which should lie in"),
        ({"a": When("b", 1, Int(0, 3)), "b": When("a", 1, Int(0, 3))}, "circle"),
    ],
)
def test_wrong_spaces_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        Hyperparameters(fields)


def test_a_searcher_of_vectors_tunes_a_mixed_space():
    def worth(x):
        miss = abs(np.log10(x["rate"]) + 3) + abs(np.log2(x["width"] / 64)) + (x["depth"] != 4)
        return -float(miss) - (0 if x["kind"] == "sgd" and x["momentum"] == 3 and x["nesterov"] else 1)

    searcher = HyperparameterSearcher(SPACE, SHADE(SPACE.box, 20))
    result = searcher.run(worth, 2000, direction="maximize")
    assert result.value > -0.1
    assert {name: result.best[name] for name in ("kind", "momentum", "nesterov", "depth")} == {
        "kind": "sgd",
        "momentum": 3,
        "nesterov": True,
        "depth": 4,
    }
