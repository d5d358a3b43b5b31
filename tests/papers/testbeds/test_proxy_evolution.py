import numpy as np
import pytest
import torch

from heredity.lab import Lab
from heredity.papers.claim import Cell
from heredity.papers.search.emq import CLAIM
from heredity.papers.testbeds import mixed_bits as nets
from heredity.papers.testbeds.proxy_evolution import METRICS, Bench, Network, Predicted, trial


@pytest.mark.parametrize("family", nets.FAMILIES)
def test_eight_layers_fold_to_the_same_function(family):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nets.EightLayers(family, 10)
        x = torch.randn(6, 1, 8, 8)
        for _ in range(3):
            net(x)  # running statistics that are not the trivial ones
    bench, stats = nets.benched(nets.folded(net), 5, configs=2)
    assert len(bench.layers) == 8 == len(stats) and "head" not in bench.layers
    assert torch.allclose(nets.folded(net)(x), net.eval()(x), atol=1e-4)
    again = nets.restored(family, 10, nets.folded(net).state_dict())
    assert torch.equal(again(x), nets.folded(net)(x))


@pytest.fixture(scope="module")
def benches(tmp_path_factory):
    """Six networks of one epoch with 60 mixtures each."""
    with Lab(tmp_path_factory.mktemp("bits") / "lab") as lab:
        rows = [(family, width) for family in nets.FAMILIES for width in nets.WIDTHS]
        networks = [lab.derive(Network(family, width, 5, epochs=1)) for family, width in rows]
        tables = [
            lab.derive(Bench(family, width, 5, configs=60), net)
            for (family, width), net in zip(rows, networks, strict=True)
        ]
        yield lab, tables


@pytest.mark.slow
def test_every_method_is_judged(benches):
    lab, tables = benches
    for arm in CLAIM.arms:
        model = lab.derive(Predicted(left_out="plain", **{"budget": 30, **arm.settings}), *tables, seed=5)
        assert all(-1 <= model.notes[name] <= 1 for name in METRICS), arm.name
        assert model.notes["spread"] >= 0 and 0 <= model.notes["accuracy"] <= 1


@pytest.mark.slow
def test_the_search_is_judged_on_what_it_did_not_see(benches):
    """The left-out family's accuracies, and the mixtures kept back, do not change what is found."""
    lab, tables = benches
    operator = Predicted("emq", "depthwise", budget=40)
    found = lab.derive(operator, *tables, seed=5)
    other = lab.derive(operator, *tables[:4], *tables[:2], seed=5)  # others in the place of the left-out family
    assert found.notes["expression"] == other.notes["expression"]
    assert found.notes["heldout"] == other.notes["heldout"] and found.notes["transfer"] != other.notes["transfer"]
    assert found.notes["scored"] >= 40


@pytest.mark.slow
def test_who_chooses_by_hand_looks_at_the_search_and_the_oracle_at_the_test(benches):
    lab, tables = benches
    by_hand, oracle, hawq = (
        lab.derive(Predicted(method, "residual"), *tables, seed=5).notes
        for method in ("handmade", "oracle", "hawq_trace")
    )
    assert oracle["transfer"] >= max(by_hand["transfer"], hawq["transfer"]) and by_hand["fitted"] >= hawq["fitted"]
    linear = lab.derive(Predicted("linear", "residual"), *tables, seed=5).notes
    assert linear["fitted"] > by_hand["fitted"]  # seventeen free numbers for fifty mixtures


def test_a_trial_asks_for_six_networks_and_their_tables_and_one_predictor():
    steps = trial(Cell("no_dps", "depthwise", 7, {"method": "emq", "dps": False}))
    first = next(steps)
    assert [(r.operator.family, r.operator.width, r.operator.data) for r in first] == [
        (family, width, 7) for family in ("plain", "residual", "depthwise") for width in (10, 14)
    ]
    second = steps.send([None] * 6)
    assert len(second) == 6 and all(isinstance(r.operator, Bench) for r in second)
    with pytest.raises(StopIteration) as end:
        steps.send([None] * 6)
    wanted = end.value.value
    assert wanted.request.operator == Predicted("emq", "depthwise", dps=False) and wanted.request.seed == 7
    assert set(wanted.notes) == set(CLAIM.metrics)


def test_random_mixtures_of_a_network_repeat():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nets.folded(nets.EightLayers("plain", 10))
    a, b = nets.benched(net, 5, configs=3), nets.benched(net, 5, configs=3)
    assert np.array_equal(a[0].configs, b[0].configs) and np.array_equal(a[0].accuracies, b[0].accuracies)
    assert all(torch.equal(a[1][layer][key], b[1][layer][key]) for layer in a[1] for key in a[1][layer])
