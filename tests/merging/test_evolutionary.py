import json
import math

import numpy as np
import pytest
import torch

from heredity.errors import EvaluationFailed, MergeError, NonFinite
from heredity.evaluation.outcome import Failed
from heredity.merging.evolutionary import EvolutionaryMerger, RecipeSearcher
from heredity.merging.merge_space import MergeSpace
from heredity.merging.mergers import merger_for
from heredity.search.random_search import RandomSearch


def parents(n=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        {name: torch.randn(10, generator=generator) for name in ("layers.0.weight", "layers.1.weight")}
        for _ in range(n)
    ]


def test_a_planted_recipe_is_recovered_through_the_weights():
    # The score knows only the merged weights: best at (.6, .3, .1) in layer 0 and (.1, .1, .8) in layer 1.
    models = parents()
    target = {
        "layers.0.weight": sum(w * m["layers.0.weight"] for w, m in zip((0.6, 0.3, 0.1), models, strict=True)),
        "layers.1.weight": sum(w * m["layers.1.weight"] for w, m in zip((0.1, 0.1, 0.8), models, strict=True)),
    }

    def score(weights):
        return -sum(float((weights[k] - target[k]).square().sum()) for k in target)

    space = MergeSpace.of(models, "linear", normalize=False)
    merger = EvolutionaryMerger(score, space, evaluations=600, seed=1)
    merged = merger.merge(models)
    found = np.array(merger.recipe.weight)[:, :, 0]
    np.testing.assert_allclose(found, [[0.6, 0.3, 0.1], [0.1, 0.1, 0.8]], atol=0.05)
    assert score(merged) == merger.fitness == merger.history[-1].best
    assert [r.best for r in merger.history] == sorted(r.best for r in merger.history)
    assert merger.history[-1].evaluations == 600
    # The uniform average, where the search starts, is worse.
    assert merger.fitness > score(merger_for(space.decode(space.x0)).merge(models)) + 0.1


def test_same_seed_same_bits_and_the_recipe_rebuilds_the_child():
    models, base = parents(), parents(1, seed=9)[0]

    def score(weights):
        return -float(weights["layers.0.weight"].abs().sum())

    a, b = (EvolutionaryMerger(score, evaluations=40, seed=5) for _ in range(2))
    first, second = a.merge(models, base=base), b.merge(models, base=base)
    rebuilt = merger_for(a.recipe, seed=5).merge(models, base=base)
    assert a.recipe == b.recipe and a.recipe.method == "dare_ties"
    for k in first:
        assert torch.equal(first[k], second[k]) and torch.equal(first[k], rebuilt[k])


def test_equal_parents_return_the_parent():
    parent = parents(1)[0]
    twins = [{k: v.clone() for k, v in parent.items()} for _ in range(3)]
    merged = EvolutionaryMerger(lambda w: float(w["layers.0.weight"].sum()), method="linear", evaluations=30).merge(
        twins
    )
    assert all(torch.equal(merged[k], parent[k]) for k in parent)


def test_other_searchers_and_starts():
    models = parents()

    def score(weights):
        return -float(weights["layers.1.weight"].abs().sum())

    space = MergeSpace.of(models, "linear")
    by_chance = EvolutionaryMerger(score, space, lambda s: RandomSearch(s, 3), evaluations=25)
    by_chance.merge(models)
    assert by_chance.history[-1].evaluations == 25
    started = EvolutionaryMerger(score, space, start=space.start([1.0, 0.0, 0.0]), sigma0=1e-6, evaluations=8)
    torch.testing.assert_close(
        started.merge(models)["layers.1.weight"], models[0]["layers.1.weight"], atol=1e-4, rtol=0
    )


def test_failed_recipes_are_failures_and_trouble_beforehand_is_an_error():
    models = parents()
    seen = []

    def score(weights):
        seen.append(1)
        return Failed("no") if len(seen) % 2 else 1.0

    merger = EvolutionaryMerger(score, method="linear", evaluations=20)
    merger.merge(models)
    assert sum(r.failed for r in merger.history) == 10
    with pytest.raises(EvaluationFailed, match="all"):
        EvolutionaryMerger(lambda w: math.nan, method="linear", evaluations=20).merge(models)
    with pytest.raises(MergeError, match="base"):
        EvolutionaryMerger(lambda w: 1.0).merge(models)
    with pytest.raises(MergeError, match="2 models, 3 given"):
        EvolutionaryMerger(lambda w: 1.0, MergeSpace(2, method="linear")).merge(models)
    models[2]["layers.0.weight"][0] = float("inf")
    with pytest.raises(NonFinite, match="model 2"):
        EvolutionaryMerger(lambda w: 1.0, method="linear").merge(models)


def test_recipe_searcher_resumes_bit_for_bit_in_mid_batch():
    space = MergeSpace(3, ("^a", ""), method="ties")

    def worth(recipe):
        return -sum(abs(w - 0.2) for g in recipe.weight for m in g for w in m)

    def go(searcher, batches):
        for _ in range(batches):
            candidates = searcher.ask()
            searcher.tell(candidates, [worth(c.value) for c in candidates])

    whole = RecipeSearcher(space, seed=2)
    go(whole, 4)
    out = whole.ask()
    whole.tell(out[:2], [worth(c.value) for c in out[:2]])
    resumed = RecipeSearcher(space, seed=2)
    resumed.load_state_dict(json.loads(json.dumps(whole.state_dict())))
    again = resumed.ask()
    assert [(c.id, c.value) for c in again] == [(c.id, c.value) for c in out[2:]]
    for searcher in (whole, resumed):
        searcher.tell(again, [worth(c.value) for c in again])
        go(searcher, 5)
    assert whole.best == resumed.best
    with pytest.raises(ValueError, match="told before"):
        whole.tell(again[:1], [0.0])
