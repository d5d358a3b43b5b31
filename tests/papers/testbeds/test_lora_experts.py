import torch

import heredity as hd
from heredity.data.composed import EIGHT_FOUNDERS
from heredity.data.operators import TrainAncestor
from heredity.papers.testbeds.digit_experts import DigitTask, network
from heredity.papers.testbeds.lora_experts import AdaptToShift, expressed, factors, no_change
from heredity.papers.testbeds.merge_search import SearchMerge
from heredity.papers.testbeds.merge_strategies import population_vote, uniform_soup

X = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def family(tmp_path):
    lab = hd.Lab(tmp_path / "lab")
    ancestor = lab.derive(TrainAncestor((64, 16, 16, 10), epochs=1))
    adapters = [lab.derive(AdaptToShift(spec, epochs=1), ancestor, seed=i) for i, spec in enumerate(EIGHT_FOUNDERS[:3])]
    return lab, ancestor, adapters


def test_an_adapter_leaves_its_ancestor_and_says_what_its_factors_say(tmp_path):
    _, ancestor, (expert, *_) = family(tmp_path)
    base, own = dict(ancestor.weights()), dict(expert.weights())
    assert torch.equal(own["layers.0.base.weight"], base["layers.0.weight"])
    assert not torch.equal(expert.load()(X), ancestor.load()(X))
    pairs = factors(own)
    assert set(pairs) == {f"layers.{i}.lora_{part}" for i in (0, 1) for part in "AB"}  # the last map has none
    assert torch.allclose(expert.load()(X), network(expressed(base, pairs))(X), atol=1e-5)
    assert all(torch.equal(t, base[n]) for n, t in expressed(base, no_change(own)).items())


def test_factors_are_what_is_merged(tmp_path):
    lab, ancestor, adapters = family(tmp_path)
    child = lab.derive(
        SearchMerge(uniform_soup, DigitTask(EIGHT_FOUNDERS[0].shifts, 0), 9, adapters=True), *adapters, base=ancestor
    )
    held = [factors(dict(a.weights())) for a in adapters]
    mean = {name: sum(one[name] for one in held) / 3 for name in held[0]}
    wanted = expressed(dict(ancestor.weights()), mean)
    assert all(torch.allclose(t, wanted[n], atol=1e-6) for n, t in dict(child.weights()).items())


def test_a_vote_is_a_model_of_several(tmp_path):
    lab, ancestor, adapters = family(tmp_path)
    settings = {"population": 4, "init": "parents", "crossover": 0.5, "mutate": 0.5, "voters": 3}
    operator = SearchMerge(population_vote, DigitTask(EIGHT_FOUNDERS[0].shifts, 0), 12, settings, adapters=True)
    child = lab.derive(operator, *adapters, base=ancestor)
    votes = child.load()(X)
    assert votes.shape == (3, 10)
    assert child.record["notes"]["evaluations"] == 12
    assert {name.split(".")[1] for name in child.weights()} == {"0", "1", "2"}
