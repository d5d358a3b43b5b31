import pytest
import torch
from torch import nn

from heredity.search.supernet import MixedOp, Supernet


class Line(Supernet):
    """x → an operation on each of two edges."""

    def __init__(self, width=3, genotype=None):
        super().__init__({"width": width}, genotype)
        makers = [None, nn.Identity, lambda: nn.Linear(width, width), lambda: nn.Linear(width, width)]
        self.edges = nn.ModuleList(MixedOp(makers, (cell, 0), self.genotype) for cell in range(2))

    def forward(self, x, genotype=None):
        for edge, (choice,) in zip(self.edges, self.chosen(genotype), strict=True):
            x = edge(x, choice)
        return x


@pytest.fixture
def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Line()


def test_one_operation_runs_and_none_has_no_module(net):
    edge = net.edges[0]
    x = torch.ones(2, 3)
    assert torch.equal(edge(x, 1), x) and torch.equal(edge(x, 3), edge.ops["3"](x))
    with pytest.raises(ValueError, match="operation 0 does not exist on this edge, which holds 1, 2, 3"):
        edge(x, 0)


def test_what_is_extracted_computes_the_same_with_nothing_else(net):
    x = torch.ones(2, 3)
    alone = net.extract(((2,), (1,)))
    assert torch.equal(alone(x), net(x, ((2,), (1,))))
    assert set(alone.state_dict()) == {"edges.0.ops.2.weight", "edges.0.ops.2.bias"}
    # One linear layer of 3 · 3 + 3; the supernet holds four.
    assert net.size(((2,), (1,))) == alone.size(((2,), (1,))) == 12 and sum(p.numel() for p in net.parameters()) == 48
    with torch.no_grad():
        net.edges[0].ops["2"].weight.zero_()
    assert not torch.equal(alone(x), net(x, ((2,), (1,))))  # a copy


def test_a_genotype_is_needed_and_a_network_alone_runs_its_own(net):
    x = torch.ones(2, 3)
    with pytest.raises(ValueError, match="genotype to run"):
        net(x)
    alone = net.extract(((2,), (1,)))
    assert torch.equal(alone(x, ((2,), (1,))), alone(x))
    with pytest.raises(ValueError, match="alone, not"):
        alone(x, ((3,), (1,)))


def test_extraction_leaves_the_global_generator_alone(net):
    state = torch.get_rng_state()
    net.extract(((2,), (3,)))
    assert torch.equal(torch.get_rng_state(), state)
