import numpy as np
import pytest
import torch

from heredity.lab import Lab, Request
from heredity.papers.testbeds.clone_trials import (
    ARCHITECTURE,
    SEARCHERS,
    FocalOnPairs,
    LogisticFloor,
    OnFunctions,
    TrainPairs,
    pair_network,
    population_logits,
    summaries,
    test_scores,
)
from heredity.papers.testbeds.code_clones import Clones, Side, _pooled, clones, logits_of
from heredity.search.vector import FlatParams
from heredity.training.focal import FocalLoss

test_scores.__test__ = False


def world(seed=0, sizes=(400, 160, 160)):
    """Tensors as of a `ClonePairs` birth: the sides of a positive pair are near each other."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for part, n in zip(("train", "valid", "test"), sizes, strict=True):
        label = (torch.arange(n) % 5 == 0).long()[torch.randperm(n, generator=generator)]
        first = torch.randn(n, 6, 24, generator=generator)
        other = torch.randn(n, 6, 24, generator=generator)
        second = torch.where(label[:, None, None] == 1, first + 0.3 * other, other)
        found |= {f"{part}.first": first, f"{part}.second": second, f"{part}.label": label}
        for side in ("first", "second"):
            found[f"{part}.{side}.length"] = torch.randint(2, 7, (n,), generator=generator)
    return found


class Handle:
    """A birth's weights where an operator looks for them."""

    def __init__(self, weights):
        self._weights = weights

    def weights(self):
        return self._weights

    def role(self, name):
        return self if name == "data" else None


def test_many_networks_at_once_give_what_each_gives_alone():
    params, pairs = FlatParams(pair_network()), clones(world(), "valid")
    vectors = torch.randn(5, params.size, generator=torch.Generator().manual_seed(1)) * 0.4
    together = population_logits(params, vectors, pairs)
    for vector, logits in zip(vectors, together, strict=True):
        network = pair_network()
        params.load(vector, network)
        assert torch.allclose(logits, logits_of(network, pairs), atol=1e-5)


def test_the_objective_is_focal_loss_on_fixed_stratified_pairs():
    data = Handle(world())
    params = FlatParams(pair_network())
    losses = FocalOnPairs(100, 50).losses(params, data)
    vectors = np.random.default_rng(0).normal(0, 0.3, (11, params.size))
    found = losses(vectors, "search")
    assert found.shape == (11,) and np.array_equal(found[3:5], losses(vectors[3:5], "search"))
    assert not np.array_equal(found, losses(vectors, "held_out"))
    train = clones(data.weights(), "train")
    yes, no = torch.nonzero(train.label)[:20, 0], torch.nonzero(train.label == 0)[:80, 0]
    network = pair_network()
    params.load(torch.from_numpy(vectors[2]).float(), network)
    chosen = train.at(torch.cat([yes, no]))
    assert FocalLoss()(logits_of(network, chosen), chosen.label).item() == pytest.approx(found[2], rel=1e-4)


def test_a_logistic_floor_finds_pairs_that_are_near_and_training_helps(tmp_path):
    with Lab(tmp_path / "lab") as lab:
        data = lab.add(world(), name="world")
        floor = lab.derive(LogisticFloor(), seed=0, data=data)
        start, trained = (lab.derive(TrainPairs("focal", steps), seed=3, data=data) for steps in (0, 150))
        assert floor.notes["auprc"] > 0.8
        assert trained.notes["valid"] > start.notes["valid"] and trained.notes["steps"] > 0 == start.notes["steps"]
        same = lab.derive(TrainPairs("weighted", 0), start, seed=9, data=data) if "searched" in start.notes else None
        assert same is None and "objective" not in trained.notes


def test_every_loss_trains(tmp_path):
    with Lab(tmp_path / "lab") as lab:
        data = lab.add(world(), name="world")
        requests = [Request(TrainPairs(loss, 30), roles={"data": data}) for loss in ("focal", "weighted", "plain")]
        scores = [model.notes["auprc"] for model in lab.derive_all(requests)]
    assert len(set(scores)) == 3 and all(0 < score <= 1 for score in scores)


def test_scores_of_a_perfect_and_of_a_useless_answer():
    data = world()
    perfect = test_scores(lambda pairs: pairs.label.double().numpy(), data)
    assert perfect == {"auprc": 1.0, "f1": 1.0, "g_mean": 1.0}
    useless = test_scores(lambda pairs: np.zeros(len(pairs.label)), data)
    # Everything is called a clone: a fifth are. F1 = 2 · .2 / 1.2; specificity 0.
    assert useless["auprc"] == pytest.approx(0.2) and useless["f1"] == pytest.approx(1 / 3) and useless["g_mean"] == 0


def test_summaries_leave_out_padding():
    x = torch.arange(6.0).view(1, 3, 2)
    full, one = torch.tensor([[True, True, True]]), torch.tensor([[True, False, False]])
    found = summaries(Clones(Side(x, full), Side(x, one), torch.tensor([1])))
    # Means (2, 3) and (0, 1); sums (6, 9) and (0, 1).
    assert found.tolist() == [[2.0, 2.0, 6.0, 8.0]]


def test_neighbours_are_averaged_without_padding():
    x = torch.tensor([[[1.0], [3.0], [5.0], [99.0], [99.0], [99.0]]])
    kept, lengths = _pooled(x, torch.tensor([[True, True, True, False, False, False]]), 2)
    assert kept[0, :, 0].tolist() == [2.0, 5.0, 0.0] and lengths.tolist() == [2]


def test_searchers_on_functions_descend():
    short, long = (OnFunctions("clu_de", 1, 5, 10, n).measure(None, None) for n in (2, 60))
    assert set(short) == {"sphere", "rastrigin", "ackley", "schwefel"}
    assert all(long[name] < short[name] for name in short)
    assert set(SEARCHERS) == {"clu_de", "rand1", "best1", "random"} and ARCHITECTURE.config == {"dim": 24, "hidden": 8}
