"""A population's stacked networks compute what each network computes alone."""

import numpy as np
import pytest
import torch
from torch import nn

from heredity.environments.policy import PopulationPolicy

MLP = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 3))
CONV = nn.Sequential(
    nn.Conv2d(2, 4, 3, stride=2),
    nn.ReLU(),
    nn.Conv2d(4, 3, 2, padding=1, bias=False),
    nn.Flatten(),
    nn.Linear(3 * 25, 2),
)


class Gated(nn.Module):
    """Something that cannot be stacked."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, x):
        return self.a(x) * torch.sigmoid(self.b(x))


@pytest.mark.parametrize(
    ("template", "shape", "stacked"),
    [
        (MLP, (5,), True),
        (nn.Linear(5, 2), (5,), True),
        (nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(6, 4), nn.Sigmoid()), nn.Linear(4, 2)), (2, 3), True),
        (CONV, (2, 9, 9), True),
        (nn.Sequential(nn.Conv2d(2, 4, 3, dilation=2), nn.Flatten(), nn.Linear(100, 2)), (2, 9, 9), False),
        (Gated(), (5,), False),
    ],
)
@pytest.mark.parametrize("episodes", [1, 3])
def test_each_member_computes_as_alone(template, shape, stacked, episodes):
    policy = PopulationPolicy(template)
    assert (policy.layers is not None) == stacked
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(4, policy.size, generator=generator) * 0.3
    seen = torch.randn(4, episodes, *shape, generator=generator).numpy()
    before = seen.copy()
    out = policy.bind(vectors)(seen)
    np.testing.assert_array_equal(seen, before)  # what is seen is not written into
    for member in range(4):
        policy.params.load(vectors[member], template)
        with torch.no_grad():
            alone = template(torch.from_numpy(seen[member]))
        np.testing.assert_allclose(out[member], alone.numpy(), rtol=1e-4, atol=1e-5)


def test_bytes_are_scaled_and_members_can_be_dropped():
    policy = PopulationPolicy(CONV, scale=1 / 255)
    vectors = torch.randn(3, policy.size, generator=torch.Generator().manual_seed(1)) * 0.3
    seen = np.random.default_rng(0).integers(0, 256, (3, 1, 2, 9, 9), dtype=np.uint8)
    bound = policy.bind(vectors)
    whole = bound(seen)
    np.testing.assert_allclose(
        whole, PopulationPolicy(CONV).bind(vectors)(seen / np.float32(255)), rtol=1e-4, atol=1e-6
    )
    bound.keep(np.array([2, 0]))
    np.testing.assert_allclose(bound(seen[[2, 0]]), whole[[2, 0]], rtol=1e-5, atol=1e-6)


def test_an_elementwise_layer_first_leaves_observations_alone():
    seen = np.ones((2, 1, 3), np.float32)
    PopulationPolicy(nn.Sequential(nn.Tanh(), nn.Linear(3, 1))).bind(torch.zeros(2, 4))(seen)
    assert (seen == 1).all()


def test_weights_of_another_network_are_refused():
    with pytest.raises(ValueError, match=r"\[n, 12\]"):
        PopulationPolicy(nn.Linear(5, 2)).bind(torch.zeros(3, 13))
    with pytest.raises(ValueError, match="running_mean"):
        PopulationPolicy(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
