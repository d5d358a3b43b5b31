"""Scoring: comparing answers, batches that do not change them, likelihoods that are the model's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from heredity.errors import EvaluationFailed
from heredity.language.probes import read_examples
from heredity.language.scoring import generate, label_scores, majority_answers, matches

transformers = pytest.importorskip("transformers")


class Letters:
    """One token per character."""

    eos_token_id = 0
    pad_token_id = None

    def __call__(self, text: str, *, add_special_tokens: bool = True) -> Any:
        return SimpleNamespace(input_ids=[1 + (ord(letter) - 97) % 26 for letter in text if letter != " "])

    def decode(self, ids: Any, *, skip_special_tokens: bool = False) -> str:
        return "".join(chr(96 + int(i)) for i in ids if int(i) > 0)


@pytest.fixture(scope="module")
def llama() -> nn.Module:
    config = transformers.LlamaConfig(
        vocab_size=27, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, eos_token_id=0
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.LlamaForCausalLM(config).eval()


@pytest.mark.parametrize(
    ("answer", "wanted", "how", "right"),
    [
        (" 42\n", "42", "exact", True),
        ("42.", "42", "exact", False),
        ("it is blue", "blue", "contains", True),
        ("so 3 + 4 = 7", "the answer is 7.0", "number", True),
        ("1,234", "1234", "number", True),
        ("none", "7", "number", False),
        ("-7", "7", "number", False),
    ],
)
def test_answers_are_compared_as_asked(answer: str, wanted: str, how: Any, right: bool) -> None:
    assert matches(answer, wanted, how) is right


def test_a_goal_without_number_is_an_error_not_a_wrong_answer() -> None:
    with pytest.raises(EvaluationFailed, match="no number"):
        matches("7", "seven", "number")


def test_a_batch_answers_like_its_members(llama: nn.Module) -> None:
    prompts = ["a", "hello", "zz", "longerprompt"]
    together = generate(llama, Letters(), prompts, max_new_tokens=5, batch=4)
    alone = [generate(llama, Letters(), [prompt], max_new_tokens=5)[0] for prompt in prompts]
    assert together == alone
    assert any(together)


def test_label_scores_are_mean_log_likelihoods(llama: nn.Module) -> None:
    scores = label_scores(llama, Letters(), ["abc", "x"], ["de", "f"], batch=3)
    assert scores.shape == (2, 2)
    ids = torch.tensor([[1, 2, 3, 4, 5]])
    logp = llama(input_ids=ids).logits.log_softmax(-1)[0]
    # "d" follows "abc", "e" follows "abcd".
    expected = (logp[2, 4] + logp[3, 5]) / 2
    assert float(scores[0, 0]) == pytest.approx(expected.item(), abs=1e-5)


def test_a_model_with_nan_fails_by_name(llama: nn.Module) -> None:
    import copy

    broken = copy.deepcopy(llama)
    broken.get_parameter("model.norm.weight").data.fill_(float("nan"))
    with pytest.raises(EvaluationFailed, match="not finite"):
        label_scores(broken, Letters(), ["a"], ["b", "c"])
    with pytest.raises(EvaluationFailed, match="not finite"):
        generate(broken, Letters(), ["a"], max_new_tokens=2)


def test_examples_of_both_kinds_are_read() -> None:
    assert read_examples('{"prompt": "1+1", "answer": 2}\n\n', "t") == ("answers", [("1+1", "2")])
    assert read_examples('{"text": "a", "label": "x"}', "t") == ("labels", [("a", "x")])


@pytest.mark.parametrize(
    ("answers", "how", "chosen"),
    [
        ([["a", "a"], ["b", "b"], ["b ", "a"]], "exact", ["b", "a"]),
        ([["a"], ["b"], ["c"]], "exact", ["a"]),  # all different: the fittest's
        ([["a"], ["b"], ["c"], ["c"], ["b"]], "contains", ["b"]),  # two against two: of the tied, b's voter is fitter
        ([["is 9"], ["7.0"], ["it is 7"]], "number", ["7.0"]),
        ([["x"], ["1"], ["y"]], "number", ["x"]),  # no number at all is one answer
    ],
)
def test_the_majority_of_answers_and_who_decides_ties(answers: Any, how: Any, chosen: list[str]) -> None:
    assert majority_answers(answers, how) == chosen


def test_a_vote_needs_answers_to_the_same_examples() -> None:
    with pytest.raises(ValueError, match=r"\[2, 1\]"):
        majority_answers([["a", "b"], ["a"]], "exact")
    with pytest.raises(ValueError, match="members"):
        majority_answers([], "exact")
