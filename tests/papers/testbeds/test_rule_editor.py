import ast

import numpy as np
import pytest

from heredity.papers.testbeds.gene_nets import seed_gene
from heredity.papers.testbeds.rule_editor import BROKEN, Move, RuleEditor, changed, moves, recognised, sites, united
from heredity.search.code_gene import CodeGene
from heredity.search.prompts import EvolutionOfThought, LLMCrossover, LLMMutation, NoCode, extract_code

GENE = CodeGene(seed_gene())


def answer(request, broken=0.0, seed=None):
    seed = request.seed if seed is None else seed
    return RuleEditor(broken).reply(request.messages(), seed=seed)


def test_the_seed_gene_has_more_than_a_dozen_kinds_of_places():
    kinds = {site.kind for block in GENE.blocks[1:] for site in sites(ast.parse(block))}
    assert len(kinds) == 15 and {"width", "kernel", "activation", "norm", "dropout", "rate", "optimizer"} <= kinds


@pytest.mark.parametrize("i", [1, 2, 3, 4])
def test_a_change_is_one_place_and_is_recognised(i):
    block = GENE.blocks[i]
    for seed in range(40):
        rng = np.random.default_rng(seed)
        after = changed(block, [], rng)
        (move,) = recognised(block, after)
        assert move in moves(move.kind)
        assert CodeGene(after).key != CodeGene(block).key


def test_a_wanted_move_is_made_where_it_can_be():
    after = changed(GENE.blocks[1], [Move("activation", "SiLU")], np.random.default_rng(0))
    assert recognised(GENE.blocks[1], after) == [Move("activation", "SiLU")]
    (other,) = recognised(GENE.blocks[4], changed(GENE.blocks[4], [Move("width", "up")], np.random.default_rng(0)))
    assert other.kind != "width"  # the recipe has no width


def test_numbers_stay_within_their_bounds():
    block = "def f(width=48, kernel=5, depth=0, dropout=0.5): pass\n"
    assert all(move.to == "down" or move.kind == "depth" for s in range(30) for move in recognised(
        block, changed(block, [], np.random.default_rng(s))
    ))  # fmt: skip


def test_a_mutation_prompt_is_answered_with_the_block_changed():
    request = LLMMutation().request(GENE.blocks[2], np.random.default_rng(0))
    assert len(recognised(GENE.blocks[2], extract_code(answer(request)))) == 1
    assert answer(request) == answer(request) and answer(request, seed=1) != answer(request, seed=3)


def test_a_thought_is_followed():
    elite = GENE.replace(1, GENE.blocks[1].replace("ReLU", "GELU"))
    request = EvolutionOfThought().request(GENE.blocks[2], GENE, elite, np.random.default_rng(0))
    for seed in range(10):
        assert recognised(GENE.blocks[2], extract_code(answer(request, seed=seed))) == [Move("activation", "GELU")]


def test_a_crossover_takes_each_place_from_either():
    second = GENE.blocks[4].replace("0.01", "0.1").replace("AdamW", "SGD").replace("smoothing = 0.0", "smoothing = 0.2")
    second = second.replace("SGD", "NAdam")
    request = LLMCrossover().request(GENE.blocks[4], second, np.random.default_rng(0))
    values = [[site.value for site in sites(ast.parse(extract_code(answer(request, seed=s))))] for s in range(30)]
    a, b = ([site.value for site in sites(ast.parse(text))] for text in (GENE.blocks[4], second))
    assert all(v in pair for row in values for v, pair in zip(row, zip(a, b, strict=True), strict=True))
    assert all(len({row[k] for row in values}) == 2 for k in range(4))


def test_blocks_whose_places_do_not_correspond_are_not_mixed():
    assert united("x = 1", GENE.blocks[1], np.random.default_rng(0)) == "x = 1"
    assert recognised("x = 1", GENE.blocks[1]) == []


def test_as_many_answers_are_broken_as_wanted():
    request = LLMMutation().request(GENE.blocks[1], np.random.default_rng(0))
    broken = sum(answer(request, 0.1, seed) in BROKEN for seed in range(1000))
    assert 60 <= broken <= 140  # 100 expected, standard deviation 9.5
    unusable = 0
    for text in BROKEN:
        try:
            extract_code(text)
        except NoCode:
            unusable += 1
    assert unusable == 3  # the fourth can be parsed and fails when it is run
