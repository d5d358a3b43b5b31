import numpy as np
import pytest
import torch

from heredity.papers.testbeds.recipe_trials import (
    AGAIN,
    ARCHS,
    LABELS,
    RECIPES,
    WITHIN,
    Predict,
    Pretrain,
    RankAgreement,
    Search,
    _free,
    _table,
    flop_cap,
)


class Parent:
    """A table in which architecture and recipe add up."""

    def __init__(self, archs=None, step=0.02):
        worth = torch.arange(ARCHS) * 0.01 if archs is None else archs
        values = worth[:, None] + torch.arange(RECIPES) * step
        self.valid = values[:, :, None].repeat(1, 1, 6).float()

    def weights(self):
        return {"valid": self.valid, "again": self.valid[: AGAIN[0], : AGAIN[1], -1]}


class Seeded:
    def __init__(self, seed):
        self.seed = seed


def test_searches_pay_for_what_they_see_and_keep_to_the_cap():
    allowed = [place for place, arch in enumerate(_table(7001)[0]) if _free(arch)[0] <= flop_cap(7001)]
    assert len(allowed) == round(WITHIN * ARCHS)
    best = (max(allowed), RECIPES - 1)
    paid = {"arch_only": RECIPES + len(allowed) - 1, "random": 60, "everything": RECIPES * len(allowed)}
    for how in ("arch_only", "alternating", "random", "everything", "joint_plain"):
        child = Search(how, 7001, 60).apply([Parent()], Seeded(1))
        cells = [tuple(cell) for cell in child.weights["cells"].tolist()]
        assert len(set(cells)) == len(cells) == child.notes["paid"] <= max(60, paid.get(how, 0))
        assert {arch for arch, _ in cells} <= set(allowed)
        assert child.notes["paid"] == paid.get(how, child.notes["paid"])
        if how in ("arch_only", "alternating", "everything"):  # a sum has no interaction: turns find its best
            assert (child.notes["arch"], child.notes["recipe"]) == best


class Predictor:
    """What a pretrained predictor's birth holds."""

    def __init__(self):
        self.held = Pretrain(256).apply([], Seeded(3))

    def weights(self):
        return self.held


@pytest.mark.slow
def test_every_predictor_ranks_unseen_networks_where_size_decides():
    size = torch.tensor([np.log(_free(arch)[0]) for arch in _table(7001)[0]]) * 0.1
    parents = [Parent(size, step=1e-4), Predictor()]  # recipes hardly matter
    for how in ("pretrained", "plain", "trees", "trees_statistics", "ridge", "ridge_statistics", "flops"):
        notes = Predict(how, 7001).apply(parents, Seeded(2)).notes
        assert notes["score"] == np.mean([notes[f"tau_{n}"] for n in LABELS if n <= 40])
        assert notes["tau_80"] > 0.25, how  # plain ones learn of 20 networks alone
        if how in ("pretrained", "trees"):
            assert notes == Predict(how, 7001).apply(parents, Seeded(2)).notes
    free = Predict("flops", 7001).apply(parents, Seeded(2)).notes
    assert len({free[f"tau_{n}"] for n in LABELS}) == 1  # it has no labels
    assert Predict("ridge_statistics", 7001).apply(parents, Seeded(2)).notes["tau_80"] > 0.8


def test_rankings_agree_between_equal_seeds_and_not_between_crossing_recipes():
    parent = Parent()
    assert RankAgreement("seeds").apply([parent], Seeded(0)).notes["score"] == pytest.approx(1)
    assert RankAgreement("recipes").apply([parent], Seeded(0)).notes["score"] == pytest.approx(1)
    parent.valid[:, 1] = -parent.valid[:, 1]  # one of five recipes turns the order round: 4 of 10 pairs disagree
    score = RankAgreement("recipes").apply([parent], Seeded(0)).notes["score"]
    assert abs(score - (6 - 4) / 10) < 1e-9
