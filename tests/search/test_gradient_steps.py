import numpy as np
import pytest
import torch

from heredity.search.gradient_steps import ClipUp, gradient_step
from heredity.search.pgpe import length


def test_adam_takes_the_steps_of_torch():
    # torch's Adam descends: it gets the negative gradient. It divides by √v̂ + ε, we by √v + ε: the same up to ε.
    point = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    theirs = torch.optim.Adam([point], lr=0.1)
    ours, x = gradient_step("adam", np.zeros(3)), np.zeros(3)
    for k in range(20):
        gradient = np.array([1.0, -2.0, 0.5]) * np.cos(k)
        point.grad = torch.tensor(-gradient)
        theirs.step()
        x += ours.step(gradient, 0.1, length)
    assert np.allclose(x, point.detach().numpy(), atol=1e-6)


def test_clipup_by_hand():
    step = ClipUp(np.zeros(2))
    # The gradient (3, 4) has length 5: the first step is lr · (0.6, 0.8).
    assert np.allclose(step.step(np.array([3.0, 4.0]), 0.1, length), [0.06, 0.08])
    # Then 0.9 · 0.1 + 0.1 = 0.19 along it, and then 0.271, clipped to twice the step size.
    assert np.allclose(step.step(np.array([30.0, 40.0]), 0.1, length), 0.19 * np.array([0.6, 0.8]))
    assert np.allclose(step.step(np.array([0.3, 0.4]), 0.1, length), 0.2 * np.array([0.6, 0.8]))
    # Without a direction the velocity only fades.
    assert np.allclose(step.step(np.zeros(2), 0.1, length), 0.18 * np.array([0.6, 0.8]))


def test_plain_ascent():
    assert gradient_step("sgd", np.zeros(2)).step(np.array([1.0, -2.0]), 0.5, length).tolist() == [0.5, -1.0]


def test_rows_step_on_their_own():
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((10, 4, 3)) * np.exp(rng.standard_normal((10, 4, 1)))
    gradients[3, 2] = 0
    for name in ("adam", "clipup", "sgd"):
        together = gradient_step(name, torch.zeros(4, 3).double())
        alone = [gradient_step(name, np.zeros(3)) for _ in range(4)]
        for gradient in gradients:
            rows = together.step(torch.tensor(gradient), 0.1, lambda g: g.norm(dim=-1, keepdim=True)).numpy()
            assert np.allclose(rows, [s.step(g, 0.1, length) for s, g in zip(alone, gradient, strict=True)], atol=1e-12)


def test_an_unknown_step_is_named():
    with pytest.raises(ValueError, match="adam, clipup, sgd, got 'adma'"):
        gradient_step("adma", np.zeros(2))
