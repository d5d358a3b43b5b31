import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heredity.errors import EvaluationFailed
from heredity.search.expression import BINARY, INPUTS, RISKY, UNARY, Expression, ExpressionSpace, layer_scores
from heredity.search.functional_hash import FunctionalHash
from heredity.search.layer_stats import LayerStats

parse = Expression.parse
LAYER = {
    "W": torch.tensor([[1.0, -2.0], [0.5, 0.0]], dtype=torch.float64),
    "G": torch.tensor([[0.1, 0.2], [-0.4, 0.0]], dtype=torch.float64),
    "A": torch.tensor([1.0, 3.0], dtype=torch.float64),
}
STATS = LayerStats({"one": LAYER, "two": {name: x * 3 for name, x in LAYER.items()}})


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["sequential", "branch"]), st.integers(1, 4))
def test_round_trip_and_structure(seed, structure, depth):
    space, rng = ExpressionSpace(structure, depth), np.random.default_rng(seed)
    a, b = space.sample(rng), space.sample(rng)
    for x in (a, space.mutate(a, rng), space.crossover(a, b, rng)):
        assert parse(str(x)) == x and parse(str(x)).key == x.key and space.valid(x)


def test_printed_as_the_specification_writes_it():
    text = "add(l1(log_abs(VG)), mean(square(W)))"
    assert str(parse(text)) == text == str(parse(" add( l1(log_abs(VG)),mean(square( W )) ) "))


@pytest.mark.parametrize("text", ["", "add(W)", "fly(W)", "abs(W", "abs(W))", "W(G)", "abs(,)", "add(W G)", "3"])
def test_what_is_no_expression_is_refused(text):
    with pytest.raises(ValueError):
        parse(text)


def test_values_by_hand():
    # W = (1, −2, .5, 0), G = (.1, .2, −.4, 0)
    cases = {
        "W": -0.125,
        "l1(W)": 3.5,
        "frobenius(W)": math.sqrt(5.25),
        "mul(W, G)": (0.1 - 0.4 - 0.2) / 4,
        "dot(W, G)": -0.5,
        "mul(sum(W), G)": -0.5 * -0.1 / 4,
        "heaviside(W)": 0.5,
        "log_abs(sub(W, W))": math.log(1e-9),
        "softmax(W)": 0.25,
        "l2(W)": (math.sqrt(5) + 0.5) / 2,
        # W Gᵀ = [[.1 − .4, −.4], [.05, −.2]]
        "matmul(W, G)": (-0.3 - 0.4 + 0.05 - 0.2) / 4,
        "gram(W)": (5 + 0.5 + 0.5 + 0.25) / 4,
        "std(normalise(W))": 1.0,
        "sum(min_max(W))": (3 + 0 + 2.5 + 2) / 3,
    }
    for text, value in cases.items():
        assert parse(text)(LAYER) == pytest.approx(value), text


def test_every_operation_takes_matrices_and_scalars():
    for x in (LAYER["W"].abs() + 0.1, torch.tensor(0.3, dtype=torch.float64)):
        for name, operation in UNARY.items():
            assert torch.isfinite(operation(x)).all() or name in ("normalise", "min_max"), name
        for name, operation in BINARY.items():
            assert torch.isfinite(operation(x, x)).all(), name


def test_equal_by_algebra_is_one_hash_and_otherwise_two():
    hashed = FunctionalHash(lambda x, _: layer_scores(x, STATS))
    assert hashed(parse("abs(abs(W))")) == hashed(parse("abs(W)"))
    assert hashed(parse("negate(negate(W))")) == hashed(parse("W"))
    assert hashed(parse("abs(W)")) != hashed(parse("square(W)"))


def test_what_leaves_the_reals_or_does_not_fit_fails():
    with pytest.raises(EvaluationFailed, match="for the layer one"):
        layer_scores(parse("log(negate(abs(W)))"), STATS)
    with pytest.raises(EvaluationFailed, match="cannot join shapes"):
        layer_scores(parse("add(W, A)"), STATS)
    with pytest.raises(EvaluationFailed, match="VG was not collected"):
        layer_scores(parse("VG"), STATS)
    assert layer_scores(parse("l1(W)"), STATS) == pytest.approx([3.5, 10.5])


def test_mutation_changes_one_name_and_parents_stay():
    rng, x = np.random.default_rng(0), parse("add(l1(log_abs(VG)), mean(square(W)))")

    def names(e):
        return [e.op, *(name for argument in e.args for name in names(argument))]

    for _ in range(60):
        assert sum(a != b for a, b in zip(names(x), names(x.mutate(rng)), strict=True)) == 1
    assert str(x) == "add(l1(log_abs(VG)), mean(square(W)))"


def test_crossover_swaps_whole_branches():
    rng, a, b = np.random.default_rng(0), parse("add(abs(W), exp(G))"), parse("mul(log(A), tanh(H))")
    found = {str(a.crossover(b, rng)) for _ in range(200)}
    assert found == {
        f"{op}({one}, {two})" for op in ("add", "mul") for one in ("abs(W)", "log(A)") for two in ("exp(G)", "tanh(H)")
    }


def test_risky_operations_come_at_a_quarter_of_the_rate():
    def share(prioritise):
        space, rng = ExpressionSpace("sequential", 1, prioritise=prioritise), np.random.default_rng(0)
        return sum(space.sample(rng).op in RISKY for _ in range(4000)) / 4000

    risky = sum(name in UNARY for name in RISKY)
    others = len(UNARY) - risky
    # The standard error of a share of 4,000 is at most .008.
    assert share(False) == pytest.approx(risky / len(UNARY), abs=0.03)
    assert share(True) == pytest.approx(0.25 * risky / (0.25 * risky + others), abs=0.03)


def test_a_space_keeps_to_its_inputs():
    rng = np.random.default_rng(0)
    for inputs in (("W",), ("W", "VG")):
        space = ExpressionSpace(inputs=inputs)
        x = space.sample(rng)
        for _ in range(100):
            x = space.mutate(x, rng)
            assert space.valid(x) and not any(name in str(x).replace("VG", "") for name in set(INPUTS) - {"W", "VG"})
    assert not ExpressionSpace(inputs=("W",)).valid(parse("add(abs(abs(W)), abs(abs(G)))"))
    assert not ExpressionSpace("sequential").valid(parse("add(abs(abs(W)), abs(abs(G)))"))
