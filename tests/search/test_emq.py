import numpy as np
import pytest

from heredity.errors import EvaluationFailed
from heredity.search.emq import EMQ, _example_task
from heredity.search.expression import Expression

TASK = _example_task()
parse = Expression.parse


def told(searcher, expression):
    try:
        return searcher.fitness(expression)
    except EvaluationFailed:
        return float("nan")


def step(searcher):
    candidates = searcher.ask()
    searcher.tell(candidates, [told(searcher, c.value) for c in candidates])
    return candidates


def test_finds_a_formula_that_predicts_the_accuracies():
    searcher = EMQ([TASK], seed=0)
    while searcher.evaluations < 300:
        step(searcher)
    first = EMQ([TASK], seed=0)
    step(first)
    assert searcher.best[1] > 0.95 and searcher.best[1] > first.best[1]


def test_size_is_constant_the_best_never_falls_and_the_worst_leaves():
    searcher = EMQ([TASK], population=8, seed=1)
    step(searcher)
    for _ in range(40):
        before = {c.id: fitness for c, fitness in searcher.members}
        candidates = step(searcher)
        after = {c.id: fitness for c, fitness in searcher.members}
        assert len(after) == 8 and max(after.values()) >= max(before.values())
        joined, left = set(after) - set(before), set(before) - set(after)
        values = {c.id: told(searcher, c.value) for c in candidates}
        assert len(candidates) == 2 and len(joined) == len(left) <= 1
        if joined:
            (new,), (old,) = joined, left
            assert before[old] == min(before.values())
            assert values[new] == np.nanmax(list(values.values()))


def test_the_fitter_newcomer_enters():
    # Neither crossed nor mutated, the child is a copy of a parent; it is told 0 and the newcomer 1, and conversely.
    for worth in ((0.0, 1.0), (1.0, 0.0)):
        searcher = EMQ([TASK], population=4, p_cx=0.0, p_mut=0.0, duplicates=True, seed=2)
        founders = searcher.ask()
        searcher.tell(founders, [0.1, 0.2, 0.3, 0.4])
        child, newcomer = searcher.ask()
        assert child.value in [f.value for f in founders[2:]]  # of the better half
        searcher.tell([child, newcomer], worth)
        ids = [c.id for c, _ in searcher.members]
        assert (newcomer.id in ids) == (worth[1] > worth[0]) and (child.id in ids) == (worth[0] > worth[1])
        assert founders[0].id not in ids and len(ids) == 4
        assert searcher.best[1] == 1.0


def test_without_diversity_prompting_one_child_a_time():
    searcher = EMQ([TASK], population=4, dps=False, seed=0)
    assert len(step(searcher)) == 4 and len(step(searcher)) == 1


def test_early_rejection():
    searcher = EMQ([TASK], seed=0)
    for text in ("log(negate(abs(W)))", "sub(W, W)", "matmul(log(W), A)", "exp(exp(exp(exp(exp(abs(W))))))"):
        assert not searcher.fit_to_propose(parse(text)), text
    assert searcher.fit_to_propose(parse("l1(mul(W, G))"))
    with pytest.raises(EvaluationFailed):
        searcher.fitness(parse("sub(W, W)"))


def test_screened_proposals_never_fail_and_unscreened_ones_do():
    def failures(csp):
        searcher = EMQ([TASK], csp=csp, seed=0)
        return sum(np.isnan(told(searcher, c.value)) for _ in range(40) for c in step(searcher))

    assert failures(True) == 0 and failures(False) > 0


def test_equal_functions_are_evaluated_once_and_only_with_screening():
    searcher, plain = EMQ([TASK], seed=0), EMQ([TASK], csp=False, seed=0)
    for each in (searcher, plain):
        assert each.fitness(parse("abs(abs(W))")) == each.fitness(parse("abs(W)"))
    assert searcher.evaluations == 1 and plain.evaluations == 2


def test_no_two_members_compute_the_same_unless_they_may():
    alone, free = EMQ([TASK], population=8, seed=0), EMQ([TASK], population=8, duplicates=True, seed=0)
    for searcher in (alone, free):
        for _ in range(150):
            step(searcher)
    assert alone.distinct == 8 and free.distinct < 8


def test_fitness_is_the_mean_over_tasks():
    # A second task with the accuracies reversed: the mean of ρ and −ρ is 0.
    reverse = type(TASK)(TASK.stats, TASK.configs, -TASK.accuracies)
    assert EMQ([TASK], seed=0).fitness(parse("l1(mul(W, G))")) == pytest.approx(1)
    assert EMQ([TASK, reverse], seed=0).fitness(parse("l1(mul(W, G))")) == pytest.approx(0)


def test_the_state_is_text_and_numbers():
    import json

    searcher = EMQ([TASK], population=4, seed=0)
    step(searcher)
    searcher.ask(1)
    again = EMQ([TASK], population=4, seed=0)
    again.load_state_dict(json.loads(json.dumps(searcher.state_dict())))
    assert [c.value for c in again.ask()] == list(searcher._batch.values())


def test_wrong_settings_are_refused():
    for wrong in ({"population": 1}, {"p_cx": 2.0}, {"topk": 0.0}):
        with pytest.raises(ValueError):
            EMQ([TASK], **wrong)
    with pytest.raises(ValueError):
        EMQ([])
