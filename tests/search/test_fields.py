import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heredity.search.fields import Choice, Int, LogUniform, Uniform, When

seeds = st.integers(0, 2**32)
uniform = st.tuples(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6)).map(lambda t: Uniform(t[0], t[0] + t[1]))
log = st.tuples(st.floats(1e-9, 1e3), st.floats(1.01, 1e6)).map(lambda t: LogUniform(t[0], t[0] * t[1]))
whole = st.tuples(st.integers(-1000, 1000), st.integers(1, 5000)).map(lambda t: Int(t[0], t[0] + t[1]))
log_whole = st.tuples(st.integers(1, 1000), st.integers(1, 5000)).map(lambda t: Int(t[0], t[0] + t[1], log=True))
choice = st.builds(Choice, st.lists(st.integers(), min_size=2, max_size=6, unique=True), st.booleans())
fields = st.one_of(uniform, log, whole, log_whole, choice)


@given(fields, seeds, st.tuples(st.floats(0.01, 1), st.floats(1, 100)))
def test_samples_mutants_and_perturbed_values_are_in_range_and_decode_undoes_coordinates(field, seed, factors):
    rng = np.random.default_rng(seed)
    value = field.sample(rng)
    assert field.problem(value) is None
    assert field.problem(field.mutate(value, rng)) is None
    assert field.problem(field.perturb(value, rng, factors)) is None
    v = field.coordinates(value)
    assert v.shape == (field.width,)
    assert v.min() >= -1e-12
    assert v.max() <= 1 + 1e-12
    back = field.decode(v)
    if isinstance(field, (Uniform, LogUniform)):
        # Half an ulp of the largest number that took part, many times over.
        assert math.isclose(back, value, rel_tol=1e-9, abs_tol=1e-9 * max(abs(field.low), abs(field.high)))
    else:
        assert back == value
        assert type(back) is type(value)


@given(fields, seeds)
def test_every_coordinate_means_something(field, seed):
    rng = np.random.default_rng(seed)
    for v in (np.zeros(field.width), np.ones(field.width), rng.random(field.width)):
        assert field.problem(field.decode(v)) is None


def test_perturb_draws_its_factors_evenly():
    rng = np.random.default_rng(0)
    drawn = np.array([Uniform(0, 10).perturb(1.0, rng) for _ in range(10000)])
    assert set(drawn.tolist()) == {0.8, 1.2}
    assert abs((drawn == 1.2).mean() - 0.5) < 0.02
    # √(0.8 · 1.2) = 0.9798 is the drift for each step.
    assert abs(np.exp(np.log(drawn).mean()) - 0.98) < 0.005


def test_perturb_stays_at_zero_and_at_the_bounds_and_small_integers_move():
    rng = np.random.default_rng(0)
    assert Uniform(-1, 1).perturb(0.0, rng) == 0
    assert Int(-5, 5).perturb(0, rng) == 0
    assert {Uniform(0, 1).perturb(0.9, rng) for _ in range(50)} == {0.9 * 0.8, 1.0}
    assert {Int(1, 9).perturb(1, rng) for _ in range(50)} == {1, 2}  # 0.8 → 1 → 0 is clipped, 1.2 → 1 → 2
    assert {Int(1, 9).perturb(2, rng) for _ in range(50)} == {1, 3}
    assert {Int(-9, 9).perturb(-2, rng) for _ in range(50)} == {-1, -3}
    assert {Int(1, 999).perturb(100, rng) for _ in range(50)} == {80, 120}
    assert {Int(1, 9).perturb(9, rng) for _ in range(50)} == {7, 9}


def test_choices_move_to_a_neighbour():
    rng = np.random.default_rng(0)
    field = Choice("abcd")
    assert {field.perturb("b", rng) for _ in range(50)} == {"a", "c"}
    assert {field.perturb("a", rng) for _ in range(50)} == {"b"}
    assert {field.perturb("d", rng) for _ in range(50)} == {"c"}
    assert {field.mutate("b", rng) for _ in range(50)} == {"a", "c", "d"}
    assert {Choice("abcd", ordered=True).mutate("b", rng) for _ in range(50)} == {"a", "c"}


def test_logarithms_are_uniform_and_every_integer_has_a_bin():
    rng = np.random.default_rng(0)
    drawn = np.array([LogUniform(1e-4, 1).sample(rng) for _ in range(4000)])
    assert abs((drawn < 1e-2).mean() - 0.5) < 0.04  # standard deviation 0.008
    whole = np.array([Int(1, 4).sample(rng) for _ in range(8000)])
    np.testing.assert_allclose(np.bincount(whole)[1:] / 8000, 0.25, atol=0.025)
    logs = np.array([Int(1, 100, log=True).sample(rng) for _ in range(4000)])
    # The bins of 1…9 reach from ½ to 9½ of ½…100½.
    assert abs((logs < 10).mean() - math.log(19) / math.log(201)) < 0.04


def test_coordinates_by_hand():
    assert LogUniform(1e-4, 1).coordinates(1e-1) == pytest.approx([0.75])
    assert Int(0, 3).coordinates(2).tolist() == [0.625]
    assert Choice("ab").coordinates("b").tolist() == [0.75]
    assert Choice("abc").coordinates("b").tolist() == [0, 1, 0]
    assert Choice("abc", ordered=True).coordinates("b").tolist() == [0.5]


def test_types_count():
    field = Choice([1, True, 1.0, "1", None])
    for option in field.options:
        assert type(field.decode(field.coordinates(option))) is type(option)
    assert Choice([0, 1]).problem(True) == "should be one of [0, 1], it is True"
    assert Uniform(0, 2).problem(True) == "should be a number, not bool"
    assert Int(0, 2).problem(1.0) == "should be a whole number, it is 1.0"
    assert Uniform(0, 2).problem(float("nan")) == "should lie in [0, 2], it is nan"
    assert When("a", True, field).met(True)
    assert not When("a", True, field).met(1)
    assert When("a", ["x", "y"], field).met("y")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Uniform(1, 1),
        lambda: Uniform(0, float("inf")),
        lambda: LogUniform(0, 1),
        lambda: Int(1, 1),
        lambda: Int(0, 9, log=True),
        lambda: Choice(["a"]),
        lambda: Choice(["a", "a"]),
        lambda: Uniform(0, 1).perturb(0.5, np.random.default_rng(0), (0.0, 1.2)),
        lambda: Choice("ab").perturb("c", np.random.default_rng(0)),
    ],
)
def test_wrong_settings_are_named(make):
    with pytest.raises(ValueError, match=r"needs|must|none of"):
        make()
