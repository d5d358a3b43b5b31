import pytest
import torch
from torch import nn
from torch.func import functional_call

from heredity.evaluation.ntk import empirical_ntk


def net():
    generator = torch.Generator().manual_seed(0)
    # With a single hidden layer Θ_ab = Θ_ba, which would hide swapped outputs.
    sizes = ((3, 5), (5, 4), (4, 2))
    layers = [part for size in sizes for part in (nn.Linear(*size), nn.Tanh())]
    model = nn.Sequential(*layers[:-1]).double()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(generator=generator)
    return model.eval()


def inputs(n, seed):
    return torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_hand(model, x1, x2):
    """Θ from one backward pass per output and input, all parameters in one row."""

    def rows(x):
        out = []
        for one in x:
            y = model(one[None])[0]
            out.append(
                [
                    torch.cat([g.flatten() for g in torch.autograd.grad(v, model.parameters(), retain_graph=True)])
                    for v in y
                ]
            )
        return torch.stack([torch.stack(k) for k in out])

    return torch.einsum("iap,jbp->ijab", rows(x1), rows(x2))


def test_of_a_linear_map_is_the_inner_product_of_the_inputs():
    # f = Wx: ∂f_a/∂W_cd = δ_ac x_d, so that Θ(x, x')_ab = δ_ab x·x'.
    x1, x2 = inputs(4, 1), inputs(3, 2)
    theta = empirical_ntk(nn.Linear(3, 2, bias=False).double(), x1, x2)
    assert torch.allclose(theta, (x1 @ x2.T)[:, :, None, None] * torch.eye(2, dtype=torch.float64))


@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_equals_one_backward_pass_per_output(chunk):
    x1, x2, model = inputs(7, 1), inputs(4, 2), net()
    assert torch.allclose(empirical_ntk(model, x1, x2, chunk=chunk), by_hand(model, x1, x2))
    assert torch.allclose(empirical_ntk(model, x1, chunk=chunk), by_hand(model, x1, x1))


def test_trace_and_sum_are_of_the_full_kernel():
    x, model = inputs(5, 1), net()
    full = empirical_ntk(model, x, chunk=2)
    assert torch.allclose(empirical_ntk(model, x, outputs="trace", chunk=2), full.diagonal(dim1=2, dim2=3).mean(-1))
    assert torch.allclose(empirical_ntk(model, x, outputs="sum_logits", chunk=2), full.sum((2, 3)))


def test_is_symmetric_and_positive_semidefinite():
    x = inputs(6, 3)
    full = empirical_ntk(net(), x, chunk=4)
    matrix = full.permute(0, 2, 1, 3).reshape(12, 12)
    assert torch.allclose(matrix, matrix.T)
    values = torch.linalg.eigvalsh(matrix)
    assert values[0] >= -1e-8 * values[-1]


def test_parts_of_the_parameters_add_up():
    x, model = inputs(3, 1), net()
    parts = [empirical_ntk(model, x, params=[name]) for name, _ in model.named_parameters()]
    assert torch.allclose(sum(parts), empirical_ntk(model, x))


def test_predicts_a_small_step_of_gradient_descent():
    # One step of size η on L = Σ f(x0): f(x) changes by −η Θ_sum(x, x0) to first order.
    x, model, rate = inputs(4, 1), net(), 1e-6
    grads = torch.autograd.grad(model(x[:1]).sum(), list(model.parameters()))
    moved = {name: p - rate * g for (name, p), g in zip(model.named_parameters(), grads, strict=True)}
    change = (functional_call(model, moved, (x,)) - model(x)).sum(1)
    expected = -rate * empirical_ntk(model, x, x[:1], outputs="sum_logits")[:, 0]
    assert torch.allclose(change, expected, rtol=1e-4)


def test_what_mixes_the_batch_is_refused():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"1 \(BatchNorm1d\)"):
        empirical_ntk(model, x)
    assert empirical_ntk(model.eval(), x).shape == (5, 5, 2, 2)
    with pytest.raises(ValueError, match="no parameter 'nothing'"):
        empirical_ntk(model, x, params=["nothing"])
