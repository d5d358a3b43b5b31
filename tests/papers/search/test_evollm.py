import subprocess
import sys

import numpy as np
import pytest
import torch

from heredity.lab import Lab
from heredity.papers.claim import Cell, sub_claims
from heredity.papers.runner import run_cells
from heredity.papers.search.evollm import CLAIM, PAPER
from heredity.papers.testbeds.number_search import (
    FUNCTIONS,
    REACH,
    SIGMA,
    Carts,
    Functions,
    Momentum,
    TokenCode,
    Written,
    last_elite,
    mean_search,
    ranked,
    search,
)
from heredity.papers.testbeds.number_teachers import PROMPTS, Ellipsoids, lessons, taught
from heredity.papers.testbeds.sequence_models import NumberTransformer

TINY = {"batch": 1, "generations": 2, "runs": 4, "steps": 2, "model_seed": 1}


def test_the_card_imports_nothing_heavy():
    code = "import sys, heredity.papers.search.evollm; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_small_scale_runs_every_arm_but_that_of_a_language_model():
    ran = {cell.arm for cell in CLAIM.cells("small")}
    assert ran == {arm.name for arm in CLAIM.arms} - {"language_model"}
    assert all(sub.weight == "reported" for sub in sub_claims(CLAIM.rule) if sub.tested == "language_model")
    # Seeds that are searched together are those of a run, so that none is searched in vain.
    assert all(CLAIM.first_seed % s.settings["batch"] == 0 == s.seeds % s.settings["batch"] for s in CLAIM.scales[:2])


@pytest.mark.slow
def test_cells_of_all_arms_give_the_metrics_of_the_card(tmp_path):
    cells = [Cell(arm.name, "", 5, {**TINY, **arm.settings}) for arm in CLAIM.arms if arm.name != "language_model"]
    with Lab(tmp_path / "lab") as lab:
        results = run_cells(PAPER, CLAIM, cells, lab, scale="small")
    assert [result.failed for result in results] == [None] * len(cells)
    assert all(set(result.values) == set(CLAIM.metrics) - {"calls", "fallbacks"} for result in results)
    for result in results:
        parts = [result.values[f"regret_{name}"] for name in ("2", "noisy", "8")]
        assert result.values["regret"] == pytest.approx(np.mean(parts))


def test_without_a_language_model_part_b_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.delenv("HEREDITY_LM", raising=False)
    arm = CLAIM.arm("language_model")
    with Lab(tmp_path / "lab") as lab, pytest.raises(Exception, match="HEREDITY_LM"):
        run_cells(PAPER, CLAIM, [Cell(arm.name, "", 5, {**TINY, **arm.settings})], lab, scale="small")


def test_the_model_has_the_size_of_the_card():
    model = NumberTransformer(127, 2, 46)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(120_000, rel=0.02)


def test_the_model_looks_back_only_and_tails_are_ends_of_the_whole():
    torch.manual_seed(0)
    model = NumberTransformer(20, 2, 12, width=16)
    tokens = torch.randint(22, (3, 12))
    other = tokens.clone()
    other[:, 8:] = (other[:, 8:] + 1) % 22
    whole = model(tokens)
    assert torch.allclose(whole[:, :8], model(other)[:, :8], atol=1e-5)
    assert not torch.allclose(whole[:, 8:], model(other)[:, 8:], atol=1e-5)
    assert torch.allclose(whole[:, -2:], model(tokens, 2), atol=1e-5)
    answer = model.answer(tokens[:, :10], 2)
    first = model(tokens[:, :10])[:, -1].argmax(-1)
    assert torch.equal(answer[:, 0], first)
    assert torch.equal(answer[:, 1], model(torch.cat([tokens[:, :10], first[:, None]], 1))[:, -1].argmax(-1))


def test_the_code_is_relative_to_the_last_elite_and_sorted():
    code = TokenCode()
    x = np.zeros((1, 2, 5, 2))
    x[0, 0, :, 0] = [1.0, 0, 0, 0, 0]
    x[0, 1, :, 1] = [0.1, 0.2, 0.3, 0.4, 9.0]
    seen = np.array([[[0.5, 1, 2, 3, 4], [5.0, 6, 7, 8, 9]]])  # the first generation has the best
    tokens = code.context(x, seen)[0].reshape(4, 11)
    assert (tokens[:2] == code.numbers + 1).all() and (tokens[2:, -1] == code.numbers).all()
    # The last elite is (0, .1). The second generation comes first, as it is worse; its best stands last, at 0, 0.
    assert tokens[2, :2].tolist() == [REACH, 2 * REACH] and tokens[2, 8:10].tolist() == [REACH, REACH]
    assert tokens[2, 2:4].tolist() == [REACH, REACH + 6]  # .3 / (σ/4)
    assert tokens[3, 8:10].tolist() == [REACH + 20, REACH - 2]
    reverse = TokenCode(order="reversed").context(x, seen)[0].reshape(4, 11)
    assert reverse[2, :2].tolist() == [REACH + 20, REACH - 2] and reverse[3, 8:10].tolist() == [REACH, 2 * REACH]
    plain = TokenCode(order="unsorted").context(x, seen)[0].reshape(4, 11)
    assert plain[2, :2].tolist() == [REACH + 20, REACH - 2] and plain[3, :2].tolist() == [REACH, REACH]
    moved = code.context(x + 0.7, seen)[0]
    assert moved.tolist() == tokens.flatten().tolist()
    levels = TokenCode(levels=128)
    assert levels.write(np.array([-3.0, 0.0, 9.0]), np.zeros(3)).tolist() == [0, 64, 128]
    assert np.allclose(levels.read(np.array([0, 64, 128]), np.zeros(3)), [-3, 0, 3])


