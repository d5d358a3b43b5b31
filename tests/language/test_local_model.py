import pytest
import torch

pytest.importorskip("transformers")
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from heredity.errors import EvaluationFailed
from heredity.language.access import LocalModel
from heredity.language.local_model import draw

WORDS = ["<s>", "</s>", "<unk>", "user", "assistant", ":", "hello", "world", "a", "b", "c", "d", ".", "system"]


@pytest.fixture(scope="module")
def parts():
    """A model of 14 words with random weights, and its tokenizer."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config).eval()
    return model, fast


@pytest.fixture(scope="module")
def local(parts):
    return LocalModel(*parts)


def test_greedy_answers_are_those_of_transformers(parts, local):
    model, tokenizer = parts
    ids = tokenizer("hello a b", return_tensors="pt").input_ids
    wanted = model.generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=1)[0, ids.shape[1] :]
    text = tokenizer.decode(wanted, skip_special_tokens=True)
    assert local.complete("hello a b", temperature=0, max_tokens=12) == [text]


def test_the_same_seed_draws_the_same_and_the_global_generator_is_left_alone(local):
    before = torch.get_rng_state()
    first = local.complete("hello", n=3, max_tokens=8, seed=1)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert local.complete("hello", n=3, max_tokens=8, seed=1) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert local.complete("hello", n=3, max_tokens=8, seed=2) != first
    assert len(set(first)) > 1
    torch.set_rng_state(before)


def test_logprobs_are_the_log_softmax_and_sum_to_the_joint(parts, local):
    model, tokenizer = parts
    scores = local.logprobs("hello a", "b c")
    with torch.no_grad():
        table = model(tokenizer("hello a b c", return_tensors="pt").input_ids).logits[0].log_softmax(-1)
    assert torch.allclose(scores, torch.stack([table[1, 9], table[2, 10]]), atol=1e-5)
    # The probabilities of all 14 continuations of one token sum to one.
    total = sum(local.logprobs([6], [token]).exp().item() for token in range(len(WORDS)))
    assert total == pytest.approx(1.0, abs=1e-5)
    assert local.logprobs("hello", "").shape == (0,)
    with pytest.raises(ValueError, match="at least one token"):
        local.logprobs("", "a")


def test_samples_follow_the_models_probabilities(local):
    # 4,000 first tokens: each share within 4 standard deviations, sqrt(p (1 − p) / 4000) ≤ .008.
    p = torch.tensor([local.logprobs([6], [token]).exp().item() for token in range(len(WORDS))])
    generator = torch.Generator().manual_seed(0)
    tokens = draw(p.log().expand(4000, -1), 1.0, 1.0, generator)
    shares = torch.bincount(tokens, minlength=len(WORDS)) / 4000
    assert ((shares - p).abs() <= 4 * (p * (1 - p) / 4000).sqrt() + 1e-9).all()


def test_the_nucleus_keeps_the_likeliest_tokens_that_reach_p():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(2000, -1)
    generator = torch.Generator().manual_seed(0)
    assert set(draw(logits, 1.0, 0.75, generator).tolist()) == {0, 1}  # .5 is less than .75, .8 is not
    assert set(draw(logits, 1.0, 1e-9, generator).tolist()) == {0}
    assert set(draw(logits, 1.0, 1.0, generator).tolist()) == {0, 1, 2, 3}
    assert draw(logits, 0.0, 1.0, generator).unique().tolist() == [0]


def test_logits_that_are_not_finite_are_an_error():
    with pytest.raises(EvaluationFailed, match="not finite"):
        draw(torch.tensor([[0.0, float("nan")]]), 1.0, 1.0, torch.Generator())


def test_generation_ends_at_the_end_of_the_sequence_and_before_a_stop(parts, local):
    _, tokenizer = parts
    long = local.complete("hello", max_tokens=30, seed=3)[0].split()
    stop = long[2]
    cut = local.complete("hello", max_tokens=30, seed=3, stop=[stop])[0].split()
    assert cut == long[: long.index(stop)]
    ends = [len(tokenizer(text).input_ids) for text in local.complete("hello", n=50, max_tokens=40, seed=1)]
    assert min(ends) < 40  # with a random model of 14 words, </s> comes up in some of 50 texts
    assert not any("</s>" in text for text in local.complete("hello", n=50, max_tokens=40, seed=1))


def test_a_conversation_is_written_by_the_template_or_as_plain_lines(parts):
    model, tokenizer = parts
    messages = [{"role": "user", "content": "hello world"}]
    plain = LocalModel(model, tokenizer)
    assert (
        plain.reply(messages, max_tokens=3)
        == plain.complete("user: hello world\nassistant:", temperature=0, max_tokens=3)[0].strip()
    )
    template = "{% for m in messages %}{{ m.role }} : {{ m.content }} . {% endfor %}assistant :"
    own = LocalModel(model, tokenizer, template)
    assert (
        own.reply(messages, max_tokens=3)
        == plain.complete("user : hello world . assistant :", temperature=0, max_tokens=3)[0].strip()
    )
    assert own.reply(messages, max_tokens=6, temperature=1.0, seed=1) == own.reply(
        messages, max_tokens=6, temperature=1.0, seed=1
    )


def test_a_folder_is_a_model(parts, tmp_path):
    model, tokenizer = parts
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    assert isinstance(AutoModelForCausalLM.from_pretrained(tmp_path / "model"), LlamaForCausalLM)
    loaded = LocalModel(tmp_path / "model")
    wanted = LocalModel(model, tokenizer).complete("hello", n=2, max_tokens=6, seed=4)
    assert loaded.complete("hello", n=2, max_tokens=6, seed=4) == wanted
    assert loaded.name == str(tmp_path / "model")


def test_what_cannot_be_asked_is_named(parts, local):
    with pytest.raises(ValueError, match="tokenizer"):
        LocalModel(parts[0])
    with pytest.raises(ValueError, match="at least one token"):
        local.complete([])
    with pytest.raises(ValueError, match="top_p"):
        local.complete("a", top_p=0)
