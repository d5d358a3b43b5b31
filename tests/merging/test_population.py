import pytest
import torch

from heredity.errors import EvaluationFailed, MergeError, NonFinite
from heredity.merging.births import Proposal, Succession
from heredity.merging.breeding import breed
from heredity.merging.population import PopulationMerger


def founders(n=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        {"w": torch.randn(40, generator=generator), "b": torch.randn(3, generator=generator), "n": torch.tensor(4)}
        for _ in range(n)
    ]


def near_zero(weights):
    return 1 / (1 + float(weights["w"].square().mean()))


def test_equal_parents_stay_equal_for_five_generations():
    parent = founders(1)[0]
    twins = [{k: v.clone() for k, v in parent.items()} for _ in range(4)]
    seen = []

    def score(weights):
        seen.append(weights)
        return 0.5

    merger = PopulationMerger(score, succession=Succession(), sigma=0.0, mutate=1.0, generations=5, patience=None)
    best = merger.merge(twins)
    assert len(merger.result.history) == 6 and len(seen) > 60
    for weights in [best, *seen, *merger.result.population]:
        assert all(weights[k].numpy().tobytes() == parent[k].numpy().tobytes() for k in parent)


@pytest.mark.parametrize("succession", [None, Succession()])
def test_the_best_beats_founders_and_is_reproduced_by_its_lineage(succession):
    models = founders()
    merger = PopulationMerger(near_zero, succession=succession, patience=None, seed=1)
    best = merger.merge(models)
    result = merger.result
    assert result.fitness == near_zero(best) > max(map(near_zero, models))
    assert result.values == tuple(sorted(result.values, reverse=True)) and result.values[0] == result.fitness
    assert result.evaluations == sum(generation.evaluations for generation in result.history)

    def rebuild(i):
        if i < len(models):
            return models[i]
        birth = result.lineage[i]
        return breed(birth, [rebuild(p) for p in birth.parents])

    again = rebuild(result.best_id)
    assert all(torch.equal(again[k], best[k]) for k in best)


def test_mixture_reproduces_an_unmutated_best():
    models = founders()
    merger = PopulationMerger(near_zero, succession=Succession(), mutate=0.0, seed=1)
    best = merger.merge(models)
    mixed = sum(share * model["w"] for share, model in zip(merger.result.mixture, models, strict=True))
    torch.testing.assert_close(best["w"], mixed, atol=1e-5, rtol=1e-5)


def test_same_seed_same_bits_and_founders_untouched():
    models = founders()
    before = [{k: v.clone() for k, v in m.items()} for m in models]
    state = torch.random.get_rng_state()
    a, b, c = (PopulationMerger(near_zero, seed=s, mutate=1.0).merge(models) for s in (1, 1, 2))
    assert torch.equal(a["w"], b["w"]) and not torch.equal(a["w"], c["w"])
    assert all(torch.equal(m[k], o[k]) for m, o in zip(models, before, strict=True) for k in m)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("method", ["ties", "dare_ties"])
def test_task_vector_crossover_works_from_a_base(method):
    models = founders(4)
    base = {k: torch.zeros_like(v) if v.is_floating_point() else v for k, v in models[0].items()}
    best = PopulationMerger(near_zero, merge=method, generations=2).merge(models, base=base)
    assert best.keys() == base.keys()
    with pytest.raises(MergeError, match="base"):
        PopulationMerger(near_zero, merge=method, generations=2).merge(models)


def adapters(n=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    names = {"q.lora_A.weight": (2, 6), "q.lora_B.weight": (5, 2)}
    return [{name: torch.randn(shape, generator=generator) for name, shape in names.items()} for _ in range(n)]


def test_adapters_cross_as_factors_or_as_their_products():
    a, b = adapters(2)
    birth = Proposal("crossover", (0, 1), ("parent", "mate"), (0.5, 0.5))

    def product(adapter):
        return adapter["q.lora_B.weight"] @ adapter["q.lora_A.weight"]

    factors, plain = breed(birth, [a, b], space="factors"), breed(birth, [a, b])
    assert all(torch.equal(factors[k], plain[k]) for k in a)
    torch.testing.assert_close(factors["q.lora_A.weight"], (a["q.lora_A.weight"] + b["q.lora_A.weight"]) / 2)
    delta = breed(birth, [a, b], space="delta")
    mean = (product(a) + product(b)) / 2
    u, s, v = torch.linalg.svd(mean)
    torch.testing.assert_close(product(delta), u[:, :2] * s[:2] @ v[:2], atol=1e-5, rtol=1e-4)  # best of rank 2
    # The mean of factors is another matrix: (B + B')(A + A')/4 holds half the mean and the mixed terms.
    assert (product(delta) - product(factors)).abs().max() > 0.1


@pytest.mark.parametrize("space", ["factors", "delta"])
def test_a_population_of_adapters_breeds(space):
    def score(adapter):
        return 1 / (1 + float((adapter["q.lora_B.weight"] @ adapter["q.lora_A.weight"]).square().mean()))

    models = adapters()
    merger = PopulationMerger(score, space=space, succession=Succession(), seed=1)
    best = merger.merge(models)
    assert merger.result.fitness == score(best) > max(map(score, models))
    assert best["q.lora_A.weight"].shape == (2, 6)


def test_trouble_is_named():
    models = founders(3)
    with pytest.raises(EvaluationFailed, match="generation 0"):
        PopulationMerger(lambda weights: float("nan")).merge(models)
    models[1]["w"][0] = float("nan")
    with pytest.raises(NonFinite, match="model 1"):
        PopulationMerger(near_zero).merge(models)
    del models[1]["b"]
    with pytest.raises(MergeError, match="'b'"):
        PopulationMerger(near_zero).merge(models)
