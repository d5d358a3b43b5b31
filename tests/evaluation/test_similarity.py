import numpy as np
import pytest
import torch

from heredity.evaluation.similarity import relation_similarity


def test_hand_case():
    teacher, student = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    # A_t = I, both rows of A_s are (1, 1)/√2: the sum of squares is 2 ((1 − 1/√2)² + ½), over n² = 4
    expected = 2 * ((1 - 2**-0.5) ** 2 + 0.5) / 4
    assert relation_similarity(teacher, student).item() == pytest.approx(expected, rel=1e-6)


def test_equals_a_plain_loop_and_ignores_scale_and_order():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(6, 3, 4, generator=g), torch.randn(6, 7, generator=g)

    def gram(x):
        f = x.reshape(len(x), -1).numpy().astype(np.float64)
        m = f @ f.T
        return m / np.linalg.norm(m, axis=1, keepdims=True)

    expected = np.square(gram(a) - gram(b)).sum() / 36
    assert relation_similarity(a, b).item() == pytest.approx(expected, rel=1e-5)
    order = torch.randperm(6, generator=g)
    assert relation_similarity(3 * a[order], b[order]).item() == pytest.approx(expected, rel=1e-5)


def test_a_constant_zero_gives_a_number():
    assert torch.isfinite(relation_similarity(torch.eye(3), torch.zeros(3, 2)))
    with pytest.raises(ValueError, match="3 and 2 rows"):
        relation_similarity(torch.eye(3), torch.eye(2))