class Elitist(NumberTransformer):
    """Writes what stands for the last elite."""

    def answer(self, tokens, count, batch=1024):
        return torch.full((len(tokens), count), REACH)


@pytest.mark.parametrize("dim", [2, 8])
def test_a_model_that_writes_the_last_elite_is_that_strategy(dim):
    land = Functions([1, 2], dim, 0.5)
    written = mean_search(Functions([1, 2], dim, 0.5), 6, Written(Elitist(127), TokenCode()))
    plain = mean_search(land, 6, last_elite)
    assert np.allclose(written.x, plain.x) and np.allclose(written.true, plain.true)
    assert not np.allclose(plain.true, plain.seen)


def test_lessons_hold_what_the_teacher_did_next():
    code = TokenCode()
    traces = taught("momentum", 6, PROMPTS + 4, seed=3)
    now, later = lessons(traces, code, 1), lessons(traces, code, 5)
    assert now.shape == (6 * PROMPTS, 46) and torch.equal(now[:, :44], later[:, :44])
    t, run = 4, 2
    anchor = ranked(traces.x[:, t - 1], traces.seen[:, t - 1])[run, -1]
    row = (t - 1) * 6 + run
    for table, ahead in ((now, 0), (later, 4)):
        wished = np.clip((traces.means[run, t + ahead] - anchor) / (SIGMA / 4), -REACH, REACH)
        assert np.abs(table[row, 44:].numpy() - REACH - wished).max() <= 0.5 + 1e-9


def test_momentum_is_its_formula():
    move = Momentum()
    x = np.arange(10.0).reshape(1, 1, 5, 2)
    seen = np.array([[[5.0, 4, 3, 2, 1]]])  # the best two are (8, 9) and (6, 7)
    first = move(x, seen, np.zeros((1, 2)))
    assert np.allclose(first, [[7, 8]])
    # p ← .6 (7, 8) + (7, 8) − (7, 8); m ← m + p
    assert np.allclose(move(x, seen, first), [[7 + 4.2, 8 + 4.8]])


def test_snes_as_a_teacher_starts_where_its_runs_do():
    traces = taught("snes", 5, 3, seed=2)
    assert np.allclose(traces.means[:, 0].mean(0), traces.x[:, 0].mean((0, 1)), atol=0.2)
    true, _ = Ellipsoids(5, 2).losses(traces.x[:, 2], 2)
    assert np.allclose(true, traces.true[:, 2])


def test_searches_find_better_points_than_where_they_begin():
    for arm in ("random", "hill_climb", "snes", "mean_es", "momentum", "last_elite"):
        traces = search(arm, Functions(range(4), 2, 0.0), 10, None)
        gain = traces.true[:, 0].min(-1) - traces.true.min((1, 2))
        assert traces.true.shape == (4 * len(FUNCTIONS), 10, 5) and (gain >= 0).all() and (gain > 0).mean() > 0.5
        assert np.abs(traces.x).max() <= 3


def test_carts_count_what_gymnasium_s_dynamics_give():
    starts = np.array([[1, 2]])
    # Pushing the cart away from under the pole fails after about ten steps; following the pole stands for long.
    policies = np.array([[[0.0, 0, -1, -1], [0.0, 0.0, 1.0, 1.0]]])
    returns = Carts.returns(policies, starts)
    assert returns[0, 0] < 15 and returns[0, 1] > 100
    assert np.array_equal(returns, Carts.returns(policies, starts))


def test_part_b_runs_with_any_causal_model_that_is_named(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<s>", "</s>", "<unk>", ",", ";", *"0123456789"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(tmp_path / "digits")
    fast.save_pretrained(tmp_path / "digits")
    monkeypatch.setenv("HEREDITY_LM", str(tmp_path / "digits"))
    arm = CLAIM.arm("language_model")
    with Lab(tmp_path / "lab") as lab:
        (result,) = run_cells(PAPER, CLAIM, [Cell(arm.name, "", 5, {**TINY, **arm.settings})], lab, scale="medium")
    assert result.failed is None and set(result.values) == {"regret_2", "calls", "fallbacks"}
    # Six functions, two generations, at most three questions; a model of random digits hardly ever answers well.
    assert 12 <= result.values["calls"] <= 36 and 0 < result.values["fallbacks"] <= 1
