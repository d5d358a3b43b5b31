import numpy as np
import pytest

from heredity.errors import EvaluationFailed
from heredity.papers.testbeds.tiny_programs import (
    LINEAR,
    TRAIN,
    Instruction,
    Program,
    ProgramSpace,
    _diabetes,
    learn,
    live,
    predictions,
)
from heredity.search.functional_hash import mix_floats

SPACE = ProgramSpace()
FAST = Program((Instruction("const", 3, (), 3e-3),), LINEAR.predict, LINEAR.learn)


def test_linear_regression_is_linear_regression():
    x, y = _diabetes(5)
    w = np.zeros((3, 8))
    expected = []
    for i in range(10):
        guess = (x[:, i] * w).sum(1)
        expected += guess.tolist()
        w += (3e-3 * (y[:, i] - guess))[:, None] * x[:, i]
    expected += [value for i in range(TRAIN, TRAIN + 10) for value in (x[:, i] * w).sum(1)]
    assert predictions(FAST, 5) == pytest.approx(expected, abs=1e-12)


def test_a_useful_learning_rate_learns_and_a_tiny_one_does_not():
    valid, test, memory = learn(FAST, 5)
    # Least squares on these data explains about half of the variance.
    assert valid > 0.25 and test > 0.25 and memory["v"][1].any()
    assert learn(LINEAR, 5, epochs=1)[0] < 0.1


def test_splits_are_disjoint_and_standardised():
    x, y = _diabetes(5)
    assert x.shape == (3, 442, 8) and y.shape == (3, 442)
    for split in range(3):
        assert len({row.tobytes() for row in x[split]}) == 442
        assert np.allclose(x[split, :TRAIN].mean(0), 0) and np.allclose(y[split, :TRAIN].std(), 1)


def test_divergence_is_a_failure():
    wild = Program((Instruction("const", 3, (), 50.0),), LINEAR.predict, LINEAR.learn)
    with pytest.raises(EvaluationFailed, match="diverges"):
        learn(wild, 5)


def test_worse_than_the_mean_counts_as_nothing():
    assert learn(Program((), (Instruction("const", 1, (), 9.0),), ()), 5)[:2] == (0.0, 0.0)


def test_dropping_dead_instructions_changes_no_prediction():
    rng = np.random.default_rng(1)
    shorter = 0
    for _ in range(150):
        program = SPACE.sample(rng)
        pruned = live(program)
        shorter += len(pruned) < len(program)
        assert mix_floats(predictions(pruned, 5), 52) == mix_floats(predictions(program, 5), 52)
        assert live(pruned) == pruned
    assert shorter > 50


def test_what_only_a_later_example_reads_is_alive():
    # learn writes s2, which predict reads at the next example; s3 is never read.
    program = Program(
        (), (Instruction("add", 1, (2, 2)),), (Instruction("add", 2, (2, 0)), Instruction("add", 3, (2, 0)))
    )
    assert live(program) == Program((), program.predict, program.learn[:1])
    # v0 and s0 are set anew for every example: nothing before them matters.
    stale = Program((Instruction("vadd", 0, (1, 1)),), (Instruction("dot", 1, (0, 0)),), ())
    assert live(stale).setup == ()


def test_children_are_short_and_parents_unchanged():
    rng = np.random.default_rng(2)
    program, before = LINEAR, LINEAR
    for _ in range(300):
        program = SPACE.mutate(program, rng)
        assert SPACE.valid(program)
        assert SPACE.valid(SPACE.crossover(program, LINEAR, rng))
    assert before == LINEAR and SPACE.sample(np.random.default_rng(3)) == SPACE.sample(np.random.default_rng(3))
