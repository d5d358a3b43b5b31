"""Candidates as births: the lineage is the chain, and weights are a cache."""

import numpy as np
import pytest
import torch
from torch import nn

import heredity as hd
from heredity.errors import BirthFailed
from heredity.lab.architecture import Architecture
from heredity.search.base import Candidate
from heredity.search.deep_ga import DeepGA
from heredity.search.operators import Express, SeedMutation, SeedRoot, Vector, chain_of
from heredity.search.seedchain import SeedChain
from heredity.search.vector import FlatParams

CHAIN = SeedChain(7, ((11, 0.3), (13, 0.02), (2**32 - 1, 0.5)))


@hd.architecture
class Net(nn.Module):
    """Names whose alphabetical order is not that of definition."""

    def __init__(self, hidden: int = 5) -> None:
        super().__init__()
        self.zeroth, self.first = nn.Linear(4, hidden), nn.Linear(hidden, 2)

    def forward(self, x):
        return self.first(torch.tanh(self.zeroth(x)))


ROOT = SeedRoot(Architecture(Net, {"hidden": 6}))


@pytest.fixture
def lab(tmp_path):
    with hd.Lab(tmp_path / "lab") as lab:
        yield lab


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


def test_the_lineage_is_the_chain_and_decodes_to_its_weights(lab):
    model = Express(lab, ROOT).model(CHAIN)
    assert len(lab) == 4
    assert [m.seed for m in model.path()] == [7, 11, 13, 2**32 - 1]
    assert [m.operator["type"].rpartition(":")[2] for m in model.path()] == ["SeedRoot"] + ["SeedMutation"] * 3
    assert chain_of(model) == CHAIN
    assert same(dict(model.weights()), ROOT.decoder().state(CHAIN))
    assert model.load()(torch.ones(1, 4)).shape == (1, 2)


def test_a_birth_is_recalled(lab):
    first = Express(lab, ROOT).model(CHAIN)
    again = Express(lab, ROOT).model(CHAIN)
    assert again.id == first.id
    assert len(lab) == 4
    assert lab.derive(SeedMutation(0.5), first.parents[0], seed=2**32 - 1).id == first.id
    assert lab.derive(SeedMutation(0.5), first.parents[0], seed=1).id != first.id


@pytest.mark.parametrize("keep", [True, False])
def test_weights_are_a_cache_that_is_rebuilt(lab, keep):
    model = Express(lab, ROOT, keep=keep).model(CHAIN)
    sha = model.weights_sha256
    lab.gc()
    files = list((lab.path / "weights").rglob("*.safetensors"))
    assert not files
    assert same(dict(lab[model.id].weights()), ROOT.decoder().state(CHAIN))
    assert lab[model.id].weights_sha256 == sha
    assert not lab.verify()


def test_a_vector_is_a_birth_of_its_own(lab):
    values = torch.randn(4 * 6 + 6 + 6 * 2 + 2, generator=torch.Generator().manual_seed(0))
    express = Express(lab, ROOT)
    (model,) = lab.derive_all([express(Candidate(3, values.numpy()))])
    assert FlatParams(Net(6)).flatten(model.load()).equal(values)
    (again,) = lab.derive_all([express(values)])
    assert again.id == model.id
    child = lab.derive(Vector(values * 2), model)
    assert FlatParams(Net(6)).flatten(child.load()).equal(values * 2)
    lab.gc()
    assert FlatParams(Net(6)).flatten(lab[child.id].load()).equal(values * 2)


def test_a_search_is_a_lineage(lab):
    search, express, decoder = DeepGA(8, 3, 0.3, 1, 0, seed=1), Express(lab, ROOT), ROOT.decoder()
    for _ in range(4):
        asked = search.ask()
        models = lab.derive_all([express(c) for c in asked])
        assert all(same(dict(m.weights()), decoder.state(c.value)) for m, c in zip(models, asked, strict=True))
        search.tell(asked, [-float(decoder.vector(c.value).square().sum()) for c in asked])
    assert len(lab) == 32
    best = express.model(search.best[0].value)
    assert chain_of(best) == search.best[0].value
    assert len(lab) == 32


def test_what_cannot_be_born_is_said(lab):
    express = Express(lab, Architecture(Net))
    with pytest.raises(TypeError, match="not str"):
        express("gene")
    with pytest.raises(BirthFailed, match=r"2³²"):
        lab.derive(ROOT, seed=2**32)
    with pytest.raises(BirthFailed, match="architecture, or a parent"):
        lab.derive(Vector(torch.zeros(3)))
    with pytest.raises(BirthFailed, match=r"shape \(37,\)"):
        lab.derive(Vector(torch.zeros(3), Architecture(Net)))
    other = lab.add(Net().double())
    with pytest.raises(BirthFailed, match=r"float32; parameter 'zeroth\.weight'"):
        lab.derive(SeedMutation(0.1), other)
    with pytest.raises(ValueError, match="no seed chain"):
        chain_of(other)


def test_vectors_of_numpy_are_copied(lab):
    values = np.zeros(44, np.float32)
    request = Express(lab, ROOT)(values)
    values[:] = 1
    assert request.operator.values.sum() == 0
