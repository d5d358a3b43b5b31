import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from heredity.errors import EvaluationFailed
from heredity.evaluation.similarity import relation_similarity
from heredity.search.diswot import DisWOT, semantic_similarity


class Net(nn.Module):
    def __init__(self, width=6, hidden=8, norm=True):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width) if norm else nn.Identity())
        self.features = nn.Sequential(nn.Conv2d(width, hidden, 3), nn.ReLU(), nn.Conv2d(hidden, width, 1), nn.ReLU())
        self.fc = nn.Linear(width, 5)

    def forward(self, x):
        return self.fc(self.features(self.stem(x)).mean((2, 3)))


def built(seed, **kwargs):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Net(**kwargs)


def batch(n=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, 6, 6, generator=generator), torch.arange(n) % 5


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_equals_a_loop_over_classes():
    wt, ws = normal(4, 6, seed=1), normal(4, 6, seed=2)
    total = 0.0
    for t, s in zip(wt, ws, strict=True):
        rows = [functional.normalize(torch.outer(w, w), dim=1) for w in (t, s)]
        total += float((rows[0] - rows[1]).square().sum())
    assert float(semantic_similarity(wt, ws)) == pytest.approx(total / 24)


def test_relation_equals_a_plain_numpy_loss():
    ft, fs = normal(5, 3, 2, seed=1), normal(5, 7, seed=2)
    grams = []
    for f in (ft, fs):
        flat = f.flatten(1).numpy()
        gram = flat @ flat.T
        grams.append(gram / np.sqrt((gram**2).sum(1, keepdims=True)))
    assert float(relation_similarity(ft, fs)) == pytest.approx(((grams[0] - grams[1]) ** 2).sum() / 25)


def test_a_sign_and_a_size_of_a_class_do_not_count():
    wt, ws = normal(4, 6, seed=1), normal(4, 6, seed=2)
    factor = torch.tensor([[-1.0], [2.0], [0.1], [-7.0]])
    assert torch.allclose(semantic_similarity(wt, ws), semantic_similarity(wt, ws * factor))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 10**6))
def test_bounds(classes, channels, seed):
    # Rows of length at most one differ by at most 2: each of the K·C squares is at most 4.
    wt, ws = normal(classes, channels, seed=seed), normal(classes, channels, seed=seed + 1)
    for mode in ("channel", "class"):
        assert 0 <= float(semantic_similarity(wt, ws, mode)) <= 4
        assert float(semantic_similarity(wt, wt, mode)) == 0


def test_by_class_widths_may_differ_and_by_channel_not():
    wt, ws = normal(4, 6), normal(4, 9)
    assert semantic_similarity(wt, ws, "class") > 0
    with pytest.raises(ValueError, match='mode="class"'):
        semantic_similarity(wt, ws)


def test_dead_heads_give_a_finite_distance():
    # Rows of zeros against rows of length one: K·C squares of 1, over K·C.
    assert float(semantic_similarity(torch.zeros(3, 4), torch.ones(3, 4))) == pytest.approx(1.0)


def test_the_same_network_scores_zero_and_others_less():
    same = built(1)
    assert DisWOT(lambda: same, init=None)(same, batch()) == 0
    other = DisWOT(lambda: built(2), init=None)(same, batch())
    assert -4 - 4 / 12 <= other < 0


def test_the_score_is_the_sum_of_its_terms_and_the_mean_of_its_repeats():
    student = built(3)

    def score(**kwargs):
        return DisWOT(lambda: built(2), **kwargs)(student, batch())

    assert score() == pytest.approx(score(terms=("semantic",)) + score(terms=("relation",)))
    # A single repeat with another seed draws others; repeats of one seed begin with that seed's.
    found = DisWOT(lambda: built(2), repeats=3).distances(student, batch())
    assert found != DisWOT(lambda: built(2)).distances(student, batch())
    assert score() != score(seed=1)


def test_a_permuted_batch_scores_alike():
    x, y = batch()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    proxy = DisWOT(lambda: built(2), init=None)
    assert proxy(built(3), (x, y)) == pytest.approx(proxy(built(3), (x[order], y[order])), abs=1e-5)


def test_sharing_everything_makes_student_and_teacher_one():
    proxy = DisWOT(lambda: built(2), share=("stem", "features", "fc"), repeats=2)
    assert proxy(built(3), batch()) == 0
    assert DisWOT(lambda: built(2), share=("stem", "fc"))(built(3), batch()) < 0
    with pytest.raises(ValueError, match="cannot share 'stem'"):
        DisWOT(lambda: built(2, width=7), share=("stem",))(built(3), batch())


def test_teacher_student_and_generator_are_left_alone_and_scores_repeat():
    teacher, students = built(1), [built(0, hidden=k) for k in range(2, 7)]
    before = copy.deepcopy([net.state_dict() for net in (teacher, *students)])
    state = torch.get_rng_state()
    proxy = DisWOT(lambda: teacher, repeats=2)
    first = [proxy(student, batch()) for student in students]
    assert first == [proxy(student, batch()) for student in students] and len(set(first)) == 5
    assert torch.equal(torch.get_rng_state(), state)
    for net, held in zip((teacher, *students), before, strict=True):
        assert net.training and all(p.grad is None for p in net.parameters())
        assert all(torch.equal(value, held[name]) for name, value in net.state_dict().items())


def test_what_explodes_fails_with_a_reason():
    deep = nn.Sequential()
    deep.features = nn.Sequential(nn.Flatten(), nn.Linear(36, 200), *[nn.Linear(200, 200) for _ in range(60)])
    deep.fc = nn.Linear(200, 5)
    with pytest.raises(EvaluationFailed, match="init=None"):
        DisWOT(lambda: deep)(deep, batch())


def test_missing_modules_are_named():
    with pytest.raises(ValueError, match="no module 'nowhere'"):
        DisWOT(lambda: built(1), feature="nowhere")(built(2), batch())
    with pytest.raises(ValueError, match=r"should be nn.Linear"):
        DisWOT(lambda: built(1), head="stem")(built(2), batch())
